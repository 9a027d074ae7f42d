"""NAS-Bench-101: cells as graphs, trained for several numbers of epochs.

Ying et al., "NAS-Bench-101", ICML 2019. `launch/convert_nasbench101.py` writes
files of this form, and so does anyone who has a part of the benchmark as
arrays. Shapes: `N` cells, `V` vertices, `E` numbers of epochs.
"""

import numpy as np

from irlas_jax.tables import arrays as checks
from irlas_jax.tables import table as tables
from irlas_jax.tables.table import GraphCells, Metric, Table

OPERATIONS = ('conv3x3-bn-relu', 'conv1x1-bn-relu', 'maxpool3x3')
# Metric, array, whether the array has to be there.
_ACCURACIES = (
  ('valid', 'val_acc', True),
  ('test', 'test_acc', False),
  ('train', 'train_acc', False),
)


def parse(arrays: checks.Arrays) -> Table:
  """The table of a file of this form.

  Raises:
    TableError: naming the array, and its first bad row, if it is not.
  """
  cells, keys = graph_cells(arrays)
  num_cells = len(keys)
  checks.refuse_rows('key', checks.repeated(keys), 'is repeated', keys)
  epochs = checks.get(arrays, 'epochs', (None,), checks.INTEGERS)
  checks.refuse_rows('epochs', epochs < 1, 'is less than one epoch', epochs)
  checks.refuse_rows('epochs', checks.repeated(epochs), 'is repeated', epochs)
  metrics: dict[str, Metric] = {}
  for prefix, name, needed in _ACCURACIES:
    if needed or name in arrays:
      shape = (num_cells, len(epochs))
      values = checks.get(arrays, name, shape, checks.NUMBERS)
      checks.fractions(name, values)
      metrics |= _per_epoch(prefix, epochs, values, 'fraction')
  metrics |= _seconds(arrays, epochs, num_cells)
  params = checks.get(arrays, 'params', (num_cells,), checks.NUMBERS)
  checks.positive('params', params)
  metrics['params'] = Metric(params.astype(np.float32), 'parameters')
  return Table(cells, metrics)


def _per_epoch(prefix, epochs, values, unit):
  return {
    f'{prefix}_{epoch}': Metric(column.astype(np.float32), unit)
    for epoch, column in zip(epochs.tolist(), values.T, strict=True)
  }


def _seconds(arrays, epochs, num_cells):
  """Seconds of training, where the file has them."""
  if 'train_time' in arrays:
    shape = (num_cells, len(epochs))
    values = checks.get(arrays, 'train_time', shape, checks.NUMBERS)
    checks.positive('train_time', values)
    return _per_epoch('seconds', epochs, values, 's')
  if 'train_time_108' in arrays:
    values = checks.get(arrays, 'train_time_108', (num_cells,), checks.NUMBERS)
    checks.positive('train_time_108', values)
    return {'seconds_108': Metric(values.astype(np.float32), 's')}
  return {}


def graph_cells(arrays: checks.Arrays) -> tuple[GraphCells, np.ndarray]:
  """The cells of `adj` [N, V, V] and `ops` [N, V], and their `key` [N].

  Vertices are in topological order: the input first, then operations, then the
  output, then padding without edges.
  """
  keys = checks.get(arrays, 'key', (None,), checks.TEXTS)
  shape = (len(keys), None)
  ops = checks.get(arrays, 'ops', shape, checks.INTEGERS)
  shape = (*ops.shape, ops.shape[1])
  adjacency = checks.get(arrays, 'adj', shape, checks.INTEGERS)
  is_output = ops == tables.OUTPUT
  if 'n_vertices' in arrays:
    count = checks.get(arrays, 'n_vertices', shape[:1], checks.INTEGERS)
    wrong = count != (ops != tables.PADDING).sum(axis=1)
    checks.refuse_rows('n_vertices', wrong, 'does not agree with `ops`', count)
  after = np.cumsum(is_output, axis=1) - is_output > 0
  column = np.arange(ops.shape[1])
  between = ~is_output & ~after & (column > 0)
  right = np.where(between, (ops >= 0) & (ops < len(OPERATIONS)), True)
  right &= after == (ops == tables.PADDING)
  right &= (column == 0) == (ops == tables.INPUT)
  right &= is_output.any(axis=1, keepdims=True)
  wanted = 'is not input (-1), operations (0, 1, 2), output (-2), padding (-3)'
  checks.refuse_rows('ops', ~right, wanted, ops)
  _check_edges(adjacency, after)
  return GraphCells(adjacency.astype(np.uint8), ops.astype(np.int8)), keys


def _check_edges(adjacency, padding):
  wanted = 'is not a strictly upper triangular matrix of 0 and 1'
  wrong = (np.tril(adjacency) != 0) | (adjacency > 1) | (adjacency < 0)
  checks.refuse_rows('adj', wrong, wanted)
  linked = (adjacency.any(axis=1) | adjacency.any(axis=2)) & padding
  checks.refuse_rows('adj', linked, 'has edges at padding')
