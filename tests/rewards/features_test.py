"""Feature counts: hand-computed, and blind to the numbering of nodes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from irlas_jax.rewards import features
from irlas_jax.types import Graph

ROWS = ('input', 'conv', 'add', 'pool', 'concat')
JOIN = ROWS.index('concat')
KERNELS = (0, 1, 3, 5)
NUMBER = 200  # of random graphs; the same throughout, to compile once
OPERATIONS = features.labels(
  {name: [(row, features.ANY)] for row, name in enumerate(ROWS)}
)
KINDS = features.labels(
  {
    f'{name} {kernel}': [(row, kernel)]
    for (row, name), kernel in itertools.product(enumerate(ROWS), KERNELS)
  }
)
FAMILIES = features.labels(
  {'input': [(0, -1)], 'single': [(1, -1), (3, -1)], 'merge': [(2, -1), (4, 0)]}
)
RESOLVED = [  # what two resolutions and all tables consist of
  ((labels,), (table,))
  for labels in (OPERATIONS, KINDS)
  for table in features.TABLES
]

pytestmark = pytest.mark.usefixtures('quick_compiles')
normalised_or_not = pytest.mark.parametrize('normalised', (True, False))


@functools.cache
def topology(
  resolutions=(OPERATIONS,), tables=tuple(features.TABLES), **fields
):
  """Raw counts of all tables with discount 1 / 2, if nothing else is said."""
  fields = {'join': JOIN, 'discount': 0.5, 'normalised': False} | fields
  phi = features.topology(resolutions, tables, **fields)
  return phi._replace(counts=jax.jit(phi.counts), shares=jax.jit(phi.shares))


@functools.cache
def mapped(**fields):
  """Of many graphs at once, at two resolutions."""
  phi = topology((OPERATIONS, KINDS), **fields)
  shares = jax.vmap(phi.shares, in_axes=(0, None))
  return phi._replace(
    counts=jax.jit(jax.vmap(phi.counts)), shares=jax.jit(shares)
  )


def make_graph(layers, num_nodes=8):
  """Layers (operation, kernel, predecessors); what nobody reads is output."""
  ops = np.full(num_nodes, -1, np.int32)
  attrs = np.zeros((num_nodes, 1), np.int32)
  edges = np.zeros((num_nodes, num_nodes), bool)
  ops[0] = 0
  for v, (operation, kernel, preds) in enumerate(layers, start=1):
    ops[v], attrs[v, 0] = ROWS.index(operation), kernel
    edges[list(preds), v] = True
  outputs = (ops >= 0) & ~edges.any(1)
  return Graph(ops, attrs, edges, outputs.astype(np.int8))


def random_graph(rng, num_nodes=9):
  size = rng.integers(2, num_nodes)
  layers = []
  for v in range(1, size):
    preds = np.flatnonzero(rng.random(v) < rng.choice([0.2, 0.5]))
    preds = preds if len(preds) else [rng.integers(v)]
    operation = ROWS[rng.integers(1, len(ROWS))]
    layers.append((operation, rng.choice(KERNELS), preds))
  return make_graph(layers, num_nodes)


def random_graphs(seed, number):
  rng = np.random.default_rng(seed)
  return [random_graph(rng) for _ in range(number)]


def topological_order(rng, graph):
  """Another order of the nodes in which each stands after what it reads."""
  size = int((graph.ops >= 0).sum())
  order = [0]
  while len(order) < size:
    read = graph.edges[:, :size].sum(0)
    ready = read == graph.edges[order][:, :size].sum(0)
    ready[order] = False
    order.append(rng.choice(np.flatnonzero(ready)))
  return np.array([*order, *range(size, len(graph.ops))])


def renumber(graph, order):
  edges = graph.edges[order][:, order]
  return Graph(
    graph.ops[order], graph.attrs[order], edges, graph.outputs[order]
  )


def concatenated(graph):
  """The same with a layer that concatenates what nobody reads."""
  size, outputs = (graph.ops >= 0).sum(), graph.outputs == 1
  if outputs.sum() == 1:
    return graph
  graph = jax.tree.map(np.copy, graph)
  graph.ops[size], graph.edges[:, size] = JOIN, outputs
  graph.outputs[:] = np.arange(len(graph.ops)) == size
  return graph


def stack(graphs):
  return jax.tree.map(
    lambda *x: jnp.stack([jnp.asarray(y) for y in x]), *graphs
  )


def told(phi, mu):
  """{name: count} of all that was counted."""
  return {n: float(x) for n, x in zip(phi.names, mu, strict=True) if x}


RESIDUAL = make_graph([('conv', 3, [0]), ('conv', 1, [1]), ('add', 0, [0, 2])])
INCEPTION = make_graph(
  [('conv', 1, [0]), ('conv', 1, [0]), ('conv', 3, [2]), ('pool', 3, [0])]
)


@pytest.mark.parametrize('jit', (True, False))
def test_residual_block_has_hand_computed_counts(jit):
  """input -> conv 3 -> conv 1, added to the input; depths 1, 2, 3."""
  phi = topology()
  with jax.disable_jit(not jit):
    mu = phi.counts(RESIDUAL)
  assert told(phi, mu) == {
    'conv': 1.5,
    'add': 0.25,
    'conv fan-out 1': 1.5,
    'add fan-out 0': 0.25,
    'conv fan-in 1': 1.5,
    'add fan-in 2+': 0.25,
    'conv depth 1': 1.0,
    'conv depth 2': 0.5,
    'add depth 3+': 0.25,
    'input -> conv': 1.0,
    'conv -> conv': 0.5,
    'conv -> add': 0.25,
    'input -> add': 0.25,
    'conv span 1': 1.5,
    'add span 1': 0.25,
    'add span 3+': 0.25,
  }


def test_several_outputs_count_as_their_concatenation():
  """Of three branches, depths 1, 2, 1; it is a node of depth 3 then."""
  phi = topology()
  assert told(phi, phi.counts(INCEPTION)) == {
    'conv': 2.5,
    'pool': 1.0,
    'concat': 0.25,
    'conv fan-out 1': 2.5,
    'pool fan-out 1': 1.0,
    'concat fan-out 0': 0.25,
    'conv fan-in 1': 2.5,
    'pool fan-in 1': 1.0,
    'concat fan-in 2+': 0.25,
    'conv depth 1': 2.0,
    'conv depth 2': 0.5,
    'pool depth 1': 1.0,
    'concat depth 3+': 0.25,
    'input -> conv': 2.0,
    'conv -> conv': 0.5,
    'input -> pool': 1.0,
    'conv -> concat': 0.5,
    'pool -> concat': 0.25,
    'conv span 1': 2.5,
    'pool span 1': 1.0,
    'concat span 1': 0.25,
    'concat span 2': 0.5,
  }


def test_without_a_join_several_outputs_stay_open():
  """-1 is no operation; a second output's role is not joined either."""
  phi = topology(tables=('nodes', 'fan_out'), join=-1)
  assert told(phi, phi.counts(INCEPTION)) == {
    'conv': 2.5,
    'pool': 1.0,
    'conv fan-out 0': 1.5,
    'conv fan-out 1': 1.0,
    'pool fan-out 0': 1.0,
  }
  roles = np.array([0, 1, 0, 2, 0, 0, 0, 0], np.int8)
  joined = topology(tables=('nodes', 'fan_out'))
  np.testing.assert_array_equal(
    joined.counts(INCEPTION._replace(outputs=roles)), phi.counts(INCEPTION)
  )


