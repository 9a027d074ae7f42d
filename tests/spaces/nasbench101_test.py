"""The cell space against its rules, brute force and the benchmark's files."""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import graph as graphs
from irlas_jax.policies import sampling
from irlas_jax.spaces import fingerprint, genotypes, nasbench101
from irlas_jax.types import Graph

pytestmark = pytest.mark.usefixtures('quick_compiles')
SMALL = [(3, 1), (3, 9), (4, 1), (4, 3), (4, 9), (5, 9)]
# Published: 1, 6, 84 and 2,441 cells of 2, 3, 4 and 5 vertices.
NUM_CELLS = {(3, 9): 7, (4, 9): 91, (5, 9): 2532}
_names = jax.jit(jax.vmap(fingerprint.fingerprint))


def _all_sequences(space):
  """Every complete legal sequence [n, T], by following the masks."""
  legal = jax.jit(jax.vmap(space.legal, (0, None)))
  actions = np.full((1, space.num_steps), 1, np.int32)  # ahead: not to be read
  for t in range(space.num_steps):
    rows, chosen = np.nonzero(np.asarray(legal(actions, t)))
    assert len(set(rows)) == len(actions), 'a sequence without a way on'
    actions = actions[rows]
    actions[:, t] = chosen
  return actions


def _numpy(cells):
  return Graph(*map(np.asarray, cells))


def _decoded(space, actions):
  return _numpy(jax.jit(jax.vmap(space.decode))(actions))


def _rows(cells):
  return [Graph(*row) for row in zip(*cells, strict=True)]


def _distinct(cells):
  """One row of each class by fingerprint, which is tested elsewhere."""
  _, first = np.unique(np.asarray(_names(cells)), axis=0, return_index=True)
  return Graph(*(field[first] for field in cells))


def _assert_cells(cells, max_edges):
  """Every row is a pruned, compact cell within the budget."""
  codes = np.select([cells.ops == 4, cells.ops < 0], [-2, -3], cells.ops - 1)
  again = nasbench101.from_matrices(cells.edges.astype(int), codes)
  for field, want in zip(cells, again, strict=True):
    np.testing.assert_array_equal(field, want)
    assert field.dtype == want.dtype
  assert cells.edges.sum((1, 2)).max() <= max_edges


def _data(name):
  root = os.environ.get('IRLAS_DATA_DIR')
  if not root:
    pytest.skip('IRLAS_DATA_DIR is not set: no NAS-Bench-101 to read.')
  path = pathlib.Path(root) / 'nas-bench-101' / f'{name}.npz'
  if not path.is_file():
    pytest.skip(f'IRLAS_DATA_DIR has no {name}.npz.')
  with np.load(path) as file:
    return nasbench101.from_matrices(file['adj'], file['ops'])


@pytest.mark.parametrize('max_vertices, max_edges', SMALL)
def test_every_legal_sequence_is_a_cell_and_encodes(max_vertices, max_edges):
  space = nasbench101.nasbench101(max_vertices, max_edges)
  cells = _decoded(space, _all_sequences(space))
  _assert_cells(cells, max_edges)
  limits = max_vertices, max_edges
  if limits in NUM_CELLS:
    assert len(_distinct(cells).ops) == NUM_CELLS[limits]
  back = jax.jit(jax.vmap(space.encode))(cells)
  for field, want in zip(_decoded(space, back), cells, strict=True):
    np.testing.assert_array_equal(field, want)


@pytest.mark.parametrize(
  'max_vertices, name', [(4, 'ecnas_4v'), (5, 'ecnas_5v')]
)
def test_all_cells_of_the_complete_tables_are_reached(max_vertices, name):
  """And no others, by digest."""
  space = nasbench101.nasbench101(max_vertices)
  cells = _distinct(_decoded(space, _all_sequences(space)))
  known = _distinct(_data(name))
  found = {graphs.digest(row) for row in _rows(cells)}
  assert found == {graphs.digest(row) for row in _rows(known)}


def test_sampled_cells_of_the_benchmark_encode_legally():
  space = nasbench101.nasbench101()
  cells = Graph(*(field[::10] for field in _data('nasbench101_sample30001')))
  actions = jax.jit(jax.vmap(space.encode))(cells)
  for field, want in zip(_decoded(space, actions), cells, strict=True):
    np.testing.assert_array_equal(field, want)
  masks = jax.jit(jax.vmap(lambda row: sampling.legal_masks(space, row)))
  chosen = np.take_along_axis(
    np.asarray(masks(actions)), np.asarray(actions)[..., None], 2
  )
  assert chosen.all()


@pytest.mark.parametrize('max_vertices, max_edges', [(7, 9), (7, 4), (6, 9)])
def test_random_sequences_of_the_large_spaces_are_cells(
  max_vertices, max_edges
):
  space = nasbench101.nasbench101(max_vertices, max_edges)
  actions = sampling.uniform_actions(jax.random.key(0), space, 2000)
  cells = _decoded(space, actions)
  _assert_cells(cells, max_edges)
  sizes = (cells.ops >= 0).sum(1)
  assert sizes.min() <= 3 and sizes.max() == min(max_vertices, max_edges + 1)


