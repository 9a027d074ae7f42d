"""The sweep command: on Ray, again, and where there is no Ray."""

import itertools
import json
import os
import pathlib
import shlex
import subprocess
import sys

import numpy as np
import pytest

from irlas_jax import sweep_runs

ROOT = pathlib.Path(sweep_runs.__file__).parents[1]
TABLE = '--config=tests/fixtures/tiny_table.py'


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  """A table of 81 architectures."""
  path = tmp_path_factory.mktemp('table') / 'mine.npz'
  choices = itertools.product(range(3), repeat=4)
  np.savez_compressed(
    path,
    choices=[3, 3, 3, 3],
    metrics=['valid'],
    units=['percent'],
    values=np.array([[80.0 + sum(row)] for row in choices]),
  )
  return path


def _sweep(*flags, **environment):
  """(exit status, stdout, stderr)."""
  done = subprocess.run(
    [sys.executable, '-m', 'launch.sweep', TABLE, *map(str, flags)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=os.environ | {'RAY_AUTH_MODE': 'disabled'} | environment,
    timeout=300,
  )
  return done.returncode, done.stdout, done.stderr


QUICK = {
  'JAX_PLATFORMS': 'cpu',
  'XLA_FLAGS': '--xla_backend_optimization_level=0',
}


def test_a_sweep_runs_what_is_missing(file, tmp_path):
  """Finished runs are not run again, and a failed one fails alone."""
  flags = (
    f'--workdir={tmp_path / "sweep"}',
    f'--config.evaluator.file={file}',
    f'--cache_dir={tmp_path / "cache"}',
    '--sweep=searcher.name=random',
  )
  status, output, errors = _sweep(*flags, '--sweep=seed=0:2', **QUICK)
  assert status == 0, errors
  head, _, row = output.splitlines()
  assert head.split('|')[1].strip() == 'name'
  assert row.split('|')[1:3] == [' random ', ' 2/2  ']
  first = [
    json.loads(
      (tmp_path / 'sweep' / f'name=random,seed={i}' / 'best.json').read_text()
    )
    for i in range(2)
  ]
  rewards = [best['reward'] for best in first]
  mean, sd = np.mean(rewards), np.std(rewards, ddof=1)
  assert f'{mean:.2f} ± {sd:.2f}' in row
  assert [best['config']['seed'] for best in first] == [0, 1]
  # One run more that works, and one whose ledger is damaged.
  folder = tmp_path / 'sweep' / 'name=random,seed=3'
  folder.mkdir()
  (folder / 'ledger.sqlite').write_text('no database')
  status, output, errors = _sweep(*flags, '--sweep=seed=0:4', **QUICK)
  assert status != 0 and '1 runs failed' in errors
  assert 'name=random,seed=3 failed' in errors and 'LedgerCorrupt' in errors
  assert ' 3/4 ' in output and '2/2' in errors  # of two runs, both have ended
  found = json.loads((tmp_path / 'sweep' / 'sweep.json').read_text())
  assert [run['result'] is None for run in found] == [False] * 3 + [True]
  assert (tmp_path / 'sweep' / 'sweep.md').read_text() == output


NO_RAY = """
import runpy, sys
from irlas_jax import cluster
cluster.is_installed = lambda: False
sys.argv[0] = 'launch.sweep'
runpy.run_module('launch.sweep', run_name='__main__')
"""


def _commands(flags, code=None):
  program = ['-c', code] if code else ['-m', 'launch.sweep']
  done = subprocess.run(
    [sys.executable, '-X', 'importtime', *program, TABLE, *flags],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  assert done.returncode == 0, done.stderr
  lines = done.stderr.splitlines()
  imported = {x.split('|')[-1].strip() for x in lines if 'import time:' in x}
  return done.stdout.splitlines(), imported


@pytest.mark.parametrize('ray', [True, False])
def test_commands_are_for_any_scheduler(ray, tmp_path):
  """One a line; with --print_commands, or where there is no Ray."""
  flags = [
    f'--workdir={tmp_path / "a b"}',
    '--config.search.num_proposals=8',
    '--cache_dir=c',
    '--sweep=space.sizes=(3, 2),(3, 3)',
    '--sweep=seed=0:2',
  ]
  if ray:
    found, imported = _commands([*flags, '--print_commands'])
  else:
    found, imported = _commands(flags, NO_RAY)
  assert not {'jax', 'ray'} & imported
  words = [shlex.split(line) for line in found]
  assert len(words) == 4 and len({tuple(line) for line in words}) == 4
  assert words[1][:3] == ['python', '-m', 'launch.search']
  assert {
    '--config=tests/fixtures/tiny_table.py',
    '--config.search.num_proposals=8',
    '--config.space.sizes=(3, 2)',
    '--config.seed=1',
    '--cache_dir=c',
  } < set(words[1])
  assert words[1][-1].startswith(f'--workdir={tmp_path / "a b"}/')
  assert not (tmp_path / 'a b').exists()


@pytest.mark.parametrize(
  'flags, words',
  [
    (['--sweep=searcher.nam=random'], ['searcher.nam', 'searcher.name']),
    (['--sweep=search.batch=x'], ['search.batch takes int']),
    (['--sweep=seed=0', '--config.search.workers=2'], ['search.workers']),
    (['--sweep=seed=0', '--sweep=seed=1'], ['swept twice']),
  ],
)
def test_what_is_wrong_is_refused_before_anything_runs(flags, words, tmp_path):
  status, output, errors = _sweep(f'--workdir={tmp_path / "new"}', *flags)
  assert status != 0 and not output and 'Traceback' not in errors
  assert all(word in errors for word in words), errors
  assert not (tmp_path / 'new').exists()


def _best(config, **more):
  scores = {'accuracy': 0.5, 'params': None, 'madds': 10.0}
  return json.dumps({'reward': 50.0, 'scores': scores, 'config': config} | more)


def test_only_what_is_finished_is_read(tmp_path):
  """A run of another config, or one not yet trained fully, counts nowhere."""
  config = {'seed': 0, 'space': {'sizes': (3, 2)}}
  assert sweep_runs.read(tmp_path, config) is None
  (tmp_path / 'best.json').write_text(_best(config))
  found = sweep_runs.read(tmp_path, config)
  assert (found.reward, found.accuracy, found.madds) == (50.0, 0.5, 10.0)
  assert np.isnan(found.params) and np.isnan(found.test_accuracy)
  assert sweep_runs.read(tmp_path, config | {'seed': 1}) is None
  trained = config | {'retrain': {'train': {}}}
  (tmp_path / 'best.json').write_text(_best(trained))
  assert sweep_runs.read(tmp_path, trained) is None
  (tmp_path / 'final.json').write_text('{"test_accuracy": 0.75}')
  assert sweep_runs.read(tmp_path, trained).test_accuracy == 0.75
