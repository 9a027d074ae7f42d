"""The scripts that convert official files: what they print, and refuse."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run(script, *flags):
  """(exit status, stdout, stderr) of a launch script."""
  done = subprocess.run(
    [sys.executable, '-m', f'launch.{script}', *map(str, flags)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=os.environ,
    timeout=60,
  )
  return done.returncode, done.stdout, done.stderr


def of_tables(name):
  """A test module of the tables, for the files that it writes."""
  path = ROOT / 'tests' / 'tables' / f'{name}.py'
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_nasbench101_is_converted_and_summed_up(tmp_path):
  layout = of_tables('nasbench_tfrecord_test')
  source = tmp_path / 'nasbench_only108.tfrecord'
  source.write_bytes(layout.encode(list(layout.trainings())))
  out = tmp_path / 'new' / 'table.npz'
  status, output, errors = run(
    'convert_nasbench101', f'--source={source}', f'--out={out}'
  )
  assert status == 0, errors
  assert output.splitlines()[:2] == [
    f'{out}: 2 cells',
    '  valid_4: 0.264 to 0.514 fraction',
  ]
  with np.load(out) as arrays:
    assert arrays['val_acc'].shape == (2, 2)


def test_nats_bench_is_converted_and_summed_up(tmp_path):
  layout = of_tables('nats_bench_test')
  layout.dump(tmp_path / 'meta.pickle.pbz2', layout.META)
  layout.dump(tmp_path / '000001.pickle.pbz2', layout.cell(1))
  out = tmp_path / 'table.npz'
  flags = [f'--source={tmp_path}', f'--out={out}']
  status, _, errors = run('convert_nats_bench', *flags)
  assert status == 1 and '2 of 3 cells have no file' in errors
  assert 'Traceback' not in errors
  status, output, errors = run('convert_nats_bench', *flags, '--partial')
  assert status == 0, errors
  assert output.splitlines()[0] == f'{out}: 1 cells'
  assert '  cifar10_params: 1.07331e+06 to 1.07331e+06 parameters' in output


SCRIPTS = ['convert_nasbench101', 'convert_nats_bench']


@pytest.mark.parametrize('script', SCRIPTS)
def test_damaged_source_is_one_line(tmp_path, script):
  (tmp_path / 'meta.pickle.pbz2').write_bytes(b'damaged' * 10)
  nats = script == 'convert_nats_bench'
  source = tmp_path if nats else tmp_path / 'meta.pickle.pbz2'
  out = tmp_path / 'table.npz'
  status, output, errors = run(script, f'--source={source}', f'--out={out}')
  assert status == 1 and not output
  assert [path.name for path in tmp_path.iterdir()] == ['meta.pickle.pbz2']
  assert len(errors.splitlines()) == 1
  assert errors.startswith(f'TableError: {tmp_path / "meta.pickle.pbz2"}: ')


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_says_on_what_it_was_tested(script):
  _, output, _ = run(script, '--help')
  assert 'Tested on synthetic' in ' '.join(output.split())
  assert '--source' in output