def test_the_order_of_steps_by_hand():
  """4 vertices: 2 operations, 0-1, 0-2, 1-2, then 2-3, 1-3, 0-3."""
  space = nasbench101.nasbench101(4)
  assert (space.num_steps, space.num_actions, space.num_states) == (8, 3, 24)
  cell = space.decode(jnp.array([2, 0, 1, 0, 1, 1, 0, 1]))
  assert nasbench101.text_of(cell) == 'maxpool3x3 conv3x3 | 0-1 0-3 1-2 2-3'
  unread = space.decode(jnp.array([2, 1, 1, 1, 0, 1, 0, 0]))
  assert nasbench101.text_of(unread) == 'conv1x1 | 0-1 1-2'
  assert unread.ops.tolist() == [0, 2, 4, -1]
  assert unread.outputs.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
  'max_edges, actions, t, expected',
  [
    (9, [0, 0], 1, [True, True, True]),  # operations are free
    (9, [0, 0, 1, 0], 4, [True, True, False]),  # an edge or none
    (3, [0, 0, 1, 1], 4, [True, False, False]),  # the last edge is kept back
    (3, [0, 0, 1, 1, 0], 5, [True, True, False]),  # 2-3 completes a path
    (3, [0, 0, 1, 0, 0], 5, [True, True, False]),  # 2-3 leads to no path: fits
    (2, [0, 0, 1, 0, 0], 5, [True, False, False]),  # and does not fit
    (9, [0, 0, 1, 0, 0, 1, 0], 7, [False, True, False]),  # 0-3 is forced
    (9, [0, 0, 1, 0, 0, 0, 1], 7, [True, True, False]),  # 1-3 made it free
    (2, [0, 0, 1, 0, 0, 0, 1], 7, [True, False, False]),  # nothing is left
  ],
)
def test_masks_by_hand(max_edges, actions, t, expected):
  legal = jax.jit(nasbench101.nasbench101(4, max_edges).legal)
  for later in (0, 1, 2):  # what a sampler may hold in entries not chosen yet
    padded = actions[:t] + [later] * (8 - t)
    assert legal(jnp.array(padded), t).tolist() == expected


def test_without_jit():
  space = nasbench101.nasbench101(3)
  actions = np.array([1, 1, 1, 0], np.int32)
  assert space.legal(actions, 3).tolist() == [True, True, False]
  cell = space.decode(actions)
  assert nasbench101.text_of(cell) == 'conv1x1 | 0-1 1-2'
  np.testing.assert_array_equal(space.encode(cell), actions)


def test_dtypes_and_states_are_those_of_the_contract():
  space = nasbench101.nasbench101()
  actions = jnp.arange(space.num_steps) % 2
  cell = jax.eval_shape(space.decode, actions)
  shapes = [(field.shape, field.dtype) for field in cell]
  assert shapes[:2] == [((7,), jnp.int32), ((7, 0), jnp.int32)]
  assert shapes[2:] == [((7, 7), jnp.bool_), ((7,), jnp.int8)]
  assert jax.eval_shape(space.encode, cell).dtype == jnp.int32
  assert space.state(actions, 0) == 0
  assert space.state(actions, 2) == 2 * 3 + 1
  assert space.state(actions, 2).dtype == jnp.int32
  assert space.num_states == 26 * 3


@pytest.mark.parametrize(
  'limits, message',
  [
    ((2, 9), 'space.max_vertices is 2: .*3 to 7'),
    ((8, 9), 'space.max_vertices is 8: .*3 to 7'),
    ((7, 0), 'space.max_edges is 0: .*1 to 9'),
    ((7, 10), 'space.max_edges is 10: .*1 to 9'),
  ],
)
def test_limits_out_of_range_are_refused(limits, message):
  with pytest.raises(ValueError, match=message):
    nasbench101.nasbench101(*limits)


@pytest.mark.parametrize(
  'text',
  [
    '| 0-1',
    'conv3x3 conv1x1 | 0-1 0-3 1-2 2-3',
    'maxpool3x3 conv3x3 conv3x3 conv1x1 conv3x3 '
    '| 0-1 0-2 0-3 1-4 2-4 3-5 4-5 4-6 5-6',
  ],
)
def test_text_is_read_and_written(text):
  cell = nasbench101.parse(text)
  assert nasbench101.text_of(cell) == text
  _assert_cells(Graph(*(field[None] for field in cell)), 9)
  if graphs.size(cell) <= 4:
    small = nasbench101.parse(text, max_vertices=4)
    assert small.ops.shape == (4,) and nasbench101.text_of(small) == text


