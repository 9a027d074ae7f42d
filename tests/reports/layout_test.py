"""Where nodes stand and edges run, for every block a search may bring."""

import numpy as np
import pytest

from irlas_jax import experts
from irlas_jax import graph as graphs
from irlas_jax.reports import layout as layouts
from irlas_jax.spaces import block, nsc
from irlas_jax.types import Graph


def _random_block(num_layers, seed):
  rng = np.random.default_rng(seed)
  table = block.choices(num_layers, 'separable')
  latest = np.array([choice.preds[-1] for choice in table])
  layers = [
    table[rng.choice(np.flatnonzero(latest <= t))] for t in range(num_layers)
  ]
  return nsc.to_graph(layers)


def _chain(num_layers, reads):
  """A block of identities; `reads` gives the predecessor of layer i."""
  layers = [block.Choice('identity', 0, (reads(i),)) for i in range(num_layers)]
  return nsc.to_graph(layers)


def _expert(name):
  return nsc.to_graph(experts.load(name, 'separable'))


BLOCKS = {
  **{
    f'{t} layers, {s}': _random_block(t, s) for t in (6, 12) for s in range(8)
  },
  **{f'23 layers, {s}': _random_block(23, s) for s in range(12)},
  **{name: _expert(name) for name in experts.EXPERTS},
  'chain': _chain(23, lambda i: i),
  'fan': _chain(23, lambda i: 0),
  'comb': _chain(23, lambda i: i - i % 2),
  'one layer': _chain(1, lambda i: 0),
}


@pytest.fixture(scope='module', params=BLOCKS, name='drawn')
def _drawn(request):
  graph = BLOCKS[request.param]
  return graph, layouts.layout(graph)


def _boxes(layout):
  """[n, 4]: left, top, right, bottom."""
  half = np.stack(
    [layout.widths / 2, np.full(len(layout.widths), layouts.HEIGHT / 2)], axis=1
  )
  return np.concatenate(
    [layout.positions - half, layout.positions + half], axis=1
  )


def test_no_two_nodes_overlap(drawn):
  left, top, right, bottom = _boxes(drawn[1]).T
  beside = (left[:, None] >= right + 0.05) | (right[:, None] + 0.05 <= left)
  above = (top[:, None] >= bottom + 0.05) | (bottom[:, None] + 0.05 <= top)
  assert np.all(beside | above | np.eye(len(left), dtype=bool))


def test_no_straight_edge_passes_through_a_node(drawn):
  """Edges to the next row, drawn as straight lines, miss every other node."""
  layout = drawn[1]
  boxes = _boxes(layout)
  for (u, v), route in layout.routes.items():
    if len(route) > 2:
      continue
    line = route[0] + np.linspace(0, 1, 50)[:, None] * (route[1] - route[0])
    inside = np.all(line[:, None] > boxes[:, :2], axis=2)
    inside &= np.all(line[:, None] < boxes[:, 2:], axis=2)
    inside[:, [u, v]] = False
    assert not inside.any()


def test_a_trunk_crosses_rows_upright_and_between_nodes(drawn):
  layout = drawn[1]
  left, top, right, bottom = _boxes(layout).T
  for route in layout.routes.values():
    upper, lower = route[1:-1:2], route[2:-1:2]
    np.testing.assert_allclose(upper[:, 0], lower[:, 0])
    for x, y in (upper + lower) / 2:
      row = (top < y) & (y < bottom)
      assert row.any()
      assert np.all((x <= left[row] - 0.05) | (x >= right[row] + 0.05))


def test_rows_are_depths_and_the_output_is_lowest(drawn):
  graph, layout = drawn
  depth = graphs.depths(graph)
  y = layout.positions[:, 1]
  _, first, row = np.unique(y, return_index=True, return_inverse=True)
  np.testing.assert_array_equal(row[:-1], depth)
  assert row[-1] == depth.max() + 1
  assert layout.positions.shape == (graphs.size(graph) + 1, 2)


def test_every_edge_has_a_route_from_bottom_to_top(drawn):
  graph, layout = drawn
  edges = {(int(u), int(v)) for u, v in np.argwhere(graph.edges)}
  output = len(layout.positions) - 1
  edges |= {(int(u), output) for u in np.flatnonzero(graph.outputs)}
  assert layout.routes.keys() == edges
  half = np.array([0, layouts.HEIGHT / 2])
  for (u, v), route in layout.routes.items():
    np.testing.assert_allclose(route[0], layout.positions[u] + half)
    end = route[-1] - layout.positions[v] + half
    assert abs(end[0]) < layout.widths[v] / 2 and abs(end[1]) < 1e-9
    assert np.all(np.diff(route[:, 1]) > 0)


