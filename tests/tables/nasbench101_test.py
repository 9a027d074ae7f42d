"""NAS-Bench-101's form: a cell of three vertices and one of four."""

import os
import pathlib

import numpy as np
import pytest

from irlas_jax.tables import load, nasbench101, table

PAD = [-3] * 3


def make(**changes):
  """Two cells, trained for 4 and 108 epochs. None takes an array away."""
  adjacency = np.zeros((2, 7, 7), np.uint8)
  adjacency[0, [0, 1], [1, 2]] = 1
  adjacency[1, [0, 0, 1, 2], [1, 2, 3, 3]] = 1
  arrays = {
    'key': np.array([b'a' * 32, b'b' * 32]),
    'adj': adjacency,
    'ops': np.array([[-1, 0, -2, -3, *PAD], [-1, 2, 1, -2, *PAD]], np.int8),
    'n_vertices': np.array([3, 4], np.uint8),
    'epochs': np.array([4, 108]),
    'val_acc': np.array([[0.5, 0.9], [0.25, 0.75]], np.float32),
    'train_time_108': np.array([1000.0, 2000.0]),
    'params': np.array([227274, 49979274]),
  } | changes
  return {name: array for name, array in arrays.items() if array is not None}


def test_accuracies_are_named_by_their_epochs():
  found = nasbench101.parse(make())
  assert list(found.metrics) == [
    'valid_4',
    'valid_108',
    'seconds_108',
    'params',
  ]
  assert found.metrics['valid_4'].values.tolist() == [0.5, 0.25]
  assert found.metrics['seconds_108'].unit == 's'
  assert found.metrics['params'].values[0] == 227274
  assert found.cells.adjacency.shape == (2, 7, 7)
  assert found.cells.operations[1].tolist() == [-1, 2, 1, -2, *PAD]


def test_optional_arrays_are_read():
  numbers = np.array([[0.1, 0.2], [0.3, 0.4]])
  changes = {'test_acc': numbers, 'train_acc': numbers, 'train_time': numbers}
  found = nasbench101.parse(make(**changes)).metrics
  for name in ('test_108', 'train_108', 'seconds_108'):
    np.testing.assert_allclose(found[name].values, [0.2, 0.4])
  np.testing.assert_allclose(found['seconds_4'].values, [0.1, 0.3])


def at(name, place, value):
  """The change of one element."""
  array = make()[name].copy()
  array[place] = value
  return {name: array}


@pytest.mark.parametrize(
  'changes, words',
  [
    (at('key', 1, b'a' * 32), ['`key` row 1', 'is repeated']),
    (at('ops', (1, 1), 3), ['`ops` row 1']),
    (at('ops', (1, 0), 0), ['`ops` row 1']),
    (at('ops', (1, 1), -1), ['`ops` row 1']),
    (at('ops', (1, 3), 1) | {'n_vertices': None}, ['`ops` row 1']),
    (at('ops', (0, 5), 1) | {'n_vertices': None}, ['`ops` row 0']),
    (at('ops', (0, 1), -3) | {'n_vertices': None}, ['`ops` row 0']),
    (
      {'ops': make()['ops'].astype(int) + [0, 256, 0, 0, 0, 0, 0]},
      ['`ops` row 0'],
    ),
    (
      at('ops', 1, [-1, 0, 1, 2, 0, 1, 2]) | {'n_vertices': None},
      ['`ops` row 1'],
    ),
    (at('n_vertices', 1, 5), ['`n_vertices` row 1']),
    (at('adj', (1, 3, 0), 1), ['`adj` row 1', 'upper triangular']),
    (at('adj', (1, 2, 2), 1), ['`adj` row 1', 'upper triangular']),
    (at('adj', (1, 0, 1), 2), ['`adj` row 1', 'upper triangular']),
    (at('adj', (0, 2, 5), 1), ['`adj` row 0', 'padding']),
    (at('epochs', 1, 4), ['`epochs` row 1', 'repeated']),
    (at('epochs', 0, 0), ['`epochs` row 0']),
    (at('val_acc', (1, 0), 25.0), ['`val_acc` row 1']),
    (at('val_acc', (1, 0), np.nan), ['`val_acc` row 1']),
    (at('train_time_108', 0, 0), ['`train_time_108` row 0']),
    (at('params', 0, -1), ['`params` row 0']),
    ({'params': None}, ['`params` is not there']),
    ({'val_acc': np.zeros((2, 3))}, ['`val_acc` has shape (2, 3)']),
    ({'adj': np.zeros((2, 7, 6), int)}, ['`adj` has shape (2, 7, 6)']),
  ],
)
def test_wrong_array_is_refused_by_name_and_row(changes, words):
  with pytest.raises(table.TableError) as error:
    nasbench101.parse(make(**changes))
  text = str(error.value)
  assert '\n' not in text
  for word in words:
    assert word in text


def test_real_sample_is_read():
  name = 'nas-bench-101/nasbench101_sample30001.npz'
  path = pathlib.Path(os.environ.get('IRLAS_DATA_DIR', 'none')) / name
  if not path.is_file():
    pytest.skip(f'{path}: set IRLAS_DATA_DIR')
  found = load.load(path)
  assert len(found.cells.operations) == 30001
  assert found.metrics['valid_108'].values[0] == np.float32(0.93048877)
  assert found.metrics['seconds_108'].values[0] == np.float32(1768.976)
