"""The search loop, with an evaluator that trains nothing and may fail."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import graph, kinds, ledger, search
from irlas_jax.evaluators import halving
from irlas_jax.rewards import shaping
from irlas_jax.searchers import q_learning
from irlas_jax.spaces import nsc
from irlas_jax.types import (
  CRASHED,
  DIVERGED,
  OK,
  OUT_OF_MEMORY,
  Proposals,
  Scores,
  Searcher,
)

pytestmark = pytest.mark.usefixtures('quick_compiles')

KIND = kinds.SPACES['block'].make(2, 'separable')
FLOOR = -5.0
# One letter an architecture; 'b' is 'a' with its layers numbered otherwise.
CODES = {
  'a': '(1, SepConv, 3, 0, 0)(2, MaxPool, 3, 0, 0)(3, Terminal)',
  'b': '(1, MaxPool, 3, 0, 0)(2, SepConv, 3, 0, 0)(3, Terminal)',
  'c': '(1, SepConv, 3, 0, 0)(2, Terminal)',
  'd': '(1, AvgPool, 3, 0, 0)(2, Terminal)',
  'e': '(1, Identity, 0, 0, 0)(2, Add, 0, 0, 1)(3, Terminal)',
}
ACTIONS = {
  name: np.asarray(nsc.to_actions(nsc.parse(text), KIND.space))
  for name, text in CODES.items()
}
ACCURACY = {'a': 0.5, 'b': 0.6, 'c': 0.25, 'd': 0.75, 'e': 0.125}


class ProcessEnd(BaseException):
  """Stands for whatever ends a process."""


class Fake:
  """An evaluator that keeps a diary, and ends the process at some children."""

  def __init__(self, deadly='', failures=()):
    self.calls: list[str] = []
    self.prepared = 0
    self.deadly = deadly
    self.failures = dict(failures)

  def prepare(self):
    self.prepared += 1

  def __call__(self, proposals, bar=None):
    rows = np.asarray(proposals.actions)
    names = [
      next(n for n, actions in ACTIONS.items() if (actions == row).all())
      for row in rows
    ]
    self.calls.append(''.join(names))
    if set(names) & set(self.deadly):
      raise ProcessEnd
    failure = np.array([self.failures.get(n, OK) for n in names], np.int32)
    accuracy = [ACCURACY[n] for n in names]
    return _scores(np.where(failure == OK, accuracy, np.nan), failure)


def _scores(accuracy, failure):
  blank = np.full(len(accuracy), np.nan, np.float32)
  index = np.zeros(len(accuracy), np.int32)
  accuracy = np.asarray(accuracy, np.float32)
  curve = accuracy[:, None]
  return Scores(accuracy, *[blank] * 6, curve, index, failure)


def _scripted(*script, info=()):
  """A searcher that proposes the architectures of its script, e.g. 'abca'."""
  table = jnp.stack([jnp.stack([ACTIONS[n] for n in row]) for row in script])

  def propose(key, state, n):
    del key
    assert n == table.shape[1]
    return Proposals(table[state], table[state], info), state + 1

  return Searcher(
    lambda key: jnp.int32(0), propose, lambda key, state, *_: state
  )


def _problem(
  searcher,
  evaluate,
  reward=None,
  population=2,
  bar=lambda curves: 0.0,
  num_evaluations=1,
):
  return search.Problem(
    searcher,
    jax.vmap(KIND.space.decode),
    graph.digest,
    KIND.describe,
    evaluate.prepare,
    evaluate,
    bar,
    reward or shaping.accuracy_reward(FLOOR),
    {'fake': True},
    {'epochs': 1},
    population,
    num_evaluations,
  )


def _run(workdir, searcher, evaluate, iterations, batch=4, **more):
  """The trials of all iterations, in a list."""
  problem = _problem(searcher, evaluate, **more)
  with ledger.open(workdir, {'a': 'config'}) as book:
    found = search.run(jax.random.key(0), problem, book, iterations, batch)
    return [trial for trials in found for trial in trials]


def _rewards(trials):
  return [round(trial.reward, 4) for trial in trials]


def test_an_architecture_is_evaluated_once_however_it_is_numbered(tmp_path):
  """Training an isomorphic block again would waste most of the time."""
  fake = Fake()
  trials = _run(tmp_path, _scripted('abca', 'cdda'), fake, 2)
  assert fake.calls == ['ac', 'd']
  # 'b' has the score of 'a', which came first, and its own text.
  assert _rewards(trials) == [50, 50, 25, 50, 25, 75, 75, 50]
  assert [trial.genotype for trial in trials[:2]] == [CODES['a'], CODES['b']]
  assert trials[0].key == trials[1].key != trials[2].key
  assert [trial.length for trial in trials[:3]] == [2, 2, 1]
  assert [(t.iteration, t.position) for t in trials[3:5]] == [(0, 3), (1, 0)]


def test_no_call_is_larger_than_the_population(tmp_path):
  """A compiled evaluator takes no more, and none may be left out."""
  fake = Fake()
  _run(tmp_path, _scripted('eadc'), fake, 1, population=3)
  assert fake.calls == ['ead', 'c']


def test_the_reward_is_told_how_many_evaluations_came_before(tmp_path):
  """Schedules by evaluation would go wrong after a resume."""
  searcher = _scripted('abca', 'cdda')

  def reward(scores, graphs):
    assert graphs.ops.shape == (4, 3)
    return scores.index.astype(jnp.float32)

  first = _run(tmp_path, searcher, Fake(), 2, reward=reward)
  again = _run(tmp_path, searcher, Fake(), 2, reward=reward)
  assert _rewards(first) == [0, 0, 1, 0, 1, 2, 2, 0]
  assert _rewards(again) == _rewards(first)


def test_evaluations_are_announced_when_they_are_durable(tmp_path):
  """Whoever counts must not count what a crash would lose."""
  problem = _problem(_scripted('acde'), Fake())
  announced = []
  with ledger.open(tmp_path, {}) as book:

    def on_evaluation(count):
      query = "SELECT count(*) FROM evaluations WHERE status = 'finished'"
      announced.append((count, *book.connection.execute(query).fetchone()))

    list(search.run(jax.random.key(0), problem, book, 1, 4, on_evaluation))
    list(search.run(jax.random.key(0), problem, book, 1, 4, on_evaluation))
  assert announced == [(2, 2), (2, 4)]


def test_a_finished_search_is_answered_from_its_ledger(tmp_path):
  """Nothing may be evaluated, nor even compiled, a second time."""
  searcher, fake = _scripted('abca', 'cdda'), Fake()
  first = _run(tmp_path, searcher, Fake(), 2)
  again = _run(tmp_path, searcher, fake, 2)
  assert (fake.calls, fake.prepared) == ([], 0)
  assert str(again) == str(first)


def test_a_longer_search_continues_a_shorter_one(tmp_path):
  """Raising the budget must not start another search."""
  searcher, fake = _scripted('abca', 'cdda', 'eeea'), Fake()
  shorter = _run(tmp_path, searcher, Fake(), 2)
  longer = _run(tmp_path, searcher, fake, 3)
  assert fake.calls == ['e']
  assert str(longer[:8]) == str(shorter)


def test_other_proposals_at_a_replay_are_a_mismatch(tmp_path):
  """A ledger that mixes two searches would be worth nothing."""
  _run(tmp_path, _scripted('abca', 'cdda'), Fake(), 2)
  with pytest.raises(ledger.LedgerMismatch, match='iteration 1, position 2'):
    _run(tmp_path, _scripted('abca', 'cdea'), Fake(), 2)


def test_a_learning_searcher_goes_on_as_if_nothing_had_happened(tmp_path):
  """Its state is in no file: it has to be what the replay makes of it."""
  epsilon = q_learning.block_qnn_epsilon(3 / 178)
  searcher = q_learning.q_learning(KIND.space, epsilon, replay_updates=4)

  class Any(Fake):
    """Scores by its actions, and ends the process at call `last`."""

    def __init__(self, last):
      super().__init__()
      self.last = last

    def __call__(self, proposals, bar=None):
      self.calls.append('')
      if len(self.calls) == self.last:
        raise ProcessEnd
      sums = np.asarray(proposals.actions).sum(1)
      return _scores(sums % 7 / 7, np.zeros(len(sums), np.int32))

  whole = _run(tmp_path / 'whole', searcher, Any(last=-1), 6)
  with pytest.raises(ProcessEnd):
    _run(tmp_path / 'cut', searcher, Any(last=4), 6)
  resumed = _run(tmp_path / 'cut', searcher, Any(last=-1), 6)
  assert str(resumed) == str(whole)
  assert {trial.exploration for trial in whole} != {whole[0].exploration}


class Halved(Fake):
  """Two evaluations; a child below the bar after the first one stops."""

  def __init__(self, deadly=''):
    super().__init__(deadly)
    self.bars: list[float] = []

  def __call__(self, proposals, bar):
    self.bars.append(float(bar[0]))
    scores = super().__call__(proposals)
    first = scores.accuracy / 2
    dropped = first < bar[0]
    second = np.where(dropped, np.nan, scores.accuracy)
    return scores._replace(
      accuracy=np.where(dropped, first, scores.accuracy).astype(np.float32),
      epochs=np.where(dropped, 1, 2).astype(np.float32),
      curve=np.stack([first, second], 1).astype(np.float32),
    )


def _halve(workdir, fake, iterations=3):
  return _run(
    workdir,
    _scripted('ac', 'de', 'ca'),
    fake,
    iterations,
    batch=2,
    bar=functools.partial(halving.bar, eta=2),
    num_evaluations=2,
  )


def test_children_are_compared_with_those_of_earlier_iterations(tmp_path):
  """What becomes of a child would depend on its company, or on the clock."""
  fake = Halved()
  trials = _halve(tmp_path, fake)
  assert fake.calls == ['ac', 'de']  # the rest is known
  # a and c have 0.25 and 0.125 after one evaluation: the better half is a.
  assert fake.bars == [-np.inf, 0.25]
  epochs = [trial.scores['epochs'] for trial in trials]
  assert epochs[:4] == [2, 2, 2, 1]  # e has 0.0625, below the bar
  assert _rewards(trials)[:4] == [50, 25, 75, 6.25]


def test_a_search_that_is_cut_off_drops_whom_it_would_have_dropped(tmp_path):
  """A resumed search would be another one."""
  whole = _halve(tmp_path / 'whole', Halved())
  with pytest.raises(ProcessEnd):
    _halve(tmp_path / 'cut', Halved(deadly='e'))
  again = Halved()
  resumed = _halve(tmp_path / 'cut', again)
  assert again.bars == [0.25, 0.25]  # d and e, each alone
  assert str(resumed) == str(whole)


@pytest.mark.parametrize('failure', [DIVERGED, OUT_OF_MEMORY])
def test_a_failed_child_has_the_floor_and_stays_failed(tmp_path, failure):
  """A failure is a result: it must not end the search nor be retried."""
  searcher, fake = _scripted('acda'), Fake()
  trials = _run(tmp_path, searcher, Fake(failures={'c': failure}), 1)
  assert _rewards(trials) == [50, FLOOR, 75, 50]
  assert trials[1].scores['failure'] == failure
  assert np.isnan(trials[1].scores['accuracy'])
  assert _rewards(_run(tmp_path, searcher, fake, 1)) == _rewards(trials)
  assert fake.calls == []


def test_a_child_that_ends_the_process_twice_is_given_up(tmp_path, caplog):
  """One such child must not stop a search for ever, nor blame others."""
  searcher = _scripted('acde')
  run = functools.partial(_run, tmp_path, searcher, iterations=1, population=4)
  first, second, third = Fake('d'), Fake('d'), Fake('d')
  with pytest.raises(ProcessEnd):
    run(first)
  assert first.calls == ['acde']
  with pytest.raises(ProcessEnd):
    run(second)
  assert second.calls == ['a', 'c', 'd']  # suspects alone, one after another
  trials = run(third)
  assert third.calls == ['e']
  assert _rewards(trials) == [50, 25, FLOOR, 12.5]
  assert trials[2].scores['failure'] == CRASHED
  assert len(trials[2].scores['curve']) == 1
  assert '1 architectures were started 2 times' in caplog.text
  assert str(run(Fake())) == str(trials)  # and stays given up


def test_a_child_that_was_cut_off_once_is_retried(tmp_path):
  """A killed process says nothing about the children it trained."""
  searcher = _scripted('acde')
  with pytest.raises(ProcessEnd):
    _run(tmp_path, searcher, Fake('a'), 1)
  fake = Fake()
  trials = _run(tmp_path, searcher, fake, 1)
  assert fake.calls == ['a', 'c', 'de']
  assert _rewards(trials) == [50, 25, 75, 12.5]


def test_what_fails_while_preparing_is_no_attempt(tmp_path):
  """A compile that runs out of memory would be blamed on the children."""

  class Unprepared(Fake):
    def prepare(self):
      raise ValueError('too large')

  searcher, fake = _scripted('acde'), Fake()
  for _ in range(search.MAX_STARTS):
    with pytest.raises(ValueError, match='too large'):
      _run(tmp_path, searcher, Unprepared(), 1)
  assert _rewards(_run(tmp_path, searcher, fake, 1)) == [50, 25, 75, 12.5]
  assert fake.calls == ['ac', 'de']


def test_exploration_is_reported_where_the_searcher_has_it(tmp_path):
  """Plots would show a schedule that was not, or none."""
  info = {'exploration': jnp.full(4, 0.25)}
  known = _run(tmp_path / 'a', _scripted('acde', info=info), Fake(), 1)
  unknown = _run(tmp_path / 'b', _scripted('acde'), Fake(), 1)
  assert [trial.exploration for trial in known] == [0.25] * 4
  assert all(np.isnan(trial.exploration) for trial in unknown)


def test_interrupting_blames_no_child(tmp_path):
  """A user who stops a run twice would otherwise have its children given up."""

  def impatient(proposals, bar):
    raise KeyboardInterrupt

  impatient.prepare = lambda: None
  for _ in range(search.MAX_STARTS):
    with pytest.raises(KeyboardInterrupt):
      _run(tmp_path, _scripted('acde'), impatient, 1)
  trials = _run(tmp_path, _scripted('acde'), Fake(), 1)
  assert _rewards(trials) == [50.0, 25.0, 75.0, 12.5]
