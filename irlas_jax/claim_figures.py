"""What searches say about a claim: figures, paired differences, a verdict.

Shapes: `S` seeds, in the same order for all arms of a row.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from irlas_jax import claim_rows, comparison, search
from irlas_jax.types import OK

HOLDS, FAILS, UNDECIDED = 'holds', 'does not hold', 'undecided'
PARTS = 4  # of a search's proposals: its rise is last minus first


class Comparison(NamedTuple):
  """How much better an arm is than its reference, by seed; in the unit."""

  arm: str
  reference: str  # '' for none: the figure itself
  mean: float  # of the improvement: above 0 is better, whatever the figure
  low: float  # 95 % interval
  high: float
  margin: float  # what has to be exceeded
  verdict: str


class Measured(NamedTuple):
  """What is known of a row so far."""

  row: claim_rows.Row
  seeds: list[int]  # [S], those of which all arms are finished
  # by figure and arm, [S]: best, rise, trainings, seconds ...
  values: dict[str, dict[str, list[float]]]
  searches: dict[str, list[dict]]  # by arm, `of_search` and best
  comparisons: list[Comparison]  # with the references
  against_random: list[Comparison]  # of the arm; none if it is it
  share: float  # of what is limited, of the reference's; NaN where nothing is
  verdict: str  # by the seeds that there are


def of_search(trials: Sequence[search.Trial]) -> dict[str, Any]:
  """What is remembered of a search; a child that failed has accuracy 0.

  `best` is the proposal with the highest reward, the first of equals; `parts`
  are mean accuracies in percent of the quarters of all proposals, in order, and
  `rise` is the last of them minus the first, in points.
  """
  best = max(trials, key=lambda trial: trial.reward)
  accuracies = [100 * accuracy_of(trial.scores) for trial in trials]
  parts = [float(np.mean(x)) for x in np.array_split(accuracies, PARTS)]
  distinct = {trial.key: trial.scores for trial in trials}
  return {
    'best': best.genotype,
    'digest': json.loads(best.key)[0],
    'reward': best.reward,
    'accuracy': 100 * accuracy_of(best.scores),
    'parts': parts,
    'rise': parts[-1] - parts[0],
    'proposals': len(trials),
    'trainings': len(distinct),
    'failed': sum(row['failure'] != OK for row in distinct.values()),
    'seconds': float(np.nansum([row['seconds'] for row in distinct.values()])),
  }


def accuracy_of(row: Mapping[str, Any]) -> float:
  """The accuracy of a row of scores; 0 for one without a measurement."""
  return row['accuracy'] if row['failure'] == OK else 0.0


def best_of(rows: Sequence[Mapping[str, Any]], num_words: int = 0) -> float:
  """The mean over trainings of one architecture, on test data.

  In percent, a training that failed being 0; of language models, which are
  those with `num_words`, the perplexity, where it is that of guessing.
  """
  if not num_words:
    return float(np.mean([100 * accuracy_of(row) for row in rows]))
  return float(
    np.mean(
      [
        np.exp(row['loss']) if row['failure'] == OK else num_words
        for row in rows
      ]
    )
  )


def compare(
  values: Mapping[str, Sequence[float]],
  arm: str,
  reference: str,
  *,
  margin: float = 0.0,
  lower: bool = False,
) -> Comparison:
  """An arm against its reference, paired by seed.

  Args:
    values: the figure [S] of every arm.
    arm: what may be better.
    reference: than what; '' for 0.
    margin: what the improvement has to exceed; below 0, how much worse the arm
      may be and still not count as inferior.
    lower: whether lower is better.
  """
  ours = np.asarray(values[arm], float)
  theirs = np.asarray(values[reference], float) if reference else 0.0
  found = comparison.mean_interval((ours - theirs) * (-1 if lower else 1))
  return Comparison(
    arm,
    reference,
    *found[:3],
    margin,
    verdict_of(found.low, found.high, margin),
  )


def verdict_of(low: float, high: float, margin: float) -> str:
  """Holds only if the whole interval is beyond the margin."""
  if low > margin:
    return HOLDS
  return FAILS if high < margin else UNDECIDED


def all_of(verdicts: Sequence[str]) -> str:
  """Of several things that are claimed at once."""
  if FAILS in verdicts:
    return FAILS
  return UNDECIDED if UNDECIDED in verdicts else HOLDS


LIMITED = ('trainings', 'parameters')  # figures that a row may limit
FIGURES = {  # of a row, and where a search has them, if it has
  'best': 'again',
  'rise': 'rise',
  'accuracy': 'accuracy',
  'trainings': 'trainings',
  'failed': 'failed',
  'seconds': 'seconds',
  'parameters': 'parameters',
}


def measure(
  row: claim_rows.Row, seeds: Sequence[int], searches: dict[str, list[dict]]
) -> Measured:
  """What the searches of all arms, one a seed, say about the claim."""
  values = {
    figure: {
      arm: [float(one[field]) for one in found]
      for arm, found in searches.items()
    }
    for figure, field in FIGURES.items()
    if all(field in one for found in searches.values() for one in found)
  }
  better = functools.partial(
    compare,
    values[row.figure],
    row.arm,
    lower=row.perplexity and row.figure == 'best',
  )
  comparisons = [
    better(reference, margin=row.margin) for reference in row.references or ['']
  ]
  verdicts = [one.verdict for one in comparisons]
  share = float('nan')
  for figure in LIMITED:
    if most := getattr(row, figure):
      counts = values[figure]
      share = sum(counts[row.arm]) / sum(counts[row.references[0]])
      verdicts.append(HOLDS if share <= most else FAILS)
  return Measured(
    row,
    list(seeds),
    values,
    {name: list(found) for name, found in searches.items()},
    comparisons,
    [better(claim_rows.RANDOM)] if row.arm != claim_rows.RANDOM else [],
    share,
    all_of(verdicts),
  )
