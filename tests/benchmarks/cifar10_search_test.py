"""The CIFAR-10 search in pieces; for real once, on a few digits."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import cifar10_pieces
from configs import cifar10_search as config_file
from irlas_jax import experiment, graph, kinds, search
from irlas_jax.rewards import shaping
from irlas_jax.types import OK, Scores

ROOT = pathlib.Path(cifar10_pieces.__file__).parents[1]
CONFIG = config_file.get_config('tiny').to_dict()


def _evaluate(proposals, bar):
  del bar
  actions = np.asarray(proposals.actions)
  value = (actions.sum(1) % 17 / 17).astype(np.float32)
  code = np.zeros(len(value), np.int32)
  return Scores(*[value] * 7, value[:, None], code, code + OK)


@pytest.fixture
def fake(monkeypatch):
  """Problems of all arms whose children are scored at once."""

  def make(configs):
    kind = kinds.SPACES['block'].make(3, 'dense')
    return {
      arm: search.Problem(
        experiment.make_searcher(config, kind),
        jax.vmap(kind.space.decode),
        graph.digest,
        kind.describe,
        lambda: None,
        _evaluate,
        lambda curves: 0.0,
        shaping.accuracy_reward(),
        {},
        {},
        8,
        1,
      )
      for arm, config in configs.items()
    }

  monkeypatch.setattr(cifar10_pieces, 'make_problems', make)


def _late_after(count):
  """Not late for the first `count` questions."""
  left = iter(range(count))
  return lambda: next(left, None) is None


def test_pieces_make_the_same_searches_as_one(fake, tmp_path):
  """What a piece did would be done again, or differently."""
  whole = cifar10_pieces.run_searches(CONFIG, tmp_path / 'whole', bool)
  for _ in range(2):
    with pytest.raises(cifar10_pieces.OutOfTime):
      cifar10_pieces.run_searches(CONFIG, tmp_path / 'cut', _late_after(4))
  pieces = cifar10_pieces.run_searches(CONFIG, tmp_path / 'cut', bool)
  assert str(pieces) == str(whole)
  proposals = CONFIG['search']['num_proposals']
  assert [len(found.trials) for found in whole] == [proposals] * 3


def test_arms_differ_in_searcher_and_mirror_alone():
  """The comparison would be of something else."""
  configs = {
    arm: cifar10_pieces.arm_config(CONFIG, changes)
    for arm, changes in cifar10_pieces.ARMS.items()
  }
  assert configs['irlas']['reward']['mirror'] > 0
  assert configs['lambda0']['reward']['mirror'] == 0
  assert configs['random']['searcher']['name'] == 'random'
  for config in configs.values():
    assert 'retrain' not in config
    config['reward'].pop('mirror')
    config['searcher'].pop('name')
  assert configs['irlas'] == configs['lambda0'] == configs['random']
  assert CONFIG['reward']['mirror'] > 0 and 'retrain' in CONFIG


def test_time_adds_up_over_pieces(tmp_path, monkeypatch):
  """Test errors would stand at the wrong minutes."""
  now = [1000.0]
  monkeypatch.setattr(cifar10_pieces.time, 'monotonic', lambda: now[0])
  first = cifar10_pieces.Clock(tmp_path, 9, now[0])
  now[0] += 4 * 60
  assert first.minutes() == 4 and not first.passed_a_mark()
  now[0] += 2 * 60
  assert first.passed_a_mark()
  first.marks.append({'minutes': first.minutes(), 'test error': 0.5})
  assert not first.passed_a_mark() and not first.late()
  first.keep()
  now[0] += 1e6
  second = cifar10_pieces.Clock(tmp_path, 9, now[0])
  now[0] += 5 * 60
  assert second.minutes() == 11 and second.passed_a_mark()
  now[0] += 5 * 60
  assert second.late()


def test_the_script_ends_in_a_report(tmp_path):
  """All that a leased device is for would fail on it first."""
  done = subprocess.run(
    [
      ROOT / 'benchmarks' / 'cifar10_search.sh',
      *('--tiny', f'--workdir={tmp_path}', '--cpu_devices=1'),
      '--cache_dir=/tmp/irlas_jax_tests_cifar10_search',
    ],
    capture_output=True,
    text=True,
    env=os.environ
    | {'PYTHON': sys.executable, 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
  )
  assert done.returncode == 0, done.stderr
  report = (tmp_path / 'report.md').read_text()
  assert report.strip() in done.stdout
  for heading in cifar10_pieces.HEADINGS.values():
    assert f'| {heading} | 4 |' in report
  (error,) = re.findall(r'the end \| ([\d.]+) \|', report)
  assert 0 <= float(error) <= 100
