"""Sweeps: which runs there are, and what they say beside each other.

An axis is a field of a config and its values, as text
`searcher.reinforce.learning_rate=0.01,0.1`. The runs are the grid of all axes,
or some settings drawn from it, each with all seeds.
"""

import ast
import difflib
import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

SEED = 'seed'  # the axis that is averaged over, and not drawn from
_RANGE = re.compile(r'(-?\d+):(-?\d+)')
_DRAW = re.compile(r'(uniform|log)\((.+),(.+)\)')
_DIGITS = 4  # significant, of what is drawn
_LONGEST = 100  # characters of a run's name


class SweepError(ValueError):
  """A sweep that cannot be run as it stands."""


class Draw(NamedTuple):
  """Numbers from `low` to `high`, uniform or so in their logarithm."""

  low: float
  high: float
  log: bool


class Axis(NamedTuple):
  """A field and what it takes."""

  field: str  # dotted
  values: tuple | Draw


class Run(NamedTuple):
  """One search of a sweep."""

  name: str  # of its folder
  point: dict[str, Any]  # {field: value}


def axis(text: str, config: ml_collections.ConfigDict) -> Axis:
  """Reads `field=values`, checked against the config.

  Values are a list `1,2,5`, integers `0:5` without the last, or for random
  sweeps `uniform(0.1,0.5)` and `log(0.001,0.1)`.

  Raises:
    SweepError: for a field that is not there, or values of another type.
  """
  field, equals, given = text.partition('=')
  if not equals or not given:
    raise SweepError(f'--sweep={text}: write field=value,value.')
  kind = _type(field, config)
  if drawn := _DRAW.fullmatch(given):
    if kind is not float:
      raise SweepError(f'--sweep={text}: only floats are drawn, not {kind}.')
    low, high = (_parse(field, part, float) for part in drawn.groups()[1:])
    log = drawn[1] == 'log'
    if not low < high or (log and low <= 0):
      raise SweepError(f'--sweep={text}: from a number to a larger one.')
    return Axis(field, Draw(low, high, log))
  if (ends := _RANGE.fullmatch(given)) and kind is int:
    values: Sequence = range(int(ends[1]), int(ends[2]))
  else:
    values = [_parse(field, part, kind) for part in _split(given)]
  if not values:
    raise SweepError(f'--sweep={text}: there is no value.')
  return Axis(field, tuple(dict.fromkeys(values)))


def _type(field: str, config: ml_collections.ConfigDict) -> type:
  """The type of a config's field."""
  *sections, name = field.split('.')
  here = config
  for part in (*sections, name):
    if not isinstance(here, ml_collections.ConfigDict) or part not in here:
      near = difflib.get_close_matches(field, list(_fields(config)), 3, 0.5)
      hint = f' Near it: {", ".join(near)}.' if near else ''
      raise SweepError(f'The config has no field {field!r}.{hint}')
    parent, here = here, here[part]
  if isinstance(here, ml_collections.ConfigDict):
    inside = ', '.join(f'{field}.{name}' for name in here)
    raise SweepError(f'{field} is a section: choose from {inside}.')
  return parent.get_type(name)


def _fields(config, place='') -> Iterator[str]:
  for name, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      yield from _fields(value, f'{place}{name}.')
    else:
      yield f'{place}{name}'


def _split(text: str) -> list[str]:
  """At the commas outside brackets."""
  depth = itertools.accumulate((c in '([') - (c in ')]') for c in text)
  cuts = [
    i
    for i, (c, d) in enumerate(zip(text, depth, strict=True))
    if c == ',' and d == 0
  ]
  ends = zip([-1, *cuts], [*cuts, len(text)], strict=True)
  return [text[i + 1 : j].strip() for i, j in ends]


def _parse(field: str, text: str, kind: type) -> Any:
  """A value of that type, from text."""
  wrong = SweepError(f'{field} takes {kind.__name__}, not {text!r}.')
  if kind is str:
    return text
  try:
    value = ast.literal_eval(text)
  except (ValueError, SyntaxError) as error:
    raise wrong from error
  if kind is float and type(value) is int:
    return float(value)
  if kind is tuple and isinstance(value, list):
    return tuple(value)
  if kind is not type(None) and type(value) is not kind:
    raise wrong
  return value


