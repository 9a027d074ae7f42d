"""NAS-Bench-201's cells: all of them, by plain Python and by the data."""

import os
import pathlib

import jax
import numpy as np
import pytest

from irlas_jax import graph
from irlas_jax.spaces import genotypes, nasbench201
from irlas_jax.tables import choices as tables
from irlas_jax.tables import nasbench201 as official
from irlas_jax.types import Graph

pytestmark = pytest.mark.usefixtures('quick_compiles')
SPACE = nasbench201.nasbench201()
CELLS = tables.all_actions((5,) * 6)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def cell(text):
  """A cell from one letter an edge: none, skip, 1x1, 3x3, pool."""
  return np.array(['ns13p'.index(letter) for letter in text], np.int32)


@pytest.fixture(name='decoded', scope='module')
def fixture_decoded():
  """All cells as graphs."""
  return jax.device_get(jax.jit(jax.vmap(SPACE.decode))(CELLS))


@pytest.fixture(name='pruned', scope='module')
def fixture_pruned(decoded):
  return jax.device_get(jax.jit(jax.vmap(nasbench201.effective))(decoded))


def row(graphs, i):
  return Graph(*(field[i] for field in graphs))


def test_all_cells_differ_and_encode_back(decoded):
  assert len(np.unique(decoded.ops, axis=0)) == nasbench201.NUM_CELLS == 15625
  encoded = jax.jit(jax.vmap(SPACE.encode))(decoded)
  np.testing.assert_array_equal(encoded, CELLS)
  assert (decoded.edges == decoded.edges[0]).all()


def test_no_two_cells_are_isomorphic(decoded):
  """One operation at each edge: as symmetric as different cells can be."""
  one_of_each = [
    [a if e == edge else b for e in range(6)]
    for edge in range(6) for a in range(5) for b in range(5) if a != b
  ]  # fmt: skip
  places = np.ravel_multi_index(np.array(one_of_each).T, (5,) * 6)
  digests = {graph.digest(row(decoded, i)) for i in places}
  assert len(digests) == 6 * 5 * 4


def test_operations_are_nodes_between_the_sums():
  """By hand: which sum each edge's operation reads and feeds."""
  found = jax.device_get(SPACE.decode(cell('s13pns')))
  names = [nasbench201.OPERATIONS[op] for op in found.ops]
  assert names == [
    'input', 'skip_connect', 'sum', 'nor_conv_1x1', 'nor_conv_3x3', 'sum',
    'avg_pool_3x3', 'none', 'skip_connect', 'sum',
  ]  # fmt: skip
  expected = {
    (0, 1), (1, 2), (0, 3), (3, 5), (2, 4), (4, 5), (0, 6), (6, 9), (2, 7),
    (7, 9), (5, 8), (8, 9),
  }  # fmt: skip
  assert set(map(tuple, np.argwhere(found.edges))) == expected
  assert found.outputs.tolist() == [0] * 9 + [1]


def test_every_action_is_legal_at_every_step():
  for t in range(6):
    assert SPACE.legal(np.zeros(6, np.int32), t).tolist() == [True] * 5


# Nodes and edges of what a cell computes, by hand.
COMPUTED = {
  # Nothing at all, and nothing that gets from one end to the other.
  'nnnnnn': (['input', 'sum'], []),
  '3n3nnn': (['input', 'sum'], []),
  'nn3n33': (['input', 'sum'], []),
  # Node 1 reads the input and nobody reads it.
  '3nnsnn': (['input', 'skip_connect', 'sum'], [(0, 1), (1, 2)]),
  # Node 1 reads nothing, though node 2 and the output read it.
  'np1n3s': (
    ['input', 'avg_pool_3x3', 'sum', 'skip_connect', 'sum'],
    [(0, 1), (1, 2), (2, 3), (3, 4)],
  ),
  # ResNet's.
  '3n3sns': (
    ['input', 'nor_conv_3x3', 'sum', 'nor_conv_3x3', 'sum', 'skip_connect',
     'skip_connect', 'sum'],
    [(0, 1), (0, 5), (1, 2), (2, 3), (3, 4), (4, 6), (5, 7), (6, 7)],
  ),
}  # fmt: skip


