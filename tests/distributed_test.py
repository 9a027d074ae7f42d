"""A search on Ray workers, from its command and by a driver that is killed."""

import contextlib
import itertools
import json
import pathlib
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from irlas_jax import distributed, ledger, sections
from tests.fixtures import sleepers

ROOT = pathlib.Path(distributed.__file__).parents[1]
TABLE = '--config=tests/fixtures/tiny_table.py'


@pytest.fixture(autouse=True)
def no_token_file(monkeypatch):
  """Ray would write one into the home folder."""
  monkeypatch.setenv('RAY_AUTH_MODE', 'disabled')
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('PYTHONPATH', str(ROOT))


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


def _query(workdir, query):
  path = f'file:{workdir / ledger.DATABASE}?mode=ro'
  with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
    return connection.execute(query).fetchall()


def _finished(workdir):
  query = "SELECT * FROM evaluations WHERE status = 'finished'"
  try:
    return {row[0]: row for row in _query(workdir, query)}
  except sqlite3.Error:
    return {}  # not made yet


def _sleepers(workdir):
  """The driver of a search whose children sleep."""
  return subprocess.Popen(
    [sys.executable, sleepers.__file__, workdir],
    stdout=subprocess.PIPE,
    text=True,
  )


def _family(process):
  """A driver and its workers; Ray's agents look for their end by themselves."""
  parent = psutil.Process(process.pid)
  found = [parent, *parent.children(recursive=True)]
  return [one for one in found if 'Agent' not in one.name()]


def _end(workdir, count, number):
  """Sends a driver the signal when so many children are finished.

  Its workers have to end with it.
  """
  process = _sleepers(workdir)
  deadline = time.monotonic() + 120
  while len(_finished(workdir)) < count:
    time.sleep(0.02)
    assert process.poll() is None and time.monotonic() < deadline
  family = _family(process)
  process.send_signal(number)
  process.communicate(timeout=60)
  gone, alive = psutil.wait_procs(family, timeout=20)
  assert len(gone) > 3 and not alive, [one.name() for one in alive]


def _begun(workdir):
  """The children that workers began, in order."""
  lines = (workdir / 'diary').read_text().splitlines()
  return [line.split()[0] for line in lines if line.endswith('begun')]


def test_a_driver_that_is_killed_goes_on(tmp_path):
  """Nothing finished is lost or begun again, and no worker outlives it."""
  known, begun = {}, []
  for number in (signal.SIGKILL, signal.SIGINT):
    _end(tmp_path, len(known) + 5, number)
    rows = _finished(tmp_path)
    assert known.items() <= rows.items()
    assert not {row[5] for row in known.values()} & set(
      _begun(tmp_path)[len(begun) :]
    )
    known, begun = rows, _begun(tmp_path)
  process = _sleepers(tmp_path)
  output, _ = process.communicate(timeout=120)
  assert (process.returncode, output) == (0, '24\n')
  rows = _finished(tmp_path)
  assert 10 <= len(known) < len(rows) <= 24
  assert known.items() <= rows.items()
  last = _begun(tmp_path)[len(begun) :]
  assert not {row[5] for row in known.values()} & set(last)
  assert len(last) == len(set(last)) == len(rows) - len(known)
  assert _query(tmp_path, 'SELECT count(*) FROM proposals') == [(24,)]


@pytest.fixture(scope='module')
def searched(launch, file, tmp_path_factory):
  """The workdir of a search by two workers, and what it said."""
  workdir = tmp_path_factory.mktemp('searched')
  flags = (f'--config.evaluator.file={file}', '--config.search.workers=2')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('RAY_AUTH_MODE', 'disabled')
    result = launch('launch.search', TABLE, f'--workdir={workdir}', *flags)
  return workdir, flags, result


def test_a_search_by_workers_is_a_search(searched, file):
  """Scores and reports are those of the host loop."""
  workdir, _, (status, output, errors) = searched
  assert status == 0, errors
  assert 'os.fork' not in errors
  assert '12 proposals' in output
  best = json.loads((workdir / 'best.json').read_text())
  assert best['genotype'] in output
  accuracy = 80 + sum(map(int, best['genotype'].split('-')))
  assert best['scores']['accuracy'] == pytest.approx(accuracy / 100)
  rewards = _query(workdir, 'SELECT max(reward), count(*) FROM proposals')
  assert rewards == [(best['reward'], 12)]


def test_neither_loop_goes_on_with_the_other_s_search(launch, searched):
  """Its proposals were made in another order."""
  workdir, flags, _ = searched
  result = launch('launch.search', TABLE, f'--workdir={workdir}', flags[0])
  assert result[0] != 0 and 'LedgerMismatch' in result[2]
  assert 'begun with workers' in result[2] and 'Traceback' not in result[2]


def test_what_a_worker_cannot_build_leaves_no_ledger(
  launch, make_config, tmp_path, monkeypatch
):
  """The error of its config, in one line, before anything is begun."""
  from irlas_jax import runs

  def fail(config, folder):
    raise ValueError('network.width is 0: at least 1.')

  config = make_config({'search.workers': 1})
  monkeypatch.setattr(distributed, 'make_evaluator', fail)
  with pytest.raises(ValueError, match='^network.width is 0: at least 1.$'):
    runs.run(config, tmp_path / 'new')
  assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('field', ['workers', 'timeout'])
def test_a_wrong_setting_is_named(field):
  with pytest.raises(sections.ConfigError, match=f'search.{field} is -1'):
    distributed.settings({'search': {field: -1}})


def test_settings_have_defaults():
  """Configs that know nothing of workers run as they did."""
  found = distributed.settings({'search': {'num_proposals': 3, 'batch': 1}})
  assert found == distributed.Settings(0, '', 0.0)


def test_an_address_without_a_cluster_is_an_error(launch, file, tmp_path):
  """Work must not begin on another machine than was asked for."""
  status, _, errors = launch(
    *('launch.search', TABLE, f'--workdir={tmp_path / "new"}'),
    *(f'--config.evaluator.file={file}', '--config.search.workers=1'),
    '--config.search.address=127.0.0.1:9',
  )
  assert status != 0 and 'Traceback' not in errors, errors
  assert 'ConnectionError: No Ray cluster answers at 127.0.0.1:9' in errors
  assert not (tmp_path / 'new').exists()
