"""The asynchronous loop; the test decides in which order results arrive."""

import collections
import json
import random

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irlas_jax import async_search, graph, ledger, search
from irlas_jax.policies import free_logits
from irlas_jax.rewards import shaping
from irlas_jax.searchers import local_search, random_search, reinforce
from irlas_jax.spaces import choices
from irlas_jax.types import OK, TIMED_OUT, Proposals, Scores, Searcher

pytestmark = pytest.mark.usefixtures('quick_compiles')

SIZES = (4, 4, 4)
SPACE = choices.choices(SIZES)
BATCH = 4


class ProcessEnd(BaseException):
  """Stands for whatever ends a process."""


class FakePool:
  """Workers that finish in the order that `pick` says; keeps a diary."""

  def __init__(self, pick=lambda waiting: 0, last=-1, failures=(), times=1):
    self.pick, self.last, self.times = pick, last, times
    self.failures = dict(failures)
    self.waiting: list[tuple[int, tuple]] = []
    self.scored: list[tuple] = []  # actions, in the order of arrival
    self.bars: list[float] = []
    self.most = 0  # at once
    self.count = 0

  def submit(self, proposals, bar):
    ids = []
    for row in np.asarray(proposals.actions):
      self.waiting.append((self.count, tuple(row.tolist())))
      self.bars.append(float(np.ravel(bar)[0]))
      ids.append(self.count)
      self.count += 1
    self.most = max(self.most, len(self.waiting))
    return ids

  def ready(self, timeout):
    del timeout
    taken = []
    for _ in range(min(self.times, len(self.waiting))):
      if len(self.scored) == self.last:
        raise ProcessEnd
      taken.append(self.waiting.pop(self.pick(self.waiting)))
      self.scored.append(taken[-1][1])
    return [i for i, _ in taken], self._scores([row for _, row in taken])

  def _scores(self, rows):
    count = len(rows)
    failure = np.array([self.failures.get(r, OK) for r in rows], np.int32)
    accuracy = np.array([sum(row) / 9 for row in rows], np.float32)
    accuracy = np.where(failure == OK, accuracy, np.nan).astype(np.float32)
    blank = np.full(count, np.nan, np.float32)
    index = np.zeros(count, np.int32)
    return Scores(
      accuracy, *[blank] * 6, accuracy.reshape(count, 1), index, failure
    )


def anyone(seed):
  """Workers that finish in any order."""
  rng = random.Random(seed)
  return lambda waiting: rng.randrange(len(waiting))


def _problem(searcher, reward=None, bar=lambda curves: 0.0):
  def describe(single):
    return choices.text_of(single)

  return search.Problem(
    searcher,
    jax.vmap(SPACE.decode),
    graph.digest,
    describe,
    None,
    None,
    bar,
    reward or shaping.accuracy_reward(-5.0),
    {'fake': True},
    {'epochs': 1},
    1,
    1,
  )


def _drifting():
  """Proposals depend on all that was learnt, and on when; quick to compile."""

  def propose(key, state, n):
    key = jax.random.fold_in(key, state)
    actions = jax.random.randint(key, (n, len(SIZES)), 0, SIZES[0])
    return Proposals(actions, actions, ()), state + 1

  def update(key, state, proposals, rewards, valid):
    del key, proposals
    weights = jnp.arange(1, len(valid) + 1)
    return state + jnp.sum(rewards * 100 * weights).astype(jnp.int32)

  return Searcher(lambda key: jnp.int32(0), propose, update)


def _reinforce():
  policy = free_logits.free_logits(SPACE)
  return reinforce.reinforce(policy, optax.adam(0.1))


def _run(
  workdir, searcher, pool, updates=6, batch=BATCH, workers=3, seed=0, **more
):
  with ledger.open(workdir, {'a': 'config'}) as book:
    flow = async_search.flow(workers, batch)
    problem = _problem(searcher, **more)
    key = jax.random.key(seed)
    loop = async_search.run(key, problem, book, pool, updates, batch, flow)
    return [trial for trials in loop for trial in trials]


