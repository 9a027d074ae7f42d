"""The padded program: cell by cell the plain network, in every respect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax import graph
from irlas_jax.networks import block, nasbench201_program, padded_nasbench201
from irlas_jax.networks import nasbench201 as plain
from irlas_jax.spaces import nasbench201

OPERATIONS = nasbench201.OPERATIONS
MIXED = nasbench201.parse(
  '|nor_conv_1x1~0|+|none~0|nor_conv_3x3~1|+'
  '|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|'
)
# Node 2 is read by nobody, so its convolutions get no gradient.
DEAD = nasbench201.parse(
  '|skip_connect~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+'
  '|nor_conv_1x1~0|nor_conv_3x3~1|none~2|'
)
# Node 1 is zeros, and node 2, whose pooling reads nothing else. What the last
# convolution makes of zeros is its normalisation's bias.
HOLLOW = nasbench201.parse(
  '|none~0|+|none~0|avg_pool_3x3~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|'
)


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_every_cell_is_its_plain_network(padded, dtype):
  """Five random cells, one with a node that nobody reads, one of zeros."""
  cells = padded_equality.random_cells(0, padded_equality.NASBENCH201, 5)
  network = padded_equality.cell_program(
    padded_equality.NASBENCH201, padded.fast
  )
  padded.check_equal(network, [*cells, DEAD, HOLLOW], dtype)


def test_nothing_is_run_for_nobody_or_on_zeros():
  """What reaches the output runs as it is; edges in the program's order."""
  run = nasbench201_program

  def needed(cell):
    branches = run.branches_of(cell, OPERATIONS)
    names = [*run.BRANCHES, 'of nothing']
    return [names[i] for i in run.needed(branches)]

  assert needed(HOLLOW) == ['none'] * 5 + ['of nothing']
  assert needed(DEAD) == [
    *('skip_connect', 'none', 'none'),
    *('nor_conv_1x1', 'nor_conv_3x3', 'none'),
  ]
  assert needed(MIXED) == [
    *('nor_conv_1x1', 'none', 'nor_conv_3x3'),
    *('skip_connect', 'avg_pool_3x3', 'nor_conv_3x3'),
  ]


def _network(widths=(16, 32), blocks=(2, 1)):
  macro = block.Macro(widths, blocks)
  return padded_nasbench201.padded_network(OPERATIONS, macro, 10, 3)


def test_initial_weights_are_drawn_as_flax_draws_them(padded):
  assert padded.count_drawn_kernels(_network(), MIXED) == 1 + 3 * 3 + 3 + 1


@pytest.mark.parametrize('cell', [MIXED, graph.canonical(MIXED)])
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
  cells = back['params']['kernels']['stages'][0]['cells']
  assert not cells[:, [1, 3, 4]].any(), 'edges without a convolution'
  assert cells[:, [2, 5]].all(), 'a 3x3 kernel is all of it'
  assert cells[:, 0, 1, 1].all(), 'a 1x1 kernel is the centre'
  assert np.count_nonzero(cells[:, 0]) == cells[:, 0, 1, 1].size


@pytest.mark.parametrize('jit', [True, False])
@pytest.mark.parametrize('number', [lambda cell: cell, graph.canonical])
def test_the_edges_of_a_cell_are_found_in_any_numbering(jit, number):
  def names_of(cell):
    return nasbench201_program.branches_of(cell, OPERATIONS)

  found = (jax.jit(names_of) if jit else names_of)(number(MIXED))
  assert [nasbench201_program.BRANCHES[i] for i in found] == [
    *('nor_conv_1x1', 'none', 'nor_conv_3x3', 'skip_connect'),
    *('avg_pool_3x3', 'nor_conv_3x3'),
  ]


def test_the_program_has_the_edges_of_the_space():
  assert nasbench201_program.EDGES == nasbench201.EDGES
  assert {*nasbench201_program.BRANCHES} == {*nasbench201.EDGE_OPERATIONS}


def test_in_bfloat16_a_step_has_types_and_values_of_float32(padded):
  """Statistics stay float32: E[x^2] - E[x]^2 has no digits in bfloat16."""
  network = _network((4,), (1,))
  variables = network.init(jax.random.key(0), MIXED)
  rng = np.random.default_rng(0)
  images = rng.normal(size=(16, 6, 6, 3)).astype(np.float32)

  def loss(params, images):
    logits, stats = network.apply(
      variables | {'params': params}, MIXED, images, True
    )
    return jnp.square(logits).mean(), (logits, stats)

  step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=padded.fast)
  half = jax.tree.map(
    lambda x: x.astype(jnp.bfloat16), (variables['params'], images)
  )
  whole = jax.tree.map(lambda x: x.astype(jnp.float32), half)
  (grads, (logits, stats)), expected = step(*half), step(*whole)
  assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.bfloat16.dtype}
  assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {np.dtype('f4')}
  np.testing.assert_allclose(
    logits.astype(jnp.float32), expected[1][0], atol=0.1
  )
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=0.02),
    stats,
    expected[1][1],
  )


def test_what_the_network_cannot_have_is_refused(padded):
  macro = block.Macro((8, 16), (1, 1), imagenet=True)
  with pytest.raises(ValueError, match='imagenet=False'):
    padded_nasbench201.padded_network(OPERATIONS, macro, 10, 3)
  network = _network()
  variables = padded.random_variables(network, MIXED)
  with pytest.raises(ValueError, match='multiples of 2'):
    network.apply(variables, MIXED, jnp.zeros((1, 7, 8, 3)), True)