REFUSED = {
  r'Not a cell: .*Write operations \| edges': 'conv3x3 0-1 1-2',
  'Not a cell': 'conv3x3 | 0-1 | 1-2',
  "Vertex 2 has the unknown operation 'conv5x5': choose one of conv3x3": (
    'conv3x3 conv5x5 | 0-1 1-2 2-3'
  ),
  "Vertex 1 has the unknown operation 'input'": 'input | 0-1 1-2',
  '6 operations make 8 vertices .* at most 7': 'conv1x1 ' * 6 + '| 0-7',
  'Edge 2-1 does not lead forward': 'conv3x3 conv3x3 | 0-1 2-1 2-3',
  'Edge 1-1 does not lead forward': 'conv3x3 | 0-1 1-1 1-2',
  r'Edge 1-3 names vertex 3: vertices are 0 .* to 2': 'conv3x3 | 0-1 1-3',
  'Edge 0-1 is there twice': 'conv3x3 | 0-1 0-1 1-2',
  "'0>1' is not an edge: write source-target": 'conv3x3 | 0>1 1-2',
  '10 edges: at most 9 are allowed, remove 1': (
    'conv1x1 conv1x1 conv1x1 | 0-1 0-2 0-3 0-4 1-2 1-3 1-4 2-3 2-4 3-4'
  ),
  r'No path leads .* to the output \(2\): add .* 0-2': 'conv3x3 | 0-1',
  'No path leads': 'conv3x3 |',
  'Vertex 1 is on no path .* connect it or remove it': 'conv3x3 | 0-1 0-2',
  'Vertex 2 is on no path': 'conv3x3 conv3x3 | 0-1 1-3 2-3',
}


@pytest.mark.parametrize('message', REFUSED)
def test_a_broken_rule_is_named_with_its_place(message):
  with pytest.raises(genotypes.GenotypeError, match=message):
    nasbench101.parse(REFUSED[message])


def test_one_vertex_or_edge_too_many_for_the_space_is_refused():
  text = 'conv3x3 conv3x3 | 0-1 1-2 2-3'
  with pytest.raises(genotypes.GenotypeError, match='4 vertices.*at most 3'):
    nasbench101.parse(text, max_vertices=3)
  with pytest.raises(genotypes.GenotypeError, match='3 edges: at most 2'):
    nasbench101.parse(text, max_edges=2)


def _matrices():
  """Three valid rows: what the files hold."""
  texts = ['| 0-1', 'conv3x3 conv1x1 | 0-1 0-2 1-3 2-3', 'maxpool3x3 | 0-1 1-2']
  cells = [nasbench101.parse(text) for text in texts]
  ops = np.array(
    [
      [-1, -2, -3, -3, -3, -3, -3],
      [-1, 0, 1, -2, -3, -3, -3],
      [-1, 2, -2, -3, -3, -3, -3],
    ],
    np.int8,
  )
  return cells, np.stack([cell.edges for cell in cells]).astype(np.uint8), ops


def test_matrices_of_the_files_are_read():
  cells, adj, ops = _matrices()
  found = nasbench101.from_matrices(adj, ops)
  for i, cell in enumerate(cells):
    for field, want in zip(found, cell, strict=True):
      np.testing.assert_array_equal(field[i], want)
      assert field.dtype == want.dtype


@pytest.mark.parametrize(
  'array, place, value, message',
  [
    ('ops', (1, 2), 3, 'Row 1 .* its operations'),
    ('ops', (1, 3), 0, 'Row 1 .* its operations'),  # no output
    ('ops', (2, 0), 0, 'Row 2 .* its operations'),  # no input
    ('ops', (1, 1), -3, 'Row 1 .* its operations'),  # not compact
    ('adj', (2, 0, 1), 2, 'Row 2 .* of 0 and 1'),
    ('adj', (2, 1, 0), 1, 'Row 2 .* above the diagonal'),
    ('adj', (1, 1, 3), 0, 'Row 1 .* on no path.*prune'),  # 1 is not read
    ('adj', (1, 0, 2), 0, 'Row 1 .* on no path'),  # 2 reads nothing
    ('adj', (0, 0, 5), 1, 'Row 0 .* padding has edges'),
  ],
)
def test_the_first_row_that_is_no_cell_is_named(array, place, value, message):
  _, adj, ops = _matrices()
  {'adj': adj, 'ops': ops}[array][place] = value
  with pytest.raises(ValueError, match=message):
    nasbench101.from_matrices(adj, ops)


def test_the_first_of_two_bad_rows_and_too_many_edges_are_named():
  adj = np.triu(np.ones((3, 5, 5), int), 1)
  ops = np.array([[-1, 0, 0, 0, -2]] * 3)
  adj[0, 0, 4] = adj[1, 0, 3] = 0  # 9 edges
  with pytest.raises(ValueError, match='Row 2 .* more than 9 edges'):
    nasbench101.from_matrices(adj, ops)
  ops[1, 0] = 2
  with pytest.raises(ValueError, match='Row 1 .* its operations'):
    nasbench101.from_matrices(adj, ops)
