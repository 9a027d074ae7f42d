"""The search command: killed and run again, and refusing what cannot work."""

import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from irlas_jax import ledger, runs

ROOT = pathlib.Path(runs.__file__).parents[1]
TINY = '--config=tests/fixtures/tiny.py'
# Children long enough to be hit, one after another.
SLOW = ('--config.train.epochs=300', '--config.evaluator.population=1')
SCRIPT = 'launch.search'


@pytest.fixture(scope='module')
def finished(launch, tmp_path_factory):
  """The workdir of a search that nobody disturbed, and what it printed."""
  workdir = tmp_path_factory.mktemp('launch') / 'finished'
  status, output, errors = launch(SCRIPT, TINY, f'--workdir={workdir}', *SLOW)
  assert status == 0, errors
  return workdir, output


def _query(path, query):
  with contextlib.closing(sqlite3.connect(path)) as connection:
    return connection.execute(query).fetchall()


def _count_finished(workdir):
  """Rows that a running search has finished so far."""
  path = f'file:{workdir / ledger.DATABASE}?mode=ro'
  query = "SELECT count(*) FROM evaluations WHERE status = 'finished'"
  try:
    with contextlib.closing(sqlite3.connect(path, uri=True)) as connection:
      return connection.execute(query).fetchone()[0]
  except sqlite3.Error:
    return 0  # not made yet


def _finished_rows(workdir, spare):
  """{key: all of the row}, read from a copy so that nothing is touched."""
  shutil.rmtree(spare, ignore_errors=True)
  if not (workdir / ledger.DATABASE).exists():
    return {}
  shutil.copytree(workdir, spare)
  query = "SELECT * FROM evaluations WHERE status = 'finished'"
  return {row[0]: row for row in _query(spare / ledger.DATABASE, query)}


def _scores(workdir):
  """{key: scores without the clock} of a finished search."""
  query = 'SELECT key, scores FROM evaluations'
  rows = _query(workdir / ledger.DATABASE, query)
  return {key: json.loads(text) | {'seconds': 0} for key, text in rows}


def _report(workdir, name):
  """A JSON report without the clock."""
  content = json.loads((workdir / name).read_text())
  content.get('scores', content).pop('seconds')
  return content


def _interrupt(process, workdir, count, delay, number):
  """Sends a signal `delay` seconds after the count-th finished evaluation."""
  deadline = time.monotonic() + 300
  while process.poll() is None and _count_finished(workdir) < count:
    time.sleep(0.01)
    assert time.monotonic() < deadline, f'no {count} evaluations in 300 s'
  time.sleep(delay)
  process.send_signal(number)
  return process.communicate(timeout=300)[1]


def test_a_search_that_is_killed_again_and_again_ends_the_same(
  finished, start, launch, tmp_path
):
  """Nothing finished is trained again, and the result is the undisturbed one.

  Between two interruptions two evaluations or more are finished, so that no
  child is hit twice: that would be taken for its fault.
  """
  rng = random.Random()
  workdir, known = tmp_path / 'killed', {}
  for more, delay, number in (
    (0, rng.uniform(0, 6), signal.SIGKILL),  # from the first import on
    (2, rng.uniform(0, 0.2), signal.SIGKILL),
    (2, rng.uniform(0, 0.2), signal.SIGINT),
  ):
    process = start(SCRIPT, TINY, f'--workdir={workdir}', *SLOW)
    goal = len(known) + more
    errors = _interrupt(process, workdir, goal, delay, number)
    assert process.returncode != 0, 'it ended before it was interrupted'
    if number == signal.SIGINT:
      assert 'Interrupted. The same command goes on' in errors
      assert 'Traceback' not in errors
    rows = _finished_rows(workdir, tmp_path / 'copy')
    assert known.items() <= rows.items() and len(rows) >= goal
    known = rows
  status, _, errors = launch(SCRIPT, TINY, f'--workdir={workdir}', *SLOW)
  assert status == 0, errors
  rows = _finished_rows(workdir, tmp_path / 'copy')
  assert known.items() <= rows.items()
  (columns,) = _query(
    workdir / ledger.DATABASE,
    'SELECT sum(attempts) - count(*), max(attempts) FROM evaluations',
  )
  assert columns[0] <= 3 and columns[1] <= 2
  query = 'SELECT * FROM proposals'
  whole = finished[0]
  proposals = _query(whole / ledger.DATABASE, query)
  assert len(proposals) == 12
  assert _query(workdir / ledger.DATABASE, query) == proposals
  assert _scores(workdir) == _scores(whole)
  for name in ('best.json', 'final.json'):
    assert _report(workdir, name) == _report(whole, name)


def test_a_finished_search_prints_and_writes_its_results(finished):
  """What the README shows."""
  workdir, output = finished
  best, final = _report(workdir, 'best.json'), _report(workdir, 'final.json')
  assert f'Best block: {best["genotype"]}' in output
  assert 'expert resnet' in output
  assert f'{100 * final["test_accuracy"]:.2f} %' in output
  assert len(final['valid_accuracy']) == 2
  for name in ('reward.png', 'block.png', 'cost.png'):
    assert (workdir / name).read_bytes()[:4] == b'\x89PNG'


