"""Converts NATS-Bench's topology space from its official files to arrays.

Dong et al., "NATS-Bench", TPAMI 2021. The folder `NATS-tss-v1_0-3ffb9-simple`
holds `meta.pickle.pbz2`, whose `meta_archs` are the names of all cells, and for
cell i `{i:06}.pickle.pbz2`: epochs '12' or '200' -> state of the official
`ArchResults` (`arch_index`, `arch_str`, `dataset_seed`: data set -> seeds, and
`all_results`: (data set, seed) -> state of `ResultsCount`). They hold no
PyTorch object: the official reader needs NumPy alone. Tested on synthetic files
in this layout, not on the official ones.

The data sets of the files, and what is taken of each:

  cifar10-valid   trained on half of CIFAR-10's training images; `x-valid`, the
                  other half, is the validation accuracy of CIFAR-10
  cifar10         trained on all of them; `ori-test` is the test accuracy
  cifar100, ImageNet16-120
                  trained on all training images; the official test images are
                  split in two halves, `x-valid` and `x-test`

A number is the mean over the seeds. Seconds are what the official
`simulate_train_eval` charges for one cell: all epochs of training and one
evaluation on `x-valid`; for CIFAR-10 those of `cifar10-valid`.
"""

import math
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from absl import logging

from irlas_jax.tables import arrays as files
from irlas_jax.tables import choices, nasbench201, unpickling
from irlas_jax.tables.table import TableError

_SUFFIX = '.pickle.pbz2'
_EPOCHS = ('12', '200')
_LEGACY_SEED = 888  # whose costs the official reader takes if seeds disagree


class _Column(NamedTuple):
  """A metric: its name and unit, and where its number is in a cell's file."""

  name: str
  unit: str
  epochs: str
  dataset: str  # of the file
  read: Callable  # (state of a trial) -> float, NaN if it is not there


def convert(
  source: str | os.PathLike, target: str | os.PathLike, partial: bool = False
) -> None:
  """Writes a table of the form of `choices` from an official folder.

  Rows are in the official order.

  Args:
    source: the folder.
    target: the `.npz` file to write.
    partial: whether cells without a file are left out instead of refused.

  Raises:
    FileNotFoundError: if the folder or a file in it is not there.
    TableError: if a file is damaged, or not as described above.
  """
  folder = pathlib.Path(source).expanduser()
  target = files.check_target(target)
  names, actions = _cells(folder / f'meta{_SUFFIX}')
  rows = _rows_there(folder, len(names), partial)
  values = []
  for index in rows:
    values.append(_row(_path(folder, index), index, names[index]))
    logging.log_every_n_seconds(
      logging.INFO, '%d of %d cells', 10, len(values), len(rows)
    )
  columns = np.array(values)
  _check_measured(folder, columns)
  files.write(target, {
    'choices': np.array(nasbench201.SIZES),
    'actions': actions[rows].astype(np.uint8),
    'metrics': np.array([column.name for column in _COLUMNS]),
    'units': np.array([column.unit for column in _COLUMNS]),
    'values': columns,
  })  # fmt: skip


def _path(folder, index):
  return folder / f'{index:06}{_SUFFIX}'


def _rows_there(folder, num_cells, partial) -> list[int]:
  """The cells that have a file; without `partial` all must have one."""
  rows = [i for i in range(num_cells) if _path(folder, i).is_file()]
  if not rows or (len(rows) < num_cells and not partial):
    first = min(set(range(num_cells)) - set(rows))
    raise FileNotFoundError(
      f'{folder}: {num_cells - len(rows)} of {num_cells} cells have no file, '
      f'the first {_path(folder, first).name}. Extract the archive again'
      f'{", or say `partial` to do without them" if rows else ""}.'
    )
  return rows


def _cells(path) -> tuple[list[str], np.ndarray]:
  """The names of the cells of a `meta` file, and their actions [N, 6]."""
  if not path.is_file():
    raise FileNotFoundError(
      f'{path}: no such file. Give the folder NATS-tss-v1_0-3ffb9-simple.'
    )
  meta = unpickling.read_bz2(path)
  names = meta.get('meta_archs', []) if isinstance(meta, dict) else []
  good = isinstance(names, list) and names
  if not good or any(not isinstance(name, str) for name in names):
    raise TableError(
      f'{path}: has no list of names `meta_archs`. Give the folder '
      'NATS-tss-v1_0-3ffb9-simple.'
    )
  every = choices.all_actions(nasbench201.SIZES)
  known = nasbench201.cell_names(every).astype('U').tolist()
  rows = {name: row for row, name in enumerate(known)}
  for i, name in enumerate(names):
    if name not in rows:
      raise TableError(
        f'{path}: `meta_archs` {i}, {name!r}, is no cell of '
        f'{", ".join(nasbench201.OPERATIONS)}. Give the topology space (tss).'
      )
  return names, every[[rows[name] for name in names]]


