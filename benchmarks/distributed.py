r"""How well Ray workers are kept busy, and what a search's master can do.

python -m benchmarks.distributed --output=benchmarks/results/distributed.md

Whole searches: REINFORCE over independent choices, the ledger on disk, workers
that train nothing. With children of one second, a worker's efficiency is the
share of the time in which it has one, in a steady state: after all workers are
there and two rounds are over, and before the last two. With children that
take no time, the master is what is measured; its memory, and that of Ray's own
processes, is read after a tenth of the evaluations and at the end.
"""

import functools
import os
import tempfile
import time
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import psutil
from absl import app, flags, logging

from benchmarks import distributed_evaluators, output
from irlas_jax import async_search, cluster, graph, ledger, search
from irlas_jax.evaluators import ray_pool
from irlas_jax.policies import free_logits
from irlas_jax.reports import records, table
from irlas_jax.rewards import shaping
from irlas_jax.searchers import reinforce
from irlas_jax.spaces import choices

_WORKERS = flags.DEFINE_list(
  'distributed_workers',
  '1,2,4,8,16,32,64',
  'Numbers of workers whose children sleep.',
)
_ROUNDS = flags.DEFINE_integer(
  'distributed_rounds', 20, 'Children of each worker in the steady state.'
)
_EVALUATIONS = flags.DEFINE_integer(
  'distributed_evaluations', 100_000, 'Of children that take no time.'
)
_INSTANT = flags.DEFINE_integer(
  'distributed_instant', 8, 'Workers whose children take no time.'
)

GOAL_EFFICIENCY = 0.95  # with 64 workers
GOAL_RATE = 500.0  # evaluations a second
BATCH = 64  # results an update, if there is no time
SIZES = (10,) * 8  # choices: enough that hardly any is proposed twice
SECONDS = 1.0
_WARM = 2  # rounds before and after what is measured


class Memory(NamedTuple):
  """Resident bytes."""

  driver: int
  ray: int  # control store and node daemon


class Measured(NamedTuple):
  """A search: when how many evaluations were durable, and the memory then."""

  times: np.ndarray  # [m] seconds
  counts: np.ndarray  # [m]
  memories: list[tuple[int, Memory]]  # (evaluations, memory)


def main(argv):
  """Measures, and prints the tables."""
  del argv
  counts = [1, 2] if output.TINY.value else list(map(int, _WORKERS.value))
  rounds = 3 if output.TINY.value else _ROUNDS.value
  evaluations = 1000 if output.TINY.value else _EVALUATIONS.value
  with cluster.connected('', max(*counts, _INSTANT.value)):
    busy = [efficiency_row(count, rounds) for count in counts]
    instant = measure(
      _INSTANT.value, 0.0, evaluations, BATCH, evaluations // 10
    )
  rate = instant_row(instant, evaluations)
  output.show(
    '\n\n'.join(
      [
        '# Searches on Ray workers',
        about(),
        f'## Children of {SECONDS:.0f} s, {rounds} rounds',
        table.markdown_table(busy, EFFICIENCY_COLUMNS),
        f'## Children that take no time, {_INSTANT.value} workers',
        table.markdown_table([rate], INSTANT_COLUMNS),
        '## Goals',
        table.markdown_table(goal_rows(busy, rate)),
      ]
    )
  )


