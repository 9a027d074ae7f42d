"""Fingerprints against the exact digest, and the lookup of a table's rows."""

import itertools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import graph as graphs
from irlas_jax.policies import sampling
from irlas_jax.spaces import block, fingerprint, module_hash, nasbench101
from irlas_jax.types import Graph

FILES = ('ecnas_4v', 'ecnas_5v', 'nasbench101_sample30001')
_fingerprints = jax.jit(jax.vmap(fingerprint.fingerprint))
_find = jax.jit(jax.vmap(fingerprint.find, (None, 0)))


def _batch(rows):
  return Graph(*(np.stack(field) for field in zip(*rows, strict=True)))


def _rows(cells):
  return [Graph(*row) for row in zip(*cells, strict=True)]


def _names(cells):
  words = np.asarray(_fingerprints(cells)).astype(np.uint64)
  return (words[:, 0] << np.uint64(32)) | words[:, 1]


def _renumbered(rng, graph):
  """The same graph in a random topological numbering."""
  size, order = graphs.size(graph), []
  waiting = graph.edges[:size, :size].sum(0)
  while len(order) < size:
    ready = [v for v in np.flatnonzero(waiting == 0) if v not in order]
    order.append(ready[rng.integers(len(ready))])
    waiting = waiting - graph.edges[order[-1], :size]
  return graphs.permute(graph, order)


def _all_cells(num_vertices):
  """Every labelled cell of exactly so many vertices, in all numberings."""
  rows, columns = np.triu_indices(num_vertices, 1)
  bits = np.array(list(itertools.product([0, 1], repeat=len(rows))))
  adj = np.zeros((len(bits), 7, 7), int)
  adj[:, rows, columns] = bits
  inner = np.arange(num_vertices)
  full = adj.any(1)[:, inner[1:]].all(1) & adj.any(2)[:, inner[:-1]].all(1)
  adj = adj[full & (adj.sum((1, 2)) <= nasbench101.MAX_EDGES)]
  shape = -1, num_vertices - 2
  ops = np.array(list(itertools.product(range(3), repeat=shape[1])))
  ops = np.pad(ops.reshape(3 ** shape[1], shape[1]), ((0, 0), (1, 1)))
  ops[:, 0], ops[:, -1] = -1, -2
  ops = np.pad(ops, ((0, 0), (0, 7 - num_vertices)), constant_values=-3)
  return nasbench101.from_matrices(
    np.repeat(adj, len(ops), 0), np.tile(ops, (len(adj), 1))
  )


@pytest.mark.parametrize(
  'num_vertices, distinct', [(2, 1), (3, 6), (4, 84), (5, 2441), (6, 62010)]
)
def test_as_many_fingerprints_as_cells_of_the_benchmark(num_vertices, distinct):
  """The published numbers of cells, out of all their numberings."""
  assert len(np.unique(_names(_all_cells(num_vertices)))) == distinct


def test_equal_exactly_where_the_digest_is():
  """For cells of 5 vertices, every third numbering of 3,267."""
  cells = Graph(*(field[::3] for field in _all_cells(5)))
  digests = [graphs.digest(row) for row in _rows(cells)]
  pairs = set(zip(_names(cells).tolist(), digests, strict=True))
  assert len(pairs) == len(set(digests)) < len(digests)
  assert len({name for name, _ in pairs}) == len(pairs)


def _blocks(n):
  space = block.block(8, 'dense')
  rng = np.random.default_rng(0)
  table = block.choices(8, 'dense')
  latest = np.array([choice.preds[-1] for choice in table])
  actions = np.zeros((n, 8), np.int32)
  for t in range(8):
    actions[:, t] = 1 + rng.integers(np.sum(latest <= t), size=n)
  actions[np.arange(8) >= rng.integers(1, 9, size=n)[:, None]] = 0
  return Graph(*map(np.asarray, jax.jit(jax.vmap(space.decode))(actions)))


def test_numbering_and_padding_of_blocks_do_not_count():
  """Graphs with attributes, and with several outputs."""
  rng = np.random.default_rng(1)
  blocks = _blocks(300)
  names = _names(blocks)
  assert len(np.unique(names)) > 250
  other = _batch([_renumbered(rng, row) for row in _rows(blocks)])
  assert (other.ops != blocks.ops).any()
  np.testing.assert_array_equal(_names(other), names)
  padded = _batch([graphs.resize(row, 12) for row in _rows(blocks)])
  np.testing.assert_array_equal(_names(padded), names)


@pytest.mark.parametrize('field', ['ops', 'attrs', 'outputs', 'edges'])
def test_every_field_counts(field):
  graph = Graph(
    np.array([0, 1, 2, -1], np.int32),
    np.array([[0, 0], [3, 5], [0, 0], [0, 0]], np.int32),
    np.triu(np.arange(4) < 3, 1) & (np.arange(4) < 3)[:, None],
    np.array([0, 0, 1, 0], np.int8),
  )
  changes = {
    'ops': np.array([0, 2, 2, -1], np.int32),
    'attrs': graph.attrs[:, ::-1],  # the same numbers in other columns
    'outputs': np.array([0, 0, 2, 0], np.int8),
    'edges': graph.edges & (np.arange(4) != 1),
  }
  names = _names(_batch([graph, graph._replace(**{field: changes[field]})]))
  assert names[0] != names[1]