def _refused(result, error, *words):
  """The last line of a command that failed is the error, and nothing else."""
  status, output, errors = result
  assert status != 0
  assert 'Traceback' not in errors, errors
  start = errors.index(f'{error}: ')
  message = errors[start:].strip()
  assert errors[:start].endswith('\n') or start == 0
  assert all(str(word) in message for word in words), message
  return message


def _bytes(workdir):
  return {path.name: path.read_bytes() for path in workdir.iterdir()}


@pytest.fixture
def used(make_config, tmp_path):
  """A workdir in which a search of the tiny config has begun."""
  with ledger.open(tmp_path, make_config(), runs.FREE) as book:
    book.finish({ledger.record_key('0', {}, {}): {'accuracy': 0.5}})
  return tmp_path


def test_a_second_process_is_refused(launch, make_config, tmp_path):
  """Two processes would train the same children."""
  with ledger.open(tmp_path, make_config(), runs.FREE):
    before = _bytes(tmp_path)
    result = launch(SCRIPT, TINY, f'--workdir={tmp_path}')
    assert _bytes(tmp_path) == before
  message = _refused(result, 'LedgerBusy', f'pid {os.getpid()}', '--workdir')
  assert '\n' not in message


def test_another_config_is_refused(launch, used):
  """Two searches would be mixed in one ledger."""
  before = _bytes(used)
  result = launch(SCRIPT, TINY, f'--workdir={used}', '--config.seed=1')
  _refused(result, 'LedgerMismatch', 'seed: 0 there, 1 now', '--workdir')
  assert _bytes(used) == before


def test_a_damaged_ledger_is_refused(launch, used):
  """What it still holds may be precious: it is left as it is."""
  path = used / ledger.DATABASE
  path.write_bytes(b'no database ' * 100 + path.read_bytes()[1200:])
  before = _bytes(used)
  result = launch(SCRIPT, TINY, f'--workdir={used}')
  message = _refused(result, 'LedgerCorrupt', path, 'left as it is')
  assert '\n' not in message
  assert _bytes(used) == before


def test_a_workdir_that_cannot_be_made_is_refused(launch, tmp_path):
  """A search of an hour whose results have no place is lost."""
  file = tmp_path / 'file'
  file.write_text('not a folder')
  result = launch(SCRIPT, TINY, f'--workdir={file / "workdir"}')
  message = _refused(result, 'LedgerUnwritable', file, 'Name a --workdir')
  assert '\n' not in message
  assert file.read_text() == 'not a folder'


def test_data_that_is_not_there_is_asked_for(launch, tmp_path):
  """A user has to learn where it was looked for, and how to get it."""
  flags = ('--config.dataset=cifar10', f'--config.data_dir={tmp_path / "data"}')
  result = launch(SCRIPT, TINY, f'--workdir={tmp_path / "new"}', *flags)
  message = _refused(
    result,
    'FileNotFoundError',
    tmp_path / 'data' / 'cifar10',
    tmp_path / 'data' / 'tfds' / 'cifar10',
    f'tfds build cifar10 --data_dir={tmp_path / "data"}',
  )
  assert '\n' not in message
  assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
  'flag, words',
  [
    ('--config.reward.miror=1', ['miror', 'mirror']),
    ('--config.sercher.name=random', ['sercher', 'searcher']),
    ('--wrokdir=x', ['wrokdir']),
  ],
)
def test_a_misspelt_flag_is_refused_before_jax_is_loaded(tmp_path, flag, words):
  """An override that is not taken would be believed to be."""
  command = [sys.executable, '-X', 'importtime', '-m', SCRIPT, TINY, flag]
  done = subprocess.run(
    [*command, f'--workdir={tmp_path / "new"}'],
    capture_output=True,
    text=True,
    cwd=ROOT,
  )
  lines = done.stderr.splitlines()
  imported = {x.split('|')[-1].strip() for x in lines if 'import time:' in x}
  said = '\n'.join(x for x in lines if 'import time:' not in x) + done.stdout
  assert done.returncode != 0
  assert all(word in said for word in words), said
  assert 'Traceback' not in said
  assert 'absl.flags' in imported and 'jax' not in imported
  assert not (tmp_path / 'new').exists()


def test_an_unknown_name_is_one_line(launch, tmp_path):
  """A traceback hides what a user can mend."""
  flag = '--config.searcher.name=nonesuch'
  result = launch(SCRIPT, TINY, f'--workdir={tmp_path / "new"}', flag)
  message = _refused(result, 'ConfigError', "'nonesuch'", 'q_learning, rein')
  assert '\n' not in message


def test_the_traceback_can_be_had(launch, tmp_path):
  """Whoever changes the code needs to see where an error comes from."""
  flags = ('--config.searcher.name=nonesuch', '--traceback')
  status, _, errors = launch(SCRIPT, TINY, f'--workdir={tmp_path}', *flags)
  assert status != 0
  assert 'Traceback' in errors and 'experiment.py' in errors
