"""The padded program: cell by cell the plain network, in every respect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax import devices, graph
from irlas_jax.networks import block, nasbench201_program, padded_nasbench201
from irlas_jax.networks import nasbench201 as plain
from irlas_jax.spaces import nasbench201

OPERATIONS = nasbench201.OPERATIONS
# Compiles several times faster; what is computed stays the same.
FAST = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}
MIXED = nasbench201.parse(
  '|nor_conv_1x1~0|+|none~0|nor_conv_3x3~1|+'
  '|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|'
)
# Node 2 is read by nobody, so its convolutions get no gradient.
DEAD = nasbench201.parse(
  '|skip_connect~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+'
  '|nor_conv_1x1~0|nor_conv_3x3~1|none~2|'
)


def _compare_all(dtype):
  """Differences of 5 cells, and compiles of the padded program."""
  cells = padded_equality.random_cells(0, padded_equality.NASBENCH201, 3)
  network = padded_equality.cell_program(padded_equality.NASBENCH201, FAST)
  counter, compiles = devices.CompileCounter(), []

  def measure(*args):
    before = counter.total().number
    result = network.measure(*args)
    compiles.append(counter.total().number - before)
    return result

  counted = network._replace(measure=measure)
  rows = [
    padded_equality.compare(counted, cell, seed, dtype, FAST)
    for seed, cell in enumerate([*cells, MIXED, DEAD])
  ]
  return rows, compiles


def test_every_cell_is_its_plain_network_in_float64():
  with jax.enable_x64(True):
    rows, compiles = _compare_all(np.float64)
  for row in rows:
    assert max(row) < 1e-8, row
    assert row.unused == 0, 'weights that the cell lacks have a gradient'
  assert compiles == [1] + [0] * 9, 'the graph is not data'


def test_every_cell_is_its_plain_network_in_float32():
  rows, compiles = _compare_all(np.float32)
  for row in rows:
    assert max(row.loss, row.round_trip) < 1e-5, row
    assert max(row.evaluation, row.statistics) < 1e-4, row
    assert row.gradients < 1e-3, row
    assert row.unused == 0, 'weights that the cell lacks have a gradient'
  assert compiles == [1] + [0] * 9, 'the graph is not data'


def _network(widths=(16, 32), blocks=(2, 1)):
  macro = block.Macro(widths, blocks)
  return padded_nasbench201.padded_network(OPERATIONS, macro, 10, 3)


def _random(network, cell):
  """Random variables of the padded network."""
  rng = np.random.default_rng(0)
  template = jax.eval_shape(network.init, jax.random.key(0), cell)
  return jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), template
  )


def test_initial_weights_are_drawn_as_flax_draws_them():
  """Variance 1 / fan-in, cut at two deviations; each array on its own."""
  network = _network()
  variables = jax.jit(network.init, compiler_options=FAST)(
    jax.random.key(0), MIXED
  )
  drawn = set()
  flat = jax.tree_util.tree_flatten_with_path(network.to_flax(variables, MIXED))
  for path, array in flat[0]:
    names = [part.key for part in path]
    if names[-1] == 'kernel':
      deviation = np.prod(array.shape[:-1]) ** -0.5
      error = 4 / np.sqrt(2 * array.size)
      assert abs(array.std() / deviation - 1) < error, names
      assert abs(array).max() <= deviation * 2 / 0.8796, names
      drawn.add(array.ravel()[0])
    else:
      expected = 1 if names[-1] in ('scale', 'var') else 0
      np.testing.assert_array_equal(array, expected, err_msg=str(names))
  assert len(drawn) == 1 + 3 * 3 + 3 + 1


@pytest.mark.parametrize('cell', [MIXED, graph.canonical(MIXED)])
def test_the_flax_variables_are_those_that_the_plain_network_reads(cell):
  network = _network()
  macro = block.Macro((16, 32), (2, 1))
  model = plain.network(cell, OPERATIONS, macro, 10)
  image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  expected = jax.eval_shape(
    lambda image: model.init(jax.random.key(0), image, True), image
  )
  found = network.to_flax(_random(network, cell), cell)
  assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)


def test_from_flax_restores_what_the_cell_uses_and_zeros_the_rest():
  network = _network()
  flax_variables = network.to_flax(_random(network, MIXED), MIXED)
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


def test_in_bfloat16_a_step_has_the_types_and_about_the_values_of_float32():
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

  step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=FAST)
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


def test_what_the_network_cannot_have_is_refused():
  macro = block.Macro((8, 16), (1, 1), imagenet=True)
  with pytest.raises(ValueError, match='imagenet=False'):
    padded_nasbench201.padded_network(OPERATIONS, macro, 10, 3)
  network = _network()
  variables = _random(network, MIXED)
  with pytest.raises(ValueError, match='multiples of 2'):
    network.apply(variables, MIXED, jnp.zeros((1, 7, 8, 3)), True)
