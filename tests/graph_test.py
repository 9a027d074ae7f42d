"""Canonical form and digest against networkx, exhaustively and at random."""

import collections
import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from irlas_jax import graph as graphs
from irlas_jax.spaces import block, nsc
from irlas_jax.types import Graph

CONV = block.Choice('conv', 3, (0,))
# Few operations: many blocks that look alike, so that some are.
POOR = tuple(
  choice
  for choice in block.choices(12, 'dense')
  if (choice.operation, choice.kernel) in (('conv', 3), ('add', 0))
)
TABLES = {
  'dense': block.choices(12, 'dense'),
  'separable': block.choices(12, 'separable'),
  'poor': POOR,
}


def _readable(table, step):
  """What a layer at `step` (from 0) may be: it reads nodes up to `step`."""
  return [choice for choice in table if choice.preds[-1] <= step]


def _random_layers(rng, table, length):
  options = [_readable(table, step) for step in range(length)]
  return [choices[rng.integers(len(choices))] for choices in options]


def _edited(rng, table, layers):
  """A copy with one layer replaced by another choice."""
  step = rng.integers(1, len(layers))
  others = [c for c in _readable(table, step) if c != layers[step]]
  return [
    *layers[:step],
    others[rng.integers(len(others))],
    *layers[step + 1 :],
  ]


def _relabelled(rng, graph):
  """The same architecture in a random topological numbering."""
  count = graphs.size(graph)
  waiting = np.asarray(graph.edges)[:count, :count].sum(0)
  order = []
  while len(order) < count:
    ready = [v for v in np.flatnonzero(waiting == 0) if v not in order]
    node = ready[rng.integers(len(ready))]
    order.append(node)
    waiting = waiting - np.asarray(graph.edges)[node, :count]
  return graphs.permute(graph, np.array(order))


def _networkx(graph):
  return graphs.to_networkx(graph, block.OPERATIONS, block.ATTRIBUTES)


def _isomorphic(a, b):
  labels = ['operation', 'kernel', 'output']
  match = nx.algorithms.isomorphism.categorical_node_match(labels, [None] * 3)
  return nx.is_isomorphic(_networkx(a), _networkx(b), node_match=match)


def _invariant(graph):
  """Equal for isomorphic graphs, and quick to compare."""
  count = graphs.size(graph)
  rows = zip(
    graph.ops[:count].tolist(),
    graph.attrs[:count, 0].tolist(),
    graph.outputs[:count].tolist(),
    graph.edges.sum(0)[:count].tolist(),
    graph.edges.sum(1)[:count].tolist(),
    strict=True,
  )
  return tuple(sorted(rows))


def _assert_same(a, b):
  for field, x, y in zip(graphs.Graph._fields, a, b, strict=True):
    np.testing.assert_array_equal(x, y, err_msg=field)


@pytest.mark.parametrize('operations', block.OPERATION_SETS)
def test_digests_are_the_isomorphism_classes_of_all_small_blocks(operations):
  """Every block of up to 3 layers: 8 + 8 * 18 + 8 * 18 * 30 of them."""
  table = block.choices(3, operations)
  options = [_readable(table, step) for step in range(3)]
  blocks = [
    nsc.to_graph(layers, 3)
    for length in (1, 2, 3)
    for layers in itertools.product(*options[:length])
  ]
  assert len(blocks) == 4472
  classes = collections.defaultdict(list)
  for graph in blocks:
    classes[graphs.digest(graph)].append(graph)
  alike = collections.defaultdict(list)
  for first, *others in classes.values():
    assert all(_isomorphic(first, other) for other in others)
    alike[_invariant(first)].append(first)
  pairs = [
    pair
    for group in alike.values()
    for pair in itertools.combinations(group, 2)
  ]
  assert pairs, 'the cheap invariant tells all apart: nothing was compared'
  assert not any(_isomorphic(a, b) for a, b in pairs)


@pytest.mark.parametrize('table', TABLES)
def test_a_renumbered_block_has_the_same_digest_and_canonical_form(table):
  rng = np.random.default_rng(0)
  moved = 0
  for _ in range(1000):
    length = rng.integers(6, 13)
    graph = nsc.to_graph(_random_layers(rng, TABLES[table], length), 12)
    other = _relabelled(rng, graph)
    moved += not np.array_equal(graph.edges, other.edges)
    assert graphs.digest(graph) == graphs.digest(other)
    _assert_same(graphs.canonical(graph), graphs.canonical(other))
  assert moved > 500, 'the copies are hardly ever numbered differently'


