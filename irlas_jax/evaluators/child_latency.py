"""Latencies of the children of a search: none, predicted, or measured.

A child is timed as the network that it would be in use: alone, static, its
normalisations folded, in 32-bit floating point, on one device. What times it is
the first process of a run, which tells the others.

A prediction sums a table of pieces (`latency.predict`). The table is measured
once, before the search, into a file from which every later run reads it, so
that a search that is resumed predicts what it would have predicted before. A
measurement has no such memory: what the ledger has stays, but a child that is
first timed after a resumption is timed under other conditions.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from irlas_jax import devices
from irlas_jax.evaluators import latency
from irlas_jax.types import Graph


class Children(NamedTuple):
  """The networks of a space."""

  module: Callable  # Graph -> Flax module
  image: latency.Shape
  covering: Callable  # () -> architectures that have all pieces between them
  sample: Callable  # () -> a few random architectures


class Clock(NamedTuple):
  """Where latencies come from."""

  seconds: Callable[[Graph], float] | None  # None: nothing is timed
  settings: dict[str, Any]  # JSON of what they depend on


class Table(NamedTuple):
  """What pieces take, as a file has it."""

  batch: int
  seconds: dict[latency.Piece, float]
  digest: str  # of the file


def none(children: Children) -> Clock:
  """No child has a latency."""
  del children
  return Clock(None, {})


def measured(children: Children, batch: int = 1, calls: int = 30) -> Clock:
  """Every child is compiled and timed: the median of `calls` calls.

  Args:
    children: whose.
    batch: images a call.
    calls: timed ones, after three to warm up.
  """
  _check(batch=batch, calls=calls)
  settings = {'name': 'measured', 'batch': batch, 'calls': calls}
  settings |= {'device': jax.devices()[0].device_kind}

  def seconds(graph: Graph) -> float:
    return _measure(children, graph, batch, calls)

  return Clock(devices.told_by_first(seconds), {'latency': settings})


def predicted(
  children: Children, file: str, batch: int = 1, calls: int = 30
) -> Clock:
  """Of every child the latencies of its pieces are summed.

  Args:
    children: whose.
    file: JSON of the table; measured and written if it is not there.
    batch: images a call.
    calls: timed ones of a piece, where the table is measured.

  Raises:
    ValueError: for a space whose pieces are not known, or a file that does not
      have them or has them at another batch size.
  """
  _check(batch=batch, calls=calls)
  path = pathlib.Path(file).expanduser()
  wanted = [_pieces(children, graph) for graph in children.covering()]
  needed = dict.fromkeys(piece for pieces in wanted for piece in pieces)

  def find() -> Table:
    if not path.is_file():
      _write(path, children, list(needed), batch, calls)
    return read(path)

  table = devices.told_by_first(find)()
  _check_table(path, table, batch, needed)

  def seconds(graph: Graph) -> float:
    return latency.predict(table.seconds, _pieces(children, graph))

  settings = {'name': 'predicted', 'table': table.digest}
  return Clock(seconds, {'latency': settings})


def _check(**counts: int) -> None:
  for name, count in counts.items():
    if count < 1:
      raise ValueError(f'evaluator.latency.{name} is {count}: at least 1.')


def _check_table(path, table, batch, needed) -> None:
  if table.batch != batch:
    raise ValueError(
      f'{path} was measured with batches of {table.batch}, and '
      f'evaluator.latency.batch is {batch}: name another file.'
    )
  if missing := set(needed) - set(table.seconds):
    raise ValueError(
      f'{path} lacks {len(missing)} of {len(needed)} pieces, {min(missing)} '
      'among them, so it is of other networks: name another '
      'evaluator.latency.file.'
    )


def _pieces(children: Children, graph: Graph) -> tuple[latency.Piece, ...]:
  return latency.pieces(children.module(graph), children.image)


def _measure(children: Children, graph: Graph, batch: int, calls: int) -> float:
  images = jax.ShapeDtypeStruct((batch, *children.image), jnp.float32)
  module = children.module(graph)
  return latency.measure_module(module, images, repeats=calls).median


def read(path: pathlib.Path) -> Table:
  """A table as `predicted` wrote it.

  Raises:
    ValueError: if the file is none.
  """
  content = path.read_bytes()
  try:
    found = json.loads(content)
    seconds = {
      latency.Piece(operation, kernel, tuple(map(tuple, inputs)), width): taken
      for operation, kernel, inputs, width, taken in found['pieces']
    }
    return Table(found['batch'], seconds, hashlib.sha256(content).hexdigest())
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'{path} is no table of latencies: name another evaluator.latency.file.'
    ) from error


def _write(
  path: pathlib.Path,
  children: Children,
  needed: Sequence[latency.Piece],
  batch: int,
  calls: int,
) -> None:
  """Measures a table, and how far its predictions are off, into a file."""
  logging.info('Measuring %d pieces into %s', len(needed), path)
  seconds = latency.measure_pieces(needed, batch, repeats=calls)
  sample = children.sample()
  error = latency.prediction_error(
    [latency.predict(seconds, _pieces(children, graph)) for graph in sample],
    [_measure(children, graph, batch, calls) for graph in sample],
  )
  logging.info(
    'Of %d random architectures, predictions were off by %.0f %%, with a rank '
    'correlation of %.2f.',
    len(sample),
    *error,
  )
  content = {
    'batch': batch,
    'device': jax.devices()[0].device_kind,
    'jax': jax.__version__,
    'architectures': len(sample),
    'percent': error.percent,
    'correlation': np.nan_to_num(error.correlation),  # NaN: all are alike
    'pieces': [[*piece, taken] for piece, taken in seconds.items()],
  }
  path.parent.mkdir(parents=True, exist_ok=True)
  new = path.with_name(f'{path.name}.new')
  new.write_text(json.dumps(content, indent=1, allow_nan=False) + '\n')
  os.replace(new, path)  # whole or not at all
