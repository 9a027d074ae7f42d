"""The padded program: cell by cell the plain network, in every respect."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax import graph
from irlas_jax.networks import block, nasbench101_program, padded_nasbench101
from irlas_jax.networks import nasbench101 as plain
from irlas_jax.policies import sampling
from irlas_jax.spaces import nasbench101

OPERATIONS = nasbench101.OPERATIONS
# The output joins three vertices, whose channels differ, and adds the input.
MIXED = nasbench101.parse(
  'conv1x1 maxpool3x3 conv3x3 | 0-1 0-2 0-4 1-2 1-4 2-3 2-4 3-4'
)
EDGE = nasbench101.parse('| 0-1')  # without vertices: a projection alone


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_every_cell_is_its_plain_network(padded, dtype):
  """Five random cells, and the one without vertices."""
  cells = padded_equality.random_cells(0, padded_equality.NASBENCH101, 5)
  network = padded_equality.cell_program(
    padded_equality.NASBENCH101, padded.fast
  )
  padded.check_equal(network, [*cells, EDGE], dtype)


def _network(widths=(16, 32), blocks=(2, 1)):
  macro = block.Macro(widths, blocks)
  return padded_nasbench101.padded_network(OPERATIONS, macro, 10, 3)


def test_initial_weights_are_drawn_as_flax_draws_them(padded):
  assert padded.count_drawn_kernels(_network(), MIXED) == 1 + 3 * (3 + 2) + 1


@pytest.mark.parametrize('cell', [MIXED, graph.canonical(MIXED), EDGE])
def test_the_flax_variables_are_those_that_the_plain_network_reads(
  padded, cell
):
  network = _network()
  macro = block.Macro((16, 32), (2, 1))
  model = plain.network(cell, OPERATIONS, macro, 10)
  image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  expected = jax.eval_shape(
    lambda image: model.init(jax.random.key(0), image, True), image
  )
  found = network.to_flax(padded.random_variables(network, cell), cell)
  assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)


def test_from_flax_restores_what_the_cell_uses_and_zeros_the_rest(padded):
  network = _network()
  flax_variables = network.to_flax(
    padded.random_variables(network, MIXED), MIXED
  )
  back = network.from_flax(flax_variables, MIXED)
  again = network.to_flax(back, MIXED)
  jax.tree.map(np.testing.assert_array_equal, again, flax_variables)
  cell = back['params']['stacks'][0]['first']
  vertex, project = (cell[name]['kernel'] for name in ('vertex', 'project'))
  assert np.count_nonzero(vertex[0]) == 6 * 6, 'a 1x1 kernel of 6 channels'
  assert vertex[0, 1, 1, :6, :6].all()
  assert vertex[2, :, :, :5, :5].all(), 'a 3x3 kernel of 5 channels'
  assert not vertex[[1, 3, 4]].any(), 'vertices without a convolution'
  assert project[0, :, :6].all() and not project[0, :, 6:].any()
  assert project[-1].all(), 'the output adds the projected input'
  assert not project[[2, 3, 4]].any(), 'these do not read the input'


@pytest.mark.parametrize('jit', [True, False])
def test_a_wired_cell_by_hand(jit):
  """Three vertices and two of padding; 16 channels are split 6, 5, 5."""

  def wire(cell):
    wiring = nasbench101_program.wire(cell, OPERATIONS)
    return wiring, nasbench101_program.channels_of(wiring, 16)

  wiring, channels = (jax.jit(wire) if jit else wire)(MIXED)
  names = [nasbench101_program.BRANCHES[i] for i in wiring.branches]
  assert names == ['conv1x1', 'maxpool3x3', 'conv3x3', 'none', 'none']
  assert np.argwhere(wiring.reads).tolist() == [[0, 1], [1, 2]]
  np.testing.assert_array_equal(wiring.projected, [1, 1, 0, 0, 0, 1])
  np.testing.assert_array_equal(wiring.joined, [1, 1, 1, 0, 0])
  np.testing.assert_array_equal(channels, [6, 5, 5, 0, 0])


def test_channels_are_those_of_the_plain_network():
  """Of cells that the sampler draws, at a width with a rest."""
  space = nasbench101.nasbench101()
  actions = sampling.uniform_actions(jax.random.key(0), space, 100)
  cells = jax.vmap(space.decode)(actions)

  def channels(cell):
    wiring = nasbench101_program.wire(cell, OPERATIONS)
    return nasbench101_program.channels_of(wiring, 17)

  found = np.asarray(jax.jit(jax.vmap(channels))(cells))
  cells = jax.device_get(cells)
  is_output = cells.outputs > 0
  expected = np.where(is_output, 0, plain.vertex_channels(cells, 17))
  np.testing.assert_array_equal(found, expected[:, 1:-1])


def test_pooling_between_stacks_is_that_of_flax():
  """Odd sides are padded; in a tie the first pixel gets the gradient."""
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.integers(3, size=(4, 7, 5, 2)), jnp.float32)
  cotangent = jnp.asarray(rng.normal(size=(4, 4, 3, 2)), jnp.float32)

  def both(pool):
    value, pull = jax.vjp(pool, x)
    return value, *pull(cotangent)

  found = both(padded_nasbench101._halve)
  expected = both(lambda x: nn.max_pool(x, (2, 2), (2, 2), padding='SAME'))
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_in_bfloat16_a_step_has_its_types():
  """Statistics stay float32: E[x^2] - E[x]^2 has no digits in bfloat16."""
  network = _network((5,), (1,))
  variables = network.init(jax.random.key(0), MIXED)
  images = jnp.ones((4, 6, 6, 3), jnp.bfloat16)

  def loss(params, images):
    weights = variables | {'params': params}
    logits, stats = network.apply(weights, MIXED, images, True)
    return jnp.square(logits).mean(), (logits, stats)

  params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables['params'])
  grads, (logits, stats) = jax.eval_shape(
    jax.grad(loss, has_aux=True), params, images
  )
  assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.bfloat16.dtype}
  assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {np.dtype('f4')}
  assert logits.dtype == jnp.bfloat16


def test_what_the_networks_cannot_have_is_refused():
  macro = block.Macro((8, 16), (1, 1), imagenet=True)
  with pytest.raises(ValueError, match='imagenet=False'):
    padded_nasbench101.padded_network(OPERATIONS, macro, 10, 3)
  with pytest.raises(ValueError, match='first stack is 4.* 5 vertices'):
    _network((4, 8))
