"""What the commands do with a search: run or resume it, see what came out."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from irlas_jax import (
  async_search,
  devices,
  distributed,
  experiment,
  graph,
  ledger,
  reflection,
  search,
  shared_ledger,
)
from irlas_jax.types import Graph, Proposals

# What a user can mend: a wrong config, missing data, a workdir in use.
ERRORS = (ValueError, OSError, ledger.LedgerError)


def set_up(cpu_devices: int, cache_dir: str) -> None:
  """Sets JAX up; call before any computation.

  Args:
    cpu_devices: how many devices to split a CPU into.
    cache_dir: where compiled programs are kept between runs.
  """
  devices.use_cpu_devices(cpu_devices)
  devices.use_compilation_cache(cache_dir)


join = devices.join  # one of several processes; call before any computation
is_first = devices.is_first
told_by_first = devices.told_by_first

# What may differ between two runs of one search: no score depends on it.
FREE = (
  'search.num_proposals',
  'data_dir',
  'evaluator.population',
  'evaluator.slots',
  'retrain',
  *distributed.FIELDS,
)


class Outcome(NamedTuple):
  """A finished search."""

  config: Mapping
  parts: experiment.Parts
  trials: list[search.Trial]
  best: search.Trial
  graph: Graph  # of the best, by the space's view
  expert_graph: Graph | None  # the same of the expert, if there is one
  expert: search.Answer | None  # None where it does not fit into the space
  explanation: list[tuple[str, float]]  # features by their share of the score
  seen: tuple[reflection.Seen, ...]  # best and expert by the mirror, if any
  compiles: devices.Compiles
  seconds: float


def connected(config: Mapping) -> contextlib.AbstractContextManager:
  """Ray while the block lasts, if a search has workers; before all else.

  Raises:
    ValueError, ConnectionError: see `cluster.connected`.
  """
  return distributed.connected(distributed.settings(config))


def run(
  config: dict[str, Any],
  workdir: str | os.PathLike,
  on_start: Callable[[int], None] = lambda total: None,
  on_trials: Callable[[list[search.Trial]], None] = lambda trials: None,
  on_evaluation: Callable[[int], None] = lambda count: None,
) -> Outcome:
  """Runs or resumes a search in `workdir`.

  Args:
    config: plain dictionaries; see `configs/` for the sections.
    workdir: holds the ledger; made if need be.
    on_start: told the number of proposals to come.
    on_trials: told of the proposals of an iteration, scored.
    on_evaluation: told how many children were trained just now.

  Raises:
    ValueError, FileNotFoundError: see `experiment.build`.
    ledger.LedgerError: if the workdir cannot be used.
    ConnectionError: if there is no cluster at `search.address`.
  """
  began = time.monotonic()
  counter = devices.CompileCounter()
  trials: list[search.Trial] = []
  has_workers = distributed.settings(config).workers > 0
  with connected(config):
    parts = experiment.build(config)
    on_start(parts.num_iterations * parts.batch)
    with (
      _loop(config, parts, workdir) as (parts, loop),
      shared_ledger.open(workdir, config, FREE) as book,
    ):
      async_search.check_log(book, has_workers)
      for batch in loop(book, on_evaluation):
        trials += batch
        on_trials(batch)
      expert = _score_expert(parts, book)
  best = max(trials, key=lambda trial: trial.reward)
  seconds = time.monotonic() - began
  best_graph = _view(parts, parts.kind.parse(best.genotype))
  expert_graph = None if parts.expert is None else _view(parts, parts.expert)
  drawn = [one for one in (best_graph, expert_graph) if one is not None]
  seen = see(parts, *drawn)
  return Outcome(
    config,
    parts,
    trials,
    best,
    best_graph,
    expert_graph,
    expert,
    explain(parts, seen[0]) if seen else [],
    seen,
    counter.total(),
    seconds,
  )


@contextlib.contextmanager
def _loop(
  config: Mapping, parts: experiment.Parts, workdir: str | os.PathLike
) -> Iterator[tuple[experiment.Parts, Callable]]:
  """(parts as the search has them, (book, on_evaluation) -> trials a batch).

  A config that cannot run raises here, before there is a ledger.
  """
  sizes = parts.num_iterations, parts.batch
  workers = distributed.settings(config).workers
  if not workers:
    if not os.path.exists(os.path.join(workdir, ledger.DATABASE)):
      parts.problem.prepare()
    yield (
      parts,
      lambda book, on_evaluation: search.run(
        parts.key, parts.problem, book, *sizes, on_evaluation
      ),
    )
    return
  with distributed.pool(config, parts.problem.num_evaluations) as pool:
    problem = parts.problem._replace(
      prepare=lambda: None,  # the workers have
      evaluate=async_search.waiting_for(pool),
    )
    flow = async_search.flow(workers, parts.batch)
    yield (
      parts._replace(problem=problem),
      lambda book, on_evaluation: async_search.run(
        parts.key, problem, book, pool, *sizes, flow, on_evaluation
      ),
    )


def _view(parts: experiment.Parts, architecture: Graph) -> Graph:
  """What an architecture computes, which is what is drawn."""
  return jax.device_get(jax.jit(parts.kind.view)(architecture))


def see(
  parts: experiment.Parts, *architectures: Graph
) -> tuple[reflection.Seen, ...]:
  """Each as the mirror stimuli function sees it; nothing if there is none."""
  if parts.mirror is None:
    return ()
  return tuple(map(reflection.sight(parts.mirror), architectures))


def explain(
  parts: experiment.Parts, seen: reflection.Seen, most: int = 5
) -> list[tuple[str, float]]:
  """The features that add most to an architecture's mirror stimuli score."""
  assert parts.mirror is not None
  names = reflection.distinct(parts.mirror.features.names)
  order = np.argsort(-seen.contributions)[:most]
  terms = [(names[i], float(seen.contributions[i])) for i in order]
  return [(name, value) for name, value in terms if value > 0]


def _score_expert(
  parts: experiment.Parts, book: ledger.Ledger
) -> search.Answer | None:
  """The expert scored as a child is, for comparison; it steers nothing."""
  space = parts.kind.space
  actions = jax.ShapeDtypeStruct((space.num_steps,), 'int32')
  *_, num_nodes = jax.eval_shape(space.decode, actions).ops.shape
  if parts.expert is None or graph.size(parts.expert) > num_nodes:
    return None
  padded = graph.resize(parts.expert, num_nodes)
  actions = space.encode(padded)[None]
  return search.answer(parts.problem, book, Proposals(actions, actions, ()))[0]
