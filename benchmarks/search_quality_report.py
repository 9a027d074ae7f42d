"""The arms of `search_quality`, its result files, statistics and tables.

A result file is one seed's: `config` and `environment`, {arm: its search} and
{digest: block}, where a block's `accuracy` is the evidence: of a training that
no search has seen, on images that no search has seen; null if it failed, which
counts as 0 here.

Shapes: `S` seeds.
"""

import json
import pathlib
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from irlas_jax import strict_json
from irlas_jax.reports import records, table

RESAMPLES = 10_000
LATENCY = 'latency.json'


class Arm(NamedTuple):
  """A searcher, and whose block its reward likes."""

  searcher: str
  guidance: str  # 'none', 'expert' or 'control'


_LEARNERS = ('q_learning', 'reinforce', 'evolution')
_GUIDANCE = ('none', 'expert', 'control')
ARMS = {'random': Arm('random', 'none')} | {
  f'{searcher}-{guidance}': Arm(searcher, guidance)
  for searcher in _LEARNERS
  for guidance in _GUIDANCE
}
PAIRS = (
  *((name, 'random') for name in ARMS if name != 'random'),
  *((f'{name}-expert', f'{name}-none') for name in _LEARNERS),
  *((f'{name}-expert', f'{name}-control') for name in _LEARNERS),
)


class Metric(NamedTuple):
  """A figure of an arm at a seed."""

  name: str
  format: str
  relative: bool  # whether arms are compared by their ratio
  compared: bool = True


METRICS = {
  'accuracy': Metric('accuracy %', '.2f', False),
  'best': Metric('best block %', '.2f', False),
  'madds': Metric('multiply-adds', ',.0f', True),
  'latency': Metric('latency ms', '.2f', True),
  'layers': Metric('layers', '.2f', False),
  'distinct': Metric('distinct of the last', '.1f', False, False),
  'distinct_all': Metric('distinct of all', '.1f', False, False),
}


class Difference(NamedTuple):
  """A paired difference over seeds, and its 95 % interval."""

  mean: float
  low: float
  high: float

  @property
  def excludes_zero(self) -> bool:
    """Whether the interval lies on one side of 0."""
    return self.low > 0 or self.high < 0


def known_arms(names: Iterable[str]) -> list[str]:
  """The names; ValueError for one that is no arm."""
  names = list(names)
  for name in names:
    if name not in ARMS:
      raise ValueError(f'arms: {name!r} is none of {", ".join(ARMS)}.')
  return names


def plain(value):
  """The value as JSON gives it back."""
  return json.loads(json.dumps(value))


def environment() -> dict[str, str]:
  """The versions and the processor that a result depends on."""
  return records.versions() | {'cpu': _cpu()}


def _cpu() -> str:
  info = pathlib.Path('/proc/cpuinfo')
  lines = info.read_text().splitlines() if info.exists() else []
  names = (line.split(':', 1)[1] for line in lines if 'model name' in line)
  return next(names, platform.processor()).strip()


def check_same(path: pathlib.Path, name: str, there, here) -> None:
  """Refuses a file that differs in `name`, with the fields that do."""
  old, new = (strict_json.flat(value, name) for value in (there, here))
  places = [
    f'{place} {old.get(place, "absent")}, not {new.get(place, "absent")}'
    for place in sorted(old.keys() | new.keys())
    if old.get(place) != new.get(place)
  ]
  if places:
    raise ValueError(
      f'{path} has {"; ".join(places)}: name another folder with --results.'
    )


def read_results(folder: pathlib.Path) -> list[dict]:
  """The results of all seeds.

  Raises:
    ValueError: if there are none, or their configs or arms differ.
  """
  paths = sorted(folder.glob('seed_*.json'))
  if not paths:
    raise ValueError(f'{folder} has no results: run without --report first.')
  results = [json.loads(path.read_text()) for path in paths]
  first = results[0]
  for path, result in zip(paths, results, strict=True):
    check_same(path, 'config', first['config'], result['config'])
    if result['arms'].keys() != first['arms'].keys():
      raise ValueError(f'{path} has other arms than {paths[0]}: run the rest.')
  return results


def figures(result: Mapping, arm: str, latency: Mapping) -> dict[str, float]:
  """The metrics of one arm at one seed; latency NaN where not measured."""
  found, blocks = result['arms'][arm], result['blocks']
  last = [blocks[name] for name in found['last']]
  seconds = [latency.get(name, np.nan) for name in found['last']]
  return {
    'accuracy': 100 * np.mean([block['accuracy'] or 0.0 for block in last]),
    'best': 100 * (blocks[found['best']]['accuracy'] or 0.0),
    'madds': np.mean([block['madds'] for block in last]),
    'latency': 1e3 * np.mean(seconds),
    'layers': np.mean([block['layers'] for block in last]),
    'distinct': len(last),
    'distinct_all': found['distinct'],
  }


