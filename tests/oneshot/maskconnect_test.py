"""MaskConnect: the gradient of its masks, its phases, one program for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.oneshot import maskconnect, masks, modular_network
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes

pytestmark = pytest.mark.usefixtures('quick_compiles')

SIZES = maskconnect.Sizes(
  modular_network.Plan('resnet', 2, (2, 1)), 3, (4, 4, 1), 12
)
RECIPE = recipes.Recipe(epochs=2, batch_size=6, learning_rate=0.05)


def _data():
  key_images, key_labels = jax.random.split(jax.random.key(5))
  images = jax.random.uniform(key_images, (12, 4, 4, 1))
  labels = jax.random.randint(key_labels, (12,), 0, 3)
  arrays = loop.Arrays(images, labels)
  return loop.Data(arrays, arrays, jnp.full(1, 0.5), jnp.ones(1))


@pytest.fixture(scope='module')
def method():
  """The method with its functions jitted."""
  made = maskconnect.maskconnect(SIZES, RECIPE, 2, 0.5)
  return type(made)(*map(jax.jit, made))


def _two_epochs(method, seed, learn):
  key = jax.random.key(seed)
  state = method.init(key)
  for index, on in enumerate(learn):
    key_epoch = jax.random.fold_in(key, index)
    state, found = method.epoch(key_epoch, _data(), state, on)
  return state, found


def test_the_gradient_of_masks_is_that_of_finite_differences():
  """In float64, of connections that are off, too."""
  rng = np.random.default_rng(0)
  module = modular_network.whole(SIZES.plan, 3)
  with jax.enable_x64(True):
    images = jnp.asarray(rng.normal(size=(3, 4, 4, 1)))
    shapes = jax.eval_shape(
      lambda key: module.init(key, images, jnp.ones((3, 3)), False),
      jax.random.key(0),
    )
    variables = jax.tree.map(
      lambda x: jnp.asarray(rng.uniform(0.1, 0.5, x.shape)), shapes
    )
    slopes = jax.jit(
      lambda weights: maskconnect.slopes(
        module, 0.0, variables, weights, images, jnp.array([0, 2, 1])
      )
    )
    mask = np.array(masks.nearest(3, 1), float)
    found = slopes(mask)
    for place in ((2, 0), (2, 2), (1, 0)):  # off, on, off
      step = np.zeros((3, 3))
      step[place] = 1e-5
      rise = float(slopes(mask + step).loss - slopes(mask - step).loss)
      slope = float(found.masks[place])
      assert slope == pytest.approx(rise / 2e-5, rel=1e-4) and slope != 0


def test_masks_are_learnt_and_then_kept(method):
  """The shadow moves while they are drawn, and nothing of it afterwards."""
  learnt, _ = _two_epochs(method, 0, [True, True])
  start = masks.shadow(3)
  assert (learnt.shadow != start)[2].any()
  assert ((learnt.shadow >= 0) & (learnt.shadow <= 1)).all()
  expected = masks.strongest(learnt.shadow, 2)
  assert (learnt.masks == expected).all()
  once, _ = _two_epochs(method, 0, [True])
  twice, found = _two_epochs(method, 0, [True, False])
  assert (twice.shadow == once.shadow).all()
  assert (twice.masks == once.masks).all()
  assert int(twice.done) == 4 and np.isfinite(found['loss'])


def test_weights_of_what_is_not_read_are_left_alone(method):
  """Only active paths are trained; here there is no weight decay."""
  chain = masks.nearest(3, 1)
  before = method.init(jax.random.key(0), chain)
  after, _ = method.epoch(jax.random.key(1), _data(), before, False)
  params = [state.variables['params'] for state in (before, after)]
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), *params)
  adaptors = {name: moved[name]['kernel'] for name in moved if 'adapt' in name}
  assert adaptors == {f'adaptor{k}_2': k == 2 for k in range(3)}


def test_a_seed_is_a_run_and_one_program_is_all(method):
  first, _ = _two_epochs(method, 3, [True, False])
  again, _ = _two_epochs(method, 3, [True, False])
  other, _ = _two_epochs(method, 4, [True, False])
  same = jax.tree.map(lambda a, b: bool((a == b).all()), first, again)
  assert all(jax.tree.leaves(same))
  assert (other.shadow != first.shadow).any()
  assert method.epoch._cache_size() == 1  # whatever the phase, seed or masks


def test_a_score_is_a_share(method):
  state, _ = _two_epochs(method, 0, [True, True])
  accuracy, loss = method.score(_data(), state)
  assert 0 <= accuracy <= 1 and loss > 0


@pytest.mark.parametrize('fan_in', [0, 4])
def test_a_fan_in_that_no_module_has_is_refused(fan_in):
  with pytest.raises(ValueError, match='at most 3, the number of modules'):
    maskconnect.maskconnect(SIZES, RECIPE, fan_in, 0.1)
