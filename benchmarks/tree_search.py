r"""Tree search on tables: its speed, and evaluations until the optimum.

python -m benchmarks.tree_search --output=benchmarks/results/tree_search.md

Needs EC-NAS and NAS-Bench-201 in $IRLAS_DATA_DIR (--tiny makes a table). Runs
on one core. The first part times one search, and several mapped over seeds,
after a call that compiles. The second counts different rows of a table until
the best one is asked for; a search that does not find it within its proposals
is censored there. It stands beside random search without replacement, of which
everything is known: of N rows it has found the best one after d with
probability d / N. Many sequences of choices are the same NAS-Bench-101 cell, so
there distinct evaluations are far fewer than proposals.
"""

import math
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags, logging

from benchmarks import output
from configs import alphax_nasbench101, nasbench201_comparison
from irlas_jax import anytime, compiled_search, experiment, tabular
from irlas_jax.reports import records, table

_SEEDS = flags.DEFINE_integer('tree_seeds', 100, 'Searches of each searcher.')
_FIRST = flags.DEFINE_integer('tree_first_seed', 0, 'Of them.')
_REPEATS = flags.DEFINE_integer('tree_repeats', 5, 'Timed calls of a program.')

REFERENCE = 21.0  # seconds of 1,000 simulations by the public implementation
GOAL = 100  # times faster
MAPPED = 16  # searches in one timed call
GROUP = 25  # searches in one call that counts
ARMS = {
  'random': dict(name='random'),
  'evolution': dict(name='evolution'),
  'tree search': dict(
    name='tree_search', tree_search=dict(predictor=dict(name='none'))
  ),
  'tree search, Meta-DNN': dict(name='tree_search'),
}


class Problem(NamedTuple):
  """A table, by the config of a search over it."""

  name: str
  config: Mapping[str, Any]
  timed: int  # proposals
  proposals: int  # until the optimum


class Search(NamedTuple):
  """A searcher on a table, to be compiled."""

  parts: experiment.Parts
  rewards: jax.Array  # [N + 1]

  def program(self, proposals: int, population: int) -> Callable:
    """seeds [S] -> traces, of at most `population` searches a call."""
    rows = self.parts.evaluation.rows
    assert rows is not None
    compiled = compiled_search.program(
      lambda setting: self.parts.problem.searcher,
      *(rows.locate, proposals, 1, population),
    )
    loop_keys = jax.vmap(lambda seed: experiment.make_keys(seed).loop)
    return lambda seeds: compiled(
      loop_keys(np.asarray(seeds, np.uint32)), (), self.rewards
    )


def main(argv):
  """Measures, and prints the tables."""
  del argv
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  with tempfile.TemporaryDirectory() as folder:
    found = tiny(pathlib.Path(folder)) if output.TINY.value else problems()
    speeds = [row for problem in found for row in speed_rows(problem)]
    counts = [row for problem in found for row in optimum_rows(problem)]
  versions = ', '.join(f'{k} {v}' for k, v in records.versions().items())
  text = '\n\n'.join(
    [
      '# Tree search on tables',
      f'One core of kind {jax.devices()[0].device_kind}. {versions}.',
      f'## Seconds of 1,000 simulations, reference {REFERENCE:g} s',
      table.markdown_table(speeds),
      f'## Distinct evaluations until the optimum, {_SEEDS.value} seeds from '
      f'{_FIRST.value}',
      table.markdown_table(counts, COUNT_COLUMNS),
    ]
  )
  output.show(text)


def problems() -> list[Problem]:
  """The <= 5-vertex cells of EC-NAS built step by step, and NAS-Bench-201."""
  cells = alphax_nasbench101.get_config().to_dict()
  edges = nasbench201_comparison.get_config().to_dict()
  fields = dict(cells['searcher']['tree_search'], num_nodes=2000 * 6 + 1)
  edges['searcher']['tree_search'] = fields
  return [
    Problem('EC-NAS', cells, 1000, 3000),
    Problem('NAS-Bench-201', edges, 1000, 2000),
  ]


def tiny(folder: pathlib.Path) -> list[Problem]:
  """27 rows, the best of which is the last."""
  values = np.arange(27.0)[:, None]
  np.savez(
    folder / 'tiny.npz',
    choices=[3, 3, 3],
    metrics=['valid'],
    units=['percent'],
    values=values,
  )
  fields = dict(num_nodes=64, memory_size=64, refit_every=8)
  mlp = dict(name='mlp', mlp=dict(sizes=(8,), epochs=2))
  config = dict(
    seed=0,
    data_dir=str(folder),
    space=dict(name='choices', sizes=(3, 3, 3)),
    evaluator=dict(name='table', file='tiny.npz', accuracy='valid'),
    reward=dict(name='accuracy'),
    search=dict(num_proposals=30, batch=1),
    searcher=dict(
      tree_search=dict(fields, predictor=mlp),
      evolution=dict(population_size=4, sample_size=2),
    ),
  )
  return [Problem('tiny', config, 30, 30)]


