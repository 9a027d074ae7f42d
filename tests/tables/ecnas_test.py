"""EC-NAS's form: two cells, two budgets, two repeats, rows in no order."""

import os
import pathlib

import numpy as np
import pytest

from irlas_jax.tables import ecnas, load, table

EVAL = ['current_epoch', 'training_time_s', 'train_acc', 'val_acc', 'test_acc',
        'energy_kwh']  # fmt: skip
# (cell, epochs, accuracy of training); repeats of a training are not adjacent.
ROWS = [(1, 4, 0.3), (0, 36, 0.8), (1, 36, 0.7), (0, 4, 0.5),
        (0, 36, 0.6), (1, 4, 0.1), (0, 4, 0.5), (1, 36, 0.9)]  # fmt: skip


def make(**changes):
  cell = np.array([row[0] for row in ROWS])
  epochs = np.array([row[1] for row in ROWS])
  accuracy = np.array([row[2] for row in ROWS])
  adjacency = np.zeros((2, 7, 7), np.uint8)
  adjacency[0, [0, 1], [1, 2]] = 1
  adjacency[1, 0, 1] = 1
  ops = np.array([[-1, 0, -2, *[-3] * 4], [-1, -2, *[-3] * 5]], np.int8)
  start = np.stack([0 * epochs] * 2 + [accuracy * 0 + 0.1] * 4, axis=1)
  end = [epochs, 10 * epochs, accuracy, accuracy - 0.1, accuracy / 2, epochs]
  return {
    'key': np.array([b'a', b'b'])[cell],
    'adj': adjacency[cell],
    'ops': ops[cell],
    'epoch_budget': epochs,
    'params': np.array([100, 200])[cell],
    'eval': np.stack([start, start, np.stack(end, axis=1)], axis=1),
    'eval_names': np.array(EVAL),
    'total': np.stack([11 * epochs, 2 * epochs], axis=1).astype(float),
    'total_names': np.array(['total_time_s', 'total_energy_kwh']),
  } | changes


def test_repeats_are_averaged_at_the_last_checkpoint():
  """By hand; cells come in the order of their first row: b, a."""
  found = ecnas.parse(make())
  expected = {
    'train_4': [0.2, 0.5],
    'valid_4': [0.1, 0.4],
    'test_4': [0.1, 0.25],
    'seconds_4': [40, 40],
    'kwh_4': [4, 4],
    'total_seconds_4': [44, 44],
    'total_kwh_4': [8, 8],
    'train_36': [0.8, 0.7],
    'valid_36': [0.7, 0.6],
    'params': [200, 100],
  }
  for name, values in expected.items():
    np.testing.assert_allclose(found.metrics[name].values, values, rtol=1e-6)
  assert found.cells.operations[:, 1].tolist() == [-2, 0]
  assert found.cells.adjacency.sum(axis=(1, 2)).tolist() == [1, 2]
  units = [found.metrics[n].unit for n in ('test_36', 'seconds_36', 'kwh_36')]
  assert units == ['fraction', 's', 'kWh']


def at(name, place, value):
  array = make()[name].copy()
  array[place] = value
  return {name: array}


@pytest.mark.parametrize(
  'changes, words',
  [
    (at('params', 5, 201), ['`params` row 5', 'differs within one `key`']),
    (at('ops', (3, 1), 1), ['`ops` row 3', 'differs']),
    (at('adj', (4, 0, 2), 1), ['`adj` row 4', 'differs']),
    (
      at('epoch_budget', [1, 4], 12) | at('eval', ([1, 4], -1, 0), 12),
      ['`key` row 0', 'not trained for 12 epochs'],
    ),
    (at('epoch_budget', 2, 37), ['`eval` row 2', '`epoch_budget`']),
    (at('eval', (6, -1, 3), 1.2), ['`eval[val_acc]` row 6']),
    (at('eval', (6, -1, 1), 0), ['`eval[training_time_s]` row 6']),
    (at('total', (6, 1), np.nan), ['`total[total_energy_kwh]` row 6']),
    (at('eval_names', 3, 'other'), ["`eval_names` has no 'val_acc'"]),
    ({'total': np.ones((8, 3))}, ['`total` has shape']),
  ],
)
def test_wrong_array_is_refused_by_name_and_row(changes, words):
  with pytest.raises(table.TableError) as error:
    ecnas.parse(make(**changes))
  text = str(error.value)
  assert '\n' not in text
  for word in words:
    assert word in text


@pytest.mark.parametrize('vertices, cells, budgets', [(4, 91, 4), (5, 2532, 1)])
def test_real_files_have_all_small_cells(vertices, cells, budgets):
  name = f'nas-bench-101/ecnas_{vertices}v.npz'
  path = pathlib.Path(os.environ.get('IRLAS_DATA_DIR', 'none')) / name
  if not path.is_file():
    pytest.skip(f'{path}: set IRLAS_DATA_DIR')
  found = load.load(path)
  assert len(found.cells.operations) == cells
  assert len(found.metrics) == 7 * budgets + 1
  used = (found.cells.operations != table.PADDING).sum(axis=1)
  assert used.max() == vertices
