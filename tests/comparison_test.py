"""Summaries of studies, with numbers worked out by hand."""

import math
import types

import numpy as np
import pytest
from scipy import stats

from irlas_jax import anytime, comparison, report_section, tabular
from irlas_jax.tables import table as tables

TABLE = tables.Table(
  tables.ChoiceCells(np.arange(4)[:, None], (4,)),
  {
    'test': tables.Metric(np.array([0.5, 0.6, 0.7, 0.8]), 'fraction'),
    'size': tables.Metric(np.array([10.0, 20, 40, 80]), 'parameters'),
    'phone': tables.Metric(np.array([1.0, 2, 3, 6]), 'ms'),
    'desk': tables.Metric(np.array([40.0, 30, 20, 10]), 'ms'),
    'rack': tables.Metric(np.array([8.0, np.nan, 4, 12]), 'ms'),
  },
)
# What each of four seeds found: (evaluation, row).
FOUND = {
  'ours': [[(1, 1), (2, 3)], [(1, 0), (8, 2)], [(1, 3)], [(1, 2), (4, 3)]],
  'random': [[(1, 0), (5, 1)], [(1, 1)], [(1, 1), (7, 2)], [(1, 0), (3, 2)]],
}


def _improvements(found, scale=1):
  evaluations, rows = np.array(found).T
  return anytime.Improvements(
    evaluations, evaluations * scale, evaluations, rows, rows * 10.0
  )


def make_study(report=(), found=FOUND, seconds=None, expert=None):
  """Of 4 iterations of 2; `expert` is the row it is found at."""
  evaluation = types.SimpleNamespace(
    table=TABLE, rows=types.SimpleNamespace(locate=lambda actions: actions)
  )
  space = types.SimpleNamespace(encode=lambda graph: graph)
  parts = types.SimpleNamespace(
    num_iterations=4,
    batch=2,
    evaluation=evaluation,
    expert=expert,
    kind=types.SimpleNamespace(space=space),
  )
  search = {'num_proposals': 8, 'batch': 2}
  config = {
    'search': search | ({'seconds': seconds} if seconds else {}),
    'evaluator': {'accuracy': 'test'},
  }
  scale = seconds / 8 if seconds else 1
  arms = {
    name: tabular.Arm(
      config, parts, [_improvements(one, scale) for one in searches]
    )
    for name, searches in found.items()
  }
  asked = {'metric': 'test', 'metrics': {'test': 'test', 'size': 'size'}}
  return tabular.Study({'report': asked | dict(report)}, arms, 0, 0.0)


def test_a_fraction_is_reported_in_percent():
  found = report_section.column(TABLE, 'accuracy', 'test')
  assert (found.name, found.unit) == ('accuracy', '%')
  np.testing.assert_allclose(found.values, [50, 60, 70, 80, np.nan])


def test_other_units_stay():
  found = report_section.column(TABLE, 'size', 'size')
  assert found.unit == 'parameters'
  np.testing.assert_array_equal(found.values, [10, 20, 40, 80, np.nan])


def test_several_latencies_are_their_median_over_their_means():
  """Means 3, 25 and 8, so that a desk's larger numbers do not decide."""
  found = report_section.column(TABLE, 'latency', ('phone', 'desk', 'rack'))
  assert found.unit == 'of the mean'
  # Rows: 1/3, 1.6, 1;  2/3, 1.2, unknown;  1, 0.8, 0.5;  2, 0.4, 1.5.
  expected = [1, np.nan, 0.8, 1.5, np.nan]
  np.testing.assert_allclose(found.values, expected)
  two = report_section.column(TABLE, 'latency', ['phone', 'desk'])
  expected = [(1 / 3 + 1.6) / 2, (2 / 3 + 1.2) / 2]
  np.testing.assert_allclose(two.values[:2], expected)


def test_curves_are_what_was_found_by_each_amount():
  found = comparison.summarise(make_study())
  assert found.amounts.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
  assert found.budget_unit == 'evaluations' and found.optimum == 80
  curve = found.curves['ours']['test']
  np.testing.assert_allclose(
    curve.values,
    [
      [60, 80, 80, 80, 80, 80, 80, 80],
      [50, 50, 50, 50, 50, 50, 50, 70],
      [80, 80, 80, 80, 80, 80, 80, 80],
      [70, 70, 70, 80, 80, 80, 80, 80],
    ],
  )
  np.testing.assert_allclose(curve.mean[[0, 3, 7]], [65, 72.5, 77.5])
  # Deviations from 77.5: 2.5, -7.5, 2.5, 2.5; over S - 1 = 3.
  np.testing.assert_allclose(curve.std[7], 5)
  size = found.curves['ours']['size'].values
  np.testing.assert_allclose(size[:, 7], [80, 40, 80, 80])


