"""The asynchronous loop of a search: workers score while the searcher learns.

As in Faster Block-QNN (Zhong et al., 2018, arXiv 1808.05584), a master proposes
and learns, and workers train. No proposal waits for another of its batch: an
update takes the next `batch` results, in the order in which they arrive,
whenever they were proposed. So what a searcher counts in updates (schedules,
baselines) lasts as many proposals as in the host loop. A proposal may have
become stale; what was known of it when it was made is in its `info`.

The ledger has one writer, this process. What depends on the clock is which
results an update takes, and that is logged with it: so a run that was cut off
is replayed, as in the host loop, and then goes on. With one worker nothing
depends on the clock.

Shapes: `n` proposals, `T` steps of the space, `E` evaluations of a child.
"""

import collections
import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from irlas_jax import ledger, search
from irlas_jax.types import Array, Graph, Pool, Proposals

_TIMEOUT = 10.0  # seconds until the pool is asked again


class Flow(NamedTuple):
  """How many proposals are under way; no score depends on it."""

  most: int  # at work or queued at the workers
  chunk: int  # proposed at a time: few, so as late as possible


class _Asked(NamedTuple):
  """One proposal, on the host."""

  place: tuple[int, int]  # its chunk, of all that were proposed, and its row
  proposal: Proposals  # without leading n
  key: str  # of the ledger's record
  genotype: str
  graph: Graph


class _Work(NamedTuple):
  """What stays the same during a search."""

  problem: search.Problem
  book: ledger.Ledger
  pool: Pool
  flow: Flow
  batch: int
  total: int  # proposals
  on_evaluation: Callable
  propose: Callable  # (chunk, state, n) -> (Proposals, Graph [n], state)
  learn: Callable  # (update, state, Proposals, Scores, Graph) -> state, rewards


@dataclasses.dataclass
class _Desk:
  """What the master has before it."""

  state: Any  # the searcher's
  history: search.History
  bar: Array  # [E] for children that are sent now
  chunks: int = 0  # proposed so far
  sent: int = 0  # proposals that left `waiting`
  answered: int = 0  # of those, how many were answered
  # Proposed and not sent, by place.
  waiting: dict[tuple[int, int], _Asked] = dataclasses.field(
    default_factory=dict
  )
  # Who waits for an evaluation at the pool, by the record's key.
  flying: dict[str, list[_Asked]] = dataclasses.field(default_factory=dict)
  ids: dict[int, str] = dataclasses.field(default_factory=dict)  # the pool's
  # Answered, and not learnt from.
  arrived: collections.deque[tuple[_Asked, search.Answer]] = dataclasses.field(
    default_factory=collections.deque
  )


