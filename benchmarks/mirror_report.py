"""What `mirror_stimuli` makes of its measures: choices, intervals, tables.

A method is features with a learner. Shapes: `E` experts.
"""

import itertools
from typing import NamedTuple

import numpy as np

from irlas_jax import experts
from irlas_jax.reports import table

NAMES = tuple(experts.EXPERTS)
EVERYONE = range(len(NAMES))
PARTS = ('(a)', '(b)', 'others')
COSINE = 'cosine'

Method = tuple[str, str]  # features and learner; a baseline has no learner


class Results(NamedTuple):
  """Measures of every method, a leading axis of draws each."""

  methods: list[Method]
  neighbours: np.ndarray  # [methods, draws, E, 2], (a) and (b)
  above: np.ndarray  # [methods, draws, E, 2]
  others: np.ndarray  # [methods, draws, E, E]


def others_mean(others, teachers, taught) -> np.ndarray:
  """Mean over pairs of different experts: [..., E, E] -> [...]."""
  pairs = [(i, j) for i in teachers for j in taught if i != j]
  return np.mean([others[..., i, j] for i, j in pairs], axis=0)


def criterion(results: Results, teachers) -> np.ndarray:
  """What methods are chosen by: the mean of (a), (b) and others: [methods]."""
  teachers = list(teachers)
  neighbours = results.neighbours[:, :, teachers].mean((1, 2, 3))
  others = others_mean(results.others, teachers, teachers).mean(1)
  return (2 * neighbours + others) / 3


def choose(results: Results, teachers) -> tuple[Method, Method]:
  """The best method by some experts, and the best that is plain cosine."""
  score = criterion(results, teachers)
  learnt = [i for i, (_, learner) in enumerate(results.methods) if learner]
  plain = [i for i in learnt if results.methods[i][1] == COSINE]
  best, cosine = (max(some, key=lambda i: score[i]) for some in (learnt, plain))
  return results.methods[best], results.methods[cosine]


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
  """Mean of [draws, E], and its 95 % interval over both.

  Bootstrap percentiles: draws and experts are drawn again, each with
  replacement, as values of one expert (or one draw) go together.
  """
  rng = np.random.default_rng(seed)
  num_draws, num_experts = values.shape
  draws = rng.integers(num_draws, size=(10_000, num_draws, 1))
  columns = rng.integers(num_experts, size=(10_000, 1, num_experts))
  means = values[draws, columns].mean((1, 2))
  low, high = np.percentile(means, (2.5, 97.5))
  return float(values.mean()), float(low), float(high)


def parts(results: Results, method: Method, held=EVERYONE) -> np.ndarray:
  """(a), (b) and others by experts that rank each other: [3, draws, held]."""
  i, held = results.methods.index(method), list(held)
  near = results.neighbours[i][:, held]
  others = [others_mean(results.others[i], [one], held) for one in held]
  return np.stack([near[..., 0], near[..., 1], np.stack(others, -1)])


def designs_table(beside: Results, reported: Results) -> str:
  """Chosen on the ten other designs, reported on the five experts."""
  method, cosine = choose(beside, range(beside.others.shape[-1]))
  own = parts(reported, method)
  rows = [
    {'against': f'cosine, {phi}', '(a) / (b) / others': _triple(rival)}
    | _gains(own - rival)
    for phi in dict.fromkeys([method[0], cosine[0]])
    for rival in [parts(reported, (phi, COSINE))]
  ]
  return (
    '## Chosen on ten other designs, reported on the five experts\n\n'
    f'Chosen: **{method[1]}, {method[0]}**, (a) / (b) / others '
    f'{_triple(own)}.\n\n{table.markdown_table(rows)}'
  )


def splits_table(chosen_by: Results, reported: Results) -> str:
  """The ten splits: chosen on two experts, reported on the other three."""
  rows, found = [], []
  for pair in itertools.combinations(EVERYONE, 2):
    held = [i for i in EVERYONE if i not in pair]
    method, cosine = choose(chosen_by, pair)
    rivals = (method[0], COSINE), cosine
    measured = [parts(reported, m, held) for m in (method, *rivals)]
    found.append([_scatter(values, held) for values in measured])
    rows.append(
      {
        'chosen on': ' + '.join(NAMES[i] for i in pair),
        'method': f'{method[1]}, {method[0]}',
        'report': _triple(measured[0]),
        'cosine': _triple(measured[1]),
        'cosine at its best': _triple(measured[2]),
      }
    )
  own, same, best = np.nanmean(found, axis=0)  # [3, draws, E] each, over splits
  means = {
    'splits': 'mean of all ten',
    'report': _triple(own),
    **_gains(own - same),
  }
  more = {
    'splits': 'less cosine at its best',
    'report': '',
    **_gains(own - best),
  }
  title = '## Chosen on two experts, reported on three: (a) / (b) / others'
  return '\n\n'.join(
    [title, table.markdown_table(rows), table.markdown_table([means, more])]
  )


def learners_table(results: Results, phi: str) -> str:
  """Every learner on some features, with what sets it off from cosine."""
  rows = []
  for i, (features, learner) in enumerate(results.methods):
    if learner and features != phi:
      continue
    own = parts(results, (features, learner))
    above = results.above[i].mean((0, 1))
    rows.append(
      {'learner': learner or f'baseline: {features}'}
      | dict(zip(PARTS, own.mean((1, 2)), strict=True))
      | {'above (a)': above[0], 'above (b)': above[1]}
      | _gains(own - parts(results, (phi, COSINE)))
    )
  formats = dict.fromkeys(PARTS, '.3f')
  formats |= {'above (a)': '.2%', 'above (b)': '.2%'}
  columns = {name: formats.get(name, '') for name in rows[0]}
  return f'## Learners, on {phi}\n\n' + table.markdown_table(rows, columns)


def features_table(results: Results, whose: str) -> str:
  """(a) / (b) / others of every learner on every features."""
  everyone = range(results.others.shape[-1])
  rows: dict[str, dict] = {}
  for features, learner in results.methods:
    if learner:
      row = rows.setdefault(features, {'features': features})
      row[learner] = _triple(parts(results, (features, learner), everyone))
  title = f'## (a) / (b) / others, of {whose}'
  return f'{title}\n\n' + table.markdown_table(list(rows.values()))


def _scatter(values, held):
  """[3, draws, held] -> [3, draws, E], NaN for experts not held out."""
  full = np.full((*values.shape[:2], len(NAMES)), np.nan)
  full[..., held] = values
  return full


def _gains(values):
  """Cells for differences [3, draws, E] to cosine."""
  return {
    f'{part} less cosine': '{:+.3f} [{:+.3f}, {:+.3f}]'.format(*interval(x))
    for part, x in zip(PARTS, values, strict=True)
  }


def _triple(values) -> str:
  return ' / '.join(f'{x:.3f}' for x in values.mean((1, 2)))
