"""The benchmark of the child engine, small; it compares like with like."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import child_engine_common as common
from benchmarks import child_engine_compiles as compiles
from benchmarks import child_engine_mechanism as mechanism
from benchmarks import child_engine_scaling as scaling
from benchmarks import child_engine_torch as torches
from irlas_jax import devices
from irlas_jax import graph as graphs
from irlas_jax.networks import block
from irlas_jax.spaces import nasbench201 as space

pytestmark = pytest.mark.usefixtures('quick_compiles')
ROOT = pathlib.Path(__file__).parents[2]
HAS_TORCH = importlib.util.find_spec('torch') is not None
SIZES = common.Sizes(block.cifar(4, 2, 1), 8, 8, 2, 2)
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason='needs PyTorch')


def _run(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'benchmarks.child_engine', *arguments],
    capture_output=True,
    text=True,
    cwd=ROOT,
    timeout=300,
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_backend_optimization_level=0',
    },
  )


def test_it_runs(tmp_path):
  """The report begins with its findings; nothing names this machine's paths."""
  path = tmp_path / 'report.md'
  sections = 'torch,populations' if HAS_TORCH else 'populations'
  done = _run('--tiny', f'--sections={sections}', f'--output={path}')
  assert done.returncode == 0, done.stderr
  text = path.read_text()
  assert done.stdout == text and str(ROOT) not in text
  lines = text.splitlines()
  assert lines[2].startswith('- N=1: a step' if HAS_TORCH else '- Populations')
  assert '## Populations' in lines


def test_unknown_sections_are_refused():
  done = _run('--sections=devises')
  assert done.returncode and 'devises' in done.stderr + done.stdout


def test_cells_are_those_of_the_table():
  """By the seed that chose them; the written names need no table."""
  chosen = np.random.RandomState(7).randint(0, 15625, 5)
  assert list(common.CELLS) == chosen.tolist()
  folder = os.environ.get('IRLAS_DATA_DIR')
  path = pathlib.Path(folder or '/', 'nas-bench-201', 'nasbench201.npz')
  if not path.exists():
    pytest.skip('needs the table of NAS-Bench-201')
  rows = np.load(path)['ops'][chosen].tolist()
  actions = [
    jax.device_get(space.nasbench201().encode(space.parse(name))).tolist()
    for name in common.CELLS.values()
  ]
  assert actions == rows


@needs_torch
def test_torch_has_the_same_network():
  """Parameters and logits, with weights and statistics copied over."""
  found = torches.check(common.DENSE, SIZES)
  assert found.params == found.torch_params
  assert max(found.evaluating, found.training) < torches.LOGITS_TOLERANCE


@needs_torch
def test_torch_learns_as_we_do():
  """After two steps on one batch: the same rule, decay included."""
  import torch

  from benchmarks import torch_nasbench201
  from irlas_jax.networks import nasbench201
  from irlas_jax.training import loop
  from irlas_jax.training import recipe as recipes

  graph = space.parse(common.CELLS[common.DENSE])
  nodes = nasbench201.nodes_of(graph, space.OPERATIONS)
  sizes = SIZES._replace(macro=block.cifar(4, 1, 1), steps=1)
  settings = common.recipe(sizes)._replace(
    schedule='constant', weight_decay=0.1, learning_rate=0.05
  )
  module = nasbench201.network(
    graph, space.OPERATIONS, sizes.macro, common.NUM_CLASSES
  )
  data = common.make_data(sizes)
  variables = jax.jit(module.init, static_argnums=2)(
    jax.random.key(0), data.train.images[:1], False
  )
  network = torch_nasbench201.Network(nodes, sizes.macro, common.NUM_CLASSES)
  torch_nasbench201.load_flax(network, variables)
  trainer = torch_nasbench201.Trainer(
    network,
    data.train.images,
    data.train.labels,
    settings,
    torch_nasbench201.How(),
  )
  tx = recipes.optimizer(settings, 1)
  step = jax.jit(
    loop.make_step(common.plain_network(module), tx, data, settings)
  )
  learner = loop.start(variables, tx, settings)
  for _ in range(2):
    learner, _ = step(jax.random.key(0), learner, np.arange(sizes.batch))
    trainer.run(1)
  wanted = torch_nasbench201.Network(nodes, sizes.macro, common.NUM_CLASSES)
  torch_nasbench201.load_flax(wanted, jax.device_get(learner.variables))
  for name, value in wanted.named_parameters():
    found = network.get_parameter(name)
    torch.testing.assert_close(found, value, rtol=1e-3, atol=1e-5)


