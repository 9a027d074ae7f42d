"""Training and scoring, on networks small enough to work out by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import devices
from irlas_jax.networks import block as networks
from irlas_jax.networks import padded_block
from irlas_jax.spaces import block, nsc
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes

CLASSES = 3
# Compiles several times faster; what is computed stays the same.
FAST = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}
RECIPE = recipes.Recipe(
  epochs=4,
  batch_size=8,
  evaluations=4,
  learning_rate=0.5,
  schedule='constant',
  momentum=0.0,
)


def _linear(variables, images, step):
  """A softmax regression; its statistic counts training batches."""
  params, stats = variables['params'], variables['batch_stats']
  logits = images.reshape(len(images), -1) @ params['kernel'] + params['bias']
  return logits, {'seen': stats['seen'] + (step is not None)}


def _arrays(seed, size, sides=(2, 2)):
  """Images whose brightest pixel among the first three is the class."""
  rng = np.random.default_rng(seed)
  images = rng.normal(size=(size, *sides, 1))
  labels = images.reshape(size, -1)[:, :CLASSES].argmax(1)
  return loop.Arrays(
    jnp.asarray(images, jnp.float32), jnp.asarray(labels, jnp.int32)
  )


def _data(sides=(2, 2)):
  """35 images to train on, so that each epoch leaves three out, and 13."""
  return loop.Data(
    _arrays(0, 35, sides), _arrays(1, 13, sides), jnp.zeros(1), jnp.ones(1)
  )


def _variables(seed=0):
  rng = np.random.default_rng(seed)
  kernel = jnp.asarray(rng.normal(size=(4, CLASSES)), jnp.float32)
  params = {'kernel': kernel, 'bias': jnp.array([0.1, 0.2, -0.3])}
  return {'params': params, 'batch_stats': {'seen': jnp.zeros(())}}


def _evaluate(network, variables, data, mean=0.0, std=1.0, **sizes):
  mean, std = jnp.array([mean]), jnp.array([std])
  return loop.make_evaluate(network, data, mean, std, **sizes)(variables)


def _train(recipe, variables=None, key=0, network=_linear):
  train = jax.jit(
    functools.partial(loop.train, network=network, recipe=recipe),
    compiler_options=FAST,
  )
  return train(
    jax.random.key(key), variables=variables or _variables(), data=_data()
  )


def _softmax(logits):
  powers = np.exp(logits - logits.max(1, keepdims=True))
  return powers / powers.sum(1, keepdims=True)


@pytest.mark.parametrize('batch_size', [1, 3, 5, 13, 100])
def test_scores_are_of_all_images_whatever_the_batch(batch_size):
  """13 images: no other batch size divides them; none counts twice."""
  data, variables = _arrays(1, 13), _variables()
  accuracy, loss = _evaluate(
    _linear, variables, data, 0.5, 2.0, batch_size=batch_size
  )
  images = (np.asarray(data.images).reshape(13, 4) - 0.5) / 2
  params = variables['params']
  chances = _softmax(images @ params['kernel'] + params['bias'])
  expected = -np.log(chances[np.arange(13), data.labels]).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  correct = (chances.argmax(1) == data.labels).mean()
  assert 0 < correct < 1
  np.testing.assert_allclose(accuracy, correct, rtol=1e-6)


def test_bytes_are_scored_as_what_they_stand_for():
  """uint8 images count as 0 ... 1 before they are normalised."""
  data = _arrays(1, 13)
  pixels = jnp.asarray(
    np.random.default_rng(0).integers(256, size=(13, 2, 2, 1))
  )
  scores = [
    _evaluate(_linear, _variables(), data._replace(images=images), 0.4, 0.3)
    for images in (pixels.astype(jnp.uint8), pixels / 255.0)
  ]
  np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


def test_scoring_neither_trains_nor_counts_batches():
  seen = []

  def network(variables, images, step):
    seen.append(step)
    return _linear(variables, images, step)

  _evaluate(network, _variables(), _arrays(1, 13))
  assert seen and not any(seen)


@pytest.mark.parametrize('jit', [True, False])
def test_one_step_is_the_gradient_worked_out_by_hand(jit):
  """Softmax regression: images^T (p - y) / B, with smoothed targets y."""
  data, variables = _data(), _variables()
  recipe = RECIPE._replace(label_smoothing=0.3, weight_decay=0.2, momentum=0.5)
  tx = recipes.optimizer(recipe, steps_per_epoch=4)
  step = loop.make_step(_linear, tx, data, recipe)
  step = jax.jit(step) if jit else step
  index = jnp.array([5, 0, 7, 7])
  learner = loop.start(variables, tx, recipe)
  learner, loss = step(jax.random.key(0), learner, index)
  new = learner.variables
  images = np.asarray(data.train.images[index]).reshape(4, 4)
  targets = np.eye(CLASSES)[np.asarray(data.train.labels[index])] * 0.7 + 0.1
  params = variables['params']
  chances = _softmax(images @ params['kernel'] + params['bias'])
  expected = -(targets * np.log(chances)).sum(1).mean()
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  slope = (chances - targets) / 4
  kernel = images.T @ slope + 0.2 * params['kernel']  # decay of kernels only
  rate = 0.5 * 1.5  # a first Nesterov step of momentum 0.5
  np.testing.assert_allclose(
    new['params']['kernel'], params['kernel'] - rate * kernel, rtol=1e-4
  )
  np.testing.assert_allclose(
    new['params']['bias'], params['bias'] - rate * slope.sum(0), rtol=1e-4
  )
  assert new['batch_stats']['seen'] == 1


def test_training_learns_and_records_every_evaluation():
  variables, history = _train(RECIPE._replace(epochs=40, evaluations=4))
  assert history.accuracy[-1] > 0.8 and not history.diverged
  assert history.finished == 4
  assert np.isfinite(history.accuracy).all()
  assert (np.diff(history.train_loss) < 0).all()
  accuracy, loss = _evaluate(_linear, variables, _data().valid)
  np.testing.assert_allclose(history.accuracy[-1], accuracy, rtol=1e-6)
  np.testing.assert_allclose(history.loss[-1], loss, rtol=1e-5)
  # Four batches of eight an epoch; the three images left over wait.
  assert variables['batch_stats']['seen'] == 160


def test_an_epoch_visits_images_at_most_once_in_a_new_order():
  """Every image its own row of the kernel, whose bias counts its visits."""
  size = 35
  images = jnp.arange(1.0, size + 1).reshape(size, 1, 1, 1)
  labels = jnp.zeros(size, jnp.int32)
  one = loop.Arrays(images, labels)
  data = loop.Data(one, one, jnp.zeros(1), jnp.ones(1))

  def network(variables, images, step):
    stats = variables['batch_stats']
    row = images.reshape(-1).astype(jnp.int32) - 1
    if step is not None:
      at = stats['step'].astype(jnp.int32)
      stats = {
        'step': stats['step'] + 1,
        'rows': stats['rows'].at[at].set(row),
      }
    return jnp.zeros((len(images), 2)) * variables['params']['kernel'], stats

  stats = {'step': jnp.zeros(()), 'rows': jnp.zeros((8, 8), jnp.int32)}
  variables = {'params': {'kernel': jnp.ones(2)}, 'batch_stats': stats}
  recipe = RECIPE._replace(epochs=2, evaluations=1)
  trained, _ = loop.train(jax.random.key(0), network, variables, data, recipe)
  epochs = np.asarray(trained['batch_stats']['rows']).reshape(2, 32)
  assert all(len(set(rows.tolist())) == 32 for rows in epochs)
  assert set(epochs[0].tolist()) != set(epochs[1].tolist())
  assert not (epochs[0] == epochs[1]).all()


@pytest.mark.parametrize('patience, finished', [(0, 4), (1, 2), (2, 3)])
def test_training_stops_when_patience_ends(patience, finished):
  """At rate 0 the first evaluation stays the best; patience 0 never ends."""
  recipe = RECIPE._replace(learning_rate=0.0, patience=patience)
  variables, history = _train(recipe)
  assert history.finished == finished and not history.diverged
  reached = np.arange(4) < finished
  np.testing.assert_array_equal(np.isfinite(history.accuracy), reached)
  np.testing.assert_array_equal(np.isfinite(history.loss), reached)
  assert variables['batch_stats']['seen'] == 4 * finished


def test_patience_starts_anew_with_a_better_evaluation():
  """Scores 1, 2, 2, 3, 3, 3 of 8: with patience 2 all six are reached."""
  scores = jnp.array([1, 2, 2, 3, 3, 3, 8, 8])
  valid = loop.Arrays(
    jnp.arange(8.0).reshape(8, 1, 1, 1), jnp.ones(8, jnp.int32)
  )
  data = loop.Data(valid, valid, jnp.zeros(1), jnp.ones(1))

  def network(variables, images, step):
    stats = variables['batch_stats'] + (step is not None)
    right = images.reshape(-1) < scores[stats.astype(jnp.int32) - 1]
    logits = jnp.stack([~right, right], axis=1) * variables['params']['kernel']
    return logits, stats

  variables = {'params': {'kernel': jnp.ones(2)}, 'batch_stats': jnp.zeros(())}
  recipe = RECIPE._replace(
    epochs=8, evaluations=8, learning_rate=0.0, patience=2
  )
  _, history = loop.train(jax.random.key(0), network, variables, data, recipe)
  np.testing.assert_allclose(
    history.accuracy * 8, [1, 2, 2, 3, 3, 3, *[np.nan] * 2]
  )
  assert history.finished == 6


def test_a_diverged_training_is_flagged_and_stops():
  recipe = RECIPE._replace(learning_rate=1e30, weight_decay=1.0)
  _, history = _train(recipe)
  assert history.diverged
  assert history.finished == 1
  assert not np.isfinite([history.loss[0], history.train_loss[0]]).all()


def test_a_loss_that_is_not_finite_on_validation_data_only_counts():
  """Overflowing logits that no training image reaches."""
  data = _data()
  images = data.valid.images.at[3].set(jnp.inf)
  data = data._replace(valid=data.valid._replace(images=images))
  _, history = loop.train(
    jax.random.key(0), _linear, _variables(), data, RECIPE
  )
  assert history.diverged and history.finished == 1
  assert np.isfinite(history.train_loss[0])


def test_the_same_key_gives_the_same_training_and_another_does_not():
  recipe = RECIPE._replace(pad=1, mirror=True, cutout=1)
  first, again, other = (_train(recipe, key=key) for key in (0, 0, 1))
  jax.tree.map(np.testing.assert_array_equal, first, again)
  assert not np.array_equal(
    first[0]['params']['kernel'], other[0]['params']['kernel']
  )


def test_loops_on_the_host_give_the_same_numbers():
  """Compiling a step of training and one of evaluation, and nothing else."""

  def train_on_host():
    counter = devices.CompileCounter()
    key, variables, data = jax.random.key(0), _variables(), _data()
    result = loop.train(key, _linear, variables, data, RECIPE, loop.HOST)
    return result, counter.total().number

  found, _ = train_on_host()
  again, compiles = train_on_host()  # now single operations are compiled
  assert compiles == 2
  compiled = jax.tree.leaves(_train(RECIPE))
  for ours, same, want in zip(
    *map(jax.tree.leaves, (found, again)), compiled, strict=True
  ):
    np.testing.assert_array_equal(ours, same)
    np.testing.assert_allclose(ours, want, rtol=1e-5)


def _block_network(kind):
  """A padded or a plain block network with the same weights."""
  layers = nsc.parse(
    '(1, Conv, 3, 0, 0)(2, MaxPool, 3, 0, 0)(3, Add, 0, 0, 1)(4, Terminal)'
  )
  graph = jax.tree.map(jnp.asarray, nsc.to_graph(layers, 4))
  macro = networks.Macro((4,), (1,))
  kinds = [('conv', 3), ('max_pool', 3), ('add', 0), ('concat', 0)]
  padded = padded_block.padded_network(
    kinds, block.OPERATIONS, macro, CLASSES, 1
  )
  template = jax.eval_shape(padded.init, jax.random.key(0), graph)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda leaf: jnp.asarray(
      rng.normal(scale=0.3, size=leaf.shape), jnp.float32
    ),
    template,
  )
  variables['batch_stats'] = jax.tree.map(jnp.exp, variables['batch_stats'])
  to_flax = functools.partial(padded.to_flax, graph=graph)
  if kind == 'padded':

    def apply_padded(variables, images, step):
      return padded.apply(variables, graph, images, step is not None)

    return apply_padded, variables, to_flax
  model = networks.network(graph, block.OPERATIONS, macro, CLASSES)

  def apply(variables, images, step):
    logits, updated = model.apply(
      variables, images, step is not None, mutable=['batch_stats']
    )
    return logits, updated['batch_stats']

  return apply, to_flax(variables), lambda variables: variables


def _train_block(kind, **changes):
  network, variables, to_flax = _block_network(kind)
  recipe = RECIPE._replace(learning_rate=0.1, momentum=0.9, **changes)
  variables, history = _train(recipe, variables, network=network)
  return to_flax(variables), history


def test_a_padded_network_learns_what_its_plain_one_learns():
  """With decay and clipping, which must not see the unused weights."""
  changes = {'weight_decay': 1e-2, 'clip_norm': 0.5, 'label_smoothing': 0.1}
  padded, padded_history = _train_block('padded', **changes)
  plain, plain_history = _train_block('plain', **changes)
  for found, expected in zip(padded_history, plain_history, strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-3)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-2, atol=1e-3),
    padded,
    plain,
  )


def test_bfloat16_trains_and_keeps_weights_in_float32():
  half, history = _train_block('padded', bfloat16=True, epochs=8)
  whole, expected = _train_block('padded', epochs=8)
  assert not history.diverged and history.finished == 4
  dtypes = {leaf.dtype for leaf in jax.tree.leaves(half)}
  assert dtypes == {jnp.dtype('float32')}
  assert history.train_loss[-1] < 0.9 * history.train_loss[0]
  np.testing.assert_allclose(history.train_loss, expected.train_loss, rtol=0.05)
  kernels = half['params']['head']['kernel'], whole['params']['head']['kernel']
  assert not np.array_equal(*kernels), 'nothing was computed in bfloat16'


def _one_step(recipe, network=_linear, index=(5, 0)):
  data, variables = _data(), _variables()
  tx = recipes.optimizer(recipe, steps_per_epoch=4)
  step = jax.jit(loop.make_step(network, tx, data, recipe))
  learner = loop.start(variables, tx, recipe)
  return step(jax.random.key(0), learner, jnp.array(index))


def test_mixup_mixes_images_and_the_losses_of_their_labels(monkeypatch):
  """By hand for two images, of which one takes 0.7 and the other 0.3."""

  def mixup(key, images, alpha):
    assert alpha == 0.2 and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    partner = jnp.array([1, 0])
    return 0.7 * images + 0.3 * images[partner], partner, jnp.float32(0.7)

  monkeypatch.setattr(loop.augment, 'mixup', mixup)
  _, loss = _one_step(RECIPE._replace(mixup=0.2))
  data, params = _data().train, _variables()['params']
  index = np.array([5, 0])
  images = np.asarray(data.images)[index].reshape(2, 4)
  labels = np.asarray(data.labels)[index]
  assert labels[0] != labels[1]
  images = 0.7 * images + 0.3 * images[::-1]
  losses = -np.log(_softmax(images @ params['kernel'] + params['bias']))
  own, other = losses[[0, 1], labels], losses[[0, 1], labels[::-1]]
  expected = np.mean(0.7 * own + 0.3 * other)
  np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_mixup_draws_anew_for_each_step_and_by_the_key():
  recipe = RECIPE._replace(mixup=1.0)
  first, again, other = (_train(recipe, key=key) for key in (0, 0, 1))
  jax.tree.map(np.testing.assert_array_equal, first, again)
  kernels = [run[0]['params']['kernel'] for run in (first, other)]
  plain = _train(RECIPE)[0]['params']['kernel']
  assert not np.array_equal(*kernels) and not np.array_equal(kernels[0], plain)


def test_averaged_variables_are_those_of_a_loop():
  """Of five steps, parameters and batch statistics alike."""
  recipe, data = RECIPE._replace(ema_decay=0.3), _data()
  tx = recipes.optimizer(recipe, steps_per_epoch=4)
  step = jax.jit(loop.make_step(_linear, tx, data, recipe))
  learner = loop.start(_variables(), tx, recipe)
  expected = jax.device_get(learner.variables)
  for count in range(5):
    learner, _ = step(jax.random.key(count), learner, jnp.arange(8) + count)
    decay = min(0.3, (1 + count) / (10 + count))
    expected = jax.tree.map(
      lambda mean, now, d=decay: d * mean + (1 - d) * np.asarray(now),
      expected,
      learner.variables,
    )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5),
    learner.average,
    expected,
  )
  assert learner.done == 5


def test_the_average_is_what_is_evaluated_and_returned():
  """And the steps go on from the last weights, not from the average."""
  averaged, history = _train(RECIPE._replace(ema_decay=0.9))
  last, plain = _train(RECIPE)
  np.testing.assert_allclose(history.train_loss, plain.train_loss, rtol=1e-5)
  assert (history.loss != plain.loss).all()
  _, loss = _evaluate(_linear, averaged, _data().valid)
  np.testing.assert_allclose(history.loss[-1], loss, rtol=1e-5)
  assert averaged['batch_stats']['seen'] < last['batch_stats']['seen'] == 16


def test_an_auxiliary_head_counts_by_its_weight():
  """A second head with twice the logits; gradients come from both."""

  def network(variables, images, step):
    logits, stats = _linear(variables, images, step)
    return (logits if step is None else (logits, 2 * logits)), stats

  plain, loss = _one_step(RECIPE)
  found, total = _one_step(RECIPE._replace(auxiliary=0.4), network)
  data, params = _data().train, _variables()['params']
  images = np.asarray(data.images)[np.array([5, 0])].reshape(2, 4)
  chances = _softmax(2 * (images @ params['kernel'] + params['bias']))
  labels = np.asarray(data.labels)[np.array([5, 0])]
  extra = -np.log(chances[[0, 1], labels]).mean()
  np.testing.assert_allclose(total, loss + 0.4 * extra, rtol=1e-5)
  slope = (chances - np.eye(CLASSES)[labels]) / 2
  change = found.variables['params']['bias'] - plain.variables['params']['bias']
  expected = -0.5 * 0.4 * 2 * slope.sum(0)  # the rate, the weight, the factor
  np.testing.assert_allclose(change, expected, rtol=1e-4, atol=1e-6)


def test_a_network_is_told_where_its_training_is():
  """Sixteen steps: 0, 1/16, ..., each with a key of its own."""

  def network(variables, images, step):
    logits, _ = _linear(variables, images, step)
    stats = variables['batch_stats']
    if step is not None:
      now = jnp.stack([step.progress, jax.random.uniform(step.key)])
      stats = {'seen': stats['seen'] + 1}
      stats['told'] = (
        variables['batch_stats']['told']
        .at[variables['batch_stats']['seen'].astype(int)]
        .set(now)
      )
    return logits, stats

  variables = _variables()
  variables['batch_stats']['told'] = jnp.zeros((16, 2))
  trained, _ = _train(RECIPE, variables, network=network)
  progress, drawn = trained['batch_stats']['told'].T
  np.testing.assert_allclose(progress, np.arange(16) / 16)
  assert len(set(drawn.tolist())) == 16
