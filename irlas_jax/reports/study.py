"""What a study of searches over a table found: tables, pictures, JSON."""

import pathlib
from collections.abc import Iterator

import numpy as np

from irlas_jax.reports import anytime, records, table

_QUANTILES = 0.1, 0.25, 0.5, 0.75, 0.9


def write_study(workdir, config, summary, took: str) -> str:
  """Writes study.md, study.json and the pictures; returns the text.

  `summary` is a `comparison.Summary`, `took` a sentence about the run.
  """
  workdir = pathlib.Path(workdir)
  text = '\n\n'.join(filter(None, _sections(config, summary)))
  (workdir / 'study.md').write_text(f'{text}\n')
  records.write_json(workdir / 'study.json', _content(config, summary))
  pictures = [anytime.write_curves(workdir / 'anytime.png', summary)]
  front = config['report'].get('front')
  if front:
    path = workdir / 'front.png'
    pictures.append(anytime.write_front(path, summary, *front))
  names = ', '.join(path.name for path in pictures)
  return f'{text}\n\n{took}\nstudy.md, study.json, {names} in {workdir}.'


def _sections(config, summary) -> Iterator[str]:
  report = config['report']
  for name in report['metrics']:
    one = summary.columns[name]
    yield f'{_title(name, one, report)}\n\n{_curves(config, summary, one)}'
  if any(summary.reached.values()):
    yield (
      f'Budget ({summary.budget_unit}) until the best found has a '
      f'{summary.main} of ..., and how many different cells it had asked for '
      f'by then: median (share of the seeds)\n\n{_reached(summary)}'
    )
  if summary.published:
    yield (
      'Published figures, and the budget at which our mean reaches theirs\n\n'
      f'{_published(summary)}'
    )
  if summary.differences:
    yield (
      'Differences at the end of the budget, paired by seed, with 95 % '
      'intervals; p of all but the primary one by Holm\n\n'
      f'{_differences(summary)}'
    )
  if summary.expert:
    values = ', '.join(
      f'{name} {value:.4g} {summary.columns[name].unit}'
      for name, value in summary.expert.items()
    )
    yield f'The expert itself: {values}.'
  yield from report.get('notes', ())


def _title(name, column, report) -> str:
  chosen = report['metrics'][name]
  what = chosen if isinstance(chosen, str) else f'median of {len(chosen)}'
  return (
    f'{name} ({what}, {column.unit}) of the best found, mean ± standard '
    'deviation over seeds'
  )


def _places(config, summary) -> np.ndarray:
  """Of the budgets to be shown among all amounts."""
  asked = [x for x in config['report'].get('budgets', ())]
  amounts = summary.amounts
  shown = [x for x in asked if x <= amounts[-1]] or [amounts[-1]]
  return np.searchsorted(amounts, shown)


def _curves(config, summary, column) -> str:
  places = _places(config, summary)
  rows = []
  for name, curves in summary.curves.items():
    curve = curves[column.name]
    row = {'arm': name}
    for place in places:
      head = f'{summary.amounts[place]:g} {summary.budget_unit}'
      row[head] = f'{curve.mean[place]:.2f} ± {curve.std[place]:.2f}'
    rows.append(row)
  return table.markdown_table(rows)


def _reached(summary) -> str:
  rows = []
  for name, targets in summary.reached.items():
    row = {'arm': name}
    for target, found in targets.items():
      share = np.isfinite(found.spent).mean()
      middle, distinct = (np.median(amounts) for amounts in found)
      row[f'{target:.6g}'] = (
        f'{middle:g}, {distinct:g} different ({share:.0%})'
        if np.isfinite(middle)
        else f'not by half ({share:.0%})'
      )
    rows.append(row)
  if summary.exact:
    row = {f'{target:.6g}': f'{x:g}' for target, x in summary.exact.items()}
    rows.append({'arm': 'random without replacement, exact'} | row)
  return table.markdown_table(rows)


def _published(summary) -> str:
  return table.markdown_table(
    [
      {
        'arm': name,
        'source': figure.source,
        'published': f'{figure.mean:.2f} ± {figure.std:.2f}',
        f'{summary.budget_unit} where ours agrees': (
          f'{figure.agrees_at:g}'
          if np.isfinite(figure.agrees_at)
          else 'not within the budget'
        ),
        'our deviation there': (
          f'{figure.std_there:.2f}' if np.isfinite(figure.agrees_at) else '-'
        ),
      }
      for name, figure in summary.published.items()
    ]
  )


def _differences(summary) -> str:
  return table.markdown_table(
    [
      {
        'comparison': f'{one.arm} against {one.reference}',
        'metric': one.metric,
        'difference': _interval(one),
        'p': f'{one.p:.2g}{" (primary)" if one.primary else ""}',
      }
      for one in summary.differences
    ]
  )


def _interval(one) -> str:
  if one.unit == '% of seeds first':
    return f'{one.mean:.0f} [{one.low:.0f}, {one.high:.0f}] {one.unit}'
  return f'{one.mean:+.2f} [{one.low:+.2f}, {one.high:+.2f}] {one.unit}'


def _content(config, summary) -> dict:
  return records.plain(
    {
      'config': config,
      'versions': records.versions(),
      'budget_unit': summary.budget_unit,
      'amounts': summary.amounts.tolist(),
      'optimum': summary.optimum,
      'arms': {
        name: {metric: _numbers(curve) for metric, curve in curves.items()}
        for name, curves in summary.curves.items()
      },
      'published': {k: v._asdict() for k, v in summary.published.items()},
      'differences': [one._asdict() for one in summary.differences],
      'expert': summary.expert,
    }
  )


def _numbers(curve) -> dict:
  return {
    'mean': curve.mean.tolist(),
    'std': curve.std.tolist(),
    'quantiles': {
      str(q): np.quantile(curve.values, q, axis=0).tolist() for q in _QUANTILES
    },
  }