def runs(axes: Sequence[Axis], num_random: int = 0, seed: int = 0) -> list[Run]:
  """The grid of all axes; or `num_random` of its settings, with all seeds.

  A longer random sweep of the same `seed` begins with the shorter one.

  Raises:
    SweepError: for a field that is swept twice, or numbers that are to be
      drawn in a grid.
  """
  fields = [one.field for one in axes]
  if len(set(fields)) < len(fields):
    raise SweepError(f'A field is swept twice: {", ".join(fields)}.')
  seeds = [one for one in axes if one.field == SEED]
  rest = [one for one in axes if one.field != SEED]
  drawn = [one.field for one in rest if isinstance(one.values, Draw)]
  if drawn and not num_random:
    raise SweepError(f'{drawn[0]} is to be drawn: say how often, --random=N.')
  if num_random:
    settings = _draw(rest, num_random, np.random.default_rng(seed))
  else:
    settings = [_point(rest, p) for p in _grid(rest)]
  points = [
    setting | _point(seeds, p) for setting in settings for p in _grid(seeds)
  ]
  return [
    Run(name, point) for name, point in zip(_names(points), points, strict=True)
  ]


def _grid(axes) -> list[tuple]:
  return list(itertools.product(*(one.values for one in axes)))


def _point(axes, values) -> dict[str, Any]:
  return dict(zip((one.field for one in axes), values, strict=True))


def _draw(axes, count, rng) -> list[dict[str, Any]]:
  """Settings, none of them twice."""
  if not any(isinstance(one.values, Draw) for one in axes):
    grid = _grid(axes)
    return [_point(axes, grid[i]) for i in rng.permutation(len(grid))[:count]]
  return [
    _point(axes, [_value(one.values, rng) for one in axes])
    for _ in range(count)
  ]


def _value(values, rng):
  if not isinstance(values, Draw):
    return values[rng.integers(len(values))]
  ends = values.low, values.high
  if values.log:
    number = math.exp(rng.uniform(*map(math.log, ends)))
  else:
    number = rng.uniform(*ends)
  return float(f'{number:.{_DIGITS}g}')


def short_names(fields: Sequence[str]) -> dict[str, str]:
  """{field: its last part, or all of it where two would be called alike}."""
  last = [field.rpartition('.')[2] for field in fields]
  return {
    field: name if last.count(name) == 1 else field
    for field, name in zip(fields, last, strict=True)
  }


def _names(points) -> list[str]:
  """Names of folders, which stay the same when axes become longer."""
  short = short_names(list(points[0])) if points else {}
  names = []
  for point in points:
    text = ','.join(f'{short[field]}={v}' for field, v in point.items())
    name = re.sub(r'[^\w.,=+-]', '_', text) or 'run'
    if len(name) > _LONGEST or name != text:  # else two might become one
      digest = hashlib.sha256(json.dumps(point).encode()).hexdigest()[:8]
      name = f'{name[:_LONGEST]}-{digest}'
    names.append(name)
  return names


class Result(NamedTuple):
  """What a finished run is compared by; NaN is not known."""

  reward: float
  accuracy: float  # of the architecture with the best reward
  test_accuracy: float  # after its full training
  params: float
  madds: float


_COLUMNS = {  # of the table: (what it is of a result, format)
  'best reward': (lambda r: r.reward, '.2f'),
  'its accuracy %': (lambda r: 100 * r.accuracy, '.2f'),
  'test accuracy %': (lambda r: 100 * r.test_accuracy, '.2f'),
  'parameters': (lambda r: r.params, ',.0f'),
  'multiply-adds': (lambda r: r.madds, ',.0f'),
}


def rows(
  sweep: Sequence[Run], results: Mapping[str, Result]
) -> list[dict[str, Any]]:
  """A row a setting: mean ± standard deviation over its seeds' runs.

  `results` are of the runs that are finished, by name. Columns that nobody
  knows anything of are left out.
  """
  settings: dict[str, list[Run]] = {}
  for run in sweep:
    point = {k: v for k, v in run.point.items() if k != SEED}
    settings.setdefault(json.dumps(point), []).append(run)
  shown = {
    name: column
    for name, column in _COLUMNS.items()
    if any(not math.isnan(column[0](result)) for result in results.values())
  }
  return [_row(group, results, shown) for group in settings.values()]


def _row(group, results, shown) -> dict[str, Any]:
  short = short_names(list(group[0].point))
  row: dict[str, Any] = {
    short[k]: str(v) for k, v in group[0].point.items() if k != SEED
  }
  found = [results[run.name] for run in group if run.name in results]
  row['runs'] = f'{len(found)}/{len(group)}'
  for name, (value, spec) in shown.items():
    row[name] = _mean([value(result) for result in found], spec)
  return row


def _mean(values, spec) -> str | None:
  known = [value for value in values if not math.isnan(value)]
  if not known:
    return None
  text = format(float(np.mean(known)), spec)
  if len(known) == 1:
    return text
  return f'{text} ± {format(float(np.std(known, ddof=1)), spec)}'
