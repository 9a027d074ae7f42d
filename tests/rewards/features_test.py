"""Feature counts: hand-computed, and blind to the numbering of nodes."""

import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from irlas_jax.rewards import features
from irlas_jax.types import Graph

OPERATIONS = ('input', 'conv', 'add', 'pool')
KERNELS = (0, 1, 3, 5)


def make_graph(layers, num_nodes=8):
  """Layers (operation, kernel, predecessors) as a padded Graph."""
  ops = np.full(num_nodes, -1, np.int32)
  attrs = np.zeros((num_nodes, 1), np.int32)
  edges = np.zeros((num_nodes, num_nodes), bool)
  ops[0] = 0
  for v, (operation, kernel, preds) in enumerate(layers, start=1):
    ops[v], attrs[v, 0] = OPERATIONS.index(operation), kernel
    edges[list(preds), v] = True
  return Graph(ops, attrs, edges, np.zeros(num_nodes, np.int8))


def random_graph(rng, num_nodes=9):
  size = rng.integers(2, num_nodes + 1)
  layers = []
  for v in range(1, size):
    preds = np.flatnonzero(rng.random(v) < rng.choice([0.2, 0.5]))
    preds = preds if len(preds) else [rng.integers(v)]
    operation = OPERATIONS[rng.integers(1, len(OPERATIONS))]
    layers.append((operation, rng.choice(KERNELS), preds))
  return make_graph(layers, num_nodes)


def renumber(rng, graph):
  """An isomorphic graph, in another topological order of its nodes."""
  size = int((graph.ops >= 0).sum())
  order = [0]
  while len(order) < size:
    read = graph.edges[:, :size].sum(0)
    ready = read == graph.edges[order][:, :size].sum(0)
    ready[order] = False
    order.append(rng.choice(np.flatnonzero(ready)))
  order = np.array([*order, *range(size, len(graph.ops))])
  edges = graph.edges[order][:, order]
  return Graph(graph.ops[order], graph.attrs[order], edges, graph.outputs)


def stack(graphs):
  return jax.tree.map(
    lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *graphs
  )


def counts(graph, discount=0.5):
  return features.feature_counts(graph, len(OPERATIONS), (KERNELS,), discount)


def names():
  return features.feature_names(OPERATIONS, ('kernel',), (KERNELS,))


@pytest.mark.parametrize('jit', (True, False))
def test_residual_block_has_hand_computed_counts(jit):
  """input -> conv 3 -> conv 1, added to the input; depths 1, 2, 3."""
  graph = make_graph([('conv', 3, [0]), ('conv', 1, [1]), ('add', 0, [0, 2])])
  mu = (jax.jit(counts) if jit else counts)(graph)
  seen = {n: float(x) for n, x in zip(names(), mu, strict=True) if x}
  assert seen == {
    'conv kernel=3': 1.0,
    'conv kernel=1': 0.5,
    'add kernel=0': 0.25,
    'conv fan-out 1': 1.5,
    'add fan-out 0': 0.25,
    'add merges': 0.25,
    'input kernel=0 -> conv kernel=3': 1.0,
    'conv kernel=3 -> conv kernel=1': 0.5,
    'conv kernel=1 -> add kernel=0': 0.25,
    'input kernel=0 -> add kernel=0': 0.25,
    'conv span 1': 1.5,
    'add span 1': 0.25,
    'add span 3+': 0.25,
  }


def test_renumbering_the_nodes_changes_nothing():
  """Features that read node indices would tell isomorphic graphs apart."""
  rng = np.random.default_rng(0)
  graphs = [random_graph(rng) for _ in range(300)]
  others = [renumber(rng, graph) for graph in graphs]
  pairs = zip(graphs, others, strict=True)
  moved = [(a.edges != b.edges).any() for a, b in pairs]
  assert np.mean(moved) > 0.3
  mu = jax.jit(jax.vmap(counts))
  np.testing.assert_allclose(mu(stack(graphs)), mu(stack(others)), atol=1e-6)


def test_padding_counts_nothing():
  """A block must not score differently in a deeper space."""
  layers = [('conv', 3, [0]), ('pool', 3, [0])]
  small, large = make_graph(layers, 3), make_graph(layers, 12)
  np.testing.assert_array_equal(counts(small), counts(large))
  attrs, edges = large.attrs.copy(), large.edges.copy()
  attrs[3:], edges[1, 5], edges[5, 6] = 3, True, True  # left in padding
  dirty = large._replace(attrs=attrs, edges=edges)
  np.testing.assert_array_equal(counts(small), counts(dirty))


def test_order_of_operations_is_seen():
  """1-3-1 and 3-1-1 have the same operations in different places."""
  chains = [
    [('conv', k, [v]) for v, k in enumerate(kernels)]
    for kernels in ((1, 3, 1), (3, 1, 1))
  ]
  a, b = (counts(make_graph(chain), 1.0) for chain in chains)
  own = np.array(['kernel' in n and '->' not in n for n in names()])
  np.testing.assert_array_equal(a[own], b[own])
  assert np.abs(a - b).max() >= 1


