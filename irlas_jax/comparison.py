"""What a study says: curves, budgets until targets, paired comparisons.

Shapes: `S` seeds, `C` amounts of the budget, `N` rows of the table. A metric
in fractions is given in percent.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from irlas_jax import anytime, report_section, sections, tabular
from irlas_jax.report_section import Column

CONFIDENCE = 0.95


class Curve(NamedTuple):
  """What the searches of an arm had found by each amount of the budget."""

  values: np.ndarray  # [S, C], NaN where nothing was found yet
  mean: np.ndarray  # [C]
  std: np.ndarray  # [C], over seeds


class Reached(NamedTuple):
  """When the best that each search had found reached a target; inf: never."""

  spent: np.ndarray  # [S] of the budget
  distinct: np.ndarray  # [S] different rows asked for by then


class Published(NamedTuple):
  """A figure of a paper beside ours."""

  mean: float
  std: float
  source: str
  agrees_at: float  # least amount at which our mean reaches theirs; inf: none
  std_there: float  # ours, at that amount


class Difference(NamedTuple):
  """An arm against its reference, paired by seed."""

  arm: str
  reference: str
  metric: str
  mean: float  # of the unit
  low: float  # 95 % interval
  high: float
  p: float  # two-sided, of no difference; Holm-corrected if exploratory
  primary: bool
  unit: str  # 'points', '%' of the reference, '% of seeds first'


class Summary(NamedTuple):
  """All that is reported of a study."""

  amounts: np.ndarray  # [C]
  budget_unit: str
  columns: dict[str, Column]  # by name
  main: str  # name of the reported metric
  optimum: float  # of the reported metric
  curves: dict[str, dict[str, Curve]]  # by arm, then metric
  reached: dict[str, dict[float, Reached]]  # by arm and target
  exact: dict[float, float]  # by target: median of random without replacement
  published: dict[str, Published]
  differences: list[Difference]
  expert: dict[str, float]  # its metrics, by name; empty if there is none


def summarise(study: tabular.Study) -> Summary:
  """The summary that `config.report` asks for."""
  report = study.config['report']
  first = next(iter(study.arms.values()))
  seconds = first.config['search'].get('seconds')
  budget = seconds or first.parts.num_iterations * first.parts.batch
  amounts = anytime.amounts(budget)
  amounts = np.unique(np.concatenate([amounts, _budgets(report, budget)]))
  table = first.parts.evaluation.table
  assert table is not None
  columns = report_section.columns(report, table)
  main = columns[report['metric']]
  optimum = float(np.nanmax(main.values))
  curves = {
    name: {
      label: _curve(arm.searches, amounts, one)
      for label, one in columns.items()
    }
    for name, arm in study.arms.items()
  }
  targets = [
    optimum if target == 'optimum' else target
    for target in report.get('targets', ())
  ]
  reached = {
    name: {target: _reached(arm.searches, main, target) for target in targets}
    for name, arm in study.arms.items()
  }
  # Only what is searched for can be found by looking at everything once.
  searched = (
    report['metrics'][main.name] == first.config['evaluator']['accuracy']
  )
  exact = {
    target: median_without_replacement(main.values[:-1] >= target)
    for target in targets
    if searched and not seconds
  }
  published = {
    name: _published(curves[name][main.name], amounts, x)
    for name, x in report.get('published', {}).items()
  }
  return Summary(
    amounts,
    's' if seconds else 'evaluations',
    columns,
    main.name,
    optimum,
    curves,
    reached,
    exact,
    published,
    differences(curves, columns, reached, report.get('comparisons', ())),
    _expert(first, columns),
  )


def _budgets(report, budget) -> np.ndarray:
  chosen = np.array(report.get('budgets', ()), float)
  return np.append(chosen[chosen <= budget], budget)


def _curve(searches, amounts, metric: Column) -> Curve:
  values = metric.values[anytime.found(searches, amounts)]
  return Curve(values, values.mean(axis=0), values.std(axis=0, ddof=1))


def _reached(searches, metric: Column, target: float) -> Reached:
  return Reached(
    *(
      anytime.first_reach(searches, metric.values, target, field)
      for field in Reached._fields
    )
  )


def median_without_replacement(hits: np.ndarray) -> float:
  """Draws without replacement until half of all searches have a hit.

  `hits` [N] bool are the rows that count; the number of draws is exact, from
  the hypergeometric distribution. inf if no row counts.
  """
  draws = np.arange(1, len(hits) + 1)
  none = stats.hypergeom.cdf(0, len(hits), int(hits.sum()), draws)
  enough = np.flatnonzero(none <= 0.5 + 1e-9)  # half, but for rounding
  return float(draws[enough[0]]) if len(enough) else np.inf


def _published(curve: Curve, amounts, figure: Mapping) -> Published:
  reached = np.flatnonzero(curve.mean >= figure['mean'])
  at, std = (
    (amounts[reached[0]], curve.std[reached[0]])
    if len(reached)
    else (np.inf, np.nan)
  )
  return Published(figure['mean'], figure['std'], figure['source'], at, std)


def differences(
  curves: Mapping[str, Mapping[str, Curve]],
  columns: Mapping[str, Column],
  reached: Mapping[str, Mapping[float, Reached]],
  asked: Sequence[Mapping],
) -> list[Difference]:
  """The comparisons asked for, at the end of the budget.

  Means of paired differences with intervals of Student's t; metrics that are
  not in percent are compared by the logarithm, as ratios. Who reaches a target
  first is a sign test, without the seeds in which neither does so. The p values
  of all that are not primary are corrected by Holm's method.
  """
  found = [
    _first(reached, one)
    if 'target' in one
    else _difference(curves, columns, one)
    for one in asked
  ]
  exploratory = [i for i, one in enumerate(found) if not one.primary]
  corrected = holm(np.array([found[i].p for i in exploratory]))
  for i, p in zip(exploratory, corrected, strict=True):
    found[i] = found[i]._replace(p=float(p))
  return found


def _difference(curves, columns, asked: Mapping) -> Difference:
  metric = columns[asked['metric']]
  arm, reference = (
    curves[asked[side]][metric.name].values[:, -1]
    for side in ('arm', 'reference')
  )
  relative = metric.unit != '%'
  if relative and not min(arm.min(), reference.min()) > 0:
    raise sections.ConfigError(
      f'report.comparisons: {metric.name!r} is compared as a ratio, and some '
      'of its values are not above 0.'
    )
  pairs = (np.log(arm), np.log(reference)) if relative else (arm, reference)
  found = mean_interval(pairs[0] - pairs[1])
  numbers = np.array(found[:3])
  if relative:
    numbers = 100 * np.expm1(numbers)
  mean, low, high = numbers.tolist()
  return Difference(
    asked['arm'],
    asked['reference'],
    metric.name,
    mean,
    low,
    high,
    found.p,
    bool(asked.get('primary', False)),
    '%' if relative else 'points',
  )


class MeanInterval(NamedTuple):
  """A mean, and what is known of it."""

  mean: float
  low: float  # 95 % interval
  high: float
  p: float  # two-sided, of a mean of 0


def mean_interval(values: np.ndarray) -> MeanInterval:
  """The mean of values [S] with Student's interval; NaN beside it if S < 2."""
  values = np.asarray(values, float)
  count, mean = len(values), float(np.mean(values))
  if count < 2:
    return MeanInterval(mean, np.nan, np.nan, np.nan)
  error = float(np.std(values, ddof=1)) / np.sqrt(count)
  width = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
  with np.errstate(divide='ignore', invalid='ignore'):
    p = 2 * stats.t.sf(np.abs(np.divide(mean, error)), count - 1)
  return MeanInterval(mean, mean - width, mean + width, float(p))