def test_without_torch_the_remedy_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  monkeypatch.delitem(
    sys.modules, 'benchmarks.torch_nasbench201', raising=False
  )
  with pytest.raises(ImportError, match=r'pip install'):
    importlib.import_module('benchmarks.torch_nasbench201')


def _race(ours, theirs, compile_seconds):
  wall = np.array([[ours, 1.0, theirs, theirs + 1]] * 3)
  names = ('ours', 'static', 'PyTorch, contiguous', 'PyTorch, channels_last')
  spent = {'ours': common.Spent(compile_seconds, 1), 'static': common.Spent(5)}
  return torches.Race(1, 7, names, common.Times(wall, wall / 2), spent)


def test_verdicts_on_an_epoch_count_the_compiling():
  """Half a second a step saves 195 s an epoch: more than 190 s, not 200 s."""
  assert torches.epoch_row(_race(1.5, 2.0, 190))['ours is first'] == 'yes'
  assert torches.epoch_row(_race(1.5, 2.0, 200))['ours is first'] == 'no'
  assert (
    torches.epoch_row(_race(1.5, 2.0, 200), 'cpu')['ours is first'] == 'yes'
  )
  row = torches.step_row(_race(1.5, 2.0, 190))
  assert row['ours / PyTorch'] == '0.75 (0.75 to 0.75)'
  assert row['static / PyTorch, CPU time'] == '0.50'
  assert row['ours / PyTorch, fastest'] == '0.75'
  assert (
    'faster for 1 of 2 cells (7)'
    in torches.findings([_race(1.5, 2.0, 190), _race(3.0, 2.0, 1)])[0]
  )


def test_blocks_of_a_search_are_different():
  _, blocks = compiles.random_blocks(3, 12)
  assert len({graphs.digest(graph) for graph in blocks}) == 12
  with pytest.raises(ValueError, match='different blocks of 1 layers'):
    compiles.random_blocks(1, 50)


def test_shares_of_compiling_by_hand():
  """10 of 100 s: the goal of 5 % is met when 1000 children take 190 s."""
  spent = devices.Compiles(4, 10.0)
  found = compiles.Search(1000, spent, devices.Compiles(0, 0.0), 100.0)
  other = compiles.Alone(2, np.array([1.0, 3.0]))
  first, second = compiles.rows(found, other)
  assert first['compiling, share'] == '10.0%'
  assert second['compiling, s'] == '2000'
  assert '0.19 s or more' in compiles._needed(found)
  (sentence,) = compiles.findings(found, other)
  assert 'at most 5: met' in sentence and '5%: not met' in sentence
  assert '200 times' in sentence


def test_work_is_counted_from_the_network():
  """One cell a stage of width 4: multiply-adds by hand, and some traffic."""
  sizes = SIZES._replace(macro=block.cifar(4, 1, 1), batch=2)
  # Stem 3x3 of 3 channels, three 1x1 and one 3x3 of 4 channels, and the head.
  madds = 64 * (27 * 4 + 3 * 16 + 144) + 40
  found = scaling.work(common.DENSE, sizes)
  assert found.flops == 6 * 2 * madds
  assert found.bytes > 0


@pytest.mark.parametrize('name', list(mechanism.WAYS)[1:])
def test_other_ways_are_the_same_program(name):
  """They differ in time only: the loss after training agrees."""
  sizes = SIZES._replace(macro=block.cifar(4, 1, 1), steps=1)
  data = common.make_data(sizes)
  item = common.items(space.parse(common.CELLS[common.DENSE]), 1)

  def loss(way):
    with mechanism.WAYS[way]():
      run = common.engine(common.padded_network(sizes), sizes)
      return run(item, data).loss

  np.testing.assert_allclose(loss(name), loss(mechanism.HAND), rtol=1e-4)