def test_undiscounted_counts_add_up_to_nodes_and_edges():
  """Every node and every edge is in exactly one class of each table."""
  rng = np.random.default_rng(1)
  graphs = [random_graph(rng) for _ in range(10)]
  table = jax.jit(jax.vmap(lambda graph: counts(graph, 1.0)))(stack(graphs))
  for graph, mu in zip(graphs, np.asarray(table), strict=True):
    sums = {
      kind: sum(x for n, x in zip(names(), mu, strict=True) if kind in n)
      for kind in ('fan-out', 'merges', '->', 'span')
    }
    kinds = mu[: len(OPERATIONS) * len(KERNELS)].sum()
    nodes, edges = (graph.ops > 0).sum(), graph.edges.sum()
    assert (kinds, sums['fan-out']) == (nodes, nodes)
    assert (sums['->'], sums['span']) == (edges, edges)
    assert sums['merges'] == (graph.edges.sum(0) > 1).sum()


def test_depth_is_the_longest_path():
  """Against networkx; the shortest path would pass most other tests."""
  rng = np.random.default_rng(2)
  depths = jax.jit(features.depths)
  for graph in [random_graph(rng) for _ in range(20)]:
    other = nx.from_numpy_array(graph.edges, create_using=nx.DiGraph)
    expected = np.zeros(len(graph.ops), int)
    for generation, nodes in enumerate(nx.topological_generations(other)):
      expected[nodes] = generation
    np.testing.assert_array_equal(depths(graph.edges), expected)


@pytest.mark.parametrize('num_columns', (0, 1, 2))
def test_every_feature_has_one_name(num_columns):
  """Tables would be labelled wrongly if names and counts differed in size."""
  graph = make_graph([('conv', 3, [0])])
  values = ((0, 1, 3), (16, 32))[:num_columns]
  columns = ('kernel', 'filters')[:num_columns]
  attrs = np.zeros((len(graph.ops), num_columns), np.int32)
  graph = graph._replace(attrs=attrs)
  mu = features.feature_counts(graph, len(OPERATIONS), values, 0.9)
  found = features.feature_names(OPERATIONS, columns, values)
  assert len(found) == len(set(found)) == len(mu)


def test_columns_are_told_apart():
  """Filters of the second attribute column must not land in the first."""
  graph = make_graph([('conv', 3, [0]), ('conv', 1, [1])])
  attrs = np.concatenate([graph.attrs, [[0], [16], [32]] + [[0]] * 5], 1)
  values = ((1, 3), (16, 32))
  mu = features.feature_counts(
    graph._replace(attrs=attrs), len(OPERATIONS), values, 0.5
  )
  found = features.feature_names(OPERATIONS, ('kernel', 'filters'), values)
  seen = {n: float(x) for n, x in zip(found, mu, strict=True) if x}
  assert seen['conv kernel=3'] == seen['conv filters=16'] == 1.0
  assert seen['conv kernel=3 -> conv kernel=1'] == 0.5
  assert seen['conv filters=16 -> conv filters=32'] == 0.5


def test_missing_attribute_values_are_refused():
  """zip would silently drop a column."""
  graph = make_graph([('conv', 3, [0])])
  with pytest.raises(ValueError, match='one tuple'):
    features.feature_counts(graph, len(OPERATIONS), (), 0.9)


def test_discount_can_be_differentiated():
  """The discount is traced, so that it can be swept or tuned."""
  graph = make_graph([('conv', 3, [0]), ('add', 0, [0, 1])])
  by_discount = jax.jit(jax.jacfwd(lambda d: counts(graph, d)))(0.5)
  table = dict(zip(names(), by_discount, strict=True))
  assert table['conv kernel=3'] == 0.0  # depth 1: discount^0
  assert table['add kernel=0'] == 1.0  # depth 2: discount^1


def test_normalise_gives_unit_length_and_keeps_zero():
  """An empty block must not become NaN."""
  mu = jnp.array([[3.0, 4.0], [0.0, 0.0]])
  expected = [[0.6, 0.8], [0.0, 0.0]]
  np.testing.assert_allclose(features.normalise(mu), expected, rtol=1e-6)


def test_random_graphs_cover_every_class():
  """Otherwise the property tests above would prove less than they say."""
  rng = np.random.default_rng(0)
  graphs = stack([random_graph(rng) for _ in range(300)])
  total = np.asarray(jax.jit(jax.vmap(counts))(graphs).sum(0))
  seen = {n for n, x in zip(names(), total, strict=True) if x}
  wanted = itertools.product(OPERATIONS[1:], features.FAN_OUTS)
  assert {f'{o} fan-out {f}' for o, f in wanted} <= seen
  wanted = itertools.product(OPERATIONS[1:], features.SPANS)
  assert {f'{o} span {s}' for o, s in wanted} <= seen
