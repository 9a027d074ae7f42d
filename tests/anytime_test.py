"""Curves over a budget, against loops in plain Python."""

import numpy as np
import pytest

from irlas_jax import anytime

NUM_ROWS = 12
# Few rows and few rewards: they repeat, and tie.
RNG = np.random.default_rng(0)
REWARDS = np.append(RNG.integers(0, 6, NUM_ROWS) * 10.0, -1.0)
SECONDS = np.append(RNG.integers(1, 9, NUM_ROWS) / 2, 0.0).astype(np.float32)
ROWS = RNG.integers(0, NUM_ROWS + 1, (20, 30))


def _improvements(rows, budget, seconds):
  """[(evaluations, spent, distinct, row, reward)] of one search."""
  found, best, spent, seen = [], None, 0.0, set()
  for i, row in enumerate(rows.tolist(), start=1):
    seen.add(row)
    spent += 1 if seconds is None else float(seconds[row])
    if spent > budget:
      break
    if best is None or REWARDS[row] > best:
      best = REWARDS[row]
      found.append((i, spent, len(seen), row, best))
  return found


@pytest.mark.parametrize(
  'budget, seconds', [(30, None), (11, None), (1, None), (40.0, SECONDS)]
)
def test_improvements_are_those_of_a_loop(budget, seconds):
  """A tie is none, a row asked for again is no new one but costs again."""
  found = anytime.improvements(ROWS, REWARDS[ROWS], budget, seconds)
  assert len(found) == len(ROWS)
  for search, rows in zip(found, ROWS, strict=True):
    expected = _improvements(rows, budget, seconds)
    assert list(zip(*search, strict=True)) == expected
    assert search.rows.dtype.kind == 'i'


def test_a_proposal_counts_when_it_is_paid_for():
  """Its result is known at the end of its training, not at the start."""
  rows, rewards = np.array([[0, 1, 2]]), np.array([[10.0, 20, 30]])
  seconds = np.array([2.0, 3, 4, 0])
  for budget, count in ((1.9, 0), (2, 1), (4.9, 1), (5, 2), (9, 3)):
    (found,) = anytime.improvements(rows, rewards, budget, seconds)
    assert found.spent.tolist() == [2, 5, 9][:count]
    assert found.rows.tolist() == [0, 1, 2][:count]


@pytest.mark.parametrize(
  'budget, seconds, words',
  [(31, None, ['spends 30', 'of 31']), (1e6, SECONDS, ['1e+06'])],
)
def test_a_search_that_ends_before_its_budget_is_refused(
  budget, seconds, words
):
  """Its curve would be flat where nobody looked."""
  with pytest.raises(ValueError, match='search.num_proposals') as error:
    anytime.improvements(ROWS, REWARDS[ROWS], budget, seconds)
  assert all(word in str(error.value) for word in words), error.value


def test_the_shortest_search_decides():
  rows = np.array([[0, 0], [1, 1]])
  seconds = np.array([5.0, 2.0])
  with pytest.raises(ValueError, match='spends 4 of'):
    anytime.improvements(rows, np.zeros((2, 2)), 6, seconds)


def test_first_seen_by_a_set():
  expected = []
  for rows in ROWS.tolist():
    expected.append([row not in rows[:i] for i, row in enumerate(rows)])
  np.testing.assert_array_equal(anytime.first_seen(ROWS), expected)


@pytest.fixture(name='searches', scope='module')
def fixture_searches():
  return anytime.improvements(ROWS, REWARDS[ROWS], 40, SECONDS)


def test_found_is_the_best_row_paid_for(searches):
  """At the very amount that an evaluation ends, it counts."""
  amounts = np.sort(np.concatenate([np.arange(0, 41, 0.5), [0.25, 39.9]]))
  found = anytime.found(searches, amounts)
  assert found.shape == (len(ROWS), len(amounts)) and found.dtype.kind == 'i'
  for rows, answers in zip(ROWS, found, strict=True):
    for amount, answer in zip(amounts, answers, strict=True):
      known = _improvements(rows, amount, SECONDS)
      assert answer == (known[-1][3] if known else -1)


@pytest.mark.parametrize('field', ['evaluations', 'spent', 'distinct'])
@pytest.mark.parametrize('target', [-5.0, 20.0, 50.0, 1e3])
def test_a_target_is_reached_by_the_best_row_so_far(searches, field, target):
  """By the value reported, which is not the reward; a NaN reaches nothing."""
  values = np.random.default_rng(1).permutation(REWARDS)
  values[[3, NUM_ROWS]] = np.nan
  found = anytime.first_reach(searches, values, target, field)
  place = ('evaluations', 'spent', 'distinct').index(field)
  for rows, answer in zip(ROWS, found, strict=True):
    known = _improvements(rows, 40, SECONDS)
    reached = [one for one in known if values[one[3]] >= target]
    assert answer == (reached[0][place] if reached else np.inf)


def test_a_search_that_found_nothing_in_its_budget():
  """Its first evaluation took longer than all there was."""
  searches = anytime.improvements(ROWS[:1, :1], np.ones((1, 1)), 0.1, SECONDS)
  assert len(searches[0].rows) == 0
  assert anytime.found(searches, np.array([0.05, 0.1])).tolist() == [[-1, -1]]
  values = np.ones(NUM_ROWS + 1)
  assert anytime.first_reach(searches, values, 0.0).tolist() == [np.inf]


def test_amounts_are_whole_and_end_at_the_budget():
  found = anytime.amounts(1000)
  assert found[0] == 1 and found[-1] == 1000 and 40 <= len(found) <= 60
  assert found.dtype.kind == 'i' and (np.diff(found) > 0).all()
  assert anytime.amounts(3).tolist() == [1, 2, 3]
  assert anytime.amounts(1).tolist() == [1]