def _first(reached, asked: Mapping) -> Difference:
  """In how many percent of the seeds an arm reaches a target first."""
  arm, reference = (
    reached[asked[side]][asked['target']].spent for side in ('arm', 'reference')
  )
  wins, losses = int(np.sum(arm < reference)), int(np.sum(arm > reference))
  test = stats.binomtest(wins, max(wins + losses, 1))
  interval = test.proportion_ci(CONFIDENCE)
  return Difference(
    asked['arm'],
    asked['reference'],
    f'first at {asked["target"]:g}',
    100 * wins / max(wins + losses, 1),
    100 * interval.low,
    100 * interval.high,
    float(test.pvalue) if wins + losses else 1.0,
    bool(asked.get('primary', False)),
    '% of seeds first',
  )


def holm(p: np.ndarray) -> np.ndarray:
  """p values [K] corrected for their number (Holm, 1979)."""
  order = np.argsort(p)
  steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
  result = np.empty(len(p))
  result[order] = np.minimum(steps, 1.0)
  return result


def _expert(arm: tabular.Arm, columns) -> dict[str, float]:
  if arm.parts.expert is None:
    return {}
  assert arm.parts.evaluation.rows is not None
  actions = arm.parts.kind.space.encode(arm.parts.expert)
  row = int(arm.parts.evaluation.rows.locate(actions))
  return {name: float(one.values[row]) for name, one in columns.items()}