def paired(ours, theirs, relative: bool) -> Difference:
  """Our mean minus theirs over seeds, [S] each, with a bootstrap interval.

  `relative` compares by ratios: 100 (exp(mean log(ours / theirs)) - 1), in
  percent. The interval is that of percentiles, over resampled seeds.
  """
  ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
  values = np.log(ours / theirs) if relative else ours - theirs
  low, high = bootstrap_interval(values)
  found = np.array([values.mean(), low, high])
  return Difference(*(100 * np.expm1(found) if relative else found).tolist())


def bootstrap_interval(values, resamples: int = RESAMPLES):
  """2.5th and 97.5th percentile of the means of resampled `values` [S].

  NaN for a single value, which says nothing of its spread. Over few values
  such intervals are short: of ten normal ones, 10 % miss their mean.
  """
  values = np.asarray(values, float)
  if len(values) < 2:
    return np.nan, np.nan
  rng = np.random.default_rng(0)
  rows = rng.integers(len(values), size=(resamples, len(values)))
  return tuple(np.percentile(values[rows].mean(axis=1), [2.5, 97.5]))


def report(folder: pathlib.Path) -> str:
  """Both tables and what they rest on, in Markdown.

  Raises:
    ValueError: see `read_results`.
  """
  results = read_results(folder)
  path = folder / LATENCY
  latency = json.loads(path.read_text())['seconds'] if path.exists() else {}
  values = {
    arm: _columns([figures(result, arm, latency) for result in results])
    for arm in results[0]['arms']
  }
  pairs = [pair for pair in PAIRS if set(pair) <= values.keys()]
  differences = {pair: _differences(values, pair) for pair in pairs}
  parts = [_heading(results), _means_table(values)]
  if differences:
    parts += [
      'Paired differences over seeds, with 95 % bootstrap percentile '
      'intervals; those in **bold** exclude 0.',
      _differences_table(differences),
      _findings(differences),
    ]
  return '\n\n'.join(parts)


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
  """{metric: [S]}"""
  return {name: np.array([row[name] for row in rows]) for name in METRICS}


def _heading(results) -> str:
  config = results[0]['config']
  blocks = [block for r in results for block in r['blocks'].values()]
  failed = sum(block['accuracy'] is None for block in blocks)
  places = {json.dumps(result['environment']) for result in results}
  return (
    f'{len(results)} seeds, {config["search"]["num_proposals"]} proposals a '
    f'search. Means over seeds of the distinct blocks among the last '
    f'{config["evidence"]["last"]} proposals, trained again and scored on '
    f'images that no search has seen. {len(blocks)} blocks trained again, '
    f'{failed} failed, which counts as 0 %; {len(places)} environment(s).'
  )


def _means_table(values) -> str:
  rows = [
    {'arm': arm} | {m.name: columns[name].mean() for name, m in METRICS.items()}
    for arm, columns in values.items()
  ]
  formats = {metric.name: metric.format for metric in METRICS.values()}
  return table.markdown_table(rows, {'arm': ''} | formats)


def _differences(values, pair) -> dict[str, Difference]:
  """{metric: our difference}, of those that were measured at every seed."""
  ours, theirs = (values[arm] for arm in pair)
  return {
    name: paired(ours[name], theirs[name], metric.relative)
    for name, metric in METRICS.items()
    if metric.compared and not np.isnan([ours[name], theirs[name]]).any()
  }


def _unit(name: str) -> str:
  """How a difference in a metric is headed."""
  metric = METRICS[name]
  word = metric.name.removesuffix(' ms').removesuffix(' %')
  if metric.relative:
    return f'{word}, %'
  return f'{word}, points' if metric.name.endswith('%') else word


def _cell(found: Difference) -> str:
  text = f'{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]'
  return f'**{text}**' if found.excludes_zero else text


def _differences_table(differences) -> str:
  rows = [
    {'arms': f'{ours} minus {theirs}'}
    | {_unit(name): _cell(found) for name, found in row.items()}
    for (ours, theirs), row in differences.items()
  ]
  return table.markdown_table(rows)


def _findings(differences) -> str:
  """In words: which intervals exclude 0, and how many would by chance."""
  cells = [
    (f'{ours} minus {theirs}', _unit(name), found)
    for (ours, theirs), row in differences.items()
    for name, found in row.items()
  ]
  sure = [
    f'- {pair}: {unit} {_cell(found)}'
    for pair, unit, found in cells
    if found.excludes_zero
  ]
  return '\n'.join(
    [
      f'{len(sure)} of {len(cells)} intervals exclude 0; if nothing differed, '
      f'{0.05 * len(cells):.1f} would be expected to, and some more because '
      'intervals of percentiles are short where seeds are few.',
      *([''] if sure else []),
      *sure,
    ]
  )