def make(problem: Problem, arm: str) -> Search:
  """The searcher of an arm on a table."""
  changes = {'searcher': ARMS[arm]}
  parts = experiment.build(tabular.merge(problem.config, changes))
  rows = parts.evaluation.rows
  assert rows is not None
  rewards = jax.jit(parts.problem.reward)(rows.scores, rows.graphs)
  return Search(parts, rewards)


def speed_rows(problem: Problem) -> list[dict[str, Any]]:
  """What 1,000 simulations take, alone and among others."""
  rows = []
  for arm in ('tree search', 'tree search, Meta-DNN'):
    logging.info('Timing %s on %s', arm, problem.name)
    search = make(problem, arm)
    alone, mapped = (
      seconds(search.program(problem.timed, count), count) / problem.timed
      for count in (1, MAPPED)
    )
    ratio = REFERENCE / (1000 * alone)
    rows.append(
      {
        'table': problem.name,
        'searcher': arm,
        'one search, s': round(1000 * alone, 4),
        f'of {MAPPED} at once, s': round(1000 * mapped, 4),
        'times faster': round(ratio),
        f'goal {GOAL}': 'met' if ratio >= GOAL else 'not met',
      }
    )
  return rows


def seconds(program: Callable, count: int) -> float:
  """Median seconds a search of a call of so many, compiling excluded."""
  found = []
  for i in range(1 + _REPEATS.value):
    began = time.perf_counter()
    program(range(i * count, (i + 1) * count))
    found.append(time.perf_counter() - began)
  return float(np.median(found[1:])) / count


COUNT_COLUMNS = {
  'table': '',
  'searcher': '',
  'proposals': ',d',
  'distinct, median': ',.0f',
  'found': '.0%',
  'at random as many find': '.0%',
  'until the optimum, median': '',
  'seconds a search': '.2f',
}


def optimum_rows(problem: Problem) -> list[dict[str, Any]]:
  """When each arm found the best row; random without replacement first."""
  rows: list[dict[str, Any]] = []
  for arm in ARMS:
    logging.info('Searching %s by %s', problem.name, arm)
    search = make(problem, arm)
    values = np.asarray(search.rewards[:-1])
    size, best = len(values), int(np.sum(values == values.max()))
    if not rows:
      rows.append(
        {
          'table': problem.name,
          'searcher': 'random without replacement',
          'until the optimum, median': str(random_median(size, best)),
        }
      )
    began = time.perf_counter()
    until, ends = count(search, problem.proposals, values.max())
    chances = [random_found(size, best, end) for end in ends]
    middle = np.median(until)
    rows.append(
      {
        'table': problem.name,
        'searcher': arm,
        'proposals': problem.proposals,
        'distinct, median': np.median(ends),
        'found': np.isfinite(until).mean(),
        'at random as many find': np.mean(chances),
        'until the optimum, median': (
          f'{middle:,.0f}' if np.isfinite(middle) else 'not found by half'
        ),
        'seconds a search': (time.perf_counter() - began) / len(until),
      }
    )
  return rows


def count(search: Search, proposals: int, best: float):
  """Distinct evaluations [S] until the best, inf if censored, and in all."""
  seeds = _FIRST.value + np.arange(_SEEDS.value)
  program = search.program(proposals, min(GROUP, len(seeds)))
  until: list[float] = []
  ends: list[int] = []
  for start in range(0, len(seeds), GROUP):
    trace = program(seeds[start : start + GROUP])
    distinct = np.cumsum(anytime.first_seen(trace.rows), axis=1)
    until.extend(first_hits(distinct, trace.rewards >= best))
    ends.extend(distinct[:, -1])
  return np.array(until), np.array(ends)


def first_hits(distinct: np.ndarray, hits: np.ndarray) -> np.ndarray:
  """The count at the first hit of each row: [S, P], [S, P] bool -> [S]; inf."""
  first = np.argmax(hits, axis=1)[:, None]
  found = np.take_along_axis(distinct, first, axis=1)[:, 0]
  return np.where(hits.any(axis=1), found, np.inf)


def random_found(size: int, best: int, drawn: int) -> float:
  """Probability that `drawn` of `size` rows hold one of the `best` best."""
  if drawn > size - best:
    return 1.0
  return 1 - math.comb(size - best, drawn) / math.comb(size, drawn)


def random_median(size: int, best: int) -> int:
  """The least number of rows that holds a best one with probability 1/2."""
  return next(
    drawn
    for drawn in range(1, size + 1)
    if random_found(size, best, drawn) >= 0.5
  )


if __name__ == '__main__':
  app.run(main)
