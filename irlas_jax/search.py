"""The host loop of a search: propose, score, reward, update.

All that is durable is the ledger. The loop itself is a function of its key, so
a run that was cut off is resumed by running it again: what the ledger knows is
answered from there and the rest is evaluated as if nothing had happened.

Shapes: `n` proposals an iteration, `T` steps of the space.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from irlas_jax import ledger
from irlas_jax.types import (
  CRASHED,
  Evaluator,
  Graph,
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
  evaluate: Evaluator  # at most `population` proposals a call
  reward: Reward
  settings: Any  # JSON of all that a score depends on besides the hash
  fidelity: Any  # JSON, how far a child is trained
  population: int
  num_evaluations: int  # E, length of a learning curve


class Trial(NamedTuple):
  """One proposal and what became of it."""

  iteration: int
  position: int
  key: str  # of the ledger's record
  genotype: str
  length: int  # number of nodes after the input
  reward: float
  scores: dict[str, Any]  # one row of Scores


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
  key_init, key_children, key_loop = jax.random.split(key, 3)
  propose = jax.jit(problem.searcher.propose, static_argnums=2)
  update = jax.jit(problem.searcher.update)
  reward_fn = jax.jit(problem.reward)
  decode = jax.jit(problem.decode)
  state = problem.searcher.init(key_init)
  order: dict[str, int] = {}  # record key -> evaluations before it
  valid = jnp.ones(batch, bool)
  for iteration in range(num_iterations):
    key_iteration = jax.random.fold_in(key_loop, iteration)
    key_propose, key_update = jax.random.split(key_iteration)
    proposals, state = propose(key_propose, state, batch)
    graphs = decode(proposals.actions)
    singles = _unstack(jax.device_get(graphs))
    keys = [
      ledger.record_key(
        problem.identify(single), problem.settings, problem.fidelity
      )
      for single in singles
    ]
    genotypes = [problem.describe(single) for single in singles]
    rows = _answer(
      key_children, problem, book, proposals, keys, genotypes, on_evaluation
    )
    for name in keys:
      order.setdefault(name, len(order))
    rows = [{**rows[name], 'index': order[name]} for name in keys]
    rewards = reward_fn(_stack(rows), graphs)
    state = update(key_update, state, proposals, rewards, valid)
    trials = [
      Trial(
        iteration,
        position,
        keys[position],
        genotypes[position],
        int(np.sum(single.ops >= 0)) - 1,
        float(rewards[position]),
        rows[position],
      )
      for position, single in enumerate(singles)
    ]
    book.log(
      ledger.Proposal(t.iteration, t.position, t.key, t.reward) for t in trials
    )
    yield trials


def _answer(
  key, problem, book, proposals, keys, genotypes, on_evaluation
) -> dict[str, dict]:
  """A row of scores for every record key, evaluating what nobody knows yet.

  Two kinds are set apart. A child that a former run started and did not finish
  is evaluated alone, so that if it is what ends the process, it alone is
  blamed; one that was started `MAX_STARTS` times is given up.
  """
  place = {name: i for i, name in reversed(list(enumerate(keys)))}
  known = book.lookup(place)
  missing = [name for name in place if name not in known]
  starts = book.attempts(missing)
  given_up = [name for name in missing if starts[name] >= MAX_STARTS]
  if given_up:
    logging.warning('%d children never finished: floor.', len(given_up))
    crashed = _blank_row(problem, CRASHED)
    book.finish({name: crashed for name in given_up})
  again = [[name] for name in missing if 0 < starts[name] < MAX_STARTS]
  fresh = [name for name in missing if starts[name] == 0]
  for chunk in again + _chunks(fresh, problem.population):
    book.start(chunk, [genotypes[place[name]] for name in chunk])
    index = np.array([place[name] for name in chunk])
    chosen = jax.tree.map(lambda x: x[index], proposals)  # noqa: B023
    scores = jax.device_get(problem.evaluate(key, chosen))
    book.finish(dict(zip(chunk, _rows(scores), strict=True)))
    on_evaluation(len(chunk))
  records = book.lookup(place)
  return {name: records[name].scores for name in place}


def _chunks(items: Sequence, size: int) -> list:
  return [items[i : i + size] for i in range(0, len(items), size)]


def _unstack(graphs: Graph) -> list[Graph]:
  return [
    Graph(*(field[i] for field in graphs)) for i in range(len(graphs.ops))
  ]


def _rows(scores: Scores) -> list[dict]:
  columns = scores._asdict()
  return [
    {name: np.asarray(column)[i].tolist() for name, column in columns.items()}
    for i in range(len(scores.accuracy))
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
