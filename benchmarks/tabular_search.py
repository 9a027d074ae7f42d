r"""How many evaluations a second searches of a table reach, compiled whole.

python -m benchmarks.tabular_search --output=benchmarks/results/tabular.md

Five searchers on NAS-Bench-201, as in $IRLAS_DATA_DIR (a random table with
--synthetic). Many seeds are one compiled program; beside it stand plain Python
loops over one seed, `tabular_reference.py`. The first call of a program is
timed by itself: what it takes longer than the later ones is tracing, lowering
and compiling. Peak memory is that of the process so far.
"""

import math
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from benchmarks import output
from benchmarks import tabular_reference as reference
from irlas_jax import (
  compiled_search,
  devices,
  evaluations,
  experiment,
  kinds,
  tabular,
)
from irlas_jax.evaluators import table as table_evaluator
from irlas_jax.reports import records, table
from irlas_jax.tables import load
from irlas_jax.tables import table as tables

CORES = os.cpu_count() or 1

_SEEDS = flags.DEFINE_integer('seeds', 500, 'Searches of each searcher.')
_EVALUATIONS = flags.DEFINE_integer('evaluations', 1000, 'Of each search.')
_LINEARITY = flags.DEFINE_list(
  'linearity', '1,10,100,1000,10000', 'Numbers of seeds to compare.'
)
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Timed calls of a program.')
_PLAIN_SECONDS = flags.DEFINE_float(
  'plain_seconds', 2.0, 'Least duration of a measurement of a plain loop.'
)
_SYNTHETIC = flags.DEFINE_bool(
  'synthetic', False, 'Search a random table instead of NAS-Bench-201.'
)
_DEVICES = flags.DEFINE_integer(
  'devices', CORES, 'Devices to split a CPU into.'
)

FILE = 'nas-bench-201/nasbench201.npz'
GOAL_RATES = dict(reinforce=1e6, evolution=5e5, q_learning=5e5, random=5e6)
GOAL_SECONDS = 3  # REINFORCE, compiling included
GOAL_BYTES = 2e9
PLAIN_REPEATS = 3
_BATCH = 64  # of Q-learning, as in Block-QNN


class Problem(NamedTuple):
  """A table to search: as arrays, and as a plain loop wants it."""

  locate: Callable  # actions [T] -> row [] int32
  rewards: jax.Array  # [N + 1] percent
  plain: reference.Table  # the same numbers by actions


class Method(NamedTuple):
  """A searcher of the library and its plain loop, with the same settings."""

  name: str  # the library's
  fields: Mapping[str, Any]
  batch: int
  plain: Callable  # (rng, table, num_evaluations, **fields) -> trace
  make_rng: Callable  # seed -> rng


class Measured(NamedTuple):
  """Seconds of a program's calls."""

  first: float  # compiling included
  run: float  # median of the later ones
  xla: float  # of the first, in XLA's compiler


def main(argv):
  """Measures, and prints the tables."""
  del argv
  devices.use_cpu_devices(_DEVICES.value)
  num = _EVALUATIONS.value
  problem = make_problem(*(synthetic_table() if _SYNTHETIC.value else read()))
  counter = devices.CompileCounter()
  found = methods(num)
  rows = [searcher_row(method, problem, counter) for method in found.values()]
  scaling = scaling_rows(found, problem, counter)
  text = '\n\n'.join(
    [
      f'# Searches of a table: {_SEEDS.value} seeds, {num} evaluations each',
      about(),
      table.markdown_table(rows, SEARCHER_COLUMNS),
      f'## Numbers of seeds, at most {tabular.POPULATION} a call',
      table.markdown_table(scaling, SCALING_COLUMNS),
      '## Goals, for 500 seeds of 1000 evaluations on 2 cores',
      table.markdown_table(goal_rows(rows, peak_bytes(), warm_cache())),
    ]
  )
  output.show(text)


def read() -> tuple[np.ndarray, np.ndarray]:
  """NAS-Bench-201's choices [N, T], and what a search is told of them [N]."""
  found = load.load(evaluations.find_table(FILE, None), 'cifar10')
  assert isinstance(found.cells, tables.ChoiceCells)
  return found.cells.choices, 100 * tables.metric(found, 'valid_12').values