@pytest.mark.parametrize('table', TABLES)
def test_one_edit_keeps_the_digest_only_where_the_result_is_isomorphic(table):
  rng = np.random.default_rng(1)
  kept = 0
  for _ in range(1000):
    layers = _random_layers(rng, TABLES[table], rng.integers(6, 13))
    graph = nsc.to_graph(layers, 12)
    edited = nsc.to_graph(_edited(rng, TABLES[table], layers), 12)
    same = _isomorphic(graph, edited)
    kept += same
    assert (graphs.digest(graph) == graphs.digest(edited)) == same
  assert kept or table != 'poor', 'no edit gave an isomorphic block'


def _rings(*lengths):
  """Convolutions, and adds that join them to rings of the given lengths."""
  adds, first = [], 1
  for length in lengths:
    ends = [(first + i, first + (i + 1) % length) for i in range(length)]
    adds += [block.Choice('add', 0, tuple(sorted(pair))) for pair in ends]
    first += length
  return [CONV] * (first - 1) + adds


def _tree(arity, inner):
  """Every one of the nodes 0 ... inner - 1 is read by `arity` layers."""
  return [CONV._replace(preds=(p,)) for p in range(inner) for _ in range(arity)]


SYMMETRIC = {
  'parallel layers': [CONV] * 23,
  'parallel chains': [CONV] * 11
  + [CONV._replace(preds=(i,)) for i in range(1, 12)],
  'binary tree': _tree(2, 11),
  'tree of four': _tree(4, 5),
  'all pairs added': [CONV] * 6
  + [
    block.Choice('add', 0, pair)
    for pair in itertools.combinations(range(1, 7), 2)
  ],
  'one ring': _rings(11),
  'rings in rings': _rings(3, 3, 5),
  'rings of two': _rings(2, 2, 2, 2, 2),
}


@pytest.fixture
def counted(monkeypatch):
  """A list that grows by one with every refinement."""
  calls = []
  refine = graphs._refine
  monkeypatch.setattr(
    graphs, '_refine', lambda *args: calls.append(0) or refine(*args)
  )
  return calls


@pytest.mark.parametrize('name', SYMMETRIC)
def test_symmetric_blocks_are_canonised_with_few_refinements(name, counted):
  """Without automorphism pruning, 23 equal layers would take 23! leaves."""
  graph = nsc.to_graph(SYMMETRIC[name])
  expected = graphs.canonical(graph)
  assert len(counted) <= graphs.size(graph) ** 3 / 2
  rng = np.random.default_rng(2)
  for _ in range(5):
    _assert_same(graphs.canonical(_relabelled(rng, graph)), expected)


def test_refinement_alone_does_not_decide():
  """Rings have equal neighbourhoods everywhere; only their lengths differ."""
  splits = [(11,), (9, 2), (8, 3), (7, 4), (6, 5), (7, 2, 2), (6, 3, 2)]
  splits += [(5, 4, 2), (5, 3, 3), (4, 4, 3), (5, 2, 2, 2), (4, 3, 2, 2)]
  splits += [(3, 3, 3, 2), (3, 2, 2, 2, 2)]
  rings = [nsc.to_graph(_rings(*split)) for split in splits]
  assert len({_invariant(graph) for graph in rings}) == 1
  assert len({graphs.digest(graph) for graph in rings}) == len(splits)
  reverse = [nsc.to_graph(_rings(*split[::-1])) for split in splits]
  assert list(map(graphs.digest, rings)) == list(map(graphs.digest, reverse))


def test_regular_graphs_are_told_apart_with_few_refinements(counted):
  """Adds as the edges of cubic graphs: every layer sees the same around it."""
  drawn = [nx.random_regular_graph(3, 8, seed=seed) for seed in range(30)]
  digests = []
  for graph in drawn:
    pairs = [tuple(sorted((u + 1, v + 1))) for u, v in graph.edges]
    adds = [block.Choice('add', 0, pair) for pair in pairs]
    counted.clear()
    digests.append(graphs.digest(nsc.to_graph([CONV] * 8 + adds)))
    assert len(counted) < 500
  assert len(set(digests)) == 5  # connected ones on 8 nodes: all drawn
  for i, j in itertools.combinations(range(30), 2):
    same = nx.is_isomorphic(drawn[i], drawn[j])
    assert (digests[i] == digests[j]) == same


def test_the_canonical_form_is_a_graph_and_its_own_canonical_form():
  """Topological, padding in place, and a second pass changes nothing."""
  rng = np.random.default_rng(4)
  for _ in range(200):
    graph = nsc.to_graph(_random_layers(rng, TABLES['dense'], 9), 12)
    once = graphs.canonical(graph)
    assert not np.tril(once.edges).any()
    assert (once.ops[:10] >= 0).all() and (once.ops[10:] == -1).all()
    assert not once.edges[10:].any() and not once.edges[:, 10:].any()
    _assert_same(graphs.canonical(once), once)
    assert graphs.digest(once) == graphs.digest(graph)