@pytest.mark.parametrize('letters', COMPUTED)
def test_what_a_cell_computes_by_hand(pruned, letters):
  names, edges = COMPUTED[letters]
  found = row(pruned, np.ravel_multi_index(cell(letters), (5,) * 6))
  count = len(names)
  ops = [nasbench201.OPERATIONS.index(name) for name in names]
  assert found.ops.tolist() == ops + [-1] * (10 - count)
  assert list(map(tuple, np.argwhere(found.edges).tolist())) == edges
  assert np.flatnonzero(found.outputs).tolist() == [count - 1]


def _computed(actions):
  """Operations left and sums left, by walking the cell's own edges."""
  live = [(s, t, a) for (s, t), a in zip(EDGES, actions, strict=True) if a]
  ahead, behind = {0}, {3}
  for source, target, _ in live:  # edges come in the order of their targets
    ahead |= {target} if source in ahead else set()
  for source, target, _ in sorted(live, key=lambda e: -e[0]):
    behind |= {source} if target in behind else set()
  used = [e for e in live if e[0] in ahead and e[1] in behind]
  sums = {target for _, target, _ in used} | {3}
  return np.bincount([1 + a for *_, a in used], minlength=6), len(sums)


def test_what_all_cells_compute(pruned):
  """Against walks in plain Python; 341 cells compute nothing."""
  counts = np.stack([(pruned.ops == op).sum(1) for op in range(7)], 1)
  nothing = 0
  for actions, found in zip(CELLS.tolist(), counts, strict=True):
    operations, sums = _computed(actions)
    assert found[1:6].tolist() == operations[1:].tolist(), actions
    assert (found[0], found[6]) == (1, sums), actions
    nothing += operations.sum() == 0
  assert nothing == 341
  np.testing.assert_array_equal(
    pruned.edges.sum((1, 2)), 2 * counts[:, 1:6].sum(1)
  )


def test_official_names_of_all_cells(decoded):
  names = official.cell_names(CELLS)
  for i, name in enumerate(names.tolist()):
    single = row(decoded, i)
    assert nasbench201.text_of(single) == name.decode()
    if i % 50 == 0:
      for a, b in zip(nasbench201.parse(name.decode()), single, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_the_names_of_the_data_are_read_and_written():
  path = (
    pathlib.Path(os.environ.get('IRLAS_DATA_DIR', 'none'))
    / 'nas-bench-201/nasbench201.npz'
  )
  if not path.is_file():
    pytest.skip(f'{path}: set IRLAS_DATA_DIR')
  with np.load(path) as data:
    texts, ops = data['arch_str'].astype(str).tolist(), data['ops']
  assert len(texts) == 15625
  for text, expected in zip(texts, ops, strict=True):
    parsed = nasbench201.parse(text)
    assert nasbench201.text_of(parsed) == text
    found = parsed.ops[list(nasbench201.OPERATION_NODES)] - 1
    assert found.tolist() == expected.tolist()


def test_parsing_leaves_the_next_cell_alone():
  """A shared array would carry one cell's operations into another."""
  text = nasbench201.text_of(SPACE.decode(cell('333333')))
  first = nasbench201.parse(text)
  none = nasbench201.text_of(SPACE.decode(cell('nnnnnn')))
  nasbench201.parse(none)
  assert nasbench201.text_of(first) == text
  np.testing.assert_array_equal(SPACE.encode(nasbench201.parse(none)), 0)


GOOD = '|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|'


@pytest.mark.parametrize(
  'text, words',
  [
    (GOOD.replace('none~1|+', 'conv~1|+'), ['conv', '1-2', 'skip_connect']),
    (GOOD.replace('3x3', '5x5'), ['nor_conv_5x5', '2-3', 'avg_pool_3x3']),
    (GOOD.replace('none~0|+', 'sum~0|+'), ["'sum'", '0-1']),
    (GOOD.replace('none~0|+', 'input~0|+'), ["'input'", '0-1']),
    ('', ['written like']),
    (GOOD[:-1], ['written like']),
    (GOOD + '\n', ['written like']),
    (GOOD + GOOD, ['written like']),
    (GOOD.replace('~2', '~1'), ['written like']),
    (GOOD.replace('+', ''), ['written like']),
    ('|none~0|+|none~0|none~1|', ['written like']),
    (GOOD.replace('none~1|nor', 'none~1||nor'), ['written like']),
  ],
)
def test_other_texts_are_refused(text, words):
  with pytest.raises(genotypes.GenotypeError) as error:
    nasbench201.parse(text)
  message = str(error.value)
  assert '\n' not in message and repr(text) in message
  assert all(word in message for word in words), message
