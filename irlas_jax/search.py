"""The host loop of a search: propose, score, reward, update.

All that is durable is the ledger. The loop itself is a function of its key, so
a run that was cut off is resumed by running it again: what the ledger knows is
answered from there and the rest is evaluated as if nothing had happened.

Shapes: `n` proposals an iteration, `T` steps of the space.
"""

import array
import dataclasses
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from irlas_jax import ledger
from irlas_jax.types import (
  CRASHED,
  FAILURES,
  OK,
  Graph,
  Proposals,
  Reward,
  Scores,
  Searcher,
)

MAX_STARTS = 2  # a child started so often and never finished is not retried


class Problem(NamedTuple):
  """What is searched, by what, for what."""

  searcher: Searcher
  decode: Callable  # actions [n, T] -> Graph with leading n
  identify: Callable  # Graph, unbatched -> hash of its isomorphism class
  describe: Callable  # Graph, unbatched -> genotype text
  prepare: Callable  # (), before the first evaluation
  evaluate: Callable  # (Proposals, bar [E]) -> Scores, `population` at most
  # curves [m, E] of the evaluations of earlier iterations -> the bar [E]
  bar: Callable
  reward: Reward
  settings: Any  # JSON of all that a score depends on besides the hash
  fidelity: Any  # JSON, how far a child is trained
  population: int
  num_evaluations: int  # E, length of a learning curve


class Answer(NamedTuple):
  """What is known of one architecture."""

  key: str  # of the ledger's record
  genotype: str
  graph: Graph
  scores: dict[str, Any]  # one row of Scores


@dataclasses.dataclass
class History:
  """The evaluations of a search, in the order in which they first counted."""

  num_evaluations: int  # E
  order: dict[str, int] = dataclasses.field(default_factory=dict)  # by key
  values: array.array = dataclasses.field(  # of all curves
    default_factory=lambda: array.array('d')
  )

  @property
  def curves(self) -> np.ndarray:
    """[m, E]"""
    return np.array(self.values).reshape(-1, self.num_evaluations)


class Trial(NamedTuple):
  """One proposal and what became of it."""

  iteration: int
  position: int
  key: str  # of the ledger's record
  genotype: str
  length: int  # number of nodes after the input
  reward: float
  exploration: float  # the searcher's, NaN if it has none
  scores: dict[str, Any]  # one row of Scores
  predicted: float = float('nan')  # reward, before the evaluation


def split_key(key: jax.Array) -> tuple[jax.Array, jax.Array]:
  """A search's key as the searcher's at the start, and the loop's."""
  key_init, key_loop = jax.random.split(key)
  return key_init, key_loop


