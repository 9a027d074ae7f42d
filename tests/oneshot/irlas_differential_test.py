"""IRLAS-differential: mixed cells, steps, the expert, what collapses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block, nasbench201_program
from irlas_jax.oneshot import (
  irlas_differential,
  mixed_network,
  topology_score,
)
from irlas_jax.spaces import nasbench201
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes

pytestmark = pytest.mark.usefixtures('quick_compiles')

OPERATIONS = nasbench201.EDGE_OPERATIONS
NONE, SKIP, CONV1, CONV3, POOL = range(5)
SHAPE = len(irlas_differential.EDGES), len(OPERATIONS)
SIZES = irlas_differential.Sizes(
  OPERATIONS, block.cifar(2, 1, 1), 2, (4, 4, 1), 12, 8
)
RECIPE = recipes.Recipe(epochs=2, batch_size=4, learning_rate=0.05)


def test_edges_are_those_of_the_space():
  assert irlas_differential.EDGES == nasbench201.EDGES


def test_a_cell_of_one_operation_an_edge_is_that_cell():
  """Weights of 0 and 1 leave the cell itself; computed here by its sums."""
  cell = np.array([CONV3, SKIP, CONV1, POOL, NONE, SKIP])
  module = mixed_network.MixedCell(OPERATIONS)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
  params = {
    'nor_conv_1x1': rng.normal(size=(6, 3, 3)).astype(np.float32),
    'nor_conv_3x3': rng.normal(size=(6, 3, 3, 3, 3)).astype(np.float32),
  }
  weights = jax.nn.one_hot(cell, len(OPERATIONS))
  found, _ = jax.jit(module.apply)({'params': params}, x, weights)

  @jax.jit
  def by_hand(x):
    def conv(x, kernel):
      z = jax.lax.conv_general_dilated(
        jax.nn.relu(x),
        kernel,
        (1, 1),
        'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      )
      return mixed_network.normalised(z)

    first = conv(x, params['nor_conv_3x3'][0])
    second = x + conv(first, params['nor_conv_1x1'][2][None, None])
    return nasbench201_program.PLAIN['avg_pool_3x3'](x) + second

  np.testing.assert_allclose(found, by_hand(x), atol=1e-4)


@pytest.mark.parametrize(
  'cell, number',
  [
    ([SKIP] * 6, 0),
    ([CONV3] * 6, 6),
    ([CONV3, NONE, CONV1, SKIP, NONE, NONE], 0),  # leads nowhere
    ([NONE, SKIP, CONV3, SKIP, CONV3, CONV1], 1),  # node 1 reads nothing
  ],
)
def test_convolutions_count_where_they_are_on_a_way(cell, number):
  found = irlas_differential.convolutions(jnp.array(cell), OPERATIONS)
  assert int(found) == number


def test_a_collapse_shows():
  """To skip connections, or to `none`, which is not derived unless asked."""
  alpha = jnp.zeros(SHAPE).at[:, NONE].set(2).at[:, SKIP].set(1)
  found = irlas_differential.summary(alpha, OPERATIONS)
  assert float(found['none_share']) == float(found['skip_share']) == 1
  assert int(found['convolutions']) == 0
  assert (irlas_differential.derived(alpha, OPERATIONS) == SKIP).all()
  assert (irlas_differential.derived(alpha, OPERATIONS, True) == NONE).all()
  flat = irlas_differential.summary(jnp.zeros(SHAPE), OPERATIONS)
  assert float(flat['entropy']) == pytest.approx(np.log(5))


def _data():
  rng = np.random.default_rng(0)
  train, valid = (
    loop.Arrays(
      jnp.asarray(rng.random((size, 4, 4, 1)), jnp.float32),
      jnp.asarray(rng.integers(0, 2, size)),
    )
    for size in (12, 8)
  )
  return loop.Data(train, valid, jnp.full(1, 0.5), jnp.ones(1))


def _edges():
  """The 3x3 convolution is worth something on the first edge alone."""
  gains = jnp.zeros(SHAPE).at[0, CONV3].set(1.0)
  return topology_score.EdgeScores(jnp.zeros(()), gains)


def test_lambda_draws_alpha_to_the_expert_by_one_program():
  """And the seed decides, with and without an expert."""
  made = irlas_differential.irlas_differential(SIZES, RECIPE, 'first', 0.05)
  init, epoch, score = map(jax.jit, made)

  def run(weight, seed=0):
    state = init(jax.random.key(seed))
    key, edges = jax.random.key(seed + 1), _edges()
    return epoch(key, _data(), state, jnp.float32(weight), edges)

  without, _ = run(0.0)
  with_expert, found = run(1e4)
  again, _ = run(1e4)
  other, _ = run(0.0, seed=1)
  assert (with_expert.alpha == again.alpha).all()
  assert (without.alpha != other.alpha).any()
  assert with_expert.alpha[0, CONV3] > without.alpha[0, CONV3]
  assert int(jnp.argmax(with_expert.alpha[0])) == CONV3
  assert int(with_expert.done) == 3 and float(found['topology']) > 0.2
  assert epoch._cache_size() == 1
  accuracy, loss = score(_data(), without)
  assert 0 <= accuracy <= 1 and np.isfinite(loss)


@pytest.mark.parametrize(
  'order, recipe, words',
  [
    ('third', RECIPE, "oneshot.order is 'third'"),
    ('first', RECIPE._replace(mixup=0.2), 'train.mixup'),
    ('first', RECIPE._replace(evaluations=2), 'train.evaluations is 2'),
    ('first', RECIPE._replace(batch_size=13), '12 training images'),
    ('first', RECIPE._replace(optimizer='muon'), 'choose sgd or adam'),
  ],
)
def test_what_cannot_be_searched_is_refused(order, recipe, words):
  with pytest.raises(ValueError, match=words):
    irlas_differential.irlas_differential(SIZES, recipe, order)


def test_images_that_do_not_halve_are_refused():
  with pytest.raises(ValueError, match='multiples of 2'):
    irlas_differential.irlas_differential(
      SIZES._replace(macro=block.cifar(2, 2, 1), image_shape=(5, 5, 1)), RECIPE
    )


def test_between_stages_images_halve():
  """As in the benchmark: two convolutions, the first of stride 2, and a mean.

  Depth and width of the whole network show in the weights' shapes.
  """
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 4, 4, 1)).astype(np.float32)
  params = {
    'conv1': np.zeros((3, 3, 1, 2), np.float32),
    'conv2': np.zeros((3, 3, 2, 2), np.float32),
    'shortcut': np.array([[1.0, -2.0]], np.float32),
  }
  reduction = mixed_network.Reduction(2)
  y = jax.jit(reduction.apply)({'params': params}, x)
  mean = x.reshape(2, 2, 2, 2, 2).mean(axis=(2, 4))
  np.testing.assert_allclose(y[..., 0], mean, atol=1e-5)
  np.testing.assert_allclose(y[..., 1], -2 * mean, atol=1e-5)
  whole = mixed_network.MixedNetwork(OPERATIONS, block.cifar(2, 2, 3), 5)
  shapes = jax.eval_shape(
    lambda key: whole.init(key, x, jnp.zeros(SHAPE)), jax.random.key(0)
  )['params']
  cells = shapes['stage1_cells']
  assert cells['nor_conv_3x3'].shape == (3, 6, 3, 3, 4, 4)
  assert shapes['head']['kernel'].shape == (4, 5)
