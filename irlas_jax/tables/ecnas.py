"""EC-NAS: every small cell of NAS-Bench-101 trained anew, with its energy.

Bakhtiarifard et al., "EC-NAS: Energy Consumption Aware Tabular Benchmarks for
Neural Architecture Search", 2022. A row of the file is one training: a cell, a
budget of epochs, and checkpoints at the start, on the way and at the end.
Shapes: `R` trainings, `N` cells, `C` checkpoints, `Q` numbers of a checkpoint.
"""

import numpy as np

from irlas_jax.tables import arrays as checks
from irlas_jax.tables import nasbench101
from irlas_jax.tables.table import GraphCells, Metric, Table, TableError

# Metric, array, its column, unit. `eval` is read at the last checkpoint; its
# seconds and energy are those of training, `total` has evaluations as well.
_COLUMNS = (
  ('train', 'eval', 'train_acc', 'fraction'),
  ('valid', 'eval', 'val_acc', 'fraction'),
  ('test', 'eval', 'test_acc', 'fraction'),
  ('seconds', 'eval', 'training_time_s', 's'),
  ('kwh', 'eval', 'energy_kwh', 'kWh'),
  ('total_seconds', 'total', 'total_time_s', 's'),
  ('total_kwh', 'total', 'total_energy_kwh', 'kWh'),
)


def parse(arrays: checks.Arrays) -> Table:
  """The table of a file of this form: means over the repeats of a training.

  Cells are in the order of their first row.

  Raises:
    TableError: naming the array, and its first bad row, if it is not.
  """
  cells, keys = nasbench101.graph_cells(arrays)
  first, cell_of_row = _distinct(keys)
  shape = keys.shape
  budget = checks.get(arrays, 'epoch_budget', shape, checks.INTEGERS)
  params = checks.get(arrays, 'params', shape, checks.NUMBERS)
  checks.positive('params', params)
  same = {'params': params, 'adj': cells.adjacency, 'ops': cells.operations}
  for name, values in same.items():
    other = values != values[first][cell_of_row]
    checks.refuse_rows(name, other, 'differs within one `key`')
  columns = _columns(arrays, budget)
  metrics = {}
  for epochs in np.unique(budget).tolist():
    rows = np.flatnonzero(budget == epochs)
    count = np.bincount(cell_of_row[rows], minlength=len(first))
    untrained = f'was not trained for {epochs} epochs; give all budgets'
    checks.refuse_rows('key', (count == 0)[cell_of_row], untrained, keys)
    for name, (values, unit) in columns.items():
      total = np.bincount(cell_of_row[rows], values[rows], len(first))
      mean = (total / count).astype(np.float32)
      metrics[f'{name}_{epochs}'] = Metric(mean, unit)
  metrics['params'] = Metric(params[first].astype(np.float32), 'parameters')
  return Table(GraphCells(*(field[first] for field in cells)), metrics)


def _distinct(keys):
  """First row [N] of each key, in order, and the number [R] of each row's."""
  _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
  order = np.argsort(first)
  rank = np.empty_like(order)
  rank[order] = np.arange(len(order))
  return first[order], rank[inverse]


def _columns(arrays, budget):
  """The numbers of `_COLUMNS`: name -> Metric over rows [R]."""
  names = checks.names(arrays, 'eval_names')
  shape = (len(budget), None, len(names))
  evaluated = checks.get(arrays, 'eval', shape, checks.NUMBERS)[:, -1]
  total_names = checks.names(arrays, 'total_names')
  total = checks.get(
    arrays, 'total', (len(budget), len(total_names)), checks.NUMBERS
  )
  found = {'eval': (names, evaluated), 'total': (total_names, total)}
  last = _named('eval', *found['eval'], 'current_epoch')
  unfinished = 'does not end at `epoch_budget`'
  checks.refuse_rows('eval', last != budget, unfinished, last)
  columns = {}
  for name, array, column, unit in _COLUMNS:
    values = _named(array, *found[array], column)
    check = checks.fractions if unit == 'fraction' else checks.positive
    columns[name] = Metric(check(f'{array}[{column}]', values), unit)
  return columns


def _named(array, names, values, column):
  if column not in names:
    raise TableError(f'`{array}_names` has no {column!r}; it has {names}')
  return values[:, names.index(column)].astype(np.float64)
