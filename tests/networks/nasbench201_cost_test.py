"""NAS-Bench-201 counts: the published ones, the traced networks', by hand."""

import os
import pathlib

import jax
import numpy as np
import pytest

from irlas_jax.networks import block, nasbench201, nasbench201_cost
from irlas_jax.spaces import nasbench201 as space

OFFICIAL = block.cifar(16, 3, 5)


def _graphs(ops):
  """The cells of rows [n, 6] of the five operations."""
  decode = jax.vmap(space.nasbench201().decode)
  return jax.tree.map(np.asarray, decode(np.asarray(ops, np.int32)))


def _cost(graphs, macro, shape, num_classes):
  return nasbench201_cost.cost(
    graphs, space.OPERATIONS, macro, shape, num_classes
  )


@pytest.mark.parametrize(
  'macro, shape, num_classes, n',
  [
    (block.Macro((5, 9), (1, 1)), (6, 4, 2), 3, 100),
    (block.Macro((4,), (2,)), (3, 5, 1), 2, 2),
    (OFFICIAL, (32, 32, 3), 10, 2),
  ],
)
def test_counts_are_those_of_the_traced_networks(
  trace_cost, macro, shape, num_classes, n
):
  graphs = _graphs(np.random.default_rng(0).integers(5, size=(n, 6)))
  found = _cost(graphs, macro, shape, num_classes)
  for i in range(n):
    graph = jax.tree.map(lambda field: field[i], graphs)  # noqa: B023
    model = nasbench201.network(graph, space.OPERATIONS, macro, num_classes)
    traced = trace_cost(model, shape)
    assert (found.params[i], found.madds[i]) == traced


def test_a_small_network_by_hand():
  """Two 1x1 and a 3x3, two stages of one cell, widths 4 and 6, 4 x 2 x 3."""
  graphs = _graphs([[2, 0, 3, 4, 1, 2]])
  found = _cost(graphs, block.Macro((4, 6), (1, 1)), (4, 2, 3), 10)
  stem, first, second = 9 * 3 * 4, 11 * 4 * 4, 11 * 6 * 6
  reduction = 9 * 4 * 6 + 9 * 6 * 6 + 4 * 6
  norms = 2 * (4 + 3 * 4 + 2 * 6 + 3 * 6 + 6)
  weights = stem + first + reduction + second + 6 * 10
  assert found.params.tolist() == [weights + norms + 10]
  madds = 8 * (stem + first) + 2 * (reduction + second) + 60
  assert found.madds.tolist() == [madds]


def test_any_leading_axes_count_alike():
  graphs = _graphs(np.random.default_rng(0).integers(5, size=(6, 6)))
  flat = _cost(graphs, OFFICIAL, (32, 32, 3), 10)
  square = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), graphs)
  found = _cost(square, OFFICIAL, (32, 32, 3), 10)
  np.testing.assert_array_equal(found.params, flat.params.reshape(2, 3))
  np.testing.assert_array_equal(found.madds, flat.madds.reshape(2, 3))
  one = jax.tree.map(lambda field: field[4], graphs)
  alone = _cost(one, OFFICIAL, (32, 32, 3), 10)
  assert (alone.params, alone.madds) == (flat.params[4], flat.madds[4])


def test_images_that_do_not_halve_are_named():
  with pytest.raises(ValueError, match='32 x 30 .* multiples of 4'):
    _cost(_graphs([[0] * 6]), OFFICIAL, (32, 30, 3), 10)


def _fixed_flops(side):
  """FLOPs of the table's count that are neither a cell's nor a product.

  An output element of a normalisation counts 2, of a ReLU 1, of 2x2 pooling 4;
  mean pooling of n x n pixels counts (n + 1)^2 a channel.
  """
  first, second, third = (
    width * (side // 2**s) ** 2 for s, width in enumerate((16, 32, 64))
  )
  stem, head = 2 * first, 3 * third + 64 * (side // 4 + 1) ** 2
  # ReLU of what comes in, 2 normalisations, a ReLU between, pooling.
  into_second = first + 5 * second + 4 * second // 2
  into_third = second + 5 * third + 4 * third // 2
  return stem + into_second + into_third + head


def test_what_the_tables_flops_add_whatever_the_cell():
  assert (_fixed_flops(32), _fixed_flops(16)) == (160_832, 40_512)


@pytest.fixture(scope='module')
def table():
  root = os.environ.get('IRLAS_DATA_DIR')
  path = pathlib.Path(root or '') / 'nas-bench-201' / 'nasbench201.npz'
  if not root or not path.exists():
    pytest.skip('IRLAS_DATA_DIR holds no nas-bench-201/nasbench201.npz.')
  return dict(np.load(path))


@pytest.mark.parametrize(
  'column, side, num_classes', [(0, 32, 10), (1, 32, 100), (2, 16, 120)]
)
def test_counts_are_those_of_all_published_cells(
  table, column, side, num_classes
):
  """Parameters to the last one, FLOPs to the last bit of float32 millions.

  Beside multiply-adds the table counts 3 an output element of a searched
  convolution and 9 an output element of a pool; five cells in a stage.
  """
  graphs = _graphs(table['ops'])
  found = _cost(graphs, OFFICIAL, (side, side, 3), num_classes)
  millions = table['params_m'][:, column].astype(float)
  assert len(found.params) == 15_625
  # float32 keeps less than a tenth of a parameter from these millions.
  np.testing.assert_array_equal(found.params, np.rint(1e6 * millions))
  elements = sum(
    5 * width * (side // 2**s) ** 2 for s, width in enumerate((16, 32, 64))
  )
  convs = np.isin(table['ops'], (2, 3)).sum(-1)
  pools = (table['ops'] == 4).sum(-1)
  extra = elements * (3 * convs + 9 * pools) + _fixed_flops(side)
  flops = np.float32((found.madds + extra) / 1e6)
  np.testing.assert_array_equal(flops, table['flops_m'][:, column])
