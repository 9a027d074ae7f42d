"""Full training: the same numbers by every loop, one look at the test data."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irlas_jax import classifiers
from irlas_jax.evaluators import retrained
from irlas_jax.networks import block as networks
from irlas_jax.training import recipe as recipes

pytestmark = pytest.mark.usefixtures('quick_compiles')

RECIPE = recipes.Recipe(
  epochs=4, batch_size=25, evaluations=2, learning_rate=0.5
)
LAYERS = (
  networks.Layer('sep_conv', 3, (0,)),
  networks.Layer('add', 0, (0, 1)),
)


class Linear(nn.Module):
  """Softmax regression with normalised inputs; compiles at once."""

  @nn.compact
  def __call__(self, images, train):
    x = networks.batch_norm(train)(images.reshape(len(images), -1))
    return nn.Dense(10)(x)


@pytest.fixture(scope='module')
def dataset(make_config):
  return classifiers.load_data(make_config())


def _retrain(dataset, module=None, seed=0, recipe=RECIPE):
  key = jax.random.key(seed)
  return retrained.retrain(key, module or Linear(), dataset, recipe)


@pytest.fixture(scope='module')
def result(dataset):
  """What most tests look at."""
  return _retrain(dataset)


def _history(result):
  return [np.asarray(field) for field in result.history]


def test_training_never_sees_the_test_data(dataset, result):
  """A test image that stops a training early has been trained on."""
  images = np.full_like(dataset.test.images, np.nan)
  blind = dataset._replace(test=dataset.test._replace(images=images))
  unseeing = _retrain(blind)
  for one, other in zip(_history(unseeing), _history(result), strict=True):
    np.testing.assert_array_equal(one, other)
  assert np.isfinite(result.test_loss) and np.isnan(unseeing.test_loss)


def test_test_figures_are_of_the_final_network_on_all_test_images(
  dataset, result
):
  """The one number that is published."""
  images, labels = dataset.test
  scaled = (images - dataset.mean) / dataset.std
  logits = Linear().apply(result.variables, jnp.asarray(scaled), False)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  accuracy = float(np.mean(np.argmax(logits, -1) == labels))
  assert len(labels) == 500
  assert result.test_accuracy == pytest.approx(accuracy, abs=1e-6)
  assert result.test_loss == pytest.approx(float(losses.mean()), rel=1e-5)
  assert result.test_accuracy > 0.5  # 0.1 is chance


def test_figures_beside_the_accuracy(result):
  """Parameters, multiply-adds and the course of the training."""
  # 64 inputs to 10 classes with a bias, and scale and bias of 64 inputs.
  assert result.params == 64 * 10 + 10 + 2 * 64
  assert result.madds == 64 * 10
  assert result.history.accuracy.shape == (2,)
  assert result.history.finished == 2 and not result.history.diverged
  assert 0 < result.seconds < 60
  assert set(result.variables) == {'params', 'batch_stats'}


def test_the_key_decides(dataset, result):
  """The same command has to give the same network, another seed another."""
  assert _retrain(dataset, seed=0).test_loss == result.test_loss
  assert _retrain(dataset, seed=1).test_loss != result.test_loss


def test_the_key_decides_what_is_dropped_and_mixed(dataset, block_module, full):
  again = _retrain(dataset, block_module, recipe=FULL)
  assert again.test_loss == full.test_loss


def test_a_recipe_that_does_not_fit_is_refused_before_any_work(dataset):
  """It would fail after the network was compiled."""
  with pytest.raises(ValueError, match='train.batch_size is 51'):
    _retrain(dataset, module=None, recipe=RECIPE._replace(batch_size=51))


FULL = recipes.Recipe(
  epochs=2,
  evaluations=2,
  batch_size=25,
  pad=1,
  mirror=True,
  cutout=2,
  mixup=0.2,
  ema_decay=0.9,
  drop_path=0.3,
  auxiliary=0.4,
  label_smoothing=0.1,
  warmup_epochs=1.0,
  bfloat16=True,
)


@pytest.fixture(scope='module')
def block_module():
  """A path beside its input, in one block; compiling is what takes long."""
  macro = networks.cifar(width=2, num_stages=1, blocks_per_stage=1)
  return networks.BlockNetwork(LAYERS, macro, 10)


@pytest.fixture(scope='module')
def full(dataset, block_module):
  """All that a recipe can add, together."""
  return _retrain(dataset, block_module, recipe=FULL)


def test_everything_together_trains(full):
  """Of what is for training only nothing is in what is counted and kept."""
  assert full.history.finished == 2 and not full.history.diverged
  assert np.isfinite(full.test_loss)
  assert 'auxiliary' not in full.variables['params']
  assert 'auxiliary' not in full.variables['batch_stats']


def test_figures_are_those_of_the_plain_network(dataset, block_module, full):
  shape = dataset.test.images.shape[1:]
  plain = jax.eval_shape(
    lambda key: block_module.init(key, jnp.zeros((1, *shape)), False),
    jax.random.key(0),
  )
  assert jax.tree.structure(full.variables) == jax.tree.structure(plain)
  leaves = jax.tree.leaves(plain['params'])
  assert full.params == sum(leaf.size for leaf in leaves)


def test_inference_takes_images_as_the_data_set_has_them(dataset, full):
  """Normalisation is inside, and so is the average of the weights."""
  images, labels = dataset.test
  assert full.inference.image.shape == images.shape[1:]
  assert full.inference.image.dtype == images.dtype
  logits = full.inference.logits(full.variables, images)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  assert full.test_loss == pytest.approx(float(losses.mean()), rel=1e-5)


@pytest.mark.parametrize('name', ['drop_path', 'auxiliary'])
def test_a_module_without_what_the_recipe_asks_for_is_refused(dataset, name):
  """It would be trained without, in silence."""
  message = f'train.{name} is 0.5: a Linear does not have it'
  with pytest.raises(ValueError, match=message):
    _retrain(dataset, recipe=RECIPE._replace(**{name: 0.5}))


class Killed(BaseException):
  """Stands for what ends a process."""


def _kept(dataset, workdir, settings=(), should_stop=lambda: False):
  return retrained.retrain(
    jax.random.key(0),
    Linear(),
    dataset,
    KEPT,
    workdir=workdir,
    settings=dict(settings),
    should_stop=should_stop,
  )


KEPT = RECIPE._replace(epochs=4, evaluations=4, ema_decay=0.9, momentum=0.9)


def test_a_killed_training_goes_on_to_the_bit(dataset, tmp_path):
  """After hours; what is lost is what came after the last evaluation."""
  expected = _retrain(dataset, recipe=KEPT)
  asked = []

  def kill():
    asked.append(len(asked))
    if len(asked) == 2:
      raise Killed

  with pytest.raises(Killed):
    _kept(dataset, tmp_path, should_stop=kill)
  found = _kept(dataset, tmp_path)
  jax.tree.map(
    np.testing.assert_array_equal, found.variables, expected.variables
  )
  for one, other in zip(_history(found), _history(expected), strict=True):
    np.testing.assert_array_equal(one, other)
  assert found.test_loss == expected.test_loss
  again = _kept(dataset, tmp_path)  # finished: only tested once more
  assert again.test_loss == expected.test_loss
  assert again.seconds == pytest.approx(found.seconds, abs=0.5)


def test_a_training_of_other_settings_is_refused(dataset, tmp_path):
  """Two recipes would be mixed in one network."""
  stopped = {'train': {'epochs': 4, 'mixup': 0.0}, 'seed': 1}
  with pytest.raises(retrained.Stopped):
    _kept(dataset, tmp_path, stopped, should_stop=lambda: True)
  changed = {'train': {'epochs': 6, 'mixup': 0.0}, 'seed': 1}
  with pytest.raises(ValueError, match=r'other settings: train\.epochs\.'):
    _kept(dataset, tmp_path, changed)
  assert _kept(dataset, tmp_path, stopped).history.finished == 4


def test_a_batch_that_devices_cannot_share_is_refused(dataset):
  """Before work starts, not by an error of the compiler."""
  with pytest.raises(ValueError, match='batch_size is 25: .* 2 devices'):
    recipes.check_split(RECIPE, 2)
  recipes.check_split(RECIPE, 5)