def test_labels_go_from_fine_to_coarse():
  """A label has several patterns, and each attribute a value or any."""
  phi = topology((KINDS, FAMILIES), ('nodes', 'reads'))
  assert told(phi, phi.counts(RESIDUAL)) == {
    'conv 3': 1.0,
    'conv 1': 0.5,
    'add 0': 0.25,
    'input 0 -> conv 3': 1.0,
    'conv 3 -> conv 1': 0.5,
    'conv 1 -> add 0': 0.25,
    'input 0 -> add 0': 0.25,
    'single': 1.5,
    'merge': 0.25,
    'input -> single': 1.0,
    'single -> single': 0.5,
    'single -> merge': 0.25,
    'input -> merge': 0.25,
  }


def test_a_node_counts_once_under_a_label_and_not_without_one():
  """Patterns that overlap would count it twice."""
  labels = features.labels({'small': [(1, 1), (features.ANY, 1)]})
  phi = topology((labels,), ('nodes', 'reads'))
  assert told(phi, phi.counts(RESIDUAL)) == {'small': 0.5}


def test_columns_are_told_apart():
  """Filters of the second attribute column must not land in the first."""
  graph = make_graph([('conv', 3, [0]), ('conv', 1, [1])])
  attrs = np.concatenate([graph.attrs, [[0], [16], [32]] + [[0]] * 5], 1)
  kernels = {f'kernel {k}': [(1, k, features.ANY)] for k in (1, 3, 16)}
  filters = {f'filters {f}': [(1, features.ANY, f)] for f in (3, 16, 32)}
  resolutions = features.labels(kernels), features.labels(filters)
  phi = topology(resolutions, ('nodes', 'reads'))
  assert told(phi, phi.counts(graph._replace(attrs=attrs))) == {
    'kernel 3': 1.0,
    'kernel 1': 0.5,
    'kernel 3 -> kernel 1': 0.5,
    'filters 16': 1.0,
    'filters 32': 0.5,
    'filters 16 -> filters 32': 0.5,
  }


