"""Converts the official files of NAS-Bench-101 to arrays.

`nasbench_only108.tfrecord` and `nasbench_full.tfrecord` hold one record a
training: a JSON list of the cell's hash, its epochs, its adjacency matrix as a
string of 0 and 1, its operations with commas between them, and base64 of a
protocol buffer `ModelMetrics` (google-research/nasbench,
lib/model_metrics.proto), of which the fields below are read:

  ModelMetrics: 1 evaluation_data (repeated), 2 trainable_parameters (int32)
  EvaluationData: 2 training_time, 3 train_accuracy, 4 validation_accuracy,
    5 test_accuracy (all double)

Of the evaluations, the third is the end of training, as the official reader has
it. Tested on synthetic files in this layout, not on the official ones.

Shapes: `N` cells, `E` numbers of epochs, `R` records.
"""

import base64
import json
import math
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from irlas_jax.tables import arrays as files
from irlas_jax.tables import nasbench101, table, tfrecord
from irlas_jax.tables.table import TableError

VERTICES = 7  # of the largest cell
_CODES = {
  'input': table.INPUT,
  'output': table.OUTPUT,
  **{name: code for code, name in enumerate(nasbench101.OPERATIONS)},
}
_FINAL = 2  # evaluation at the end of training
_NUMBERS = {2: 'train_time', 3: 'train_acc', 4: 'val_acc', 5: 'test_acc'}
_LENGTH_DELIMITED, _VARINT, _FIXED64, _FIXED32 = 2, 0, 1, 5  # wire types


def convert(source: str | os.PathLike, target: str | os.PathLike) -> None:
  """Writes a table of the NAS-Bench-101 form from an official file.

  Numbers are means over the repeats of a training.

  Raises:
    FileNotFoundError: if there is no such file.
    TableError: if it is damaged, or not as described above.
  """
  source, target = pathlib.Path(source).expanduser(), files.check_target(target)
  cells: dict[str, int] = {}
  graphs: list[bytes] = []  # adjacency and operations, as one row of bytes
  rows = []
  done = 0
  for batch in tfrecord.batches(source):
    rows.append(np.array([
      _add(f'{source}: record {done + i}', record, cells, graphs)
      for i, record in enumerate(batch)
    ]))  # fmt: skip
    done += len(batch)
    logging.log_every_n_seconds(logging.INFO, '%d records', 10, done)
  if not cells:
    raise TableError(f'{source}: holds no record. Download the file again.')
  files.write(
    target, _graph_arrays(cells, graphs) | _means(source, np.vstack(rows))
  )


def _add(place, record, cells, graphs) -> tuple[float, ...]:
  """One record: (cell, epochs, parameters, the numbers of `_NUMBERS`).

  A cell that is seen for the first time is added to `cells` and `graphs`.
  """
  try:
    key, epochs, adjacency, operations, encoded = json.loads(record)
    if key not in cells:
      graphs.append(_graph(adjacency, operations))
      cells[key] = len(cells)
    metrics = model_metrics(base64.b64decode(encoded, validate=True))
    return cells[key], int(epochs), *metrics
  except (ValueError, TypeError, AttributeError) as error:
    raise TableError(
      f'{place} is no training of NAS-Bench-101 ({error}). Give '
      'nasbench_only108.tfrecord or nasbench_full.tfrecord.'
    ) from None


def _graph(adjacency: str, operations: str) -> bytes:
  """A cell as 49 + 7 bytes: its adjacency matrix and codes, padded."""
  names = operations.split(',')
  size = len(names)
  unknown = [name for name in names if name not in _CODES]
  if unknown:
    raise TableError(f'operation {unknown[0]!r} is not one of {list(_CODES)}')
  if size > VERTICES or len(adjacency) != size**2 or set(adjacency) - set('01'):
    raise TableError(
      f'{adjacency!r} is no matrix of 0 and 1 of {size} vertices, '
      f'{VERTICES} at most'
    )
  matrix = np.zeros((VERTICES, VERTICES), np.int8)
  flat = np.frombuffer(adjacency.encode(), np.int8) - ord('0')
  matrix[:size, :size] = flat.reshape(size, size)
  codes = [_CODES[name] for name in names]
  codes += [table.PADDING] * (VERTICES - size)
  return matrix.tobytes() + np.array(codes, np.int8).tobytes()


