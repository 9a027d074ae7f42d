"""A table of one's own: choices, and any numbers that were measured.

The file holds `choices` [T], how many there are at each step; `metrics` [M],
`units` [M] and `values` [N, M]; and `actions` [N, T] unless all combinations
are there in row-major order (the last step changes fastest). Accuracies have
the unit 'fraction' or 'percent'. NaN is a number that nobody measured.
"""

import math
from collections.abc import Sequence

import numpy as np

from irlas_jax.tables import arrays as checks
from irlas_jax.tables.table import ChoiceCells, Metric, Table, TableError


def parse(arrays: checks.Arrays) -> Table:
  """The table of a file of this form.

  Raises:
    TableError: naming the array, and its first bad row, if it is not.
  """
  sizes = checks.get(arrays, 'choices', (None,), checks.INTEGERS)
  checks.refuse_rows('choices', sizes < 1, 'is less than one choice', sizes)
  metrics = checks.names(arrays, 'metrics')
  units = checks.get(arrays, 'units', (len(metrics),), checks.TEXTS)
  values = checks.get(arrays, 'values', (None, len(metrics)), checks.NUMBERS)
  return Table(
    ChoiceCells(
      _actions(arrays, sizes.tolist(), len(values)), tuple(sizes.tolist())
    ),
    {
      name: _metric(name, str(unit), column)
      for name, unit, column in zip(
        metrics, units.astype('U'), values.T, strict=True
      )
    },
  )


def all_actions(sizes: Sequence[int]) -> np.ndarray:
  """All combinations [N, T] int32 in row-major order, last step fastest."""
  grid = np.indices(tuple(sizes), dtype=np.int32)
  return np.ascontiguousarray(grid.reshape(len(sizes), -1).T)


def _actions(arrays, sizes, num_rows):
  if 'actions' not in arrays:
    if math.prod(sizes) != num_rows:
      raise TableError(
        f'`values` has {num_rows} rows, but `choices` {sizes} have '
        f'{math.prod(sizes)} combinations; give all rows, or say with '
        '`actions` [N, T] which those are'
      )
    return all_actions(sizes)
  shape = (num_rows, len(sizes))
  actions = checks.get(arrays, 'actions', shape, checks.INTEGERS)
  outside = (actions < 0) | (actions >= np.array(sizes))
  checks.refuse_rows('actions', outside, f'is not within {sizes}', actions)
  actions = actions.astype(np.int32)
  again = checks.repeated(actions)
  checks.refuse_rows('actions', again, 'repeats an earlier row', actions)
  return actions


def _metric(name, unit, column):
  """A column as float32; NaN stays, and is all that may not be finite."""
  place = f'values[{name}]'
  checks.refuse_rows(place, np.isinf(column), 'is infinite', column)
  if np.isnan(column).all():
    raise TableError(f'`{place}` is NaN in every row; leave the metric out')
  if unit in ('fraction', 'percent'):
    share = column / 100 if unit == 'percent' else column
    remedy = "is no accuracy of its unit, 'fraction' (0-1) or 'percent' (0-100)"
    checks.refuse_rows(place, (share < 0) | (share > 1), remedy, column)
    return Metric(share.astype(np.float32), 'fraction')
  if not unit:
    raise TableError(f"`units` of {name!r} is empty; give one, such as 's'")
  return Metric(column.astype(np.float32), unit)
