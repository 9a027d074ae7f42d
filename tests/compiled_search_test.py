"""Whole searches in one program, against the host loop with the same key."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import compiled_search, devices, experiment, ledger, search
from irlas_jax.evaluators import table
from irlas_jax.searchers import q_learning
from irlas_jax.spaces import choices

pytestmark = pytest.mark.usefixtures('quick_compiles')
ROOT = pathlib.Path('/work/main')
SIZES = (3, 2, 4)
SEARCHERS = (
  'random',
  'q_learning',
  'reinforce',
  'ppo',
  'evolution',
  'local_search',
  'tree_search',
)
FIELDS = {
  # Each of them learns within 24 proposals.
  'q_learning': {
    'epsilon_iterations': 6,
    'step_size': 0.3,
    'replay_size': 10,
    'replay_updates': 4,
  },
  'reinforce': {'learning_rate': 0.5},
  'ppo': {
    'learning_rate': 0.05,
    'epochs': 2,
    'num_minibatches': 2,
    'policy': {'name': 'lstm', 'hidden': 6, 'layers': 1},
  },
  'evolution': {'population_size': 4, 'sample_size': 2},
  'tree_search': {'num_nodes': 40},
}


@pytest.fixture(name='folder', scope='module')
def fixture_folder(tmp_path_factory):
  """Holds a table of 24 cells, one of which nobody measured."""
  folder = tmp_path_factory.mktemp('tables')
  accuracy = np.random.default_rng(0).permutation(24) * 4.0
  accuracy[5] = np.nan
  np.savez(
    folder / 'own.npz',
    choices=np.array(SIZES),
    metrics=np.array(['valid']),
    units=np.array(['percent']),
    values=accuracy[:, None],
  )
  return folder


def make_config(folder, name, batch):
  return {
    'seed': 3,
    'space': {'name': 'choices', 'sizes': SIZES},
    'searcher': {'name': name, **FIELDS},
    'reward': {'name': 'accuracy', 'floor': -1.0},
    'evaluator': {'name': 'table', 'file': 'own.npz', 'accuracy': 'valid'},
    'data_dir': str(folder),
    'search': {'num_proposals': 24, 'batch': batch},
  }


def _host(parts, workdir):
  """Genotypes and rewards of the host loop, in order."""
  with ledger.open(workdir, {}) as book:
    found = search.run(
      parts.key, parts.problem, book, parts.num_iterations, parts.batch
    )
    trials = [trial for trials in found for trial in trials]
  return [t.genotype for t in trials], [t.reward for t in trials]


def _whole(parts):
  """Genotypes and rewards of the compiled search, in order."""
  rows = parts.evaluation.rows
  rewards = jax.jit(parts.problem.reward)(rows.scores, rows.graphs)

  @jax.jit
  def run(key):
    return compiled_search.run(
      key,
      parts.problem.searcher,
      rows.locate,
      rewards,
      parts.num_iterations,
      parts.batch,
    )

  trace = jax.device_get(run(parts.key))
  graphs = jax.tree.map(lambda x: np.asarray(x)[trace.rows], rows.graphs)
  genotypes = [
    parts.kind.describe(jax.tree.map(lambda x, i=i: x[i], graphs))
    for i in range(len(trace.rows))
  ]
  return genotypes, trace.rewards.astype(float).tolist()


@pytest.mark.parametrize('batch', [1, 3])
@pytest.mark.parametrize('name', SEARCHERS)
def test_the_trace_is_that_of_the_host_loop(folder, tmp_path, name, batch):
  """Else a study over a table would say nothing of real searches."""
  parts = experiment.build(make_config(folder, name, batch))
  genotypes, rewards = _whole(parts)
  expected, told = _host(parts, tmp_path)
  assert genotypes == expected
  assert rewards == told and -1.0 <= min(rewards) < max(rewards)


def test_every_searcher_is_tried():
  assert set(SEARCHERS) == set(experiment.SEARCHERS)


def test_the_cells_of_nas_bench_201_too(tmp_path):
  """Rewards may differ in their last bits there, and cells may not."""
  root = os.environ.get('IRLAS_DATA_DIR', 'none')
  file = 'nas-bench-201/nasbench201.npz'
  if not (pathlib.Path(root) / file).is_file():
    pytest.skip(f'{root}/{file}: set IRLAS_DATA_DIR')
  config = make_config(root, 'evolution', 5) | {
    'space': {'name': 'nasbench201'},
    'expert': 'resnet',
    'reward': {
      'name': 'irlas',
      'mirror': 5.0,
      'num_rollouts': 64,
      'learner': {'name': 'cosine'},
      'features': {'resolutions': ('operation',), 'tables': ('nodes',)},
    },
    'evaluator': {'name': 'table', 'file': file, 'accuracy': 'valid_12'},
    'search': {'num_proposals': 40, 'batch': 5},
  }
  parts = experiment.build(config)
  genotypes, rewards = _whole(parts)
  expected, told = _host(parts, tmp_path)
  assert genotypes == expected
  np.testing.assert_allclose(rewards, told, rtol=1e-5)


# Q-learning and REINFORCE of a table of 24 cells, each with its own settings.
WORK = """
import sys
import jax, jax.numpy as jnp, numpy as np, optax
from irlas_jax import compiled_search, devices
from irlas_jax.evaluators import table
from irlas_jax.policies import free_logits
from irlas_jax.searchers import q_learning, reinforce
from irlas_jax.spaces import choices
from irlas_jax.tables import choices as tables