def test_arrows_into_one_node_end_apart_and_in_the_order_they_come(drawn):
  layout = drawn[1]
  for v in range(len(layout.positions)):
    routes = [r for (_, reader), r in layout.routes.items() if reader == v]
    routes.sort(key=lambda route: route[-2, 0])
    assert np.all(np.diff([route[-1, 0] for route in routes]) > 0.15)


def test_starts_at_zero_and_is_the_same_twice(drawn):
  graph, layout = drawn
  again = layouts.layout(graph)
  np.testing.assert_array_equal(layout.positions, again.positions)
  assert abs(_boxes(layout)[:, 1].min()) < 1e-9
  xs = np.concatenate([route[:, 0] for route in layout.routes.values()])
  assert abs(min(_boxes(layout)[:, 0].min(), xs.min())) < 1e-9


def _segments_cross(layout):
  """Number of pairs of links between two rows whose ends are swapped."""
  links = {
    (*map(float, a.round(6)), *map(float, b.round(6)))
    for route in layout.routes.values()
    for a, b in zip(route[::2], route[1::2], strict=True)
  }
  return sum(
    first[1] == second[1] and first[0] < second[0] and first[2] > second[2]
    for first in links
    for second in links
  )


@pytest.mark.parametrize('name', [*experts.EXPERTS, 'chain', 'fan', 'comb'])
def test_planar_blocks_are_drawn_without_crossings(name):
  assert _segments_cross(layouts.layout(BLOCKS[name])) == 0


def test_ordering_removes_crossings():
  """Layers 3 and 4 read 2 and 1: in order of their numbers they would cross."""
  layers = [block.Choice('identity', 0, (p,)) for p in (0, 0, 2, 1)]
  assert _segments_cross(layouts.layout(nsc.to_graph(layers))) == 0


def test_crossings_by_hand():
  """Two sources, two readers: crossed, parallel, and all four edges."""
  row = np.array([0, 0, 1, 1])
  link = np.zeros((4, 4), bool)
  link[[0, 1], [3, 2]] = True
  assert layouts.crossings(link, np.array([0, 1, 0, 1]), row) == 1
  assert layouts.crossings(link, np.array([0, 1, 1, 0]), row) == 0
  link[:2, 2:] = True
  assert layouts.crossings(link, np.array([0, 1, 0, 1]), row) == 1


def test_a_lone_chain_is_one_upright_line():
  x = layouts.layout(BLOCKS['chain']).positions[:, 0]
  np.testing.assert_allclose(x, x[0])


def test_the_skip_of_a_residual_block_is_upright_beside_it():
  layout = layouts.layout(BLOCKS['resnet'])
  skip = layout.routes[0, 3]
  assert len(skip) == 6
  np.testing.assert_allclose(skip[1:5, 0], skip[1, 0])
  right = layout.positions[1:3, 0] + layout.widths[1:3] / 2
  assert np.all(skip[1, 0] > right)


def test_widths_are_kept_and_grow_under_many_arrows():
  graph = BLOCKS['fan']
  layout = layouts.layout(graph, np.linspace(0.5, 2, 25))
  np.testing.assert_allclose(layout.widths[:-1], np.linspace(0.5, 2, 25)[:-1])
  assert layout.widths[-1] > 23 * 0.2


def test_padding_does_not_count():
  layers = experts.load('resnext', 'separable')
  wide = layouts.layout(nsc.to_graph(layers, 23))
  narrow = layouts.layout(nsc.to_graph(layers, len(layers)))
  np.testing.assert_array_equal(wide.positions, narrow.positions)


def test_wrong_graphs_and_widths_are_named():
  graph = BLOCKS['resnet']
  batch = Graph(*(np.stack([field, field]) for field in graph))
  with pytest.raises(ValueError, match='one graph of a batch'):
    layouts.layout(batch)
  with pytest.raises(ValueError, match='no nodes'):
    layouts.layout(graph._replace(ops=np.full_like(graph.ops, -1)))
  with pytest.raises(ValueError, match='give 5'):
    layouts.layout(graph, [1.0, 1.0])
