"""The table of inference times, from end to end on small networks."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from benchmarks import inference
from irlas_jax import graph as graphs
from irlas_jax.evaluators import latency
from irlas_jax.networks import block
from irlas_jax.spaces import block as block_space

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def parsed():
  """Flags as they are without a command line."""
  with flagsaver.flagsaver():
    flags.FLAGS(['inference'])
    yield


def test_it_runs(tmp_path):
  """The table is printed and written; nothing names this machine's paths."""
  path = tmp_path / 'inference.md'
  found = subprocess.run(
    [
      *(sys.executable, '-m', 'benchmarks.inference', '--tiny', '--batches=1'),
      *('--calls=2', '--architectures=0', f'--output={path}'),
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
  text = path.read_text()
  assert found.stdout == text and str(ROOT) not in text
  lines = text.splitlines()
  (reference,) = (line for line in lines if '| IRLAS-mobile' in line)
  assert reference.split('|')[1].strip() == '1'
  assert 'ResNeXt' in text


@pytest.mark.parametrize('tiny', [True, False])
def test_the_reference_is_among_the_networks(tiny):
  assert next(iter(inference.networks(tiny))) == inference.REFERENCE


def test_rows_of_networks(monkeypatch):
  """Milliseconds, ratios to the reference of the same batch, and counts."""
  small = block.BlockNetwork((block.Layer('conv', 1, (0,)),), block.Macro(), 2)
  modules = {inference.REFERENCE: small, 'other': small}

  def measure(module, images, repeats, seconds):
    batch = images.shape[0]
    taken.append(batch)
    median = 0.002 * batch * len(taken)
    return latency.Latency(median, median / 2, 2 * median, repeats)

  taken = []
  monkeypatch.setattr(inference.latency, 'measure_module', measure)
  with flagsaver.flagsaver(batches=['1', '4'], calls=7):
    rows = inference.network_rows(modules, 8)
  assert [row['batch'] for row in rows] == [1, 1, 4, 4]
  np.testing.assert_allclose(
    [row['ms a batch'] for row in rows], [2, 4, 24, 32]
  )
  ratios = [row['times IRLAS-mobile'] for row in rows]
  np.testing.assert_allclose(ratios, [1, 2, 1, 4 / 3])
  assert rows[1]['quartiles'] == '2.00 to 8.00' and rows[1]['calls'] == 7
  params, madds = inference.costs(small, 8)
  assert rows[0]['parameters, M'] == params / 1e6
  assert rows[3]['multiply-adds, M'] == madds / 1e6


def test_random_architectures_are_different():
  with flagsaver.flagsaver(architectures=12):
    found = inference.random_graphs(block_space.block(3))
  assert len(found) == 12 == len({graphs.digest(graph) for graph in found})


def test_predictions_are_compared_with_measurements(monkeypatch):
  """Of pieces that take a second each and networks that take two a piece."""

  def build(graph):
    return block.network(graph, block_space.OPERATIONS, inference.MACRO, 10)

  def measure(module, images, **how):
    count = len(latency.pieces(module, images.shape[1:]))
    return latency.Latency(2.0 * count, 0, 0, 1)

  def measure_pieces(wanted, batch, **how):
    return {piece: 1.0 for piece in wanted} | {latency.CALL: 0.0}

  monkeypatch.setattr(inference.latency, 'measure_module', measure)
  monkeypatch.setattr(inference.latency, 'measure_pieces', measure_pieces)
  with flagsaver.flagsaver(architectures=5):
    found = jax.device_get(inference.random_graphs(block_space.block(4)))
    row = inference._prediction_row('blocks', found, build)
  assert row['networks'] == 'blocks' and row['number'] == 5
  np.testing.assert_allclose(row['median error, %'], 50)
  np.testing.assert_allclose(row['rank correlation'], 1)
