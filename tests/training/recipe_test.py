"""Schedules and updates worked out by hand, and recipes that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block as networks
from irlas_jax.networks import padded_block
from irlas_jax.spaces import block, nsc
from irlas_jax.training import recipe as recipes

Recipe = recipes.Recipe


@pytest.mark.parametrize(
  'changes, rates',
  [
    # 10 epochs of 4 steps at 0.8: {step: rate}
    ({'schedule': 'constant'}, {0: 0.8, 39: 0.8, 60: 0.8}),
    ({'schedule': 'cosine'}, {0: 0.8, 10: 0.682843, 20: 0.4, 40: 0.0}),
    (
      {'schedule': 'step', 'step_epochs': 3, 'step_factor': 0.5},
      {0: 0.8, 11: 0.8, 12: 0.4, 23: 0.4, 24: 0.2, 36: 0.1},
    ),
    # A warm-up of 2 epochs, and the cosine over the 32 steps that are left.
    (
      {'schedule': 'cosine', 'warmup_epochs': 2},
      {0: 0.0, 1: 0.1, 4: 0.4, 8: 0.8, 16: 0.682843, 24: 0.4, 40: 0.0},
    ),
    (
      {'schedule': 'constant', 'warmup_epochs': 0.5},
      {0: 0.0, 1: 0.4, 2: 0.8, 9: 0.8},
    ),
    # Half a step is none: Python rounds to even.
    ({'schedule': 'constant', 'warmup_epochs': 0.125}, {0: 0.8}),
    # The steps of the step schedule count from the end of the warm-up.
    (
      {
        'schedule': 'step',
        'step_epochs': 3,
        'step_factor': 0.5,
        'warmup_epochs': 1,
      },
      {0: 0.0, 2: 0.4, 4: 0.8, 15: 0.8, 16: 0.4},
    ),
    # Nothing but warm-up.
    ({'schedule': 'cosine', 'warmup_epochs': 10}, {0: 0.0, 20: 0.4, 39: 0.78}),
  ],
)
@pytest.mark.parametrize('jit', [True, False])
def test_the_learning_rate_by_step(changes, rates, jit):
  recipe = Recipe(epochs=10, learning_rate=0.8, **changes)
  schedule = recipes.schedule(recipe, steps_per_epoch=4)
  schedule = jax.jit(schedule) if jit else schedule
  for step, rate in rates.items():
    np.testing.assert_allclose(schedule(step), rate, rtol=1e-5, atol=1e-7)


def _params():
  """A kernel with a gradient of norm 5, and what must not decay."""
  ones = {'kernel': jnp.array([2.0, -4.0]), 'bias': jnp.array([3.0])}
  return {'head': ones, 'norm': {'scale': jnp.array([5.0])}}


def _updated(recipe, params, gradients, steps=1):
  tx = recipes.optimizer(recipe, steps_per_epoch=1)
  state = tx.init(params)
  for _ in range(steps):
    updates, state = tx.update(gradients, state, params)
    params = jax.tree.map(jnp.add, params, updates)
  return params


GRADIENTS = {
  'head': {'kernel': jnp.array([3.0, 0.0]), 'bias': jnp.array([4.0])},
  'norm': {'scale': jnp.array([0.0])},
}
CONSTANT = Recipe(schedule='constant', learning_rate=0.1, momentum=0.0)


def test_plain_gradient_descent():
  params = _updated(CONSTANT, _params(), GRADIENTS)
  np.testing.assert_allclose(params['head']['kernel'], [1.7, -4.0], rtol=1e-6)
  np.testing.assert_allclose(params['head']['bias'], [2.6], rtol=1e-6)


def test_nesterov_momentum_over_two_steps():
  """m = g, then 1.5 g; steps g + 0.5 m: 1.5 g and 1.75 g."""
  recipe = CONSTANT._replace(momentum=0.5)
  params = _updated(recipe, _params(), GRADIENTS, steps=2)
  np.testing.assert_allclose(params['head']['bias'], [3 - 0.1 * 3.25 * 4])


def test_weight_decay_is_of_kernels_only_and_coupled():
  """g + 0.5 w: [3 + 1, -2]; with momentum it is averaged as the rest is."""
  recipe = CONSTANT._replace(weight_decay=0.5)
  params = _updated(recipe, _params(), GRADIENTS)
  np.testing.assert_allclose(params['head']['kernel'], [1.6, -3.8], rtol=1e-6)
  np.testing.assert_allclose(params['head']['bias'], [2.6], rtol=1e-6)
  np.testing.assert_array_equal(params['norm']['scale'], [5.0])
  recipe = recipe._replace(momentum=0.5)  # one Nesterov step: 1.5 times
  params = _updated(recipe, _params(), GRADIENTS)
  np.testing.assert_allclose(params['head']['kernel'], [1.4, -3.7], rtol=1e-6)


def test_a_clipped_gradient_has_the_norm_asked_for():
  """From norm 5 to 1: [0.6] and [0.8]; decay is added after the clip."""
  recipe = CONSTANT._replace(clip_norm=1.0)
  params = _updated(recipe, _params(), GRADIENTS)
  np.testing.assert_allclose(params['head']['kernel'], [1.94, -4.0], rtol=1e-6)
  np.testing.assert_allclose(params['head']['bias'], [2.92], rtol=1e-6)
  decayed = _updated(recipe._replace(weight_decay=0.5), _params(), GRADIENTS)
  np.testing.assert_allclose(decayed['head']['kernel'], [1.84, -3.8], rtol=1e-6)
  loose = recipe._replace(clip_norm=6.0)
  params = _updated(loose, _params(), GRADIENTS)
  np.testing.assert_allclose(params['head']['bias'], [2.6], rtol=1e-6)


def test_adam_steps_by_the_rate_and_decays_apart_from_it():
  """A first step is the rate times the sign, then minus rate * decay * w."""
  recipe = CONSTANT._replace(optimizer='adam', weight_decay=0.5)
  params = _updated(recipe, _params(), GRADIENTS)
  np.testing.assert_allclose(params['head']['kernel'], [1.8, -3.8], rtol=1e-5)
  np.testing.assert_allclose(params['head']['bias'], [2.9], rtol=1e-5)
  np.testing.assert_array_equal(params['norm']['scale'], [5.0])


@pytest.mark.parametrize('optimizer', recipes.OPTIMIZERS)
def test_the_rate_follows_the_schedule(optimizer):
  """Cosine over 2 steps: rates 0.1 and 0.05."""
  recipe = CONSTANT._replace(optimizer=optimizer, schedule='cosine', epochs=2)
  once = _updated(recipe, _params(), GRADIENTS, steps=1)
  twice = _updated(recipe, _params(), GRADIENTS, steps=2)
  first = once['head']['bias'] - _params()['head']['bias']
  second = twice['head']['bias'] - once['head']['bias']
  np.testing.assert_allclose(second, first / 2, rtol=1e-3)


def _networks_params():
  """Parameters of a padded block network and of its plain one, all ones."""
  layers = nsc.parse(
    '(1,Conv,3,0,0)(2,SepConv,3,1,0)(3,Concat,0,0,2)(4,Terminal)'
  )
  graph = jax.tree.map(jnp.asarray, nsc.to_graph(layers, 4))
  macro = networks.Macro((4, 8), (2, 1))
  kinds = [('conv', 3), ('sep_conv', 3), ('concat', 0)]
  padded = padded_block.padded_network(kinds, block.OPERATIONS, macro, 10, 3)
  template = jax.eval_shape(padded.init, jax.random.key(0), graph)
  variables = jax.tree.map(lambda leaf: np.ones(leaf.shape), template)
  return {
    'padded': variables['params'],
    'flax': padded.to_flax(variables, graph)['params'],
  }


@pytest.mark.parametrize('kind', ['padded', 'flax'])
def test_kernels_of_networks_decay_and_nothing_else_does(kind):
  """By name, so a new name for a bias or a scale has to be added there."""
  params = _networks_params()[kind]
  recipe = CONSTANT._replace(weight_decay=0.5)
  after = _updated(recipe, params, jax.tree.map(jnp.zeros_like, params))
  flat, _ = jax.tree_util.tree_flatten_with_path(after)
  weights = {'kernel', 'conv', 'depthwise', 'pointwise', 'concat'}
  names = {path[-1].key for path, _ in flat}
  assert names - weights == {'bias', 'scale'} and names & weights
  for path, array in flat:
    expected = 0.95 if path[-1].key in weights else 1.0
    np.testing.assert_allclose(array, expected, rtol=1e-6, err_msg=str(path))


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'epochs': 0}, 'train.epochs is 0: at least 1'),
    ({'batch_size': 0}, 'train.batch_size is 0'),
    ({'batch_size': 101}, 'train.batch_size is 101: there are 100'),
    ({'evaluations': 0}, 'train.evaluations is 0'),
    (
      {'evaluations': 3},
      'train.evaluations is 3: it has to divide.*epochs, 20',
    ),
    ({'evaluations': 40}, 'train.evaluations is 40'),
    ({'step_epochs': 0}, 'train.step_epochs is 0'),
    ({'optimizer': 'lion'}, "train.optimizer is 'lion'.*sgd, adam, muon"),
    ({'mixup': -0.1}, 'train.mixup is -0.1 .*0, which is without, or more'),
    ({'auxiliary': -1.0}, 'train.auxiliary -1.0: .*or more'),
    ({'ema_decay': 1.0}, 'train.ema_decay is 1.0: at least 0, below 1'),
    ({'drop_path': 1.0}, 'train.drop_path is 1.0: at least 0, below 1'),
    ({'drop_path': -0.1}, 'train.drop_path is -0.1'),
    ({'restarts': -1}, 'train.restarts is -1'),
    ({'restart_factor': 0.0}, 'train.restart_factor 0.0'),
    ({'restart_below': 1.0}, 'train.restart_below is 1.0'),
    ({'schedule': 'wave'}, "train.schedule is 'wave'.*cosine, step, constant"),
  ],
)
def test_a_recipe_that_cannot_be_run_is_refused_by_field(changes, message):
  with pytest.raises(ValueError, match=message):
    recipes.check(Recipe(**changes), num_train=100)


@pytest.mark.parametrize(
  'changes', [{}, {'batch_size': 100}, {'evaluations': 20}, {'epochs': 1}]
)
def test_a_recipe_that_can_be_run_passes(changes):
  recipes.check(Recipe(**changes), num_train=100)


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'drop_path': 0.2}, 'train.drop_path is 0.2: children'),
    ({'auxiliary': 0.4}, 'train.auxiliary is 0.4: children'),
    ({'optimizer': 'muon'}, "train.optimizer is 'muon'.*sgd or adam"),
  ],
)
def test_what_the_padded_program_lacks_is_refused(changes, message):
  """It would be left out in silence."""
  with pytest.raises(ValueError, match=message):
    recipes.check_padded(Recipe(**changes))


def test_children_may_be_mixed_and_averaged():
  recipes.check_padded(Recipe(mixup=0.2, ema_decay=0.999, cutout=2))


def test_muon_makes_steps_of_hidden_kernels_orthogonal():
  """Singular values near rate * 0.2 * sqrt(6); all else steps as by Adam."""
  ones, rng = jnp.ones((3, 3, 1, 4)), np.random.default_rng(0)
  wide = jnp.asarray(rng.normal(size=(1, 1, 4, 6)), jnp.float32)
  layer = {
    'depthwise': {'kernel': ones},
    'pointwise': {'kernel': wide},
    'bn': {'scale': jnp.ones(4)},
  }
  params = {'stem': {'kernel': ones}, 'stage0_block0': {'layer1': layer}}
  gradients = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), params
  )
  recipe = CONSTANT._replace(optimizer='muon', weight_decay=0.5, momentum=0.95)
  found = _updated(recipe, params, gradients)
  layer, signs = (
    found['stage0_block0']['layer1'],
    jax.tree.map(jnp.sign, gradients),
  )
  step = (0.95 * wide - layer['pointwise']['kernel'])[0, 0]
  values = np.linalg.svd(step)[1] / (0.1 * 0.2 * np.sqrt(6))
  assert 0.6 < values.min() and values.max() < 1.3
  expected = 0.95 - 0.1 * signs['stem']['kernel']
  np.testing.assert_allclose(found['stem']['kernel'], expected, rtol=1e-4)
  signs = signs['stage0_block0']['layer1']
  expected = 0.95 - 0.1 * signs['depthwise']['kernel']
  np.testing.assert_allclose(layer['depthwise']['kernel'], expected, rtol=1e-4)
  expected = 1 - 0.1 * signs['bn']['scale']  # does not decay
  np.testing.assert_allclose(layer['bn']['scale'], expected, rtol=1e-4)


@pytest.mark.parametrize('optimizer', ['sgd', 'adam'])
def test_after_restarts_steps_are_those_of_a_lower_rate(optimizer):
  """0.5 twice is a quarter; weight decay and momentum included."""
  recipe = CONSTANT._replace(
    optimizer=optimizer,
    momentum=0.9,
    weight_decay=0.1,
    clip_norm=1.0,
    restarts=3,
    restart_factor=0.5,
  )
  tx = recipes.optimizer(recipe, steps_per_epoch=1)
  params = _params()
  state = recipes.slowed(tx.init(params), recipe, jnp.int32(2))
  for _ in range(3):
    updates, state = tx.update(GRADIENTS, state, params)
    params = jax.tree.map(jnp.add, params, updates)
  lower = recipe._replace(restarts=0, learning_rate=0.025)
  expected = _updated(lower, _params(), GRADIENTS, steps=3)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), params, expected
  )


def test_a_full_training_does_not_begin_again():
  with pytest.raises(ValueError, match='train.restarts is 2: only children'):
    recipes.check_whole(Recipe(restarts=2))
  recipes.check_whole(Recipe())
