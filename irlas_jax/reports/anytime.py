"""Pictures of searches over a budget: what they had found when, and fronts."""

import pathlib

import numpy as np
from matplotlib import figure, ticker

from irlas_jax.reports import figures

_COLOURS = (
  *('#3b6fb0', '#c2413b', '#558030', '#e39a3f', '#7a4fa3', '#7d8fa6'),
  *('#1f9e9e', '#a0522d', '#d070a0', '#1f2a37'),
)
_BAND = 0.25, 0.75  # quantiles over seeds


def write_curves(path, summary) -> pathlib.Path:
  """Best so far and mean regret by budget, one line an arm, as a PNG.

  `summary` is a `comparison.Summary`. Bands are from the lower to the upper
  quartile over seeds. Returns the path.
  """
  column = summary.columns[summary.main]
  drawing = figure.Figure(figsize=(11.0, 4.8), layout='constrained')
  left, right = drawing.subplots(1, 2)
  lows = []
  for colour, (name, curves) in _coloured(summary.curves):
    values = curves[column.name].values
    mean = curves[column.name].mean
    low, high = np.quantile(values, _BAND, axis=0)
    left.fill_between(
      summary.amounts, low, high, color=colour, alpha=0.08, lw=0
    )
    left.plot(summary.amounts, mean, color=colour, label=name)
    regret = np.maximum(summary.optimum - mean, 1e-6)
    right.plot(summary.amounts, regret, color=colour, label=name)
    lows.append(np.interp(summary.amounts[-1] / 50, summary.amounts, mean))
    if name in summary.published:
      _mark_published(left, summary.published[name], colour)
  room = summary.optimum - min(lows)
  left.set_ylim(min(lows), summary.optimum + 0.05 * room)
  left.axhline(summary.optimum, color='#1f2a37', lw=0.8, ls=':')
  for axes in (left, right):
    axes.set_xscale('log')
    axes.set_xlabel(f'budget ({summary.budget_unit})')
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
    axes.spines[['top', 'right']].set_visible(False)
  right.set_yscale('log')
  left.set_ylabel(f'{column.name} of the best found ({column.unit})')
  right.set_ylabel('mean regret (points)')
  if summary.published:
    left.plot([], [], 'D', color='#1f2a37', mfc='white', label='published')
  left.legend(frameon=False, fontsize='small')
  return figures.save(drawing, path)


def write_front(path, summary, value: str, cost: str) -> pathlib.Path:
  """Two metrics of what the arms found by the end of the budget, as a PNG.

  Points are means over seeds with 95 % intervals, behind them all rows of the
  table; the line is the table's own front. Returns the path.
  """
  up, across = summary.columns[value], summary.columns[cost]
  drawing = figure.Figure(figsize=(8.0, 5.4), layout='constrained')
  axes = drawing.subplots()
  axes.plot(across.values, up.values, '.', color='#c9d2dd', ms=2, zorder=0)
  front = _front(across.values, up.values)
  axes.plot(across.values[front], up.values[front], color='#7d8fa6', lw=1)
  points = []
  for colour, (name, curves) in _coloured(summary.curves):
    ends = [curves[one.name].values[:, -1] for one in (across, up)]
    x, y = (end.mean() for end in ends)
    dx, dy = (1.96 * end.std(ddof=1) / np.sqrt(len(end)) for end in ends)
    axes.errorbar(x, y, dy, dx, fmt='o', color=colour, label=name, capsize=2)
    points.append((x, y))
  if summary.expert:
    x, y = (summary.expert[one.name] for one in (across, up))
    axes.plot(x, y, 'D', color='#1f2a37', label='the expert')
    points.append((x, y))
  _zoom(axes, np.array(points))
  axes.set_xlabel(f'{across.name} ({across.unit})')
  axes.set_ylabel(f'{up.name} ({up.unit})')
  axes.spines[['top', 'right']].set_visible(False)
  axes.legend(frameon=False, fontsize='small')
  return figures.save(drawing, path)


def _coloured(curves):
  """(colour, (name, curve)) of each arm, as many colours as it takes."""
  return [
    (_COLOURS[i % len(_COLOURS)], item) for i, item in enumerate(curves.items())
  ]


def _mark_published(axes, published, colour) -> None:
  if np.isfinite(published.agrees_at):
    axes.errorbar(
      published.agrees_at,
      published.mean,
      published.std,
      fmt='D',
      color=colour,
      markerfacecolor='white',
      capsize=3,
      lw=0.8,
    )


def _front(cost: np.ndarray, value: np.ndarray) -> np.ndarray:
  """Rows that nothing cheaper is as good as, by cost."""
  order = np.lexsort((-value, cost))
  order = order[np.isfinite(cost[order]) & np.isfinite(value[order])]
  best = np.maximum.accumulate(value[order])
  better = np.append(True, best[1:] > best[:-1])
  return order[better]


def _zoom(axes, points) -> None:
  """Shows the points and as much around them."""
  low, high = points.min(axis=0), points.max(axis=0)
  room = np.maximum(high - low, 1e-9) * 0.6
  axes.set_xlim(low[0] - room[0], high[0] + room[0])
  axes.set_ylim(low[1] - room[1], high[1] + room[1])