def _plain(trials):
  """To compare, whatever the order of the scores' names; NaN equals NaN."""
  return [
    str(trial._replace(scores=sorted(trial.scores.items()))) for trial in trials
  ]


def _rows(workdir, table='evaluations'):
  with ledger.open(workdir, {'a': 'config'}) as book:
    query = f'SELECT * FROM {table}'
    return {row[0]: row for row in book.connection.execute(query)}


def test_an_architecture_is_evaluated_once(tmp_path):
  """Duplicates would waste the workers, in flight as much as afterwards."""
  pool = FakePool(anyone(0))
  trials = _run(tmp_path, _drifting(), pool, updates=30)
  assert len(trials) == 30 * BATCH
  assert len(pool.scored) == len(set(pool.scored)) < len(trials)
  assert {t.key for t in trials} == set(_rows(tmp_path))
  found = {t.key: t.reward for t in trials}
  assert all(t.reward == found[t.key] for t in trials)


def test_workers_are_kept_busy_and_no_more(tmp_path):
  """Fewer under way starve workers; more make proposals stale."""
  pool = FakePool(anyone(1))
  _run(tmp_path, random_search.random_search(SPACE), pool, workers=8)
  assert pool.most == 10  # and a quarter


def test_no_more_is_evaluated_than_was_asked_for(tmp_path):
  """What is under way at the end of the budget would be lost work."""
  pool = FakePool()
  _run(tmp_path, random_search.random_search(SPACE), pool, 2, workers=16)
  assert len(pool.scored) <= 2 * BATCH and not pool.waiting


