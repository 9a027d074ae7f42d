"""Files of a trained network, read back without our package."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from irlas_jax.evaluators import export, retrained
from irlas_jax.networks import block as networks

pytestmark = pytest.mark.usefixtures('quick_compiles')

BUILD = (pathlib.Path(__file__).parents[2] / 'BUILD.md').read_text()
LAYERS = (
  networks.Layer('sep_conv', 3, (0,)),
  networks.Layer('avg_pool', 3, (0,)),
  networks.Layer('max_pool', 3, (0,)),
  networks.Layer('add', 0, (1, 2)),
)
WITHOUT_OURS = (
  'import sys; sys.modules.update(irlas_jax=None, flax=None, optax=None)\n'
)


@pytest.fixture(scope='module')
def result():
  """An untrained network on small images with bytes as pixels."""
  module = networks.BlockNetwork(LAYERS, networks.Macro((4, 8), (1, 1)), 5)
  image = jax.ShapeDtypeStruct((6, 6, 3), np.uint8)

  def logits(variables, images):
    return module.apply(variables, images / 255 - 0.5, False)

  example = np.zeros((1, 6, 6, 3))
  variables = jax.jit(lambda key: module.init(key, example, False))(
    jax.random.key(0)
  )
  inference = retrained.Inference(logits, image)
  return retrained.Retrained(*(variables, None, 0.0, 0.0, 0, 0, 0.0), inference)


def _shown(name):
  """Lines that BUILD.md shows."""
  mark = rf'<!-- run: {name} -->\n```python\n(.*?)```'
  found = re.search(mark, BUILD, re.DOTALL)
  assert found, name
  return found[1]


def _run(code, folder):
  """Runs code in a process that has neither our package nor its libraries."""
  process = subprocess.run(
    [sys.executable, '-c', WITHOUT_OURS + code],
    cwd=folder,
    env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert process.returncode == 0, process.stderr


needs_flatbuffers = pytest.mark.skipif(
  importlib.util.find_spec('flatbuffers') is None,
  reason='jax.export writes with flatbuffers',
)


@needs_flatbuffers
def test_the_program_runs_without_our_package(result, tmp_path):
  """By the lines in BUILD.md; the batch of seven was nowhere traced."""
  assert export.write(tmp_path, result, with_program=True) == [
    'checkpoint',
    'model.export',
  ]
  images = np.random.default_rng(0).integers(256, size=(7, 6, 6, 3))
  images = images.astype(np.uint8)
  np.save(tmp_path / 'images.npy', images)
  _run(_shown('program') + "np.save('logits.npy', logits)", tmp_path)
  expected = result.inference.logits(result.variables, images)
  found = np.load(tmp_path / 'logits.npy')
  assert found.shape == (7, 5) and np.ptp(found) > 1e-3
  np.testing.assert_allclose(found, expected, atol=1e-5)


@needs_flatbuffers
def test_the_program_is_for_all_platforms_and_batch_sizes(result):
  from jax import export as jax_export

  found = export.program(result.inference, result.variables)
  program = jax_export.deserialize(bytearray(found))
  assert program.platforms == ('cpu', 'cuda', 'tpu')
  (images,) = program.in_avals
  assert images.dtype == np.uint8 and images.shape[1:] == (6, 6, 3)
  assert not isinstance(images.shape[0], int)


def test_the_checkpoint_is_read_without_our_package(result, tmp_path):
  """By the lines in BUILD.md; every array under its name."""
  assert export.write(tmp_path, result) == ['checkpoint']
  code = _shown('checkpoint') + (
    "kernel = variables['params']['stem']['kernel']\n"
    "np.save('kernel.npy', kernel)"
  )
  _run(f'import numpy as np\n{code}', tmp_path)
  kernel = result.variables['params']['stem']['kernel']
  np.testing.assert_array_equal(np.load(tmp_path / 'kernel.npy'), kernel)


def test_a_missing_library_is_named_with_the_remedy(monkeypatch):
  """Before hours of training, not after them."""
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match='pip install flatbuffers'):
    export.check()
