"""How a search went: reward by proposal, and accuracy against cost.

Shapes: `n` proposals in the order they were made, numbered from 1 in pictures.
"""

import pathlib

import numpy as np
from matplotlib import colors, figure, ticker

from irlas_jax.reports import figures

_SIZE = 8.0, 4.8  # inches
_GREY, _BLUE, _DARK = '#7d8fa6', '#3b6fb0', '#1f2a37'
_RED, _ORANGE, _GREEN = '#c2413b', '#e39a3f', '#558030'
_ORDER = colors.LinearSegmentedColormap.from_list(
  'order', ['#cfdcee', '#6b97cf', '#17375f']
)
_SHADE = 0.05, 0.25  # opacity of exploration at epsilon 0 and 1


def reward_curve(
  path,
  rewards,
  *,
  exploration=None,
  failed=None,
  window: int = 50,
  title: str = '',
  baseline: float | None = None,
) -> pathlib.Path:
  """Draws rewards [n], their running mean and the best so far as a PNG.

  `exploration` [n] is epsilon at each proposal: the background is shaded by it
  until it reaches its least value; NaN is unknown. Proposals that `failed` [n]
  bool, or whose reward is not finite, are crosses at the foot and count for
  nothing else, so that a floor squashes no curve. The mean is over the last
  `window` proposals, `baseline` a reward to compare with. Returns the path.

  Raises:
    ValueError: for arrays that are not [n], no proposals, or a window below 1.
  """
  rewards = _column('rewards', rewards)
  n = len(rewards)
  if failed is not None:
    rewards = np.where(_column('failed', failed, n), np.nan, rewards)
  rewards = np.where(np.isfinite(rewards), rewards, np.nan)
  level = np.nan if baseline is None else baseline
  axes = _axes(title, 'proposal', 'reward')
  axes.set_xlim(0.5, n + 0.5)
  axes.set_ylim(*_limits(np.append(rewards, level)))
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  if exploration is not None:
    _draw_exploration(axes, _column('exploration', exploration, n))
  _draw_rewards(axes, rewards, window)
  if np.isfinite(level):
    name = f'baseline {level:.4g}'
    axes.axhline(level, color=_GREEN, lw=1.4, ls='--', label=name)
  _draw_legend(axes)
  return figures.save(axes.figure, path)


def accuracy_against_cost(
  path,
  accuracy,
  madds,
  *,
  rewards,
  best: int,
  expert: tuple[float, float] | None = None,
  title: str = '',
) -> pathlib.Path:
  """Draws accuracy [n] over multiply-adds [n], log scale, as a PNG.

  Colour is the order of proposal; equal pairs (one architecture proposed
  again) are drawn once, where they came first. The line is the Pareto front.
  The star is proposal `best` (from 0), labelled with its reward of `rewards`
  [n], and the diamond the `expert`, (accuracy, multiply-adds). Proposals
  without a finite accuracy and a positive cost are left out. Returns the path.

  Raises:
    ValueError: for arrays that are not [n], no proposals, or a `best` outside.
  """
  accuracy = _column('accuracy', accuracy)
  n = len(accuracy)
  madds = _column('madds', madds, n)
  rewards = _column('rewards', rewards, n)
  if not 0 <= best < n:
    raise ValueError(f'best is {best}: give an index of the {n} proposals.')
  drawn = first_of_each(accuracy, madds)
  axes = _axes(title, 'multiply-adds', 'validation accuracy')
  axes.set_xscale('log')
  _draw_pairs(axes, accuracy, madds, drawn, n)
  label = f'best reward {rewards[best]:.4g}'
  _mark(axes, accuracy[best], madds[best], '*', 15, _ORANGE, label)
  if expert is not None:
    _mark(axes, *expert, 'D', 8, _GREEN, 'expert')
  _label_log_axis(axes)
  _draw_legend(axes)
  return figures.save(axes.figure, path)


def running_mean(values, window: int) -> np.ndarray:
  """Mean [n] of the last `window` values [n]; NaN ones count for nothing.

  Raises:
    ValueError: for a window below 1.
  """
  if window < 1:
    raise ValueError(f'window is {window}: take the mean of 1 or more.')
  known = np.isfinite(values)
  sums = np.stack([np.where(known, values, 0.0), known.astype(float)])
  sums = np.pad(np.cumsum(sums, axis=1), ((0, 0), (window, 0)))
  total, count = sums[:, window:] - sums[:, :-window]
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def best_so_far(values) -> np.ndarray:
  """Largest [n] of the values [n] up to each; NaN until there is one."""
  return np.fmax.accumulate(values)


def first_of_each(accuracy, madds) -> np.ndarray:
  """Where each pair that can be drawn comes first: indices, ascending."""
  fine = np.flatnonzero(
    np.isfinite(accuracy) & np.isfinite(madds) & (madds > 0)
  )
  pairs = np.stack([accuracy[fine], madds[fine]], axis=1)
  return np.sort(fine[np.unique(pairs, axis=0, return_index=True)[1]])


def pareto_front(accuracy, madds) -> np.ndarray:
  """Indices of the pairs no other beats in both, by ascending multiply-adds.

  Of equal pairs one is kept.
  """
  order = np.lexsort((-accuracy, madds))
  before = np.maximum.accumulate(np.append(-np.inf, accuracy[order]))[:-1]
  return order[accuracy[order] > before]


def _column(name, values, n=None):
  """The values as float64 [n], checked."""
  values = np.asarray(values, float)
  if values.ndim != 1 or len(values) == 0:
    raise ValueError(
      f'{name} has shape {values.shape}: give one number for each proposal.'
    )
  if n is not None and len(values) != n:
    raise ValueError(
      f'{name} has {len(values)} entries for {n} proposals: give one for each.'
    )
  return values