def test_renumbering_the_nodes_changes_nothing():
  """Features that read node indices would tell isomorphic graphs apart."""
  rng = np.random.default_rng(0)
  graphs = random_graphs(0, NUMBER)
  others = [renumber(g, topological_order(rng, g)) for g in graphs]
  pairs = zip(graphs, others, strict=True)
  moved = [(a.edges != b.edges).any() for a, b in pairs]
  assert np.mean(moved) > 0.3
  counts = mapped().counts
  np.testing.assert_allclose(
    counts(stack(graphs)), counts(stack(others)), atol=1e-6
  )


def test_writing_out_the_concatenation_changes_nothing():
  """The block's end is the same network, with a layer for it or without."""
  graphs = random_graphs(3, NUMBER)
  others = list(map(concatenated, graphs))
  written = [
    (a.ops != b.ops).any() for a, b in zip(graphs, others, strict=True)
  ]
  assert 0.3 < np.mean(written) < 1
  counts = mapped().counts
  np.testing.assert_allclose(
    counts(stack(graphs)), counts(stack(others)), atol=1e-6
  )


def test_padding_counts_nothing():
  """A block must not score differently in a deeper space."""
  layers = [('conv', 3, [0]), ('pool', 3, [0])]
  small, large = make_graph(layers, 3), make_graph(layers, 12)
  counts = topology((OPERATIONS, KINDS)).counts
  np.testing.assert_array_equal(counts(small), counts(large))
  attrs, edges = large.attrs.copy(), large.edges.copy()
  outputs = large.outputs.copy()
  # Left in padding by whoever wrote it.
  attrs[3:], edges[1, 5], edges[5, 6], outputs[7] = 3, True, True, 1
  dirty = large._replace(attrs=attrs, edges=edges, outputs=outputs)
  np.testing.assert_array_equal(counts(small), counts(dirty))


def test_order_of_operations_is_seen():
  """1-3-1 and 3-1-1 have the same operations in different places."""
  chains = [
    make_graph([('conv', k, [v]) for v, k in enumerate(kernels)])
    for kernels in ((1, 3, 1), (3, 1, 1))
  ]
  nodes, reads = (
    topology((KINDS,), (table,), discount=1.0) for table in ('nodes', 'reads')
  )
  np.testing.assert_array_equal(*map(nodes.counts, chains))
  first, second = map(reads.counts, chains)
  assert np.abs(first - second).max() == 1


def test_undiscounted_counts_add_up_to_nodes_and_edges():
  """Every node, or every edge, is in exactly one class of each table."""
  graphs = list(map(concatenated, random_graphs(1, NUMBER)))
  phi = mapped(discount=1)
  mu = phi.counts(stack(graphs))
  nodes = np.array([(graph.ops > 0).sum() for graph in graphs])
  edges = np.array([graph.edges.sum() for graph in graphs])
  ends = np.cumsum([len(topology(*one).names) for one in RESOLVED])
  parts = np.split(mu, ends[:-1], axis=1)
  for (_, (table,)), part in zip(RESOLVED, parts, strict=True):
    expected = edges if table in ('reads', 'spans') else nodes
    np.testing.assert_array_equal(part.sum(1), expected, table)


def test_depth_is_the_longest_path():
  """Against networkx; the shortest path would pass most other tests."""
  depths = jax.jit(features.depths)
  for graph in random_graphs(2, 20):
    other = nx.from_numpy_array(graph.edges, create_using=nx.DiGraph)
    expected = np.zeros(len(graph.ops), int)
    for generation, nodes in enumerate(nx.topological_generations(other)):
      expected[nodes] = generation
    np.testing.assert_array_equal(depths(graph.edges), expected)


