"""How predictors of accuracy are compared, and that all of it runs."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from benchmarks import ghn
from irlas_jax import graph as graphs
from irlas_jax import kinds

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def parsed():
  """Flags as they are without a command line."""
  with flagsaver.flagsaver():
    flags.FLAGS(['ghn'])
    yield


def test_it_runs(tmp_path):
  """The table of speed, which trains a hypernetwork and scores by it."""
  path = tmp_path / 'ghn.md'
  found = subprocess.run(
    [
      *(sys.executable, '-m', 'benchmarks.ghn', '--tiny', '--cpu_devices=1'),
      *('--ghn_parts=speed', f'--output={path}'),
    ],
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
  assert found.returncode == 0, found.stderr
  assert found.stdout == path.read_text()
  assert '4 digits blocks scored' in found.stdout
  assert 'weights of one NAS-Bench-201 network' in found.stdout


def test_a_partial_correlation_leaves_out_what_a_third_explains():
  """By hand: ranks correlate by 0.6, 0.9 and 0.5."""
  x, y = np.array([1, 2, 3, 4, 5]), np.array([3, 1, 2, 5, 4])
  given = np.array([1, 3, 2, 4, 5])
  xy, xz, yz = (
    ghn.spearman(*pair) for pair in ((x, y), (x, given), (y, given))
  )
  np.testing.assert_allclose([xy, xz, yz], [0.6, 0.9, 0.5])
  expected = (0.6 - 0.9 * 0.5) / np.sqrt((1 - 0.81) * (1 - 0.25))
  assert ghn.partial(x, y, given) == pytest.approx(expected)
  assert np.isnan(ghn.partial(x, y, x))
  assert np.isnan(ghn.spearman(x, np.ones(5)))


def test_an_interval_is_around_its_value_and_wider_with_less():
  rng = np.random.default_rng(1)
  given, y = rng.normal(size=(2, 100))
  x = y + rng.normal(size=100)
  low, high = ghn.interval(x, y, given, 200)
  assert 0 < low < ghn.partial(x, y, given) < high < 1
  fewer = ghn.interval(x[:20], y[:20], given[:20], 200)
  assert fewer[1] - fewer[0] > high - low


def test_a_row_of_a_predictor():
  """The top half is of the trained accuracy; NaN rows are left out."""
  trained = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
  values = np.array([3.0, 2.0, 1.0, 4.0, 6.0, 5.0, np.nan])
  params = np.arange(7.0)[::-1] ** 2
  ranked = ghn.Ranked('t', trained, {'parameters': params}, '')
  row = ghn.correlations(values, ranked)
  assert row['number'] == 6
  assert row['Spearman'] == pytest.approx(1 - 6 * (4 + 0 + 4 + 2) / (6 * 35))
  assert row['Spearman, top half'] == pytest.approx(0.5)
  own = ghn.correlations(params, ranked)
  assert own['Spearman'] == pytest.approx(-1)
  assert 'Spearman given parameters' not in own


def test_architectures_differ():
  kind = kinds.SPACES['block'].make(num_layers=3, operations='dense')
  actions = ghn.distinct(kind, 12)
  digests = {graphs.digest(kind.space.decode(one)) for one in actions}
  assert len(actions) == len(digests) == 12


def test_steps_are_whole_epochs():
  config = {
    'data': {'train_size': 200},
    'train': {'batch_size': 50},
    'evaluator': {'name': 'ghn', 'ghn': {}},
  }
  found = ghn.with_steps(config, 41)
  assert found['train']['epochs'] == 10
  assert '40 steps of 4' in ghn.told(
    config | {'train': found['train'], 'evaluator': found['evaluator']}, 1.0
  )
