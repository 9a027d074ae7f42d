"""What a study's report says and draws, on numbers known beforehand."""

import json
import pathlib

import numpy as np
import pytest

from irlas_jax import comparison
from irlas_jax.report_section import Column
from irlas_jax.reports import anytime, study

AMOUNTS = np.array([1, 10, 100])
TEST = Column('test', np.array([50.0, 70.0, 90.0, np.nan]), '%')
SIZE = Column('size', np.array([3.0, 2.0, 4.0, np.nan]), 'of the mean')
CONFIG = {
  'report': {
    'metric': 'test',
    'metrics': {'test': 'test_200', 'size': ('a', 'b')},
    'budgets': (10, 100, 1000),
    'front': ('test', 'size'),
    'notes': ('Nothing was tuned.',),
  }
}


def _curve(values):
  values = np.array(values, float)
  return comparison.Curve(values, values.mean(0), values.std(0, ddof=1))


@pytest.fixture
def summary():
  """Two arms of two seeds; `late` never reaches the target by half."""
  reached = comparison.Reached(np.array([10.0, 20.0]), np.array([8.0, 10.0]))
  never = comparison.Reached(np.array([100.0, np.inf, np.inf]), np.ones(3))
  curves = {
    'early': {
      'test': _curve([[50, 90, 90], [70, 70, 90]]),
      'size': _curve([[3, 4, 4], [2, 2, 4]]),
    },
    'late': {
      'test': _curve([[np.nan, 50, 70], [50, 50, 50]]),
      'size': _curve([[np.nan, 3, 2], [3, 3, 3]]),
    },
  }
  difference = comparison.Difference(
    *('early', 'late', 'test', 30.0, 10.0, 50.0, 0.012, True, 'points')
  )
  return comparison.Summary(
    AMOUNTS,
    'evaluations',
    {'test': TEST, 'size': SIZE},
    'test',
    90.0,
    curves,
    {'early': {90.0: reached}, 'late': {90.0: never}},
    {90.0: 2.0},
    {'early': comparison.Published(85.0, 1.0, 'a paper', 10.0, 14.1)},
    [difference],
    {'test': 70.0, 'size': 2.0},
  )


def test_the_text_has_the_numbers(summary, tmp_path):
  text = study.write_study(tmp_path, CONFIG, summary, 'It took 1 s.')
  for words in (
    '80.00 ± 14.14',  # early at 10: (90 + 70) / 2
    '15, 9 different (100%)',
    'not by half (33%)',
    'random without replacement, exact',
    'a paper',
    '85.00 ± 1.00',
    '+30.00 [+10.00, +50.00] points',
    '0.012 (primary)',
    'test 70 %',
    'Nothing was tuned.',
    'It took 1 s.',
  ):
    assert words in text, words
  assert '1000 evaluations' not in text  # beyond the budget
  assert (tmp_path / 'study.md').read_text().strip() in text


def test_json_has_all_curves_and_no_nan(summary, tmp_path):
  study.write_study(tmp_path, CONFIG, summary, '')

  def refuse(name):
    raise AssertionError(name)

  text = (tmp_path / 'study.json').read_text()
  content = json.loads(text, parse_constant=refuse)
  assert content['amounts'] == [1, 10, 100]
  early = content['arms']['early']['test']
  assert early['mean'] == [60, 80, 90]
  assert early['quantiles']['0.5'] == [60, 80, 90]
  assert content['arms']['late']['test']['mean'][0] is None


def test_pictures_are_written_whole(summary, tmp_path):
  for path in (
    anytime.write_curves(tmp_path / 'curves.png', summary),
    anytime.write_front(tmp_path / 'front.png', summary, 'test', 'size'),
  ):
    assert pathlib.Path(path).read_bytes()[:4] == b'\x89PNG'
