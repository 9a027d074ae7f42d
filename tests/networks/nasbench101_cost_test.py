"""NAS-Bench-101 counts: the published ones, the traced networks', by hand."""

import os
import pathlib

import jax
import numpy as np
import pytest

from benchmarks import nasbench_counts
from irlas_jax.networks import block, nasbench101, nasbench101_cost
from irlas_jax.spaces import nasbench101 as space

OFFICIAL = block.cifar(128, 3, 3)


def _graphs(n):
  """Random pruned cells [n] of up to seven vertices, by rejection."""
  rng = np.random.default_rng(0)
  ops = rng.integers(1, 4, size=(4 * n, 5))
  edges = np.triu(rng.random((4 * n, 7, 7)) < 0.4, 1)
  cells = jax.vmap(space.to_cell)(ops.astype(np.int32), edges)
  whole = np.flatnonzero(np.any(cells.edges, axis=(1, 2)))[:n]
  assert len(whole) == n
  return jax.tree.map(lambda field: np.asarray(field)[whole], cells)


def _cost(graphs, macro, shape, num_classes):
  return nasbench101_cost.cost(
    graphs, space.OPERATIONS, macro, shape, num_classes
  )


@pytest.mark.parametrize(
  'macro, shape, num_classes, n',
  [
    (block.Macro((8, 13), (1, 1)), (5, 4, 2), 3, 100),
    (OFFICIAL, (32, 32, 3), 10, 2),
  ],
)
def test_counts_are_those_of_the_traced_networks(
  trace_cost, macro, shape, num_classes, n
):
  graphs = _graphs(n)
  found = _cost(graphs, macro, shape, num_classes)
  for i in range(n):
    graph = jax.tree.map(lambda field: field[i], graphs)  # noqa: B023
    model = nasbench101.network(graph, space.OPERATIONS, macro, num_classes)
    traced = trace_cost(model, shape)
    assert (found.params[i], found.madds[i]) == traced


def test_the_random_cells_differ_in_size():
  sizes = np.sum(_graphs(100).ops >= 0, axis=-1)
  assert set(sizes) >= {3, 4, 5, 6, 7}


def test_a_small_network_by_hand():
  """3x3 and 1x1 side by side, the input at the output too; widths 5 and 7.

  Vertices have 3 and 2 channels in the first stack, 4 and 3 in the second,
  whose images are 2 x 1 where they were 3 x 2.
  """
  matrix = np.zeros((1, 7, 7), np.uint8)
  matrix[0, [0, 0, 0, 1, 2], [1, 2, 3, 3, 3]] = 1
  graphs = nasbench_counts.graphs_101(
    np.array([[-1, 0, 1, -2, -3, -3, -3]]), matrix
  )
  found = _cost(graphs, block.Macro((5, 7), (1, 1)), (3, 2, 3), 10)
  stem, head = 9 * 3 * 5, 7 * 10
  first = 5 * (3 + 2 + 5) + 9 * 3 * 3 + 2 * 2
  second = 5 * (4 + 3 + 7) + 9 * 4 * 4 + 3 * 3
  norms = 2 * (5 + (3 + 2 + 5 + 3 + 2) + (4 + 3 + 7 + 4 + 3))
  assert found.params.tolist() == [stem + first + second + head + norms + 10]
  assert found.madds.tolist() == [6 * (stem + first) + 2 * second + head]


def test_any_leading_axes_count_alike():
  graphs = _graphs(6)
  flat = _cost(graphs, OFFICIAL, (32, 32, 3), 10)
  square = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]), graphs)
  found = _cost(square, OFFICIAL, (32, 32, 3), 10)
  np.testing.assert_array_equal(found.params, flat.params.reshape(2, 3))
  np.testing.assert_array_equal(found.madds, flat.madds.reshape(2, 3))
  one = jax.tree.map(lambda field: field[4], graphs)
  alone = _cost(one, OFFICIAL, (32, 32, 3), 10)
  assert (alone.params, alone.madds) == (flat.params[4], flat.madds[4])


def _table(name):
  root = os.environ.get('IRLAS_DATA_DIR')
  folder = pathlib.Path(root or '')
  if not root or not (folder / 'nas-bench-101' / f'{name}.npz').exists():
    pytest.skip(f'IRLAS_DATA_DIR holds no nas-bench-101/{name}.npz.')
  return nasbench_counts.cells_101(folder, name)


@pytest.mark.parametrize('name, rows', [('ecnas_4v', 1092), ('ecnas_5v', 2532)])
def test_parameters_are_those_of_all_small_cells(name, rows):
  """All cells of up to four and of up to five vertices."""
  cells = _table(name)
  assert len(cells.params) == rows
  found = cells.cost(cells.graph).params
  np.testing.assert_array_equal(found, cells.params)


def test_parameters_are_those_of_the_published_sample():
  """As numbered, unless three vertices share the output's channels.

  128 does not split in three, so who gets one more depends on the numbering,
  and the sample has its cells up to isomorphism only.
  """
  cells = _table('nasbench101_sample30001')
  agree = cells.cost(cells.graph).params == cells.params
  is_output = cells.graph.outputs > 0
  reads = np.sum(cells.graph.edges * is_output[:, None], axis=(1, 2))
  shares = reads - np.sum(cells.graph.edges[:, 0] * is_output, axis=-1)
  assert len(agree) == 30_001
  assert np.all(agree | (shares == 3))
  assert agree.sum() == 29_474
  assert np.all(nasbench_counts.agree_renumbered(cells))