def iteration_keys(
  key_loop: jax.Array, iteration: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
  """The keys of one iteration's `propose` and `update`."""
  key_propose, key_update = jax.random.split(
    jax.random.fold_in(key_loop, iteration)
  )
  return key_propose, key_update


def run(
  key: jax.Array,
  problem: Problem,
  book: ledger.Ledger,
  num_iterations: int,
  batch: int,
  on_evaluation: Callable[[int], None] = lambda count: None,
) -> Iterator[list[Trial]]:
  """Yields the trials of each iteration, `batch` at a time.

  `on_evaluation(k)` is called whenever k evaluations have become durable; what
  the ledger answers is not announced.
  """
  key_init, key_loop = split_key(key)
  propose = jax.jit(problem.searcher.propose, static_argnums=2)
  update = jax.jit(problem.searcher.update)
  reward_fn = jax.jit(problem.reward)
  state = problem.searcher.init(key_init)
  history = History(problem.num_evaluations)
  valid = jnp.ones(batch, bool)
  for iteration in range(num_iterations):
    key_propose, key_update = iteration_keys(key_loop, iteration)
    proposals, state = propose(key_propose, state, batch)
    answers = answer(problem, book, proposals, history.curves, on_evaluation)
    scores, graphs = count(history, answers)
    rewards = reward_fn(scores, graphs)
    state = update(key_update, state, proposals, rewards, valid)
    trials = make_trials(iteration, answers, rewards, proposals.info)
    book.log(
      ledger.Proposal(t.iteration, t.position, t.key, t.reward) for t in trials
    )
    yield trials


def count(history: History, answers: Sequence[Answer]) -> tuple[Scores, Graph]:
  """Adds what is new to the history; all [n], with their index in it."""
  for given in answers:
    if given.key not in history.order:
      history.order[given.key] = len(history.order)
      history.values.extend(given.scores['curve'])
  scores = _stack(
    [given.scores | {'index': history.order[given.key]} for given in answers]
  )
  graphs = jax.tree.map(lambda *x: np.stack(x), *[a.graph for a in answers])
  return scores, graphs


def make_trials(
  iteration: int, answers: Sequence[Answer], rewards: Any, info: Any
) -> list[Trial]:
  """What became of the proposals of an iteration; rewards [n]."""
  told = info if isinstance(info, dict) else {}
  unknown = np.full(len(answers), np.nan)
  explores = told.get('exploration', unknown)
  predicted = told.get('predicted', unknown)
  return [
    Trial(
      iteration,
      i,
      given.key,
      given.genotype,
      int(np.sum(given.graph.ops >= 0)) - 1,
      float(rewards[i]),
      float(explores[i]),
      given.scores,
      float(predicted[i]),
    )
    for i, given in enumerate(answers)
  ]


def answer(
  problem: Problem,
  book: ledger.Ledger,
  proposals: Proposals,
  curves: Sequence[Sequence[float]] | np.ndarray = (),
  on_evaluation: Callable[[int], None] = lambda count: None,
) -> list[Answer]:
  """What is known of each proposal, evaluating what nobody knows yet.

  `curves`, [m, E], are of the evaluations that the new ones are compared with.
  A child that a former run started and did not finish is evaluated alone, so
  that if it is what ends the process, it alone is blamed; one that was started
  `MAX_STARTS` times is given up.
  """
  asked, decoded = jax.device_get(
    (proposals, jax.jit(problem.decode)(proposals.actions))
  )
  keys, genotypes, graphs = named(problem, decoded)
  place = {name: i for i, name in reversed(list(enumerate(keys)))}
  bar = problem.bar(np.reshape(curves, (-1, problem.num_evaluations)))
  for chunk in _pending(problem, book, list(dict.fromkeys(keys))):
    index = np.array([place[name] for name in chunk])
    chosen = jax.tree.map(operator.itemgetter(index), asked)
    problem.prepare()
    book.start(chunk, [genotypes[i] for i in index])
    try:
      rows = unstack(jax.device_get(problem.evaluate(chosen, bar)))
    except KeyboardInterrupt:  # nobody's fault, so nobody is blamed
      book.withdraw(chunk)
      raise
    book.finish(dict(zip(chunk, rows, strict=True)))
    warn_of_failures(chunk, rows)
    on_evaluation(len(chunk))
  records = book.lookup(keys)
  return [
    Answer(name, genotype, single, records[name].scores)
    for name, genotype, single in zip(keys, genotypes, graphs, strict=True)
  ]


def named(
  problem: Problem, decoded: Graph
) -> tuple[list[str], list[str], list[Graph]]:
  """Record keys, genotypes and graphs, one by one, of those with leading n."""
  graphs = [
    Graph(*(field[i] for field in decoded)) for i in range(len(decoded.ops))
  ]
  genotypes = [problem.describe(single) for single in graphs]
  settings = problem.settings
  if not isinstance(settings, str):
    settings = ledger.fingerprint(settings, 'settings')
  keys = [
    ledger.record_key(problem.identify(single), settings, problem.fidelity)
    for single in graphs
  ]
  return keys, genotypes, graphs


def warn_of_failures(keys: Sequence[str], rows: Sequence[dict]) -> None:
  """A line in the log for each row [n] that carries no measurement."""
  for name, row in zip(keys, rows, strict=True):
    if row['failure'] != OK:
      reason = FAILURES[row['failure']]
      logging.warning('%s %s: its reward is the floor.', name, reason)


def _pending(problem, book, keys: list[str]) -> list[list[str]]:
  """What is to be evaluated, a list a call; gives up what never finishes."""
  known = book.lookup(keys)
  missing = [name for name in keys if name not in known]
  starts = book.attempts(missing)
  given_up = [name for name in missing if starts[name] >= MAX_STARTS]
  if given_up:
    logging.warning(
      '%d architectures were started %d times and never finished: their score '
      'is the floor.',
      len(given_up),
      MAX_STARTS,
    )
    row = _blank_row(problem, CRASHED)
    book.finish(dict.fromkeys(given_up, row))
  alone = [[name] for name in missing if 0 < starts[name] < MAX_STARTS]
  fresh = [name for name in missing if starts[name] == 0]
  return alone + _chunks(fresh, problem.population)


def _chunks(items: Sequence, size: int) -> list:
  return [items[i : i + size] for i in range(0, len(items), size)]


def unstack(scores: Scores) -> list[dict[str, Any]]:
  """The rows of scores [n], as the ledger stores them."""
  columns = [np.asarray(column).tolist() for column in scores]
  return [
    dict(zip(Scores._fields, row, strict=True))
    for row in zip(*columns, strict=True)
  ]


def _stack(rows: list[dict]) -> Scores:
  integers = ('index', 'failure')
  return Scores(
    **{
      name: np.array(
        [row[name] for row in rows],
        np.int32 if name in integers else np.float32,
      )
      for name in Scores._fields
    }
  )


def _blank_row(problem: Problem, failure: int) -> dict:
  nan = float('nan')
  row = dict.fromkeys(Scores._fields, nan)
  curve = [nan] * problem.num_evaluations
  return row | {'curve': curve, 'index': 0, 'failure': failure}