def test_budgets_asked_for_are_among_the_amounts():
  """But not those beyond the end; and seconds need not be whole."""
  report = {'budgets': (0.5, 2.25, 9.0, 100)}
  found = comparison.summarise(make_study(report, seconds=10.5))
  assert found.budget_unit == 's'
  assert {0.5, 2.25, 9.0, 10.5} <= set(found.amounts.tolist())
  assert found.amounts.max() == 10.5
  assert (np.diff(found.amounts) > 0).all()
  first = found.curves['ours']['test'].values[0]
  # The first evaluation is paid for at 1.3125 s, the second at 2.625 s.
  at = dict(zip(found.amounts.tolist(), first, strict=True))
  assert np.isnan(at[0.5]) and at[2.25] == 60 and at[9.0] == 80


def test_when_each_target_was_reached():
  """In evaluations; the optimum, 80, is asked for by its name."""
  found = comparison.summarise(make_study({'targets': (70.0, 'optimum', 81.0)}))
  reached = {
    name: {target: each.spent.tolist() for target, each in targets.items()}
    for name, targets in found.reached.items()
  }
  inf = float('inf')
  assert reached == {
    'ours': {70: [2, 8, 1, 1], 80: [2, inf, 1, 4], 81: [inf] * 4},
    'random': {70: [inf, inf, 7, 3], 80: [inf] * 4, 81: [inf] * 4},
  }
  # 2 of 4 rows have 70: none is among 1 draw with 1/2. 1 of 4 has 80.
  assert found.exact == {70: 1, 80: 2, 81: inf}


def test_different_rows_are_counted_beside_what_was_spent():
  """A search that asks again is not as well off as it seems."""
  search = anytime.Improvements(
    np.array([1, 6]), np.array([3.0, 18.0]), np.array([1, 4]),
    np.array([0, 3]), np.array([1.0, 2.0]),
  )  # fmt: skip
  study = make_study({'targets': (80.0,)}, seconds=20.0)
  arm = study.arms['ours']._replace(searches=[search, search])
  found = comparison.summarise(study._replace(arms={'ours': arm}))
  reached = found.reached['ours'][80.0]
  assert (reached.spent.tolist(), reached.distinct.tolist()) == (
    [18.0] * 2,
    [4] * 2,
  )


@pytest.mark.parametrize('changes', [{'seconds': 8.0}, {'metric': 'size'}])
def test_looking_at_everything_once_is_only_compared_in_evaluations(changes):
  """And with what is searched for: nobody draws until a test score is seen."""
  report = {'targets': (70.0,), 'metric': changes.pop('metric', 'test')}
  study = make_study(report, **changes)
  assert comparison.summarise(study).exact == {}


@pytest.mark.parametrize('count', [1, 2, 4, 7, 10, 40])
def test_draws_without_replacement_by_counting(count):
  """Until at most half of all sets of so many rows miss every hit."""
  for hits in range(count + 1):
    rows = np.arange(count) < hits
    expected = next(
      (
        k
        for k in range(1, count + 1)
        if 2 * math.comb(count - hits, k) <= math.comb(count, k)
      ),
      np.inf,
    )
    assert comparison.median_without_replacement(rows) == expected, hits


def test_published_figures_beside_the_least_amount_that_agrees():
  report = {
    'published': {
      'ours': {'mean': 72.5, 'std': 1.5, 'source': 'A paper'},
      'random': {'mean': 99.0, 'std': 0.1, 'source': 'Another'},
    }
  }
  found = comparison.summarise(make_study(report)).published
  ours, random = found['ours'], found['random']
  assert (ours.mean, ours.std, ours.source) == (72.5, 1.5, 'A paper')
  assert ours.agrees_at == 4  # 80, 50, 80, 80: mean 72.5, deviation 15
  np.testing.assert_allclose(ours.std_there, 15)
  assert random.agrees_at == np.inf and np.isnan(random.std_there)