def test_padding_does_not_change_the_digest():
  layers = [CONV, CONV, block.Choice('add', 0, (1, 2))]
  digests = {graphs.digest(nsc.to_graph(layers, size)) for size in (3, 7, 23)}
  assert len(digests) == 1 and len(digests.pop()) == 32


@pytest.mark.parametrize('field', ['ops', 'attrs', 'edges', 'outputs'])
def test_every_field_counts(field):
  graph = nsc.to_graph([CONV, CONV._replace(preds=(1,))], 2)
  changed = {
    'ops': np.array([0, 1, 2]),
    'attrs': np.array([[0], [3], [5]]),
    'edges': graph.edges | np.eye(3, k=2, dtype=bool),
    'outputs': np.array([0, 0, 2]),
  }
  other = graph._replace(**{field: changed[field]})
  assert graphs.digest(graph) != graphs.digest(other)


def test_arrays_of_jax_are_read_alike():
  graph = nsc.to_graph(SYMMETRIC['one ring'])
  traced = graphs.Graph(*map(jnp.asarray, graph))
  assert graphs.digest(traced) == graphs.digest(graph)


DIAMOND = [
  CONV,
  block.Choice('identity', 0, (0,)),
  block.Choice('add', 0, (1, 2)),
]


def test_size_and_depths_of_a_diamond_with_a_tail():
  layers = [*DIAMOND, CONV._replace(preds=(3,)), CONV]
  graph = nsc.to_graph(layers, 8)
  assert graphs.size(graph) == 6
  np.testing.assert_array_equal(graphs.depths(graph), [0, 1, 1, 2, 3, 1])


def test_permute_moves_rows_and_edges_together():
  graph = nsc.to_graph(DIAMOND, 4)
  moved = graphs.permute(graph, [0, 2, 1, 3])
  ops = [
    block.OPERATIONS.index(o) for o in ('input', 'identity', 'conv', 'add')
  ]
  np.testing.assert_array_equal(moved.ops, [*ops, -1])
  np.testing.assert_array_equal(moved.attrs[:, 0], [0, 0, 3, 0, 0])
  np.testing.assert_array_equal(moved.edges, graph.edges)  # a symmetric diamond
  np.testing.assert_array_equal(moved.outputs, [0, 0, 0, 1, 0])
  np.testing.assert_array_equal(
    graph.attrs[:, 0], [0, 3, 0, 0, 0], err_msg='the argument was changed'
  )


def test_the_networkx_view_of_a_diamond():
  view = graphs.to_networkx(
    nsc.to_graph(DIAMOND, 5), block.OPERATIONS, block.ATTRIBUTES
  )
  assert dict(view.nodes(data=True)) == {
    0: {'operation': 'input', 'kernel': 0, 'output': 0},
    1: {'operation': 'conv', 'kernel': 3, 'output': 0},
    2: {'operation': 'identity', 'kernel': 0, 'output': 0},
    3: {'operation': 'add', 'kernel': 0, 'output': 1},
  }
  assert set(view.edges) == {(0, 1), (0, 2), (1, 3), (2, 3)}


def test_cells_keep_their_places_and_are_renumbered_each():
  """An architecture of two cells is not that of the cells swapped."""
  rng = np.random.default_rng(0)
  rows = [
    nsc.to_graph(_random_layers(rng, TABLES['poor'], 6), 8) for _ in range(2)
  ]

  def stacked(cells):
    return Graph(*map(np.stack, zip(*cells, strict=True)))

  both = stacked(rows)
  renumbered = stacked([_relabelled(rng, cell) for cell in rows])
  assert graphs.digest(renumbered) == graphs.digest(both)
  assert graphs.digest(stacked(rows[::-1])) != graphs.digest(both)
  assert graphs.digest(both) not in map(graphs.digest, rows)
  for found, cell in zip(
    graphs.cells(graphs.canonical(renumbered)), rows, strict=True
  ):
    jax.tree.map(np.testing.assert_array_equal, found, graphs.canonical(cell))
  larger = graphs.resize(both, 11)
  assert larger.edges.shape == (2, 11, 11) and graphs.size(larger) == 7
  assert graphs.digest(larger) == graphs.digest(both)
  with pytest.raises(ValueError, match='does not fit into 6'):
    graphs.resize(both, 6)
