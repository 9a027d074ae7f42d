"""Pruning against networkx, and by hand where there is no path."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from irlas_jax.spaces import pruning
from irlas_jax.types import Graph

pytestmark = pytest.mark.usefixtures('quick_compiles')
NONE = 1  # the operation row that is removed below
_prune = jax.jit(pruning.prune, static_argnums=1)


def _graph(ops, edges, outputs, attrs=None):
  matrix = np.zeros((len(ops), len(ops)), bool)
  for u, v in edges:
    matrix[u, v] = True
  attrs = np.arange(10, 10 + len(ops))[:, None] if attrs is None else attrs
  return Graph(
    np.array(ops, np.int32),
    np.array(attrs, np.int32),
    matrix,
    np.array(outputs, np.int8),
  )


def _assert_equal(found, expected):
  for name, a, b in zip(Graph._fields, found, expected, strict=True):
    np.testing.assert_array_equal(a, b, err_msg=name)
    assert a.dtype == b.dtype, name


def _random_graphs(num_nodes, n, num_attrs=2):
  rng = np.random.default_rng(num_nodes)
  size = rng.integers(2, num_nodes + 1, size=n)[:, None]
  nodes = np.arange(num_nodes)
  real = nodes < size
  edges = np.triu(rng.random((n, num_nodes, num_nodes)) < 2 / num_nodes, 1)
  ops = rng.integers(1, 5, size=(n, num_nodes))
  ops[:, 0] = 0
  attrs = rng.integers(1, 9, size=(n, num_nodes, num_attrs))
  roles = np.where(rng.random((n, num_nodes)) < 0.1, 2, 0)
  roles = np.where(nodes == size - 1, 1, roles)
  return Graph(
    np.where(real, ops, -1).astype(np.int32),
    np.where(real[..., None], attrs, 0).astype(np.int32),
    edges & real[:, None] & real[:, :, None],
    np.where(real, roles, 0).astype(np.int8),
  )


def _row(graphs, i):
  return Graph(*(np.asarray(field)[i] for field in graphs))


def _pruned_slowly(graph, removed):
  """The rule by networkx, node by node."""
  size = int((graph.ops >= 0).sum())
  usable = [v for v in range(size) if graph.ops[v] not in removed]
  view = nx.DiGraph(np.argwhere(graph.edges).tolist())
  view.add_nodes_from(range(size))
  inner = view.subgraph(usable)
  ends = [v for v in range(size) if graph.outputs[v] > 0]
  after = ({0} | nx.descendants(inner, 0)) if 0 in inner else set()
  before = [{v} | nx.ancestors(inner, v) for v in ends if v in inner]
  path = after & set().union(*before)
  stays = sorted(path | {0} | set(ends))
  edges = [
    (stays.index(u), stays.index(v)) for u, v in inner.edges if {u, v} <= path
  ]
  padding = len(graph.ops) - len(stays)
  return _graph(
    graph.ops[stays].tolist() + [-1] * padding,
    edges,
    graph.outputs[stays].tolist() + [0] * padding,
    np.pad(graph.attrs[stays], ((0, padding), (0, 0))),
  )


@pytest.mark.parametrize(
  'num_nodes, removed',
  [(2, ()), (7, ()), (7, (0,)), (12, (NONE, 3)), (32, (3,))],
)
def test_random_graphs_are_pruned_as_networkx_would(num_nodes, removed):
  graphs = _random_graphs(num_nodes, 100)
  found = jax.vmap(lambda graph: _prune(graph, removed))(graphs)
  sizes = set()
  for i in range(len(graphs.ops)):
    expected = _pruned_slowly(_row(graphs, i), removed)
    _assert_equal(_row(found, i), expected)
    sizes.add(int((expected.ops >= 0).sum()))
  assert num_nodes == 2 or len(sizes) > 1, 'the graphs have to differ'


@pytest.mark.parametrize('jit', [True, False])
def test_a_dead_end_an_orphan_and_a_removed_node_go_in_stable_order(jit):
  """0 -> 2 -> 5 -> 6 stays; 1 is removed, 3 unread, 4 reads nothing."""
  edges = [(0, 1), (1, 6), (0, 2), (2, 5), (2, 3), (4, 5), (5, 6)]
  graph = _graph([0, NONE, 2, 3, 2, 3, 4], edges, [0, 0, 0, 0, 0, 0, 1])
  prune = _prune if jit else pruning.prune
  expected = _graph(
    [0, 2, 3, 4, -1, -1, -1],
    [(0, 1), (1, 2), (2, 3)],
    [0, 0, 0, 1, 0, 0, 0],
    [[10], [12], [15], [16], [0], [0], [0]],
  )
  _assert_equal(prune(graph, (NONE,)), expected)


def test_without_a_path_input_and_output_stay_without_edges():
  graph = _graph([0, 2, NONE, 4], [(0, 1), (0, 2), (2, 3)], [0, 0, 0, 1])
  expected = _graph([0, 4, -1, -1], [], [0, 1, 0, 0], [[10], [13], [0], [0]])
  _assert_equal(_prune(graph, (NONE,)), expected)


def test_two_outputs_keep_their_roles_and_one_without_a_path_stays():
  graph = _graph([0, 2, 3, 4], [(0, 1), (1, 3)], [0, 2, 1, 1])
  expected = _graph([0, 2, 3, 4], [(0, 1), (1, 3)], [0, 2, 1, 1])
  _assert_equal(_prune(graph), expected)


def test_pruning_twice_changes_nothing_more():
  once = jax.vmap(_prune)(_random_graphs(9, 50))
  _assert_equal(jax.vmap(_prune)(once), once)


def test_padding_with_stale_edges_is_no_path():
  """A padded row may not carry information, whatever its edges say."""
  graph = _graph([0, 4, -1], [(0, 2), (0, 1)], [0, 1, 0], [[1], [1], [7]])
  expected = _graph([0, 4, -1], [(0, 1)], [0, 1, 0], [[1], [1], [0]])
  _assert_equal(_prune(graph), expected)


def test_reachable_and_reaching_count_the_start():
  edges = _graph([0, 1, 1, 1], [(0, 1), (1, 3)], [0, 0, 0, 1]).edges
  at = lambda v: jnp.arange(4) == v  # noqa: E731
  ahead = pruning.reachable(edges, at(1))
  np.testing.assert_array_equal(np.flatnonzero(ahead), [1, 3])
  behind = pruning.reaching(edges, at(1))
  np.testing.assert_array_equal(np.flatnonzero(behind), [0, 1])


def test_more_nodes_than_bits_are_refused():
  edges = np.zeros((33, 33), bool)
  with pytest.raises(ValueError, match='33 nodes.*at most 32'):
    pruning.reachable(edges, np.arange(33) == 0)
