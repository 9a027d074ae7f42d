"""Figures and verdicts of claims, against numbers worked out by hand."""

import json

import numpy as np
import pytest

from irlas_jax import claim_figures, claim_rows, search
from irlas_jax.claim_figures import FAILS, HOLDS, UNDECIDED
from irlas_jax.types import DIVERGED, OK


def _trial(place, name, accuracy, reward=None, failure=OK):
  row = {'accuracy': accuracy, 'failure': failure, 'seconds': 2.0}
  key = json.dumps([name, 'settings', None, {}])
  reward = 100 * accuracy if reward is None else reward
  return search.Trial(0, place, key, f'({name})', 1, reward, np.nan, row)


def test_figures_of_a_search_are_those_of_its_trials():
  """Eight proposals of six architectures, one of which failed."""
  trials = [
    _trial(0, 'a', 0.1),
    _trial(1, 'b', 0.3),
    _trial(2, 'c', np.nan, 0.0, DIVERGED),
    _trial(3, 'b', 0.3),
    _trial(4, 'd', 0.5, 90.0),
    _trial(5, 'e', 0.7),
    _trial(6, 'f', 0.6, 90.0),
    _trial(7, 'e', 0.7),
  ]
  found = claim_figures.of_search(trials)
  assert found['parts'] == pytest.approx([20, 15, 60, 65])
  assert found['rise'] == pytest.approx(45)
  # The best is that of the reward, which is not the accuracy; first of equals.
  assert (found['best'], found['digest']) == ('(d)', 'd')
  assert found['accuracy'] == pytest.approx(50)
  assert (found['proposals'], found['trainings']) == (8, 6)
  assert (found['failed'], found['seconds']) == (1, pytest.approx(12))


def test_a_failed_training_counts_as_nothing_learnt():
  rows = [
    {'accuracy': 0.9, 'loss': np.log(80.0), 'failure': OK},
    {'accuracy': np.nan, 'loss': np.nan, 'failure': DIVERGED},
  ]
  assert claim_figures.best_of(rows) == pytest.approx(45)
  assert claim_figures.best_of(rows, 2000) == pytest.approx((80 + 2000) / 2)


def test_the_interval_is_students_of_paired_differences():
  """1, 2, 3: t(2) at 97.5 % is 4.3027, the standard error 1 / sqrt(3)."""
  values = {'ours': [11, 22, 33], 'theirs': [10, 20, 30]}
  found = claim_figures.compare(values, 'ours', 'theirs')
  width = 4.3026527 / np.sqrt(3)
  assert found[:2] == ('ours', 'theirs')
  assert found[2:5] == pytest.approx((2, 2 - width, 2 + width))
  assert found.verdict == UNDECIDED
  lower = claim_figures.compare(values, 'ours', 'theirs', lower=True)
  assert lower[2:5] == pytest.approx((-2, -2 - width, -2 + width))


@pytest.mark.parametrize(
  'ours, margin, lower, verdict',
  [
    ([5, 5.5, 5], 0, False, HOLDS),
    ([5, 5.5, 5], 0, True, FAILS),  # perplexities, which are higher
    ([-5, -5.5, -5], 0, True, HOLDS),
    ([-5, -5.5, -5], 0, False, FAILS),
    ([5, -5.5, 5], 0, False, UNDECIDED),
    ([5, 5.5, 5], 6, False, FAILS),  # better, but not by so much
    ([-1, -1.5, -1], -3, False, HOLDS),  # worse, but not by so much
    ([-5, -5.5, -5], -3, False, FAILS),
    ([1, 1, 1], 0, False, HOLDS),
    ([0, 0, 0], 0, False, UNDECIDED),  # the same networks
    ([0, 0, 0], -3, False, HOLDS),
    ([5], 0, False, UNDECIDED),  # one seed has no interval
  ],
)
@pytest.mark.parametrize('reference', ['theirs', ''])
def test_verdicts(ours, margin, lower, verdict, reference):
  values = {'ours': ours, 'theirs': [0] * len(ours)}
  found = claim_figures.compare(
    values, 'ours', reference, margin=margin, lower=lower
  )
  assert found.verdict == verdict


def test_what_is_claimed_at_once_has_to_hold_at_once():
  assert claim_figures.all_of([HOLDS, HOLDS]) == HOLDS
  assert claim_figures.all_of([HOLDS, UNDECIDED]) == UNDECIDED
  assert claim_figures.all_of([UNDECIDED, FAILS]) == FAILS


def _row(**changes):
  row = claim_rows.Row(
    name='row',
    path='',
    claim='',
    source='',
    figure='best',
    arm='ours',
    references=('theirs',),
    margin=0.0,
    trainings=0.0,
    seeds=3,
    retrain=1,
    arms={},
    perplexity=False,
  )
  return row._replace(**changes)


def _searches(best, trainings=10):
  names = ('rise', 'accuracy', 'failed', 'seconds')
  row = dict.fromkeys(names, 0.0) | {'trainings': trainings}
  return [row | {'again': value} for value in best]


def _measure(row):
  return claim_figures.measure(
    row,
    range(3),
    {
      'ours': _searches([81.0, 82.0, 81.5], 3),
      'theirs': _searches([80.0, 81.0, 80.6]),
      'random': _searches([90.0, 91.0, 90.4]),
    },
  )


def test_a_row_is_judged_by_its_reference_and_told_of_random():
  found = _measure(_row())
  assert found.verdict == HOLDS
  (random,) = found.against_random
  assert (random.reference, random.verdict) == ('random', FAILS)
  assert _measure(_row(references=('theirs', 'random'))).verdict == FAILS
  assert _measure(_row(references=())).comparisons[0].mean == pytest.approx(
    81.5
  )


def test_a_perplexity_is_better_if_lower():
  found = _measure(_row(perplexity=True))
  assert found.verdict == FAILS
  assert found.comparisons[0].mean == pytest.approx(-(1 + 1 + 0.9) / 3)
  assert found.against_random[0].verdict == HOLDS
  # Of language models too, `rise` is of accuracies.
  rises = _measure(_row(perplexity=True, figure='rise'))
  assert rises.comparisons[0].verdict == UNDECIDED


@pytest.mark.parametrize('most, verdict', [(0.3, HOLDS), (0.29, FAILS)])
def test_a_limit_on_trainings_is_part_of_the_claim(most, verdict):
  found = _measure(_row(trainings=most))
  assert found.share == pytest.approx(0.3)
  assert found.verdict == verdict