def _axes(title, x_label, y_label):
  fig = figure.Figure(figsize=_SIZE, layout='constrained', facecolor='white')
  axes = fig.add_subplot()
  axes.set_title(title, loc='left', weight='bold', size=12, pad=20)
  axes.set_xlabel(x_label)
  axes.set_ylabel(y_label)
  axes.spines[['top', 'right']].set_visible(False)
  axes.grid(color='#e4e8ed', lw=0.7)
  axes.set_axisbelow(True)
  return axes


def _limits(values):
  """Range of the finite values with a margin; 0 to 1 where there are none."""
  finite = values[np.isfinite(values)]
  if len(finite) == 0:
    return 0.0, 1.0
  low, high = finite.min(), finite.max()
  margin = 0.07 * (high - low) or 0.05 * max(abs(high), 1.0)
  return low - margin, high + margin


def _draw_exploration(axes, epsilon):
  """Shades proposals by epsilon, up to where it reaches its end value."""
  known = np.flatnonzero(np.isfinite(epsilon))
  end = known[np.argmin(epsilon[known])] if len(known) else 0
  if len(known) == 0 or epsilon[known[0]] == epsilon[end]:
    return
  low, high = _SHADE
  shade = np.zeros((1, end, 4))
  shade[..., :3] = colors.to_rgb(_ORANGE)
  shade[..., 3] = low + (high - low) * np.clip(epsilon[:end], 0, 1)
  shade = np.nan_to_num(shade)  # nothing where epsilon is unknown
  x_of_data = axes.get_xaxis_transform()
  extent = (0.5, end + 0.5, 0, 1)
  limits = axes.get_xlim(), axes.get_ylim()
  axes.imshow(
    shade, extent=extent, transform=x_of_data, aspect='auto', zorder=0
  )
  axes.set(xlim=limits[0], ylim=limits[1])
  axes.axvline(end + 0.5, color=_ORANGE, lw=1.2, zorder=1)
  text = f'exploration: epsilon {epsilon[known[0]]:.3g} to {epsilon[end]:.3g}'
  axes.text(0.5, 1.015, text, transform=x_of_data, size=9, color='#96591a')


def _draw_rewards(axes, rewards, window):
  """Dots, running mean, best so far; crosses where there is no reward."""
  n = len(rewards)
  steps = np.arange(1, n + 1)
  best = best_so_far(rewards)
  mean = running_mean(rewards, window)
  alpha = float(np.clip(300 / n, 0.35, 0.8))
  axes.plot(
    steps, rewards, '.', color=_GREY, ms=5, mew=0, alpha=alpha, label='proposal'
  )
  name = f'mean of the last {min(window, n)}'
  axes.plot(steps, mean, color=_BLUE, lw=1.8, label=name)
  if np.isfinite(best[-1]):
    first = int(np.nanargmax(rewards))
    name = f'best so far ({best[-1]:.4g}, proposal {first + 1})'
    axes.step(steps, best, where='post', color=_DARK, lw=1.5, label=name)
    axes.plot(steps[first], best[-1], '*', color=_DARK, ms=11, mec='white')
  lost = steps[np.isnan(rewards)]
  if len(lost):
    axes.plot(
      lost,
      np.full(len(lost), 0.02),
      'x',
      color=_RED,
      ms=4.5,
      mew=1,
      transform=axes.get_xaxis_transform(),
      label=f'failed ({len(lost)})',
    )


def _draw_legend(axes):
  """Below the axes, in one line or in lines of three."""
  entries = len(axes.get_legend_handles_labels()[0])
  if entries:
    axes.figure.legend(
      loc='outside lower center',
      ncols=entries if entries < 5 else 3,
      frameon=False,
      fontsize=9,
    )


def _draw_pairs(axes, accuracy, madds, drawn, n):
  """The scatter of the pairs at `drawn`, and their Pareto front."""
  accuracy, madds = accuracy[drawn], madds[drawn]
  points = axes.scatter(
    madds,
    accuracy,
    c=drawn + 1,
    cmap=_ORDER,
    vmin=1,
    vmax=max(n, 2),
    s=22,
    edgecolors='white',
    linewidths=0.4,
    zorder=2,
  )
  whole = ticker.MaxNLocator(integer=True)
  bar = axes.figure.colorbar(points, label='proposal', pad=0.02, ticks=whole)
  bar.outline.set_linewidth(0)
  if len(drawn) == 0:
    axes.text(
      0.5, 0.5, 'no measurements', transform=axes.transAxes, ha='center'
    )
  else:
    front = pareto_front(accuracy, madds)
    axes.step(
      madds[front],
      accuracy[front],
      where='post',
      color=_RED,
      lw=1.3,
      marker='o',
      ms=6,
      mfc='none',
      label='Pareto front',
      zorder=3,
    )


def _mark(axes, accuracy, madds, marker, size, colour, label):
  """One larger point; nothing where it is None or not finite."""
  accuracy, madds = np.array([accuracy, madds], float)
  if np.isfinite(accuracy) and np.isfinite(madds) and madds > 0:
    axes.plot(
      madds,
      accuracy,
      marker,
      ms=size,
      color=colour,
      mec=_DARK,
      mew=0.9,
      label=label,
      zorder=4,
    )


def _label_log_axis(axes):
  """Ticks such as 20 M, at 1, 2, 5 times powers of ten, or evenly in one."""
  low, high = axes.get_xlim()
  if high / low > 10:
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
  else:
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
  axes.xaxis.set_major_formatter(ticker.EngFormatter())
  axes.xaxis.set_minor_locator(ticker.NullLocator())