def test_another_salt_gives_other_words_and_jit_the_same():
  graph = nasbench101.parse('conv3x3 | 0-1 1-2')
  plain = fingerprint.fingerprint(graph, 7)
  assert plain.dtype == jnp.uint32 and plain.shape == (2,)
  salted = jax.jit(fingerprint.fingerprint)
  np.testing.assert_array_equal(plain, salted(graph, 7))
  assert not np.any(np.asarray(salted(graph, 8)) == plain)


@pytest.mark.parametrize('num_rows', [1, 2, 3, 64, 91])
def test_rows_are_found_and_nothing_else(num_rows):
  """Also at both ends of the sorted words, for all sizes of a last step."""
  cells = _batch(
    list({graphs.digest(row): row for row in _rows(_all_cells(4))}.values())
    + _rows(_all_cells(3))[:7]
  )
  order = np.random.default_rng(num_rows).permutation(len(cells.ops))
  cells = Graph(*(field[order] for field in cells))
  digests = np.array([graphs.digest(row) for row in _rows(cells)])
  _, first = np.unique(digests, return_index=True)
  table = Graph(*(field[np.sort(first)[:num_rows]] for field in cells))
  where = {graphs.digest(row): i for i, row in enumerate(_rows(table))}
  found = _find(fingerprint.build_index(table, salt=3), cells)
  expected = [where.get(digest, -1) for digest in digests]
  np.testing.assert_array_equal(found, expected)


def test_equal_first_words_are_told_apart_by_the_second():
  """About 20 pairs of the 423,624 cells share a first word."""
  graph = nasbench101.parse('conv3x3 | 0-1 1-2')
  first, second = np.asarray(fingerprint.fingerprint(graph)).tolist()
  words = [
    [first - 1, second],
    *([first, second + i] for i in (-2, -1, 0, 1, 2)),
    [first + 1, second],
  ]
  index = fingerprint.Index(
    jnp.array(words, jnp.uint32), jnp.arange(7) * 10, jnp.uint32(0)
  )
  assert fingerprint.find(index, graph) == 30
  missing = index._replace(words=jnp.delete(index.words, 3, axis=0))
  assert fingerprint.find(missing, graph) == -1


def test_two_rows_with_one_fingerprint_are_refused_by_number():
  texts = ['| 0-1', 'conv3x3 conv1x1 | 0-1 0-2 1-3 2-3', 'conv3x3 | 0-1 1-2']
  texts.append('conv1x1 conv3x3 | 0-1 0-2 1-3 2-3')  # row 1, renumbered
  table = _batch([nasbench101.parse(text) for text in texts])
  with pytest.raises(ValueError, match='Rows (1 and 3|3 and 1) .*same'):
    fingerprint.build_index(table)
  empty = Graph(*(field[:0] for field in table))
  with pytest.raises(ValueError, match='no rows'):
    fingerprint.build_index(empty)


@pytest.fixture(scope='module')
def data():
  """All cells of the files, each once, with their official keys."""
  root = os.environ.get('IRLAS_DATA_DIR')
  if not root:
    pytest.skip('IRLAS_DATA_DIR is not set: no NAS-Bench-101 to read.')
  paths = [
    pathlib.Path(root) / 'nas-bench-101' / f'{name}.npz' for name in FILES
  ]
  if not all(path.is_file() for path in paths):
    pytest.skip(f'IRLAS_DATA_DIR has not all of {", ".join(FILES)}.')
  files = [np.load(path) for path in paths]
  adj, ops, keys = (
    np.concatenate([file[name] for file in files])
    for name in ('adj', 'ops', 'key')
  )
  keys, first = np.unique(keys, return_index=True)
  return nasbench101.from_matrices(adj[first], ops[first]), keys


def test_the_cells_of_the_data_are_found_in_any_numbering(data):
  cells, keys = data
  assert len(keys) > 32000
  index = fingerprint.build_index(cells)
  np.testing.assert_array_equal(_find(index, cells), np.arange(len(keys)))
  rng = np.random.default_rng(0)
  chosen = rng.choice(len(keys), 2000, replace=False)
  others = [
    _renumbered(rng, Graph(*(field[i] for field in cells))) for i in chosen
  ]
  np.testing.assert_array_equal(_find(index, _batch(others)), chosen)


def test_random_cells_outside_the_data_are_not_found(data):
  """The official key says which they are."""
  cells, keys = data
  space = nasbench101.nasbench101()
  actions = sampling.uniform_actions(jax.random.key(0), space, 1000)
  decoded = Graph(*map(np.asarray, jax.jit(jax.vmap(space.decode))(actions)))
  where = {key: row for row, key in enumerate(keys.astype(str).tolist())}
  names = [module_hash.module_hash(row) for row in _rows(decoded)]
  found = np.asarray(_find(fingerprint.build_index(cells), decoded))
  np.testing.assert_array_equal(found, [where.get(key, -1) for key in names])
  assert 0 < np.sum(found < 0) < 1000
