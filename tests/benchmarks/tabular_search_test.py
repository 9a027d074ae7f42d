"""Plain loops and compiled searches are the same algorithms, and are timed."""

import functools
import os
import pathlib
import random
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import tabular_reference as reference
from benchmarks import tabular_search
from irlas_jax import search
from irlas_jax.searchers import q_learning

pytestmark = pytest.mark.usefixtures('quick_compiles')
ROOT = pathlib.Path(__file__).parents[2]
SEEDS, COUNT = 150, 240
# Chosen so that a search has learnt something when it ends.
FIELDS = {
  'random': {},
  'local_search': {},
  'evolution': dict(population_size=10, sample_size=3),
  'reinforce 0.01': dict(learning_rate=0.01, baseline_decay=0.9),
  'reinforce 0.5': dict(learning_rate=0.5, baseline_decay=0.9),
  'q_learning': dict(
    epsilon_scale=15 / 178, step_size=0.2, replay_size=20, replay_updates=64
  ),
}


@functools.cache
def problem():
  return tabular_search.make_problem(*tabular_search.synthetic_table())


def method(name):
  base = tabular_search.methods(1)[name.split()[0]]
  return base._replace(fields=FIELDS[name], batch=min(base.batch, 8))


@functools.cache
def from_compiled(name):
  """Rewards [SEEDS, COUNT]."""
  call = tabular_search.compiled(method(name), problem(), COUNT, SEEDS)
  (trace,) = call()
  return trace.rewards.reshape(SEEDS, COUNT)


@pytest.mark.parametrize('name', FIELDS)
def test_searches_are_alike_within_sampling_error(name):
  """A wrong baseline, sign, tournament or schedule shows in what is found."""
  ours = from_compiled(name)
  plain = functools.partial(
    tabular_search.plain, method(name), problem(), COUNT
  )
  theirs = np.array([[r for _, r in plain(seed)] for seed in range(SEEDS)])
  assert theirs.shape == ours.shape
  for statistic in (
    lambda x: x.max(1),
    lambda x: x[:, COUNT // 2 :].mean(1),
    lambda x: x[:, -30:].std(1),
    lambda x: [len(np.unique(row)) for row in x],
  ):
    a, b = np.array([statistic(ours), statistic(theirs)], float)
    error = np.sqrt((a.var() + b.var()) / SEEDS)
    assert abs(a.mean() - b.mean()) <= 3.5 * error


class Draws:
  """A generator whose numbers are known beforehand."""

  def __init__(self, rows):
    self._rows = iter(rows)

  def random(self, size):
    row = next(self._rows)
    assert len(row) == size
    return row


@pytest.mark.parametrize('name', ['reinforce 0.01', 'reinforce 0.5'])
def test_reinforce_takes_the_same_way(name):
  """By the same draws: each gradient, baseline and step of Adam is the same."""
  ours = from_compiled(name)

  @jax.vmap
  def draws(key):
    def draw(i):
      key_propose, _ = search.iteration_keys(search.split_key(key)[1], i)
      return jax.random.uniform(key_propose, (reference.STEPS,))

    return jax.vmap(draw)(jnp.arange(COUNT))

  keys = jax.random.split(jax.random.key(0), SEEDS)[:3]
  known = np.asarray(draws(keys), float)
  theirs = [
    reference.reinforce(
      Draws(rows), problem().plain, COUNT, **method(name).fields
    )
    for rows in known
  ]
  rewards = [[reward for _, reward in trace] for trace in theirs]
  np.testing.assert_allclose(ours[:3], rewards)


def test_the_schedules_are_the_same():
  schedule = q_learning.block_qnn_epsilon()
  ours = jax.vmap(schedule)(jnp.arange(200))
  theirs = [reference._epsilon(i) for i in range(200)]
  np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_mutation_changes_one_step():
  rng = random.Random(0)
  parent = (0, 1, 2, 3, 4, 0)
  found = {reference._mutate(rng, parent) for _ in range(1000)}
  assert found == set(reference._neighbours(parent)) and len(found) == 24


def test_the_synthetic_table_has_every_cell_once():
  choices, accuracy = tabular_search.synthetic_table()
  assert len({*map(tuple, choices.tolist())}) == len(accuracy) == 15_625
  for row in (0, 7, 15_624):
    assert problem().locate(jnp.asarray(choices[row])) == row
    assert problem().plain[tuple(choices[row])] == accuracy[row]


def test_goals():
  """Met at the goal itself; nothing is said of compiling from a warm cache."""
  rates = dict(random=5e6, evolution=4.9e5, reinforce=2e6, q_learning=5e5)
  rows = [
    {'searcher': name, 'evaluations/s': rate, 'total, s': 3.1}
    for name, rate in rates.items()
  ]
  found = tabular_search.goal_rows(rows, 1.9e9, warm=False)
  met = {row['what'].split(',')[0]: row['verdict'] for row in found[:-2]}
  assert [name for name in met if met[name] != 'met'] == ['evolution']
  assert [row['verdict'] for row in found[-2:]] == ['not met', 'met']
  warm = tabular_search.goal_rows(rows, 2.1e9, warm=True)
  assert [row['verdict'] for row in warm[-2:]] == [
    'unknown: warm cache',
    'not met',
  ]


def test_the_command_measures_and_writes(tmp_path):
  """The whole of it, tiny: every searcher, number of seeds, and goal."""
  output = tmp_path / 'tabular.md'
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'benchmarks.tabular_search', '--synthetic'),
      *('--seeds=2', '--evaluations=20', '--repeats=1', '--devices=1'),
      *('--linearity=3', '--plain_seconds=0.01', f'--output={output}'),
    ],
    cwd=ROOT,
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    },
    capture_output=True,
    text=True,
    timeout=100,
  )
  assert done.returncode == 0, done.stderr
  text = output.read_text()
  assert text == done.stdout
  assert '2 seeds, 20 evaluations' in text and '1 devices of kind' in text
  lines = [[x.strip() for x in line.split('|')] for line in text.splitlines()]
  first = {line[1]: line[2:-1] for line in lines if len(line) == 12}
  assert {*tabular_search.methods(20)} < first.keys()
  numbers = [
    [float(cell.replace(',', '')) for cell in first[name]]
    for name in tabular_search.methods(20)
  ]
  assert all(row[4] > 0 and row[5] > 0 and row[6] > 0 for row in numbers)
  assert [line[1] for line in lines if len(line) == 7][2:] == ['3']
  goals = [line[4].split(':')[0] for line in lines if len(line) == 6][2:]
  assert len(goals) == 6 and {*goals} <= {'met', 'not met', 'unknown'}