def _row(path, index, name) -> list[float]:
  """The numbers of `_COLUMNS` of one cell."""
  state = unpickling.read_bz2(path)
  try:
    for epochs in _EPOCHS:
      found = (state[epochs]['arch_index'], state[epochs]['arch_str'])
      if found != (index, name):
        raise TableError(f'it is of cell {found}, not {(index, name)}')
    return [_number(column, state[column.epochs]) for column in _COLUMNS]
  except (TableError, KeyError, TypeError, AttributeError, ValueError) as error:
    raise TableError(
      f'{path}: not as the official files are ({type(error).__name__}: '
      f'{error}). Extract the archive again.'
    ) from None


def _number(column: _Column, results: dict) -> float:
  """The mean over seeds of what `column` reads; NaN if no seed has it."""
  found = {}
  for seed in results['dataset_seed'].get(column.dataset, ()):
    trial = results['all_results'][column.dataset, seed]
    if str(trial['epochs']) != column.epochs:
      raise TableError(f'{trial["epochs"]} epochs under {column.epochs!r}')
    found[seed] = column.read(trial)
  if column.name.endswith(('_params', '_flops')):
    return _cost(found)
  measured = [value for value in found.values() if not math.isnan(value)]
  return math.fsum(measured) / len(measured) if measured else math.nan


def _cost(found: dict[int, float]) -> float:
  """One cost of a cell for all seeds, as the official reader mends it."""
  if not found:
    return math.nan
  if len({f'{value / 1e6:.5f}' for value in found.values()}) > 1:
    if _LEGACY_SEED not in found:
      raise TableError(f'its seeds {list(found)} differ in costs')
    return found[_LEGACY_SEED]
  return next(iter(found.values()))


def _at(trial, field, key) -> float:
  """`trial[field][key]`; NaN if it was not recorded."""
  value = (trial[field] or {}).get(key)
  return math.nan if value is None else float(value)


def _accuracy(subset: str) -> Callable:
  """Reads the accuracy after the last epoch, in percent."""

  def read(trial):
    last = trial['epochs'] - 1
    if subset == 'train':
      return _at(trial, 'train_acc1es', last)
    return _at(trial, 'eval_acc1es', f'{subset}@{last}')

  return read


def _seconds(trial) -> float:
  """Of all epochs of training, and one evaluation on `x-valid`."""
  epochs = range(trial['epochs'])
  training = math.fsum(_at(trial, 'train_times', i) for i in epochs)
  evaluations = [_at(trial, 'eval_times', f'x-valid@{i}') for i in epochs]
  return training + math.fsum(evaluations) / len(epochs)


def _latency(trial) -> float:
  """Seconds a batch of 256; not above 0 in the files if not measured."""
  found = trial['latency'] or [-1.0]
  seconds = math.fsum(found) / len(found)
  return seconds if seconds > 0 else math.nan


def _columns():
  """(metric's prefix, data set of validation, and of test, test images)."""
  for prefix, valid, test, images in (
    ('cifar10', 'cifar10-valid', 'cifar10', 'ori-test'),
    ('cifar100', 'cifar100', 'cifar100', 'x-test'),
    ('imagenet16', 'ImageNet16-120', 'ImageNet16-120', 'x-test'),
  ):
    for epochs in _EPOCHS:
      for name, unit, dataset, read in (
        ('valid', 'percent', valid, _accuracy('x-valid')),
        ('test', 'percent', test, _accuracy(images)),
        ('train', 'percent', test, _accuracy('train')),
        ('seconds', 's', valid, _seconds),
      ):
        yield _Column(f'{prefix}_{name}_{epochs}', unit, epochs, dataset, read)
    for name, unit, read in (
      ('params', 'parameters', lambda trial: float(trial['params']) * 1e6),
      ('flops', 'multiply-adds', lambda trial: float(trial['flop']) * 1e6),
      ('latency', 's', _latency),
    ):
      yield _Column(f'{prefix}_{name}', unit, _EPOCHS[0], test, read)


_COLUMNS = tuple(_columns())


def _check_measured(folder, columns):
  """Refuses numbers [N, M] of which a column is missing everywhere."""
  missing = np.flatnonzero(np.isnan(columns).all(axis=0))
  if len(missing):
    raise TableError(
      f'{folder}: no cell has {", ".join(_COLUMNS[i].name for i in missing)}. '
      'Give the folder NATS-tss-v1_0-3ffb9-simple as it was published.'
    )