def test_a_difference_is_paired_by_seed():
  """80, 70, 80, 80 less 60, 60, 70, 70: 20, 10, 10, 10.

  Mean 12.5, deviation 5, standard error 2.5; Student's t of 3 degrees has
  3.182446 at 97.5 %, and t = 5.
  """
  asked = [{'arm': 'ours', 'reference': 'random', 'metric': 'test'}]
  (found,) = comparison.summarise(
    make_study({'comparisons': asked})
  ).differences
  assert found[:3] == ('ours', 'random', 'test')
  assert not found.primary and found.unit == 'points'
  expected = [12.5, 12.5 - 2.5 * 3.182446, 12.5 + 2.5 * 3.182446]
  np.testing.assert_allclose(found[3:6], expected, rtol=1e-6)
  np.testing.assert_allclose(found.p, 2 * stats.t.sf(5, 3))


def test_other_metrics_are_compared_as_ratios():
  """Sizes 80, 40, 80, 80 over 20, 20, 40, 40: 4, 2, 2, 2.

  Logarithms of base 2 are 2, 1, 1, 1: mean 1.25, standard error 0.25.
  """
  asked = [{'arm': 'ours', 'reference': 'random', 'metric': 'size'}]
  (found,) = comparison.summarise(
    make_study({'comparisons': asked})
  ).differences
  assert found.unit == '%'
  exponents = np.array([1.25, 1.25 - 0.25 * 3.182446, 1.25 + 0.25 * 3.182446])
  np.testing.assert_allclose(found[3:6], 100 * (2**exponents - 1), rtol=1e-5)
  np.testing.assert_allclose(found.p, 2 * stats.t.sf(5, 3))


def test_what_is_not_primary_is_corrected():
  """Three questions, one of them primary: two p values share the correction."""
  asked = [
    {'arm': 'ours', 'reference': 'random', 'metric': 'test'},
    {'arm': 'ours', 'reference': 'random', 'metric': 'test', 'primary': True},
    {'arm': 'random', 'reference': 'ours', 'metric': 'size'},
  ]
  study = make_study({'comparisons': asked})
  found = comparison.summarise(study).differences
  p = 2 * stats.t.sf(5, 3)
  np.testing.assert_allclose([one.p for one in found], [2 * p, p, 2 * p])
  assert [one.primary for one in found] == [False, True, False]
  assert found[2].mean < 0 and found[2].low < found[2].mean < found[2].high


@pytest.mark.parametrize(
  'p, expected',
  [
    # Sorted .005 * 4, .01 * 3, .03 * 2, .04 * 1; the last may not be smaller.
    ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
    ([0.6, 0.5], [1.0, 1.0]),
    ([0.02, 0.02, 0.02], [0.06] * 3),
    ([0.04], [0.04]),
    ([], []),
  ],
)
def test_holm_by_hand(p, expected):
  np.testing.assert_allclose(comparison.holm(np.array(p)), expected)


def test_the_experts_own_metrics():
  """Of its row; NaN if the table does not have it."""
  found = comparison.summarise(make_study(expert=2)).expert
  assert found == {'test': pytest.approx(70.0), 'size': 40.0}
  absent = comparison.summarise(make_study(expert=4)).expert
  assert list(absent) == ['test', 'size']
  assert np.isnan(list(absent.values())).all()
  assert comparison.summarise(make_study()).expert == {}


def test_a_row_that_is_not_in_the_table_has_no_value():
  """A mean over the other seeds would hide it."""
  found = {'lost': [[(1, 4), (3, 1)], [(1, 3)]]}
  curve = comparison.summarise(make_study(found=found)).curves['lost']['test']
  np.testing.assert_array_equal(np.isnan(curve.mean), [1, 1, 0, 0, 0, 0, 0, 0])
  np.testing.assert_allclose(curve.mean[2:], 70)


def test_who_is_first_at_a_target_is_a_sign_test():
  """3 seeds to 1, one of which the reference never reaches; ties count not."""
  never = np.inf
  reached = {
    name: {5.0: comparison.Reached(np.array(spent), np.zeros(6))}
    for name, spent in (
      ('ours', [1.0, 2.0, 3.0, 9.0, 4.0, never]),
      ('random', [2.0, 3.0, never, 8.0, 4.0, never]),
    )
  }
  asked = {'arm': 'ours', 'reference': 'random', 'target': 5.0}
  (found,) = comparison.differences({}, {}, reached, [asked])
  assert (found.mean, found.unit) == (75.0, '% of seeds first')
  assert found.p == pytest.approx(10 / 16)  # 0, 1, 3, 4 of 4 are as extreme
  assert found.low < 75 < found.high
