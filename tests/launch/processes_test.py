"""One search by two processes: the scores of one, and one that writes."""

import json
import socket
import sqlite3

import pytest

SCRIPT = 'launch.search'
CONFIG = '--config=tests/fixtures/tiny.py'


def _free_port():
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    return probe.getsockname()[1]


def _together(start, *flags):
  """Exit status, output and errors of each of two processes of one run."""
  coordinator = f'--coordinator=localhost:{_free_port()}'
  processes = [
    start(SCRIPT, *flags, coordinator, '--num_processes=2', f'--process_id={i}')
    for i in range(2)
  ]
  try:
    ends = [process.communicate(timeout=400) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [
    (process.returncode, *end)
    for process, end in zip(processes, ends, strict=True)
  ]


def _content(workdir):
  """Scores by key without the clock, and the proposals in their order."""
  connection = sqlite3.connect(workdir / 'ledger.sqlite')
  scores = {
    key: json.loads(text) | {'seconds': None}
    for key, text in connection.execute('SELECT key, scores FROM evaluations')
  }
  order = 'SELECT * FROM proposals ORDER BY iteration, position'
  return scores, connection.execute(order).fetchall()


@pytest.fixture(scope='module')
def workdirs(start, launch, tmp_path_factory):
  """Of a search by one process, and of the same by two."""
  folder = tmp_path_factory.mktemp('processes')
  few = (CONFIG, '--config.search.num_proposals=8')
  status, _, errors = launch(SCRIPT, *few, f'--workdir={folder / "one"}')
  assert status == 0, errors
  ends = _together(start, *few, f'--workdir={folder / "two"}')
  assert [status for status, _, _ in ends] == [0, 0], ends
  outputs = ['best block' in output for _, output, _ in ends]
  assert outputs == [True, False]
  return folder / 'one', folder / 'two'


def test_two_processes_find_what_one_finds(workdirs):
  one, two = map(_content, workdirs)
  assert len(one[0]) > 4
  assert one == two


def test_a_refusal_reaches_all_processes(start, workdirs):
  """One that went on alone would wait for the other for ever."""
  workdir = f'--workdir={workdirs[1]}'
  ends = _together(start, CONFIG, workdir, '--config.seed=9')
  for status, _, errors in ends:
    assert status == 1
    assert 'LedgerMismatch' in errors
