"""NAS-Bench-201: all 15,625 cells, each one of five operations on six edges.

Dong & Yang, "NAS-Bench-201", ICLR 2020. The file is a copy of the benchmark as
arrays; its accuracies are percent and its counts millions. Shapes: `N` = 15,625
cells in the official order, `S` settings in which latency was measured.
"""

import numpy as np

from irlas_jax.tables import arrays as checks
from irlas_jax.tables.table import ChoiceCells, Metric, Table, TableError

OPERATIONS = (
  'none', 'skip_connect', 'nor_conv_1x1', 'nor_conv_3x3', 'avg_pool_3x3',
)  # fmt: skip
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
SIZES = (len(OPERATIONS),) * len(EDGES)
_NUM_CELLS = len(OPERATIONS) ** len(EDGES)

# Metric, array, start of the column's name there.
_COLUMNS = {
  'cifar10': (
    ('valid_12', 'acc12', 'cifar10-val@12ep'),
    ('test_12', 'acc12', 'cifar10-test@12ep'),
    ('valid_200', 'acc200', 'cifar10-valid:val@200ep'),
    ('test_200', 'acc200', 'cifar10:test@200ep'),
    ('train_200', 'acc200', 'cifar10:train@200ep'),
  ),
  'cifar100': (
    ('valid_12', 'acc12', 'cifar100-val@12ep'),
    ('test_12', 'acc12', 'cifar100-test@12ep'),
    ('valid_200', 'acc200', 'cifar100:val@200ep'),
  ),
  'ImageNet16-120': (
    ('valid_12', 'acc12', 'imagenet-val@12ep'),
    ('test_12', 'acc12', 'imagenet-test@12ep'),
    ('valid_200', 'acc200', 'ImageNet16-120:val@200ep'),
  ),
}
DATASETS = tuple(_COLUMNS)


def parse(arrays: checks.Arrays, dataset: str) -> Table:
  """The columns of a file of this form about one of `DATASETS`.

  Raises:
    TableError: naming the array, and its first bad row, if it is not.
  """
  cells = ChoiceCells(_choices(arrays), SIZES)
  metrics = {
    name: Metric(
      checks.fractions(array, _column(arrays, array, start) / 100), 'fraction'
    )
    for name, array, start in _COLUMNS[dataset]
  }
  metrics |= _costs(arrays, dataset) | _latencies(arrays)
  return Table(cells, metrics)


def cell_names(choices: np.ndarray) -> np.ndarray:
  """Official names [N] bytes of cells [N, 6], such as |none~0|+|none~0|..."""
  operations = np.array(OPERATIONS, 'S')
  whole = np.full(len(choices), b'|')
  for edge, (source, target) in enumerate(EDGES):
    opening = b'+|' if source == 0 and target > 1 else b''
    named = np.strings.add(operations, f'~{source}|'.encode())
    whole = np.strings.add(whole, opening)
    whole = np.strings.add(whole, named[choices[:, edge]])
  return whole


def _choices(arrays):
  """The cells [N, 6] int32, if they are all there and named as they are."""
  shape = (_NUM_CELLS, len(EDGES))
  ops = checks.get(arrays, 'ops', shape, checks.INTEGERS)
  operations = checks.names(arrays, 'op_names', len(OPERATIONS))
  if tuple(operations) != OPERATIONS:
    raise TableError(f'`op_names` is {operations}, must be {list(OPERATIONS)}')
  edges = checks.get(arrays, 'edges', shape[1:] + (2,), checks.INTEGERS)
  if not np.array_equal(edges, EDGES):
    raise TableError(f'`edges` is {edges.tolist()}, must be {EDGES}')
  outside = (ops < 0) | (ops >= len(OPERATIONS))
  checks.refuse_rows('ops', outside, 'names no operation', ops)
  texts = checks.get(arrays, 'arch_str', shape[:1], checks.TEXTS)
  named = cell_names(ops)
  wrong = named.astype('U') != texts.astype('U')
  checks.refuse_rows('arch_str', wrong, 'is not the cell of `ops`', texts)
  again = checks.repeated(ops)
  checks.refuse_rows('ops', again, 'is the cell of an earlier row', texts)
  return ops.astype(np.int32)


def _column(arrays, array, start):
  """The one column of an array [N, C] whose name starts so, as float64 [N]."""
  columns = checks.names(arrays, f'{array}_names')
  shape = (_NUM_CELLS, len(columns))
  values = checks.get(arrays, array, shape, checks.NUMBERS)
  found = [i for i, name in enumerate(columns) if name.startswith(start)]
  if len(found) != 1:
    raise TableError(
      f'`{array}_names` has {len(found)} columns {start}..., must have one'
    )
  return values[:, found[0]].astype(np.float32).astype(np.float64)


def _costs(arrays, dataset):
  """Parameters, multiply-adds and Zen score, as the dataset has them."""
  index = checks.names(arrays, 'dataset_names', len(DATASETS)).index(dataset)
  shape = (_NUM_CELLS, len(DATASETS))
  found = {
    name: checks.get(arrays, name, shape, checks.NUMBERS)[:, index]
    for name in ('params_m', 'flops_m', 'zen')
  }
  params = checks.positive('params_m', found['params_m']) * 1e6
  flops = checks.positive('flops_m', found['flops_m']) * 1e6
  zen = found['zen'].astype(np.float32)
  checks.refuse_rows('zen', ~np.isfinite(zen), 'is not finite', zen)
  # The logarithm of nothing, of cells whose input does not reach the output.
  zen = np.where(zen <= -1e8, np.float32(np.nan), zen)
  return {
    'params': Metric(np.round(params).astype(np.float32), 'parameters'),
    'flops': Metric(np.round(flops).astype(np.float32), 'multiply-adds'),
    'zen': Metric(zen, 'score'),
  }


def _latencies(arrays):
  settings = checks.names(arrays, 'latency_names')
  shape = (_NUM_CELLS, len(settings))
  values = checks.get(arrays, 'latency_ms', shape, checks.NUMBERS)
  checks.positive('latency_ms', values)
  return {
    f'latency_{name}': Metric(column.astype(np.float32), 'ms')
    for name, column in zip(settings, values.T, strict=True)
  }