def measure(
  workers: int, seconds: float, evaluations: int, batch: int, every: int
) -> Measured:
  """A search of so many evaluations; memory is read after each `every`."""
  times, counts, memories = [], [], []
  total = 0

  def on_evaluation(count):
    nonlocal total
    before, total = total, total + count
    times.append(time.perf_counter())
    counts.append(total)
    if total // every > before // every:
      memories.append((total, read_memory()))

  make = functools.partial(distributed_evaluators.make_sleeping, seconds)
  flow = async_search.flow(workers, batch)
  opened = ray_pool.open(make, 1, workers, least=workers)
  with tempfile.TemporaryDirectory() as folder, opened as pool:
    with ledger.open(folder, {}) as book:
      logging.info('%d workers are ready', workers)
      loop = async_search.run(
        *(jax.random.key(0), make_problem(), book, pool),
        *(-(-evaluations // batch), batch, flow, on_evaluation),
      )
      for _ in loop:
        pass  # trials are dropped, so that no memory grows by them
  return Measured(np.array(times), np.array(counts), memories)


def make_problem() -> search.Problem:
  """REINFORCE over choices; the pool has the evaluators."""
  space = choices.choices(SIZES)
  policy = free_logits.free_logits(space)
  return search.Problem(
    reinforce.reinforce(policy, optax.adam(1e-4)),
    jax.vmap(space.decode),
    graph.digest,
    choices.text_of,
    lambda: None,
    lambda proposals, bar: None,
    lambda curves: np.full(1, -np.inf),
    shaping.accuracy_reward(0.0),
    {},
    {},
    1,
    1,
  )


def read_memory() -> Memory:
  """Of this process and of what Ray started beside the workers."""
  own = psutil.Process()
  daemons = [
    child
    for child in own.children(recursive=True)
    if child.name() in ('gcs_server', 'raylet')
  ]
  return Memory(
    own.memory_info().rss, sum(child.memory_info().rss for child in daemons)
  )


EFFICIENCY_COLUMNS = {
  'workers': '',
  'evaluations/s': '.2f',
  'efficiency': '.1%',
  'cores busy': '.2f',
}


def efficiency_row(workers: int, rounds: int) -> dict[str, Any]:
  """Children of a second on so many workers."""
  psutil.cpu_percent()
  total = (rounds + 2 * _WARM) * workers
  found = measure(workers, SECONDS, total, min(workers, BATCH), total)
  rate = steady_rate(found, _WARM * workers, (_WARM + rounds) * workers)
  cores = psutil.cpu_percent() / 100 * (os.cpu_count() or 1)
  values = workers, rate, rate * SECONDS / workers, cores
  return dict(zip(EFFICIENCY_COLUMNS, values, strict=True))


def steady_rate(found: Measured, first: int, last: int) -> float:
  """Evaluations a second between those of these numbers."""
  i, j = np.searchsorted(found.counts, [first, last])
  gained = found.counts[j] - found.counts[i]
  return float(gained / (found.times[j] - found.times[i]))


INSTANT_COLUMNS = {
  'evaluations': ',d',
  'evaluations/s': ',.0f',
  'driver before, MB': '.0f',
  'after, MB': '.0f',
  'bytes an evaluation': '.0f',
  'Ray before, MB': '.0f',
  'Ray after, MB': '.0f',
}


def instant_row(found: Measured, evaluations: int) -> dict[str, Any]:
  """What the master does at most, and what it keeps."""
  (first, before), *_, (last, after) = found.memories
  rate = steady_rate(found, first, last)
  growth = (after.driver - before.driver) / (last - first)
  values = (
    *(evaluations, rate, before.driver / 1e6, after.driver / 1e6, growth),
    *(before.ray / 1e6, after.ray / 1e6),
  )
  return dict(zip(INSTANT_COLUMNS, values, strict=True))


def goal_rows(busy, rate) -> list[dict[str, str]]:
  """Which goals were met; that of 64 workers by the most there were."""
  most = max(busy, key=lambda row: row['workers'])
  share = most['efficiency']
  done = rate['evaluations/s']
  met = {True: 'met', False: 'not met'}
  return [
    {
      'what': f'efficiency of {most["workers"]} workers',
      'goal': f'{GOAL_EFFICIENCY:.0%}',
      'measured': f'{share:.1%}',
      'verdict': met[share >= GOAL_EFFICIENCY],
    },
    {
      'what': 'evaluations/s that take no time',
      'goal': f'{GOAL_RATE:.0f}',
      'measured': f'{done:,.0f}',
      'verdict': met[done >= GOAL_RATE],
    },
  ]


def about() -> str:
  """What was measured, and where."""
  import ray

  versions = records.versions() | {'ray': ray.__version__}
  text = ', '.join(f'{k} {v}' for k, v in versions.items())
  load = os.getloadavg()[0]
  return (
    f'{os.cpu_count()} cores, load average {load:.1f} at the end; workers '
    f'import no JAX. REINFORCE, {len(SIZES)} choices of {SIZES[0]}; '
    f'{BATCH} results an update, or as many as there are workers. {text}.'
  )


if __name__ == '__main__':
  app.run(main)