@pytest.mark.parametrize('table', features.TABLES)
@pytest.mark.parametrize(
  'resolutions', ((KINDS,), (FAMILIES, OPERATIONS, KINDS))
)
def test_every_feature_has_one_name(resolutions, table):
  """Tables would be labelled wrongly if names and counts differed in size."""
  phi = topology(resolutions, (table,))
  assert jax.eval_shape(phi.counts, RESIDUAL).shape == (len(phi.names),)
  if len(resolutions) == 1:
    assert len(set(phi.names)) == len(phi.names)


def test_resolutions_and_tables_stand_in_the_order_given():
  """Resolution by resolution, so that weights can be read."""
  phi = topology((OPERATIONS, KINDS))
  parts = [topology(*one) for one in RESOLVED]
  assert phi.names == sum((part.names for part in parts), ())
  together, alone = jax.jit(
    lambda graph: (phi.counts(graph), [part.counts(graph) for part in parts])
  )(INCEPTION)
  np.testing.assert_array_equal(together, np.concatenate(alone))


def test_random_graphs_cover_every_class():
  """Otherwise the property tests above would prove less than they say."""
  graphs = random_graphs(0, NUMBER)
  phi = mapped()
  seen = told(phi, phi.counts(stack(graphs)).sum(0)).keys()
  classes = {
    'fan-out': ('0', '1', '2+'),
    'fan-in': ('1', '2+'),
    'depth': ('1', '2', '3+'),
    'span': ('1', '2', '3+'),
  }
  for kind, told_apart in classes.items():
    wanted = itertools.product(ROWS[1:], told_apart)
    assert {f'{name} {kind} {c}' for name, c in wanted} <= seen
  assert {f'{u} -> {v}' for u in ROWS for v in ROWS[1:]} <= seen


def test_discount_can_be_differentiated():
  """The discount is traced, so that it can be swept or tuned."""
  graph = make_graph([('conv', 3, [0]), ('add', 0, [0, 1])])
  names = topology(tables=('nodes',)).names

  def counts(discount):
    phi = features.topology(
      [OPERATIONS], ['nodes'], discount=discount, normalised=False
    )
    return phi.counts(graph)

  by_discount = jax.jit(jax.jacfwd(counts))(0.5)
  table = dict(zip(names, by_discount, strict=True))
  assert table['conv'] == 0.0  # depth 1: discount^0
  assert table['add'] == 1.0  # depth 2: discount^1


def test_normalise_gives_unit_length_and_keeps_zero():
  """An empty block must not become NaN."""
  mu = jnp.array([[3.0, 4.0], [0.0, 0.0]])
  expected = [[0.6, 0.8], [0.0, 0.0]]
  np.testing.assert_allclose(features.normalise(mu), expected, rtol=1e-6)
  raw, unit = topology(), topology(normalised=True)
  np.testing.assert_allclose(
    unit.counts(RESIDUAL),
    raw.counts(RESIDUAL) / np.linalg.norm(raw.counts(RESIDUAL)),
    rtol=1e-6,
  )
  np.testing.assert_array_equal(unit.counts(make_graph([])), 0)


@normalised_or_not
def test_shares_by_hand(normalised):
  """A node's own features are the node's, what it reads is the edge's."""
  phi = topology(normalised=normalised)
  worth = {'conv': 1.0, 'add fan-in 2+': 8.0, 'conv -> add': 16.0}
  worth |= {'add span 3+': -4.0, 'conv depth 2': 2.0, 'pool': 99.0}
  weights = jnp.array([worth.get(name, 0.0) for name in phi.names])
  found = phi.shares(RESIDUAL, weights)
  size = len(RESIDUAL.ops) + 1
  nodes, edges = np.zeros(size), np.zeros((size, size))
  nodes[1:4] = [1.0, 0.5 + 0.5 * 2, 0.25 * 8]
  edges[2, 3], edges[0, 3] = 0.25 * 16, 0.25 * -4
  length = np.linalg.norm(topology().counts(RESIDUAL)) if normalised else 1
  np.testing.assert_allclose(found.nodes, nodes / length, rtol=1e-6)
  np.testing.assert_allclose(found.edges, edges / length, rtol=1e-6)


