"""What a benchmark table is: cells, one a row, and what was measured of them.

Shapes: `N` cells, `T` choices of a cell, `V` vertices of the largest cell.
Accuracies are fractions in [0, 1] on every table, whatever its file holds. A
number that nobody measured is NaN.
"""

import difflib
from typing import NamedTuple

import numpy as np

# Codes of vertices in `GraphCells.operations` that are no operation.
INPUT, OUTPUT, PADDING = -1, -2, -3


class TableError(ValueError):
  """A table that cannot be: the file, the place in it and the remedy."""


class Metric(NamedTuple):
  """One number of every cell."""

  values: np.ndarray  # [N] float32
  unit: str  # 'fraction', 's', 'ms', 'kWh', 'parameters', 'multiply-adds' ...


class ChoiceCells(NamedTuple):
  """Cells that are sequences of independent choices; all rows differ."""

  choices: np.ndarray  # [N, T] int32, row i chose choices[i, t] at step t
  sizes: tuple[int, ...]  # [T] number of choices at each step


class GraphCells(NamedTuple):
  """Cells that are graphs, in topological order, padded at the end."""

  adjacency: np.ndarray  # [N, V, V] uint8, strictly upper triangular
  operations: np.ndarray  # [N, V] int8, row of the operations, or a code above


class Table(NamedTuple):
  """Cells and what is known of each; row i is the same cell everywhere."""

  cells: ChoiceCells | GraphCells
  metrics: dict[str, Metric]


def metric(table: Table, name: str) -> Metric:
  """The metric of that name.

  Raises:
    TableError: if there is none; it lists those there are, the likeliest first.
  """
  if name in table.metrics:
    return table.metrics[name]
  close = difflib.get_close_matches(name, table.metrics, n=3, cutoff=0.4)
  rest = [other for other in table.metrics if other not in close]
  raise TableError(
    f'metric {name!r}: not in the table; choose one of '
    f'{", ".join(close + rest)}.'
  )


def summary(table: Table) -> str:
  """The metrics as lines of text: name, unit, range, rows not measured."""
  lines = [f'{len(table.cells[0])} cells']
  for name, (values, unit) in table.metrics.items():
    missing = int(np.isnan(values).sum())
    spread = f'{np.nanmin(values):.6g} to {np.nanmax(values):.6g}'
    note = f', {missing} not measured' if missing else ''
    lines.append(f'  {name}: {spread} {unit}{note}')
  return '\n'.join(lines)
