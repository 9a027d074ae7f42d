"""Tables as text: aligned for a terminal, or Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

MISSING = '-'  # what nobody measured: None, NaN, or no entry
_DIGITS = 4  # significant, of the largest number of a column
_PLAIN = 1e-3, 1e9  # the range of largest numbers written without exponent


class _Table(NamedTuple):
  """A table as text, column by column."""

  columns: list[list[str]]  # the head first
  numeric: list[bool]  # whether a column holds numbers only


def format_table(
  rows: Sequence[Mapping[str, Any]],
  columns: Sequence[str] | Mapping[str, str] | None = None,
) -> str:
  """Aligns rows below a head, for a terminal; columns of numbers stand right.

  `columns` are the keys to show, in this order; None is all of them. As a
  mapping it also gives formats, {'accuracy': '.2%', 'name': ''}: without one
  the numbers of a column share as many decimals as show four digits of the
  largest. Missing values are '-'. There is no newline at the end.

  Raises:
    ValueError: for a column that no row has, a value that its format does not
      fit, or neither rows nor columns.
  """
  table = _table(rows, columns)
  widths = [max(map(len, cells)) for cells in table.columns]
  head, *body = _lines(table, widths)
  rule = ['-' * width for width in widths]
  return '\n'.join('  '.join(line).rstrip() for line in (head, rule, *body))


def markdown_table(
  rows: Sequence[Mapping[str, Any]],
  columns: Sequence[str] | Mapping[str, str] | None = None,
) -> str:
  """The table that `format_table` describes, in Markdown."""
  table = _table(rows, columns)
  escaped = [
    [cell.replace('|', '\\|') for cell in cells] for cells in table.columns
  ]
  table = table._replace(columns=escaped)
  widths = [max(3, *map(len, cells)) for cells in escaped]
  rule = [
    '-' * (width - 1) + (':' if numeric else '-')
    for width, numeric in zip(widths, table.numeric, strict=True)
  ]
  head, *body = _lines(table, widths)
  return '\n'.join(f'| {" | ".join(line)} |' for line in (head, rule, *body))


def _table(rows, columns) -> _Table:
  names = dict.fromkeys(name for row in rows for name in row)
  columns = names if columns is None else columns
  formats = columns if isinstance(columns, Mapping) else {}
  if not columns:
    raise ValueError('There are neither rows nor columns: give either.')
  unknown = [name for name in columns if name not in names]
  if rows and unknown:
    raise ValueError(f'No row has {unknown}: the columns are {list(names)}.')
  values = {name: [_plain(row.get(name)) for row in rows] for name in columns}
  return _Table(
    [
      [_one_line(name), *_texts(name, column, formats.get(name))]
      for name, column in values.items()
    ],
    [
      any(map(_is_number, column))
      and all(value is None or _is_number(value) for value in column)
      for column in values.values()
    ],
  )


def _plain(value):
  """An array of one number as that number; NaN as None."""
  if hasattr(value, '__array__') and np.size(value) == 1:
    value = np.asarray(value).item()
  return None if isinstance(value, float) and math.isnan(value) else value


def _is_number(value):
  return isinstance(value, int | float) and not isinstance(value, bool)


def _texts(name, values, spec):
  """A column as text: by its format, or by one that suits its numbers."""
  suited = _number_format([value for value in values if _is_number(value)])
  return [_text(name, value, spec, suited) for value in values]


def _text(name, value, spec, suited):
  if value is None:
    return MISSING
  if spec:
    return _formatted(name, value, spec)
  return format(value, suited) if _is_number(value) else _one_line(value)


def _formatted(name, value, spec):
  try:
    return format(value, spec)
  except (TypeError, ValueError) as error:
    raise ValueError(
      f'Column {name!r}: {value!r} does not fit the format {spec!r}.'
    ) from error


def _number_format(numbers):
  """Nothing for integers; else enough decimals for the largest number."""
  if not any(isinstance(number, float) for number in numbers):
    return ''
  largest = max((abs(x) for x in numbers if math.isfinite(x)), default=0.0)
  if largest == 0:
    return '.1f'
  if not _PLAIN[0] <= largest < _PLAIN[1]:
    return f'.{_DIGITS}g'
  return f'.{max(0, _DIGITS - 1 - math.floor(math.log10(largest)))}f'


def _one_line(value):
  return ' '.join(str(value).split())


def _lines(table, widths):
  """The rows, head first, as lists of cells of these widths."""
  padded = [
    [cell.rjust(width) if numeric else cell.ljust(width) for cell in cells]
    for cells, numeric, width in zip(*table, widths, strict=True)
  ]
  return list(zip(*padded, strict=True))
