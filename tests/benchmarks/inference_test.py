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
      *('--rounds=2', '--architectures=0', f'--output={path}'),
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


SMALL = block.BlockNetwork(
  (block.Layer('conv', 3, (0,)), block.Layer('max_pool', 3, (1,))),
  block.Macro((4,), (2,)),
  2,
)


def test_rows_of_networks(monkeypatch):
  """Milliseconds; ratios and errors are those of a round, then the median.

  The third round was disturbed, and takes everything ten times as long.
  """
  modules = {inference.REFERENCE: SMALL, 'other': SMALL}
  measured = np.array([[0.1, 0.2], [0.1, 0.3], [1.0, 4.0]])

  def time_networks(networks, images):
    assert networks == [SMALL, SMALL] and images.shape == (4, 8, 8, 3)
    return inference.Rounds(measured, measured * [0.5, 1.2])

  monkeypatch.setattr(inference, 'time_networks', time_networks)
  with flagsaver.flagsaver(batches=['4']):
    reference, other = inference.network_rows(modules, 8)
  assert reference['ms a batch'] == 100 and reference['batch'] == 4
  assert other['ms a batch'] == pytest.approx(300)
  assert other['rounds'] == 3
  assert other['times IRLAS-mobile'] == pytest.approx(3)
  assert other['quartiles of it'] == '2.50 to 3.50'
  assert reference['quartiles of it'] == '1.00 to 1.00'
  np.testing.assert_allclose(
    [row['error, %'] for row in (reference, other)], [-50, 20]
  )
  assert other['predicted, ms'] == pytest.approx(360)
  params, madds = inference.costs(SMALL, 8)
  assert reference['parameters, M'] == params / 1e6
  assert other['multiply-adds, M'] == madds / 1e6


def test_the_operations_of_a_network_are_counted():
  """Two blocks: three kinds of convolution, a pooling, and what ends it."""
  images = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
  call = latency.for_inference(SMALL, images)
  found = inference.operations_of(*call)
  counts = {}
  for one, number in found.values():
    name = one.primitive.name
    counts.setdefault(name, []).append(number)
  assert counts == {
    # The stem; both blocks' entries and their layers.
    'conv_general_dilated': [1, 2, 2],
    'reduce_window_max': [2],
    'reduce_sum': [1],
    'dot_general': [1],
  }
  for one, _ in found.values():
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in _avals(one)]
    (expected,) = one.outvars
    assert jax.eval_shape(inference._alone(one), *shapes).shape == (
      expected.aval.shape
    )


def _avals(one):
  return [variable.aval for variable in one.invars]


def test_a_prediction_is_of_its_own_round():
  """A call of 1 s and parts of 3 and 5 s, all twice as long in the second."""

  def taking(seconds):
    rounds = iter([1, 1, 2])  # the first one warms up
    return lambda: next(rounds) * seconds

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(inference.latency, 'timer', lambda *_: taking(1.0))
    with flagsaver.flagsaver(rounds=2):
      found = inference.in_rounds(
        [taking(10.0)], {'a': taking(3.0), 'b': taking(5.0)}, ['aab']
      )
  np.testing.assert_allclose(found.measured, [[10], [20]])
  np.testing.assert_allclose(found.predicted, [[1 + 2 + 2 + 4], [18]])


def test_random_architectures_are_different():
  with flagsaver.flagsaver(architectures=12):
    found = inference.random_graphs(block_space.block(3))
  assert len(found) == 12 == len({graphs.digest(graph) for graph in found})


def test_predictions_are_compared_with_measurements(monkeypatch):
  """Of pieces that take a second each and networks that take two a piece."""

  def build(graph):
    return block.network(graph, block_space.OPERATIONS, inference.MACRO, 10)

  def timer(module, inputs):
    piece = isinstance(module, latency.Alone)
    count = 1 if piece else 2 * len(latency.pieces(module, inputs.shape[1:]))
    return lambda: float(count)

  monkeypatch.setattr(inference, '_timer', timer)
  monkeypatch.setattr(inference.latency, 'timer', lambda *_: lambda: 0.0)
  with flagsaver.flagsaver(architectures=5, rounds=2):
    found = jax.device_get(inference.random_graphs(block_space.block(4)))
    row = inference._prediction_row('blocks', found, build)
  assert row['networks'] == 'blocks' and row['number'] == 5
  np.testing.assert_allclose(row['median error, %'], 50)
  np.testing.assert_allclose(row['rank correlation'], 1)
