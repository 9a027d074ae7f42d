"""Claims of papers beside what was measured: one table of all, one a row.

Every row has a file of its own, `ROW/row.json`, written when one more of its
seeds is complete, so that rows may be run apart and still stand in one report.
"""

import json
import pathlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from irlas_jax.reports import records, table

ROW = 'row.json'
_UNITS = {'best': '%', 'rise': 'points', 'accuracy': '%', 'seconds': 's'}
_WORDS = {
  'best': 'test accuracy of the best found, trained again',
  'rise': 'accuracy of the last quarter of the proposals minus the first',
  'perplexity': 'test perplexity of the best found, trained again',
  'run': 'test accuracy of the network that each run ends with',
}
_LIMITED = {'trainings': 'distinct trainings', 'parameters': 'parameters'}
_COLUMNS = (  # of the table of all rows
  *('system', 'claim', 'figure', 'measured', 'random search'),
  *('improvement on its reference', 'verdict', 'improvement on random'),
  'seeds',
)


def write_row(workdir, measured, command: str, intervals) -> None:
  """Writes what is known of a row.

  Args:
    workdir: of all rows.
    measured: a `claims.Measured`.
    command: what runs it.
    intervals: values [S] -> (mean, low, high, ...).
  """
  row, done = measured.row, len(measured.seeds)
  config = row.arms[row.arm]
  content = {
    'name': row.name,
    'claim': row.claim,
    'source': row.source,
    'command': command,
    'config': row.path,
    'figure': row.figure,
    'perplexity': row.perplexity,
    'arm': row.arm,
    'references': list(row.references),
    'margin': row.margin,
    'limits': {
      name: getattr(row, name) for name in _LIMITED if getattr(row, name)
    },
    'seeds': row.seeds,
    'done': done,
    'retrain': row.retrain,
    'final': row.final,
    'method': row.method,
    'published': row.published,
    'dataset': config.get('dataset'),
    'arms': {
      arm: {
        'proposals': measured.searches[arm][0]['proposals'],
        'parts': np.mean(
          [one['parts'] for one in measured.searches[arm]], axis=0
        ).tolist(),
        'best': [one['best'] for one in measured.searches[arm]],
        'figures': {
          figure: _numbers(values[arm], intervals)
          for figure, values in measured.values.items()
        },
      }
      for arm in measured.searches
    },
    'comparisons': [one._asdict() for one in measured.comparisons],
    'against_random': [
      one._asdict()
      for one in measured.against_random
      if (one.reference, 0.0) not in _compared(measured)
    ],
    'share': measured.share,
    'verdict': measured.verdict,
    'finished': done == row.seeds,
    'environment': records.versions() | {'machine': machine()},
  }
  path = pathlib.Path(workdir) / row.name / ROW
  records.write_json(path, records.plain(content))


def _compared(measured) -> set[tuple[str, float]]:
  """References and margins of the row's own comparisons."""
  return {(one.reference, one.margin) for one in measured.comparisons}


def _numbers(values: Sequence[float], intervals) -> dict[str, Any]:
  mean, low, high, *_ = intervals(values)
  std = float(np.std(values, ddof=1)) if len(values) > 1 else float('nan')
  return {
    'values': list(values),
    'mean': mean,
    'std': std,
    'low': low,
    'high': high,
  }


def machine() -> str:
  """The processor, and how many there are of it for us."""
  info = pathlib.Path('/proc/cpuinfo')
  lines = info.read_text().splitlines() if info.exists() else []
  names = (line.split(':', 1)[1] for line in lines if 'model name' in line)
  return next(names, platform.processor()).strip() or platform.machine()


def write_results(workdir, names: Sequence[str]) -> str:
  """Writes results.md and results.json of these rows; returns the text."""
  workdir = pathlib.Path(workdir)
  paths = {name: workdir / name / ROW for name in names}
  rows = {
    name: json.loads(path.read_text())
    for name, path in paths.items()
    if path.exists()
  }
  text = '\n\n'.join(_sections(names, rows))
  (workdir / 'results.md').write_text(f'{text}\n')
  records.write_json(workdir / 'results.json', {'rows': rows})
  return f'{text}\n\nresults.md and results.json in {workdir}.'


def _sections(names, rows: Mapping[str, Mapping]) -> Iterator[str]:
  yield '# Claims of papers, and what was measured'
  yield (
    'Mean ± standard deviation over seeds, [95 % interval of the mean by '
    "Student's t]. Differences are paired by seed and signed so that above 0 "
    'is better for the arm. A claim holds only if the whole interval lies '
    'beyond its margin, and does not hold if it lies before it. '
    'The best architecture of each search is trained again with keys that no '
    'search had, and scored on test data: no score that steered a search is '
    'reported as a result.'
  )
  yield table.markdown_table(
    [
      _main(rows[name])
      if name in rows
      else {'system': name, 'verdict': 'not run'}
      for name in names
    ],
    _COLUMNS if rows else None,
  )
  for row in rows.values():
    yield f'## {row["name"]}'
    yield from _details(row)