def test_shares_of_the_join_stand_last():
  """A drawing looks for them there, since it is no node of the graph."""
  phi = topology(tables=('nodes', 'reads'))
  worth = {'concat': 2.0, 'pool -> concat': 4.0, 'conv': 8.0}
  weights = jnp.array([worth.get(name, 0.0) for name in phi.names])
  nodes, edges = phi.shares(INCEPTION, weights)
  np.testing.assert_allclose(nodes[:5], [0, 8, 8, 4, 0])
  np.testing.assert_allclose(nodes[5:], [0, 0, 0, 0.5])
  np.testing.assert_allclose(edges[4, -1], 1.0)
  assert np.count_nonzero(edges) == 1


@normalised_or_not
def test_shares_add_up_to_the_value(normalised):
  """w.mu would be explained in part only, or twice."""
  graphs = stack(random_graphs(4, NUMBER))
  phi = mapped(normalised=normalised)
  weights = jax.random.normal(jax.random.key(0), (len(phi.names),))
  nodes, edges = phi.shares(graphs, weights)
  np.testing.assert_allclose(
    nodes.sum(1) + edges.sum((1, 2)), phi.counts(graphs) @ weights, atol=1e-4
  )
  real = np.pad(graphs.ops > 0, ((0, 0), (0, 1)), constant_values=True)
  np.testing.assert_array_equal(np.asarray(nodes)[~real], 0)
  there = np.pad(graphs.edges, ((0, 0), (0, 1), (0, 1)))
  there[..., -1] = True
  np.testing.assert_array_equal(np.asarray(edges)[~there], 0)


def test_shares_move_with_the_nodes():
  """A share belongs to what a node is, not to where it stands."""
  rng = np.random.default_rng(5)
  graphs = random_graphs(5, NUMBER)
  orders = np.stack([topological_order(rng, graph) for graph in graphs])
  others = stack(list(map(renumber, graphs, orders)))
  phi = mapped()
  weights = jax.random.normal(jax.random.key(0), (len(phi.names),))
  one, other = phi.shares(stack(graphs), weights), phi.shares(others, weights)
  orders = np.pad(orders, ((0, 0), (0, 1)), constant_values=orders.shape[1])
  rows = np.arange(len(graphs))
  np.testing.assert_allclose(
    other.nodes, one.nodes[rows[:, None], orders], atol=1e-5
  )
  np.testing.assert_allclose(
    other.edges,
    one.edges[rows[:, None, None], orders[:, :, None], orders[:, None]],
    atol=1e-5,
  )


def test_shares_of_a_block_that_counts_nothing_are_zero():
  """Its counts have length 0, and a drawing of NaN is black."""
  labels = features.labels({'pool': [(ROWS.index('pool'), features.ANY)]})
  phi = topology((labels,), ('nodes',), normalised=True)
  found = phi.shares(RESIDUAL, jnp.ones(1))
  np.testing.assert_array_equal(found.nodes, 0)
  np.testing.assert_array_equal(found.edges, 0)


@pytest.mark.parametrize('nothing', (([], ['nodes']), ([OPERATIONS], [])))
def test_no_features_at_all_are_refused(nothing):
  """An array of size 0 would fail far from the cause."""
  with pytest.raises(ValueError, match='there are no features'):
    features.topology(*nothing)


@pytest.mark.parametrize('patterns', ([], [(1, 3), (1,)]))
def test_patterns_that_are_not_alike_are_refused(patterns):
  """NumPy's words would name no label."""
  with pytest.raises(ValueError, match='labels: patterns'):
    features.labels({'conv': patterns})


def test_a_table_that_does_not_exist_is_refused_with_those_that_do():
  """KeyError would name nothing to choose from."""
  with pytest.raises(ValueError, match="'fanout': choose from nodes, fan_out"):
    features.topology([OPERATIONS], ['nodes', 'fanout'])


@pytest.mark.parametrize('num_columns', (0, 2))
def test_patterns_that_do_not_fit_the_attributes_are_refused(num_columns):
  """Broadcasting would compare an operation with an attribute."""
  attrs = np.zeros((len(RESIDUAL.ops), num_columns), np.int32)
  with pytest.raises(ValueError, match=f'{num_columns} attributes'):
    topology().counts(RESIDUAL._replace(attrs=attrs))
