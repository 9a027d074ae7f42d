"""What `benchmarks.cifar10_search` does, in pieces of time that add up."""

import contextlib
import json
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from irlas_jax import (
  experiment,
  full_training,
  ledger,
  objectives,
  runs,
  search,
  sections,
)

MARKS = (5, 10, 20, 30)  # minutes
ARMS: dict[str, dict[str, Any]] = {
  'irlas': {},
  'lambda0': {'reward.mirror': 0.0},
  'random': {'searcher.name': 'random', 'reward.mirror': 0.0},
}
HEADINGS = {
  'irlas': 'IRLAS',
  'lambda0': 'IRLAS, lambda = 0',
  'random': 'random search',
}


class OutOfTime(Exception):
  """This piece is over; the next one goes on."""


class Clock:
  """Time spent in all pieces, kept in a file of the workdir."""

  def __init__(self, workdir: pathlib.Path, minutes: float, began: float):
    self._path = workdir / 'spent.json'
    known = {'seconds': 0.0, 'marks': []}
    if self._path.exists():
      known = json.loads(self._path.read_text())
    self.marks: list[dict[str, float]] = known['marks']
    self._before, self._began = known['seconds'], began
    self._end = began + 60 * minutes

  def minutes(self) -> float:
    """Spent so far."""
    return (self._before + time.monotonic() - self._began) / 60

  def late(self) -> bool:
    """Whether this piece is over."""
    return time.monotonic() > self._end

  def passed_a_mark(self) -> bool:
    """Whether a mark lies between the last one noted and now."""
    last = self.marks[-1]['minutes'] if self.marks else 0
    return any(last < mark <= self.minutes() for mark in MARKS)

  def keep(self) -> None:
    """Writes what was spent."""
    spent = {'seconds': 60 * self.minutes(), 'marks': self.marks}
    self._path.write_text(json.dumps(spent, indent=2))


class Found(NamedTuple):
  """A search and the best of its trials."""

  arm: str
  trials: list[search.Trial]
  best: search.Trial  # by validation accuracy


def arm_config(config: Mapping, changes: Mapping) -> dict[str, Any]:
  """The config of one search: plain JSON without the final training."""
  changed = json.loads(json.dumps({**config, 'retrain': None}))
  del changed['retrain']
  for name, value in changes.items():
    section, field = name.split('.')
    changed[section][field] = value
  return changed


def make_problems(configs: Mapping[str, dict]) -> dict[str, search.Problem]:
  """The problem of each arm; they share the evaluator and its programs."""
  first, *others = configs
  parts = experiment.build(configs[first])
  problems = {first: parts.problem}
  for arm in others:
    config = configs[arm]
    reward = sections.choose(config, 'reward', objectives.REWARDS)(
      experiment.make_keys(config['seed']).reward, parts.kind, config['expert']
    )
    problems[arm] = parts.problem._replace(
      searcher=experiment.make_searcher(config, parts.kind),
      reward=reward.reward,
    )
  return problems


def run_searches(
  config: Mapping, workdir: pathlib.Path, late: Callable[[], bool]
) -> list[Found]:
  """Runs or resumes the searches, an iteration of each in turn.

  Raises:
    OutOfTime: if `late()` before they are done.
  """
  configs = {arm: arm_config(config, changes) for arm, changes in ARMS.items()}
  problems = make_problems(configs)
  section = config['search']
  rounds = -(-section['num_proposals'] // section['batch'])
  trials: dict[str, list[search.Trial]] = {arm: [] for arm in ARMS}
  with contextlib.ExitStack() as stack:
    going = {
      arm: search.run(
        experiment.make_keys(config['seed']).loop,
        problems[arm],
        stack.enter_context(
          ledger.open(workdir / arm, configs[arm], runs.FREE)
        ),
        rounds,
        section['batch'],
      )
      for arm in ARMS
    }
    for _ in range(rounds):
      for arm, iterations in going.items():
        if late():
          raise OutOfTime
        trials[arm] += next(iterations)
  return [Found(arm, trials[arm], _best(trials[arm])) for arm in ARMS]


def _best(trials: list[search.Trial]) -> search.Trial:
  finished = [trial for trial in trials if trial.scores['failure'] == 0]
  if not finished:
    raise ValueError('Not one child could be trained.')
  return max(finished, key=lambda trial: trial.scores['accuracy'])


def run_final(
  config: Mapping, workdir: pathlib.Path, genotype: str, clock: Clock
) -> full_training.Final:
  """Trains the best block fully, or goes on with it.

  Raises:
    OutOfTime: if this piece is over before the end.
  """

  def watch(history, test):
    del history
    if clock.passed_a_mark():
      minutes = clock.minutes()
      clock.marks.append({'minutes': minutes, 'test error': 1 - test()})
      clock.keep()

  final = {**config, **config['retrain']}
  try:
    return full_training.retrain(
      final,
      genotype,
      workdir=workdir / 'final',
      should_stop=clock.late,
      watch=watch,
    )
  except full_training.Stopped as stopped:
    raise OutOfTime from stopped


def report(
  found: list[Found], best: Found, final: full_training.Final, clock: Clock
) -> str:
  """The report in Markdown."""
  device = jax.devices()[0]
  lines = [
    f'{device.device_kind}, {jax.device_count()} device(s), '
    f'JAX {jax.__version__}; seed {final.config["seed"]}, one run.',
    '',
    '| search | proposals | distinct | failed | best validation accuracy % '
    '| mean of the last quarter % |',
    '| --- | --- | --- | --- | --- | --- |',
    *(_row(one) for one in found),
    '',
    f'Trained fully: the best block of {HEADINGS[best.arm]}, '
    f'{final.result.params:,} parameters, '
    f'{final.config["train"]["epochs"]} epochs.',
    '',
    f'    {final.genotype}',
    '',
    '| minutes in all | test error % |',
    '| --- | --- |',
    *(
      f'| {mark["minutes"]:.1f} | {100 * mark["test error"]:.2f} |'
      for mark in clock.marks
    ),
    f'| {clock.minutes():.1f}, the end | '
    f'{100 * (1 - final.result.test_accuracy):.2f} |',
  ]
  return '\n'.join(lines) + '\n'


def _row(found: Found) -> str:
  trials = found.trials
  known = {trial.key: trial for trial in trials}
  failed = sum(t.scores['failure'] != 0 for t in known.values())
  last = [
    trial.scores['accuracy']
    for trial in trials[-max(len(trials) // 4, 1) :]
    if trial.scores['failure'] == 0
  ]
  mean = 100 * sum(last) / max(len(last), 1)
  return (
    f'| {HEADINGS[found.arm]} | {len(trials)} | {len(known)} | {failed} | '
    f'{100 * found.best.scores["accuracy"]:.2f} | {mean:.2f} |'
  )
