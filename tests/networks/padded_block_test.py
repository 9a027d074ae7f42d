"""The padded program: block by block the plain network, in every respect."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax.networks import block as plain
from irlas_jax.networks import block_ops, block_program, padded_block
from irlas_jax.spaces import block, nsc

NUM_LAYERS = 5
KINDS = [('conv', 1), ('conv', 5), ('sep_conv', 3), ('add', 0), ('concat', 0)]
CODE = nsc.parse(
  '(1, Conv, 5, 0, 0)(2, SepConv, 3, 1, 0)(3, Concat, 0, 0, 2)'
  '(4, Conv, 1, 0, 0)(5, Terminal)'
)


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
@pytest.mark.parametrize('operations', block.OPERATION_SETS)
def test_every_block_is_its_plain_network(padded, operations, dtype):
  """Five random blocks, and one whose pools read pools.

  There equal neighbours are pooled again, in the block and between the stages.
  """
  blocks = padded_equality.random_blocks(0, operations, NUM_LAYERS, 5)
  blocks.append([block.Choice('max_pool', 3, (0,))] * 2)
  network = padded_equality.program(operations, NUM_LAYERS, padded.fast)
  padded.check_equal(network, blocks, dtype)


def _network(widths=(16, 32), blocks=(2, 1)):
  macro = plain.Macro(widths, blocks)
  return padded_block.padded_network(KINDS, block.OPERATIONS, macro, 10, 3)


def _graph():
  return jax.tree.map(jnp.asarray, nsc.to_graph(CODE, 6))


def test_initial_weights_are_drawn_as_flax_draws_them(padded):
  kernels = padded.count_drawn_kernels(_network(), _graph())
  assert kernels == 1 + 3 * (1 + 5) + 1


def test_the_flax_variables_are_those_that_the_plain_network_reads():
  network, graph = _network(), _graph()
  model = plain.network(
    graph, block.OPERATIONS, plain.Macro((16, 32), (2, 1)), 10
  )
  image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  expected = jax.eval_shape(
    lambda image: model.init(jax.random.key(0), image, True), image
  )
  template = jax.eval_shape(network.init, jax.random.key(0), graph)
  variables = jax.tree.map(lambda leaf: np.ones(leaf.shape), template)
  found = network.to_flax(variables, graph)
  assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)


def test_from_flax_restores_what_the_block_uses_and_zeros_the_rest(padded):
  network, graph = _network(), _graph()
  variables = padded.random_variables(network, graph)
  flax_variables = network.to_flax(variables, graph)
  back = network.from_flax(flax_variables, graph)
  again = network.to_flax(back, graph)
  jax.tree.map(np.testing.assert_array_equal, again, flax_variables)
  kernels = back['params']['stages'][0]['first']['layers']['kernels']
  for array in kernels.values():
    assert not array[4:].any(), 'padded layers have no weights'
  assert not kernels['conv'][1].any(), 'layer 2 is a separable convolution'
  middle = kernels['conv'][3].copy()
  assert middle[2, 2].all(), 'a 1x1 kernel is the centre'
  middle[2, 2] = 0
  assert not middle.any(), 'and nothing but the centre'


@pytest.mark.parametrize('jit', [True, False])
def test_a_wired_graph_by_hand(jit):
  """Of the four layers, the last two are read by nobody; two are padding."""
  made = block_ops.branches(KINDS)

  def wire(graph):
    return block_program.wire(graph, block.OPERATIONS, made)

  wiring = (jax.jit(wire) if jit else wire)(_graph())
  assert wiring.num_layers == 4
  np.testing.assert_array_equal(wiring.branch[:4], [1, 2, 4, 0])
  np.testing.assert_array_equal(wiring.normalised[:4], [1, 1, 0, 1])
  preds = [[0, 0], [1, 1], [0, 2], [0, 0]]
  np.testing.assert_array_equal(wiring.preds[:4], preds)
  assert wiring.leaves.number == 2
  np.testing.assert_array_equal(wiring.leaves.nodes[:2], [3, 4])


def test_pooling_between_stages_is_that_of_flax():
  """Odd sides leave a row over; in a tie the first pixel gets the gradient."""
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.integers(3, size=(4, 7, 5, 2)), jnp.float32)
  cotangent = jnp.asarray(rng.normal(size=(4, 3, 2, 2)), jnp.float32)

  def both(pool):
    value, pull = jax.vjp(pool, x)
    return value, *pull(cotangent)

  found = both(padded_block._halve)
  expected = both(lambda x: nn.max_pool(x, (2, 2), (2, 2)))
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_statistics_in_bfloat16_are_taken_in_float32(padded):
  """E[x^2] - E[x]^2 of images far from 0 has no digits left in bfloat16."""
  network, graph = _network((4,), (1,)), _graph()
  template = jax.eval_shape(network.init, jax.random.key(0), graph)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), template
  )
  images = (10 + rng.normal(size=(16, 6, 6, 3))).astype(np.float32)

  def variance(params, images):
    weights = variables | {'params': params}
    return network.apply(weights, graph, images, True)[1]['stem'][1]

  half = jax.tree.map(
    lambda x: x.astype(jnp.bfloat16), (variables['params'], images)
  )
  whole = jax.tree.map(lambda x: x.astype(jnp.float32), half)
  variance = jax.jit(variance, compiler_options=padded.fast)
  found = variance(*half)
  assert found.dtype == jnp.float32
  np.testing.assert_allclose(found, variance(*whole), rtol=2e-3)


def test_the_imagenet_network_is_refused():
  macro = plain.Macro((8, 16), (1, 1), imagenet=True)
  with pytest.raises(ValueError, match='CIFAR.*networks.block'):
    padded_block.padded_network(KINDS, block.OPERATIONS, macro, 10, 3)