@pytest.mark.parametrize('workers, batch', [(1, 4), (3, 1)])
def test_the_searcher_learns(tmp_path, workers, batch):
  """Rewards that reach the wrong proposals teach nothing."""
  pool = FakePool(anyone(2))
  trials = _run(tmp_path, _reinforce(), pool, 240 // batch, batch, workers)
  rewards = [trial.reward for trial in trials]
  assert np.mean(rewards[-40:]) > np.mean(rewards[:40]) + 15


def _recording(seen):
  """A searcher that proposes at random and records its updates."""
  base = random_search.random_search(SPACE)

  def propose(key, state, n):
    proposals, _ = base.propose(key, base.init(key), n)
    info = {'updates': jnp.full(n, state)}
    return Proposals(proposals.actions, proposals.actions, info), state

  def update(key, state, proposals, rewards, valid):
    jax.debug.callback(
      lambda *x: seen.append(jax.tree.map(np.asarray, x)),
      *(state, proposals, rewards, valid),
      ordered=True,
    )
    return state + 1

  return Searcher(lambda key: jnp.int32(0), propose, update)


def test_an_update_has_what_it_is_of(tmp_path):
  """A stale proposal keeps the info of when it was made."""
  seen: list = []
  pool = FakePool(lambda waiting: len(waiting) - 1)  # the newest first
  trials = _run(tmp_path, _recording(seen), pool, updates=8)
  assert [int(state) for state, *_ in seen] == list(range(8))
  ages = []
  for (state, proposals, rewards, valid), i in zip(seen, range(8), strict=True):
    assert valid.all() and valid.shape == (BATCH,)
    assert rewards.tolist() == [t.reward for t in trials[4 * i : 4 * i + 4]]
    expected = 100 * proposals.actions.sum(1) / 9
    np.testing.assert_allclose(rewards, expected, rtol=1e-6)
    ages += (state - proposals.info['updates']).tolist()
  assert min(ages) == 0 and max(ages) >= 1


def test_updates_and_proposals_are_compiled_once(tmp_path):
  """Results come in any number; a program for each would take minutes."""
  traced = collections.Counter()
  base = _reinforce()

  def propose(key, state, n):
    traced['propose', n] += 1
    return base.propose(key, state, n)

  def update(*arguments):
    traced['update'] += 1
    return base.update(*arguments)

  searcher = Searcher(base.init, propose, update)
  _run(tmp_path, searcher, FakePool(anyone(3), times=3), 12, workers=5)
  assert traced == {('propose', 4): 1, 'update': 1}


def test_one_worker_gives_the_same_search_again(tmp_path):
  """Nothing depends on the clock where results come one by one."""
  one, two = (
    _run(tmp_path / str(i), _drifting(), FakePool(), 20, workers=1)
    for i in range(2)
  )
  assert _plain(one) == _plain(two)


def test_the_order_of_arrival_is_the_order_of_learning(tmp_path):
  """A slow child must hold up nobody but itself."""
  slow: list = []

  def pick(waiting):
    slow.append(waiting[0][0])
    return 0 if len(waiting) == 1 else 1  # the oldest is never ready

  trials = _run(tmp_path, random_search.random_search(SPACE), FakePool(pick), 8)
  assert set(slow[:20]) == {0}
  assert len(trials) == 32


SEARCHERS = {
  'drifting': _drifting,
  'local_search': lambda: local_search.local_search(SPACE),
}


@pytest.mark.parametrize('name', SEARCHERS)
@pytest.mark.parametrize('times', [1, 3])
def test_a_search_that_is_cut_off_goes_on(tmp_path, name, times):
  """What was finished stays, what was learnt is learnt again, in its order."""
  first = FakePool(anyone(4), last=17, times=times)
  with pytest.raises(ProcessEnd):
    _run(tmp_path, SEARCHERS[name](), first)
  query = {k: row for k, row in _rows(tmp_path).items() if row[6] == 'finished'}
  logged = _rows(tmp_path, 'proposals')
  again = FakePool(anyone(5), times=times)
  # Other workers than before, as a cluster may have them.
  trials = _run(tmp_path, SEARCHERS[name](), again, workers=7)
  assert len(query) >= 17 - times + 1 and len(logged) >= 3
  scored = first.scored[: len(query)]
  assert not set(scored) & set(again.scored)
  rows = _rows(tmp_path)
  assert query.items() <= rows.items()
  third = FakePool()
  last = _run(tmp_path, SEARCHERS[name](), third)
  assert _plain(last) == _plain(trials)
  assert third.scored == []  # a finished search is answered from its ledger


def test_a_longer_search_goes_on_from_a_shorter_one(tmp_path):
  """Raising the budget must not start another search."""
  shorter = _run(tmp_path, _drifting(), FakePool(anyone(6)), updates=4)
  pool = FakePool(anyone(7))
  longer = _run(tmp_path, _drifting(), pool, updates=6)
  assert _plain(longer[:16]) == _plain(shorter)
  assert 0 < len(pool.scored) <= 8


def test_another_search_is_a_mismatch(tmp_path):
  """Two searches would be mixed in one ledger."""
  _run(tmp_path, _drifting(), FakePool(), updates=3)
  with pytest.raises(ledger.LedgerMismatch, match='chunk 0, row 0'):
    _run(tmp_path, _drifting(), FakePool(), seed=1)


@pytest.mark.parametrize('logged', [{}, {'chunk': 0}])
def test_a_log_of_the_other_loop_is_refused(tmp_path, logged):
  """Neither loop can replay what the other one did."""
  key = ledger.record_key('0', {}, {})
  with ledger.open(tmp_path, {}) as book:
    async_search.check_log(book, True)  # nothing is logged yet
    book.log([ledger.Proposal(0, 0, key, 1.0, logged)])
    async_search.check_log(book, bool(logged))
    with pytest.raises(ledger.LedgerMismatch, match='search.workers=0'):
      async_search.check_log(book, not logged)


def test_a_failed_child_has_the_floor_and_stays_failed(tmp_path):
  """A failure is a result: it must not end the search nor be retried."""
  whole = FakePool()
  _run(tmp_path / 'whole', random_search.random_search(SPACE), whole, 3)
  bad = whole.scored[2]
  pool = FakePool(failures={bad: TIMED_OUT})
  trials = _run(tmp_path / 'a', random_search.random_search(SPACE), pool, 3)
  failed = [t for t in trials if t.scores['failure'] == TIMED_OUT]
  assert failed and all(t.reward == -5.0 for t in failed)
  again = FakePool()
  _run(tmp_path / 'a', random_search.random_search(SPACE), again, 3)
  assert again.scored == []


def test_interrupting_blames_no_child(tmp_path):
  """A user who stops a run twice would otherwise have its children given up."""

  def stop(waiting):
    raise KeyboardInterrupt

  for _ in range(search.MAX_STARTS):
    with pytest.raises(KeyboardInterrupt):
      _run(tmp_path, _drifting(), FakePool(stop))
  attempts = [row[7] for row in _rows(tmp_path).values()]
  assert attempts and set(attempts) == {0}


def test_the_driver_s_end_blames_no_child(tmp_path):
  """It runs no child: however often it ends, none is given up."""
  for _ in range(search.MAX_STARTS + 1):
    with pytest.raises(ProcessEnd):
      _run(tmp_path, _drifting(), FakePool(last=0))
  trials = _run(tmp_path, _drifting(), FakePool())
  assert all(trial.scores['failure'] == OK for trial in trials)


def test_children_are_told_what_came_before(tmp_path):
  """Halving by another bar than the best so far drops the wrong ones."""

  def bar(curves):
    assert curves.shape[1:] == (1,)
    return np.array([curves.max(initial=-1.0)])

  pool = FakePool()
  trials = _run(tmp_path, random_search.random_search(SPACE), pool, 5, bar=bar)
  assert pool.bars[0] == -1 and pool.bars == sorted(pool.bars)
  best = max(t.reward for t in trials[:16]) / 100
  assert pool.bars[-1] == pytest.approx(best)


def test_the_reward_is_told_how_many_evaluations_came_before(tmp_path):
  """Schedules by evaluation would go wrong."""

  def reward(scores, graphs):
    del graphs
    return scores.index.astype(jnp.float32)

  searcher = random_search.random_search(SPACE)
  trials = _run(tmp_path, searcher, FakePool(anyone(8)), 6, reward=reward)
  order = {key: i for i, key in enumerate(dict.fromkeys(t.key for t in trials))}
  assert [t.reward for t in trials] == [order[t.key] for t in trials]


def test_evaluations_are_announced_when_they_are_durable(tmp_path):
  """Whoever counts must not count what a crash would lose."""
  announced: list = []
  with ledger.open(tmp_path, {}) as book:

    def on_evaluation(count):
      query = "SELECT count(*) FROM evaluations WHERE status = 'finished'"
      announced.append((count, *book.connection.execute(query).fetchone()))

    list(
      async_search.run(
        jax.random.key(0),
        _problem(random_search.random_search(SPACE)),
        book,
        FakePool(times=2),
        *(2, BATCH, async_search.flow(3, BATCH), on_evaluation),
      )
    )
  totals = np.cumsum([count for count, _ in announced]).tolist()
  assert totals == [total for _, total in announced]


def test_scores_can_be_awaited_in_order():
  """As `search.answer` wants them."""
  pool = FakePool(lambda waiting: len(waiting) - 1)
  actions = np.array([[0, 0, 0], [1, 1, 1], [3, 3, 3]], np.int32)
  evaluate = async_search.waiting_for(pool)
  scores = evaluate(Proposals(actions, actions, ()), 0.0)
  np.testing.assert_allclose(scores.accuracy, [0, 1 / 3, 1], rtol=1e-6)
  assert scores.curve.shape == (3, 1)


def test_what_is_logged_is_plain(tmp_path):
  """A replay reads chunks and rows from it."""
  _run(tmp_path, _drifting(), FakePool(), updates=1)
  info = [json.loads(row[4]) for row in _rows(tmp_path, 'proposals').values()]
  assert info[0] == {'chunk': 0, 'row': 3, 'chunks': 1, 'size': 4}
