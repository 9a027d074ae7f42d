"""The command of IRLAS-mobile's config, on eight devices and 50 images."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
CODE = """
import sys
sys.path.insert(0, 'tests/training')
import pathlib
import stream_test
from irlas_jax.networks import irlas_mobile
irlas_mobile.STAGES = ((4, 1),)
root = pathlib.Path(sys.argv.pop(1))
if not root.exists():
  stream_test.prepare(root)
from launch import cli, train
import jax, atexit
atexit.register(lambda: print('devices:', jax.device_count()))
cli.run(train.main)
"""
FLAGS = (
  '--config=configs/train_imagenet_mobile.py',
  '--config.dataset=irlas_stream',
  '--config.stream.image_size=16',
  '--config.stream.resize=18',
  '--config.stream.valid_size=7',
  '--config.stream.threads=2',
  '--config.train.epochs=2',
  '--config.train.evaluations=2',
  '--config.train.batch_size=16',
  '--cpu_devices=8',
)


@pytest.fixture
def run(tmp_path):
  """(*flags) -> exit status, output, errors; one data set and workdir."""
  cache = os.environ['JAX_COMPILATION_CACHE_DIR']
  quick = (
    '--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false'
  )

  def command(*flags):
    done = subprocess.run(
      [
        *(sys.executable, '-c', CODE, tmp_path / 'data', *FLAGS, *flags),
        *(f'--config.data_dir={tmp_path / "data"}', f'--cache_dir={cache}'),
        f'--workdir={tmp_path / "out"}',
      ],
      capture_output=True,
      text=True,
      cwd=ROOT,
      env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': quick},
    )
    return done.returncode, done.stdout, done.stderr

  return command


def test_it_trains_stops_and_goes_on(run, tmp_path):
  """Read, decoded, split over devices, kept, taken up again and tested."""
  status, output, errors = run('--minutes=0.0001')
  assert status == 0, errors
  assert 'devices: 8' in output and 'Stopped after step 2' in output
  assert not (tmp_path / 'out' / 'final.json').exists()
  status, output, errors = run()
  assert status == 0, errors
  assert 'Test accuracy' in output
  final = json.loads((tmp_path / 'out' / 'final.json').read_text())
  assert final['genotype'] is None and len(final['valid_accuracy']) == 2
  assert final['config']['network']['name'] == 'irlas_mobile'
  assert (tmp_path / 'out' / 'checkpoint').is_dir()