def _main(row: Mapping) -> dict[str, str]:
  figure, arms = row['figure'], row['arms']
  random = arms.get('random')
  return {
    'system': row['name'],
    'claim': row['claim'],
    'figure': _what(row),
    'measured': _value(row, arms[row['arm']]['figures'][figure]),
    'random search': _value(row, random['figures'][figure]) if random else '-',
    'improvement on its reference': '; '.join(
      _difference(row, one) for one in row['comparisons']
    ),
    'verdict': _verdict(row),
    'improvement on random': '; '.join(
      f'{_difference(row, one)}: {one["verdict"]}'
      for one in row['against_random']
    )
    or 'its reference',
    'seeds': f'{row["done"]} of {row["seeds"]}',
  }


def _verdict(row: Mapping) -> str:
  if row['finished']:
    return f'**{row["verdict"]}**'
  return f'not finished; so far: {row["verdict"]}'


def _what(row: Mapping) -> str:
  if row['method'] != 'search':
    return _WORDS['run']
  perplexity = row['perplexity'] and row['figure'] == 'best'
  return _WORDS['perplexity' if perplexity else row['figure']]


def _unit(row: Mapping, figure: str) -> str:
  if figure == 'best' and row['perplexity']:
    return 'perplexity'
  return _UNITS.get(figure, '')


def _value(row: Mapping, numbers: Mapping) -> str:
  """Of the row's own figure."""
  return f'{_spread(numbers)} {_unit(row, row["figure"])}'


def _number(value: float | None, sign: str = '') -> str:
  return '-' if value is None else f'{value:{sign}.2f}'


def _spread(numbers: Mapping) -> str:
  mean, std, low, high = (
    _number(numbers[name]) for name in ('mean', 'std', 'low', 'high')
  )
  return f'{mean} ± {std} [{low}, {high}]'


def _difference(row: Mapping, one: Mapping) -> str:
  mean, low, high = (
    _number(one[name], '+') for name in ('mean', 'low', 'high')
  )
  unit = _unit(row, row['figure'])
  unit = 'points' if unit == '%' else unit
  where = f'on {one["reference"]}' if one['reference'] else 'above 0'
  return f'{mean} [{low}, {high}] {unit} {where}'


def _details(row: Mapping) -> Iterator[str]:
  yield f'{row["claim"]} {_source(row)}'.strip()
  yield f'    {row["command"]}'
  yield _set_up(row)
  yield table.markdown_table(
    [_arm(row, name, arm) for name, arm in row['arms'].items()]
  )
  lines = []
  for one in row['comparisons'] + row['against_random']:
    margin = f', margin {one["margin"]:+g}' if one['margin'] else ''
    lines.append(
      f'- Improvement of {one["arm"]}: {_difference(row, one)}{margin}: '
      f'{one["verdict"]}.'
    )
  for name, most in row['limits'].items():
    lines.append(
      f'- Its {_LIMITED[name]} are {_number(row["share"])} of those of '
      f'{row["references"][0]}; claimed are at most {most:.2f}.'
    )
  yield '\n'.join(lines)
  yield f'Verdict: {_verdict(row)}; seeds: {row["done"]} of {row["seeds"]}.'
  versions = ', '.join(f'{k} {v}' for k, v in row['environment'].items())
  yield f'Run with {versions}.'


def _source(row: Mapping) -> str:
  return f'({row["source"]})' if row['source'] else ''


def _set_up(row: Mapping) -> str:
  start = f'{row["config"]} on {row["dataset"]}; seeds: {row["seeds"]}'
  if row['method'] != 'search':
    return f'{start}; the network of each run, tested once.'
  how = ', each a full one' if row['final'] else ''
  return (
    f'{start}; trainings of the best of each search: {row["retrain"]}{how}.'
  )


def _arm(row: Mapping, name: str, arm: Mapping) -> dict[str, str]:
  figures = arm['figures']
  parts = ', '.join(f'{part:.1f}' for part in arm['parts'])
  best = 'best again, perplexity' if row['perplexity'] else 'best again, %'
  published = {'in the paper': row['published'].get(name, '-')}
  found = {
    'arm': name,
    **(published if row['published'] else {}),
    best: _spread(figures['best']),
  }
  if 'parameters' in figures:
    found['parameters'] = _plus_minus(figures['parameters'])
  if not parts:  # no search by proposals
    return found
  return found | {
    'rise, points': _spread(figures['rise']),
    'accuracy by quarters, %': parts,
    'proposals': f'{arm["proposals"]}',
    'distinct trainings': _plus_minus(figures['trainings']),
    'of these failed': _plus_minus(figures['failed']),
    'seconds of training': _plus_minus(figures['seconds']),
  }


def _plus_minus(numbers: Mapping) -> str:
  mean, std = (numbers[name] for name in ('mean', 'std'))
  return f'{mean:.0f}' if std is None else f'{mean:.0f} ± {std:.0f}'