def flow(workers: int, batch: int) -> Flow:
  """A quarter more than the workers, who then need not wait for the master."""
  most = workers + -(-workers // 4)
  return Flow(most, min(most, batch))


def run(
  key: jax.Array,
  problem: search.Problem,
  book: ledger.Ledger,
  pool: Pool,
  num_updates: int,
  batch: int,
  under_way: Flow,
  on_evaluation: Callable[[int], None] = lambda count: None,
) -> Iterator[list[search.Trial]]:
  """Yields the trials of each update, `batch` at a time, as `search.run`.

  Args:
    key: of the search.
    problem: its `evaluate`, `prepare` and `population` are not used.
    book: what it knows is not evaluated again.
    pool: where proposals are scored.
    num_updates: in all, those of former runs included.
    batch: results an update.
    under_way: see `flow`; may be another one in every run.
    on_evaluation: told of k evaluations whenever k have become durable.

  Raises:
    ledger.LedgerMismatch: if a replay proposes something else than is logged.
  """
  key_init, key_loop = search.split_key(key)
  history = search.History(problem.num_evaluations)
  bar = problem.bar(history.curves)
  desk = _Desk(problem.searcher.init(key_init), history, bar)
  total = num_updates * batch
  work = _Work(
    *(problem, book, pool, under_way, batch, total, on_evaluation),
    *_compile(problem, key_loop),
  )
  past = _logged(book)
  try:
    for update in range(num_updates):
      logged = past.pop(update, [])
      if logged:
        _replay(work, desk, logged)
      else:
        _gather(work, desk)
      taken = [desk.arrived.popleft() for _ in range(batch)]
      trials = _learn(work, desk, update, taken)
      if not logged:
        _log(work, desk, trials, taken)
      yield trials
  except KeyboardInterrupt:  # nobody's fault, so nobody is blamed
    book.withdraw(desk.ids.values())
    raise


def check_log(book: ledger.Ledger, has_workers: bool) -> None:
  """Refuses to go on by one loop with what the other one began.

  Raises:
    ledger.LedgerMismatch: if the log is that of the host loop and this search
      has workers, or the other way round.
  """
  logged = book.proposals()
  if logged and ('chunk' in logged[0].info) != has_workers:
    raise ledger.LedgerMismatch(
      ledger.DATABASE,
      'begun without workers (search.workers=0), and now there are some'
      if has_workers
      else 'begun with workers, and now there are none (search.workers=0)',
    )


def waiting_for(pool: Pool) -> Callable:
  """The pool as `search.Problem.evaluate`: scores are awaited, in order."""

  def evaluate(proposals: Proposals, bar: Array):
    ids = pool.submit(proposals, bar)
    rows: dict[int, Any] = {}
    while len(rows) < len(ids):
      found, scores = pool.ready(_TIMEOUT)
      rows |= {
        one: jax.tree.map(operator.itemgetter(i), scores)
        for i, one in enumerate(found)
      }
    return jax.tree.map(lambda *x: np.stack(x), *[rows[i] for i in ids])

  return evaluate


def _compile(problem, key_loop) -> tuple[Callable, Callable]:
  """`propose` and `learn` of `_Work`, one program each."""

  @functools.partial(jax.jit, static_argnums=2)
  def propose(chunk, state, n):
    key, _ = search.iteration_keys(key_loop, chunk)
    proposals, state = problem.searcher.propose(key, state, n)
    return proposals, problem.decode(proposals.actions), state

  @jax.jit
  def learn(update, state, proposals, scores, graphs):
    _, key = search.iteration_keys(key_loop, update)
    rewards = problem.reward(scores, graphs)
    valid = np.ones(len(proposals.actions), bool)
    state = problem.searcher.update(key, state, proposals, rewards, valid)
    return state, rewards

  return propose, learn


def _gather(work: _Work, desk: _Desk) -> None:
  """Waits until there are enough answers for an update."""
  while len(desk.arrived) < work.batch:
    _send(work, desk)
    if len(desk.arrived) < work.batch:
      _receive(work, desk)


def _send(work: _Work, desk: _Desk) -> None:
  """Keeps the workers busy, proposing what they lack.

  Duplicates of what is under way take no worker, but a searcher that proposes
  nothing else must come to an end.
  """
  while len(desk.arrived) < work.batch:
    room = min(
      work.flow.most - len(desk.ids),
      work.flow.most + work.batch - (desk.sent - desk.answered),
      work.total - desk.sent,
    )
    if room <= 0:
      return
    if not desk.waiting:
      _propose(work, desk, work.flow.chunk)
    first = list(itertools.islice(desk.waiting.values(), room))
    _dispatch(work, desk, first)


def _propose(work: _Work, desk: _Desk, size: int) -> None:
  """Makes the next chunk."""
  chunk = desk.chunks
  *made, desk.state = work.propose(chunk, desk.state, size)
  proposals, decoded = jax.device_get(made)
  named = search.named(work.problem, decoded)
  for i, (key, genotype, graph) in enumerate(zip(*named, strict=True)):
    proposal = jax.tree.map(operator.itemgetter(i), proposals)
    desk.waiting[chunk, i] = _Asked((chunk, i), proposal, key, genotype, graph)
  desk.chunks += 1


def _dispatch(work: _Work, desk: _Desk, asked: list[_Asked]) -> None:
  """Answers what is known, and sends the rest; each architecture once."""
  known = work.book.lookup(one.key for one in asked)
  fresh: dict[str, _Asked] = {}
  for one in asked:
    del desk.waiting[one.place]
    if one.key in known:
      _arrive(desk, one, known[one.key].scores)
    elif one.key in desk.flying:
      desk.flying[one.key].append(one)
    else:
      fresh[one.key] = one
      desk.flying[one.key] = [one]
  desk.sent += len(asked)
  if fresh:
    # Nothing depends on it: what ends the master is no child's fault.
    genotypes = [one.genotype for one in fresh.values()]
    work.book.start(fresh, genotypes, False)
    rows = [one.proposal for one in fresh.values()]
    ids = work.pool.submit(_stack(rows), desk.bar)
    desk.ids |= zip(ids, fresh, strict=True)


def _stack(rows):
  """Trees of arrays as one, with a leading n."""
  return jax.tree.map(lambda *x: np.stack(x), *rows)


def _arrive(desk: _Desk, one: _Asked, scores: dict) -> None:
  answer = search.Answer(one.key, one.genotype, one.graph, scores)
  desk.arrived.append((one, answer))
  desk.answered += 1


def _receive(work: _Work, desk: _Desk) -> None:
  """Waits for results; all that came are made durable by one commit."""
  ids, scores = work.pool.ready(_TIMEOUT)
  if not ids:
    return
  keys, rows = [desk.ids[i] for i in ids], search.unstack(scores)
  work.book.finish(dict(zip(keys, rows, strict=True)))
  search.warn_of_failures(keys, rows)
  work.on_evaluation(len(keys))
  for i, key, row in zip(ids, keys, rows, strict=True):
    del desk.ids[i]
    for one in desk.flying.pop(key):
      _arrive(desk, one, row)


def _learn(work: _Work, desk: _Desk, update: int, taken) -> list[search.Trial]:
  """Updates the searcher by results, whenever they were proposed."""
  asked, answers = zip(*taken, strict=True)
  proposals = _stack([one.proposal for one in asked])
  scores, graphs = search.count(desk.history, answers)
  desk.state, rewards = work.learn(
    update, desk.state, proposals, scores, graphs
  )
  desk.bar = work.problem.bar(desk.history.curves)
  rewards = np.asarray(rewards)
  return search.make_trials(update, answers, rewards, proposals.info)


def _log(work: _Work, desk: _Desk, trials, taken) -> None:
  """What an update took, and how many chunks were proposed before it."""
  made = {'chunks': desk.chunks, 'size': work.flow.chunk}
  work.book.log(
    ledger.Proposal(
      trial.iteration,
      trial.position,
      trial.key,
      trial.reward,
      dict(zip(('chunk', 'row'), one.place, strict=True)) | made,
    )
    for trial, (one, _) in zip(trials, taken, strict=True)
  )


def _logged(book: ledger.Ledger) -> dict[int, list[ledger.Proposal]]:
  """{update: its rows}."""
  by_update = itertools.groupby(
    book.proposals(), operator.attrgetter('iteration')
  )
  return {update: list(rows) for update, rows in by_update}


def _replay(work: _Work, desk: _Desk, logged: list[ledger.Proposal]) -> None:
  """Proposes what a former run had, and takes what its update took."""
  size, chunks = logged[0].info['size'], logged[0].info['chunks']
  while desk.chunks < chunks:
    _propose(work, desk, size)
  places = [(row.info['chunk'], row.info['row']) for row in logged]
  asked = [desk.waiting.pop(place) for place in places]
  for one, row in zip(asked, logged, strict=True):
    if one.key != row.key:
      raise ledger.LedgerMismatch(
        ledger.DATABASE,
        f'in chunk {one.place[0]}, row {one.place[1]} the replay proposed '
        f'{one.key} and not {row.key}: the code, a library or the device has '
        'changed',
      )
  records = work.book.lookup(one.key for one in asked)
  for one in asked:
    _arrive(desk, one, records[one.key].scores)
  desk.sent += len(asked)
