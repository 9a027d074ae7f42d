"""What tests of the running parts share: a tiny search and how to launch it."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
TINY = 'tests/fixtures/tiny.py'
# One for all workers and runs of the tests: a search compiles for 10 to 30 s.
CACHE = pathlib.Path(tempfile.gettempdir()) / f'irlas_jax_tests_{os.getuid()}'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE))
# Programs of milliseconds: what counts is how long they compile.
QUICK = {
  'JAX_PLATFORMS': 'cpu',
  'XLA_FLAGS': (
    '--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false'
  ),
}


@pytest.fixture(scope='session')
def make_config():
  """({dotted name: value}) -> the tiny config with changes, as plain dicts."""
  spec = importlib.util.spec_from_file_location('tiny', ROOT / TINY)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)

  def make(changes=()):
    config = module.get_config().lock()
    config.update_from_flattened_dict(dict(changes))
    return config.to_dict()

  return make


@pytest.fixture(scope='session')
def start():
  """(module, *flags) -> a launch script's process, on one device."""

  def popen(module, *flags):
    arguments = [f'--cache_dir={CACHE}', '--cpu_devices=1', *map(str, flags)]
    return subprocess.Popen(
      [sys.executable, '-m', module, *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      cwd=ROOT,
      env=os.environ | QUICK,
    )

  return popen


@pytest.fixture(scope='session')
def launch(start):
  """(module, *flags) -> (exit status, stdout, stderr)."""

  def run(module, *flags):
    process = start(module, *flags)
    try:
      output, errors = process.communicate(timeout=300)
    finally:
      process.kill()
    return process.returncode, output, errors

  return run


@pytest.fixture(scope='module')
def quick_compiles():
  """Compiles a module's programs fast rather than well."""
  import jax

  name = 'jax_disable_most_optimizations'
  before = jax.config.read(name)
  jax.config.update(name, True)
  yield
  jax.config.update(name, before)
