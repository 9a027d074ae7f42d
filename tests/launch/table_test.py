"""The table command: what it writes, and what it refuses in one line."""

import json

import numpy as np
import pytest

SCRIPT = 'launch.table'
CONFIG = '--config=configs/own_table.py'


@pytest.fixture(scope='module')
def table(tmp_path_factory):
  """Two steps of three and two choices; the best is the last row."""
  path = tmp_path_factory.mktemp('table') / 'mine.npz'
  values = np.array([[50, 1], [60, 2], [70, 3], [75, 2], [80, 1], [90, 5]])
  np.savez(
    path,
    choices=[3, 2],
    metrics=['valid', 'time'],
    units=['percent', 's'],
    values=values.astype(float),
  )
  return path


def _run(launch, table, workdir, *flags):
  few = ['--config.seeds=4', '--config.search.num_proposals=12']
  file = f'--config.evaluator.file={table}'
  return launch(SCRIPT, CONFIG, file, *few, f'--workdir={workdir}', *flags)


def test_a_study_is_written_and_goes_on(launch, table, tmp_path):
  """Twice: the second run finds every search, and says the same."""
  status, first, errors = _run(launch, table, tmp_path)
  assert status == 0, errors
  assert '20 searches were run' in first
  content = json.loads((tmp_path / 'study.json').read_text())
  assert content['optimum'] == pytest.approx(90)
  for arm in content['arms'].values():
    curve = arm['valid']
    assert curve['mean'] == sorted(curve['mean'])
    assert np.all(np.diff([*curve['quantiles'].values()], axis=0) >= 0)
  assert 'random without replacement, exact' in first
  assert (tmp_path / 'anytime.png').read_bytes()[:4] == b'\x89PNG'
  status, second, errors = _run(launch, table, tmp_path)
  assert status == 0, errors
  assert '0 searches were run' in second
  assert second.split('\n\n')[0] == first.split('\n\n')[0]


@pytest.mark.parametrize(
  'flags, words',
  [
    (['--config.evaluator.file=none.npz'], ['none.npz', 'IRLAS_DATA_DIR']),
    (['--config.evaluator.accuracy=vald'], ["'vald'", 'valid']),
    (['--config.space.sizes=(3, 3)'], ['space.sizes=(3, 2)']),
    (['--config.report.metric=best'], ["'best'", 'report.metric']),
    (['--config.seeds=0'], ['seeds', 'at least 1']),
    (['--config.search.seconds=9.0'], ['evaluator.seconds']),
  ],
)
def test_what_cannot_be_run_is_one_line(launch, table, tmp_path, flags, words):
  """Before any search, and nothing is left behind."""
  workdir = tmp_path / 'out'
  status, output, errors = _run(launch, table, workdir, *flags)
  last = errors.strip().splitlines()[-1]
  assert status == 1 and not output
  assert all(word in last for word in words), last
  assert not workdir.exists()


def test_claims_are_written_and_go_on(launch, tmp_path):
  """A row by itself; then more seeds, beside a row that was not run."""
  flags = [
    '--config=tests/fixtures/tiny_claims.py',
    f'--workdir={tmp_path}',
    '--rows=finding',
  ]
  status, first, errors = launch(
    SCRIPT, *flags, '--config.rows.finding.seeds=1'
  )
  assert status == 0, errors
  assert 'not run' in first and '1 of 1' in first
  status, second, errors = launch(SCRIPT, *flags)
  assert status == 0, errors
  assert (tmp_path / 'results.md').read_text().strip() in second
  content = json.loads((tmp_path / 'results.json').read_text())['rows']
  assert list(content) == ['finding']
  row = content['finding']
  assert row['finished'] and row['done'] == 2
  assert '--rows=finding' in row['command']
  assert set(row['arms']) == {'values', 'random'}
  for arm in row['arms'].values():
    values = arm['figures']['best']['values']
    assert len(values) == 2 and all(0 < value < 100 for value in values)
  assert row['verdict'] in second


@pytest.mark.parametrize(
  'flags, words',
  [
    (['--rows=finding,q'], ["'q'", 'finding, rising']),
    (['--config.rows.rising.arm=q'], ['rows.rising.arm', 'values, random']),
  ],
)
def test_claims_that_cannot_be_run_are_one_line(launch, tmp_path, flags, words):
  config = '--config=tests/fixtures/tiny_claims.py'
  workdir = tmp_path / 'out'
  status, output, errors = launch(
    SCRIPT, config, f'--workdir={workdir}', *flags
  )
  last = errors.strip().splitlines()[-1]
  assert status == 1 and not output
  assert all(word in last for word in words), last
  assert not workdir.exists()


def test_rows_of_a_study_are_refused(launch, table, tmp_path):
  status, _, errors = _run(launch, table, tmp_path / 'out', '--rows=q')
  assert status == 1 and 'claims' in errors