def synthetic_table(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """As `read`: the worth of each choice, and noise; rows in random order."""
  rng = np.random.default_rng(seed)
  sizes = (reference.ACTIONS,) * reference.STEPS
  choices = rng.permutation(np.indices(sizes).reshape(len(sizes), -1).T)
  worth = rng.normal(size=sizes[:1] + (len(sizes),))
  total = np.take_along_axis(worth, choices, axis=0).sum(1)
  accuracy = 100 / (1 + np.exp(-total - rng.normal(size=len(total))))
  return choices.astype(np.int32), accuracy.astype(np.float32)


def make_problem(choices: np.ndarray, accuracy: np.ndarray) -> Problem:
  """The table of these cells [N, T], all of them, and accuracies [N]."""
  sizes = (reference.ACTIONS,) * reference.STEPS
  plain = dict(
    zip(map(tuple, choices.tolist()), accuracy.tolist(), strict=True)
  )
  return Problem(
    table_evaluator.locate_choices(choices, sizes),
    jnp.append(jnp.asarray(accuracy, jnp.float32), 0),
    plain,
  )


def methods(num_evaluations: int) -> dict[str, Method]:
  """The searchers by name; Q-learning explores by a schedule of this length."""
  iterations = math.ceil(num_evaluations / _BATCH)
  evolution = dict(population_size=10, sample_size=3)
  adam = dict(learning_rate=0.01, baseline_decay=0.9)
  q_learning = dict(
    epsilon_scale=iterations / 178,
    step_size=0.01,
    replay_size=iterations * _BATCH,
    replay_updates=_BATCH,
  )
  python, numpy = random.Random, np.random.default_rng
  found = (
    Method('random', {}, 1, reference.random_search, python),
    Method('evolution', evolution, 1, reference.evolution, python),
    Method('reinforce', adam, 1, reference.reinforce, numpy),
    Method('q_learning', q_learning, _BATCH, reference.q_learning, python),
    Method('local_search', {}, 1, reference.local_search, python),
  )
  return {method.name: method for method in found}


def compiled(
  method: Method, problem: Problem, num_evaluations: int, seeds: int
) -> Callable[[], list[compiled_search.Trace]]:
  """A call that runs so many searches by a program: their traces, in groups.

  The program is compiled when it is first called.
  """
  config = {'searcher': {'name': method.name, method.name: dict(method.fields)}}
  searcher = experiment.make_searcher(
    config, kinds.SPACES['nasbench201'].make()
  )
  group = min(seeds, tabular.POPULATION)
  program = compiled_search.program(
    lambda setting: searcher,
    problem.locate,
    math.ceil(num_evaluations / method.batch),
    method.batch,
    group,
  )
  keys = jax.random.split(jax.random.key(0), seeds)
  starts = range(0, seeds, group)
  return lambda: [
    program(keys[i : i + group], (), problem.rewards) for i in starts
  ]


def plain(
  method: Method, problem: Problem, num_evaluations: int, seed: int
) -> reference.Trace:
  """One search as a plain loop."""
  fields = dict(method.fields)
  if method.batch > 1:
    fields['batch'] = method.batch
  rng = method.make_rng(seed)
  return method.plain(rng, problem.plain, num_evaluations, **fields)


def measure(call: Callable, repeats: int, counter) -> Measured:
  """Times the first call, and `repeats` later ones."""
  before = counter.total().seconds
  first = _seconds(call)
  xla = counter.total().seconds - before
  later = [_seconds(call) for _ in range(repeats)]
  return Measured(first, float(np.median(later)), xla)


def _seconds(call) -> float:
  began = time.perf_counter()
  call()
  return time.perf_counter() - began


def plain_rate(method: Method, problem: Problem) -> float:
  """Evaluations a second of whole searches, one after another; a median."""
  rates = []
  for _ in range(PLAIN_REPEATS):
    count, seed, began = 0, 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < _PLAIN_SECONDS.value:
      count += len(plain(method, problem, _EVALUATIONS.value, seed))
      seed += 1
    rates.append(count / passed)
  return float(np.median(rates))


SEARCHER_COLUMNS = {
  'searcher': '',
  'batch': '',
  'compile, s': '.2f',
  'of it XLA, s': '.2f',
  'run, s': '.3f',
  'total, s': '.2f',
  'evaluations/s': ',.0f',
  'plain loop/s': ',.0f',
  'ratio': '.0f',
  'peak memory, MB': '.0f',
}


def searcher_row(method: Method, problem: Problem, counter) -> dict[str, Any]:
  """What a searcher takes, compiled and as a plain loop."""
  logging.info('Measuring %s', method.name)
  call = compiled(method, problem, _EVALUATIONS.value, _SEEDS.value)
  found = measure(call, _REPEATS.value, counter)
  rate = _evaluations(method, _SEEDS.value) / found.run
  slow = plain_rate(method, problem)
  values = (
    *(method.name, method.batch, found.first - found.run, found.xla),
    *(found.run, found.first, rate, slow, rate / slow, peak_bytes() / 1e6),
  )
  return dict(zip(SEARCHER_COLUMNS, values, strict=True))


def _evaluations(method, seeds) -> int:
  """All of these searches; whole batches."""
  return seeds * method.batch * math.ceil(_EVALUATIONS.value / method.batch)


SCALING_COLUMNS = {
  'seeds': ',d',
  'random, s': '.4f',
  'random, evaluations/s': ',.0f',
  'reinforce, s': '.4f',
  'reinforce, evaluations/s': ',.0f',
}


def scaling_rows(found, problem: Problem, counter) -> list[dict[str, Any]]:
  """Seconds, and evaluations a second, of more and more seeds."""
  rows = []
  for seeds in map(int, _LINEARITY.value):
    logging.info('Measuring %d seeds', seeds)
    row: dict[str, Any] = {'seeds': seeds}
    for name in ('random', 'reinforce'):
      call = compiled(found[name], problem, _EVALUATIONS.value, seeds)
      run = measure(call, _REPEATS.value, counter).run
      rate = _evaluations(found[name], seeds) / run
      row |= {f'{name}, s': run, f'{name}, evaluations/s': rate}
    rows.append(row)
  return rows


def goal_rows(
  rows: list[dict[str, Any]], peak: float, warm: bool
) -> list[dict[str, str]]:
  """Which goals the searchers' rows meet, with this peak memory in bytes.

  A compiled program that is loaded from a cache says nothing of compiling.
  """
  by_name = {row['searcher']: row for row in rows}
  goals = [
    (f'{name}, evaluations/s without compiling', goal, rate, rate >= goal)
    for name, goal in GOAL_RATES.items()
    for rate in [by_name[name]['evaluations/s']]
  ]
  total = by_name['reinforce']['total, s']
  met = None if warm else total <= GOAL_SECONDS
  goals += [
    ('reinforce, seconds in all', GOAL_SECONDS, total, met),
    ('peak memory, MB', GOAL_BYTES / 1e6, peak / 1e6, peak < GOAL_BYTES),
  ]
  words = {True: 'met', False: 'not met', None: 'unknown: warm cache'}
  return [
    {
      'what': what,
      'goal': f'{goal:,.0f}',
      'measured': f'{value:,.0f}' if value >= 100 else f'{value:.2f}',
      'verdict': words[met],
    }
    for what, goal, value, met in goals
  ]


def about() -> str:
  """What was measured, where, and with which versions."""
  versions = ', '.join(f'{k} {v}' for k, v in records.versions().items())
  source = 'A random table' if _SYNTHETIC.value else 'NAS-Bench-201'
  cache = 'in use' if warm_cache() else 'none'
  return (
    f'{source}; {CORES} cores, {devices.count()} devices of kind '
    f'{jax.devices()[0].device_kind}; medians of {_REPEATS.value} runs; '
    f'persistent compilation cache: {cache}. {versions}.'
  )


def warm_cache() -> bool:
  """Whether programs may come from a persistent cache."""
  return bool(jax.config.values['jax_compilation_cache_dir'])


def peak_bytes() -> int:
  """Memory that this process has held at most, so far."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == 'darwin' else 1024 * peak


if __name__ == '__main__':
  app.run(main)