def _graph_arrays(cells, graphs):
  data = np.frombuffer(b''.join(graphs), np.int8).reshape(len(graphs), -1)
  ops = data[:, VERTICES**2 :]
  return {
    'key': np.array(list(cells), 'S'),
    'adj': data[:, : VERTICES**2]
    .astype(np.uint8)
    .reshape(-1, VERTICES, VERTICES),
    'ops': ops,
    'n_vertices': (ops != table.PADDING).sum(axis=1).astype(np.uint8),
  }


def _means(source, rows: np.ndarray) -> dict[str, np.ndarray]:
  """Arrays [N, E] from the rows [R, 7] of `_add`, and `epochs` and `params`."""
  cell, budget = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
  epochs, column = np.unique(budget, return_inverse=True)
  shape = (int(cell.max()) + 1, len(epochs))
  place = cell * len(epochs) + column
  count = np.bincount(place, minlength=math.prod(shape))
  if (count != count[0]).any():
    raise TableError(
      f'{source}: its cells were trained {count.min()} to {count.max()} times '
      'for a number of epochs, must be equally often. Download the file again: '
      'some of it is missing.'
    )
  found = {
    name: (np.bincount(place, rows[:, 3 + i]) / count).reshape(shape)
    for i, name in enumerate(_NUMBERS.values())
  }
  means = {name: mean.astype(np.float32) for name, mean in found.items()}
  params = np.zeros(shape[0], np.int64)
  params[cell] = rows[:, 2]
  return means | {'epochs': epochs, 'params': params}


def model_metrics(data: bytes) -> tuple[float, ...]:
  """Parameters and the numbers of `_NUMBERS` at the end of training.

  Raises:
    TableError: if it is no `ModelMetrics`, or does not hold them all.
  """
  parameters, evaluations = None, []
  for number, kind, value in _fields(data):
    if (number, kind) == (1, _LENGTH_DELIMITED):
      evaluations.append(value)
    elif (number, kind) == (2, _VARINT):
      parameters = value
  if parameters is None or len(evaluations) <= _FINAL:
    raise TableError(
      f'it has {len(evaluations)} evaluations and '
      f'{"no" if parameters is None else "a"} number of parameters'
    )
  found = {
    number: struct.unpack('<d', value)[0]
    for number, kind, value in _fields(evaluations[_FINAL])
    if kind == _FIXED64
  }
  missing = [name for number, name in _NUMBERS.items() if number not in found]
  if missing:
    raise TableError(f'its last evaluation has no {", ".join(missing)}')
  return parameters, *(found[number] for number in _NUMBERS)


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
  """The fields of a message in wire format: (number, wire type, value)."""
  at = 0
  while at < len(data):
    tag, at = _varint(data, at)
    kind = tag & 7
    if kind == _VARINT:
      value, at = _varint(data, at)
      yield tag >> 3, kind, value
      continue
    if kind == _LENGTH_DELIMITED:
      size, at = _varint(data, at)
    elif kind in (_FIXED64, _FIXED32):
      size = 8 if kind == _FIXED64 else 4
    else:
      raise TableError(f'wire type {kind} at byte {at} of its metrics')
    end = at + size
    if end > len(data):
      raise TableError('its metrics are cut short')
    yield tag >> 3, kind, data[at:end]
    at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
  """The number that starts there, seven bits a byte, and where it ends."""
  value = shift = 0
  while at < len(data):
    byte = data[at]
    at += 1
    value |= (byte & 0x7F) << shift
    if byte < 0x80:
      return value, at
    shift += 7
  raise TableError('its metrics are cut short')