jax.config.update('jax_disable_most_optimizations', True)
SIZES = (3, 2, 4)
SPACE = choices.choices(SIZES)
LOCATE = table.locate_choices(tables.all_actions(SIZES), SIZES)
REWARDS = np.append(
  np.random.default_rng(0).permutation(24) * 4.0, -1.0
).astype(np.float32)
RATES = np.array([0.05, 0.2, 0.8, 0.2, 0.5], np.float32)
KEYS = jax.random.split(jax.random.key(7), 5)

def make_q_learning(setting):
  return q_learning.q_learning(
    SPACE,
    q_learning.linear_epsilon(10, 0.1),
    step_size=setting['rate'],
    replay_size=10,
    replay_updates=4,
  )

def make_reinforce(setting):
  tx = optax.adam(setting['rate'])
  return reinforce.reinforce(free_logits.free_logits(SPACE), tx)

MAKE = {'q_learning': make_q_learning, 'reinforce': make_reinforce}

def program(name, population):
  return compiled_search.program(MAKE[name], LOCATE, 40, 1, population)
"""
BEFORE = """
from irlas_jax import devices
devices.use_cpu_devices(3)
"""
AFTER = """
assert devices.count() == 3
traces = {
  f'{name} {field}': value
  for name in MAKE
  for field, value in program(name, 5)(
    KEYS, {'rate': RATES}, REWARDS
  )._asdict().items()
}
np.savez(sys.argv[1], **traces)
"""


@pytest.fixture(name='work', scope='module')
def fixture_work(quick_compiles):
  scope: dict = {}
  exec(WORK, scope)
  return scope


@pytest.fixture(name='together', scope='module')
def fixture_together(work):
  """The five searches of each searcher, in one call of a wider program."""
  return {
    name: work['program'](name, 8)(
      work['KEYS'], {'rate': work['RATES']}, work['REWARDS']
    )
    for name in work['MAKE']
  }


def _assert_traces_equal(found, expected, message=''):
  for name, value in expected._asdict().items():
    np.testing.assert_array_equal(
      getattr(found, name), value, f'{message}{name}'
    )


@pytest.mark.parametrize('name', ['q_learning', 'reinforce'])
def test_each_search_is_what_it_is_alone(work, together, name):
  """Same key, same setting, same trace; no matter who is in the call."""

  @jax.jit
  def alone(key, rate):
    searcher = work['MAKE'][name]({'rate': rate})
    rewards = jnp.asarray(work['REWARDS'])
    return compiled_search.run(key, searcher, work['LOCATE'], rewards, 40, 1)

  assert together[name].rows.shape == (5, 40)
  for i, (key, rate) in enumerate(
    zip(work['KEYS'], work['RATES'], strict=True)
  ):
    found = jax.tree.map(lambda x, i=i: x[i], together[name])
    _assert_traces_equal(found, alone(key, rate))


@pytest.mark.parametrize('name', ['q_learning', 'reinforce'])
def test_a_traced_setting_has_an_effect(work, together, name):
  """One learning rate for all would look just as smooth; here one differs."""
  rates = np.append(work['RATES'][:4], np.float32(1e-3))
  found = work['program'](name, 8)(
    work['KEYS'], {'rate': rates}, work['REWARDS']
  )
  differs = (found.rows != together[name].rows).any(axis=1)
  assert differs.tolist() == [False] * 4 + [True]


def test_several_calls_share_one_compile(work, together):
  """Of other numbers of searches; what fills a call up goes unnoticed."""
  traced = []

  def make(setting):
    traced.append(setting)
    return work['make_q_learning'](setting)

  program = compiled_search.program(make, work['LOCATE'], 40, 1, 8)
  keys, rates = work['KEYS'], work['RATES']
  for chosen in (slice(0, 5), slice(2, 4), slice(4, 5)):
    found = program(keys[chosen], {'rate': rates[chosen]}, work['REWARDS'])
    expected = jax.tree.map(lambda x, c=chosen: x[c], together['q_learning'])
    _assert_traces_equal(found, expected)
  assert len(traced) == 1


def test_the_number_of_devices_changes_nothing(together, tmp_path):
  """Five searches on three devices: one place is left over."""
  path = tmp_path / 'traces.npz'
  done = subprocess.run(
    [sys.executable, '-c', BEFORE + WORK + AFTER, str(path)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
  )
  assert done.returncode == 0, done.stderr
  found = np.load(path)
  for name, trace in together.items():
    for field, value in trace._asdict().items():
      np.testing.assert_array_equal(found[f'{name} {field}'], value)


def test_what_the_table_does_not_have_is_told_as_such():
  """Row N, with the last reward."""
  space = choices.choices((2, 2))
  actions = np.array([[0, 1], [1, 0]])
  graphs = jax.device_get(jax.vmap(space.decode)(actions))
  rows = table.tabulated(
    table.locate_choices(actions, (2, 2)),
    table.scores(np.array([0.5, 0.75])),
    graphs,
    1,
  )
  rewards = jnp.array([50.0, 75.0, -3.0])
  searcher = experiment.SEARCHERS['random'].make(space)
  trace = compiled_search.run(
    jax.random.key(0), searcher, rows.locate, rewards, 16, 2
  )
  assert set(trace.rows.tolist()) == {0, 1, 2}
  np.testing.assert_array_equal(trace.rewards, rewards[trace.rows])


def test_a_replay_memory_is_not_copied_at_every_step():
  """A select between the memory before and after would need it twice.

  8 searches that remember 10,000 episodes more, of 3 steps and a reward each.
  """
  space = choices.choices(SIZES)

  def needed(replay_size):
    def one(key, rewards):
      searcher = q_learning.q_learning(
        space,
        q_learning.linear_epsilon(10),
        replay_size=replay_size,
        replay_updates=4,
      )
      locate = lambda actions: actions[0]  # noqa: E731
      return compiled_search.run(key, searcher, locate, rewards, 10, 1)

    keys = jax.random.split(jax.random.key(0), 8)
    compiled = devices.spread_together(one).lower(keys, jnp.ones(25)).compile()
    return devices.predicted_bytes(compiled)

  memory = 8 * 10_000 * (3 + 1) * 4
  grown = needed(10_100) - needed(100)
  assert memory <= grown < 1.5 * memory, grown / memory
