"""The report of a study: its columns, and what is refused before a search."""

import numpy as np
import pytest

from irlas_jax import report_section, sections
from irlas_jax.tables import table as tables

ARMS = ('ours', 'random')
CELLS = tables.ChoiceCells(np.arange(2)[:, None], (2,))
TABLE = tables.Table(
  CELLS,
  {
    'test': tables.Metric(np.array([0.5, 0.75], np.float32), 'fraction'),
    'phone': tables.Metric(np.array([1.0, 3.0], np.float32), 'ms'),
  },
)
REPORT = {'metric': 'test', 'metrics': {'test': 'test', 'fast': ('phone',)}}
ASKED = {'arm': 'ours', 'reference': 'random', 'metric': 'test'}


def test_fractions_are_percent_and_several_are_relative():
  found = report_section.columns(REPORT, TABLE)
  np.testing.assert_array_equal(found['test'].values, [50, 75, np.nan])
  np.testing.assert_array_equal(found['fast'].values, [0.5, 1.5, np.nan])
  assert (found['test'].unit, found['fast'].unit) == ('%', 'of the mean')


def test_a_report_of_what_is_there_passes():
  more = {'front': ('test', 'fast'), 'comparisons': [ASKED]}
  report_section.check(REPORT | more, ARMS, TABLE)


@pytest.mark.parametrize(
  'report, words',
  [
    ({'metric': 'best'}, ["metric has 'best'", 'test, fast']),
    ({'front': ('test', 'best')}, ["front has 'best'", 'test, fast']),
    ({'comparisons': [ASKED | {'metric': 'best'}]}, ["'best'", 'test, fast']),
    ({'comparisons': [ASKED | {'arm': 'mine'}]}, ["'mine'", 'ours, random']),
    ({'comparisons': [ASKED | {'reference': 'mine'}]}, ["'mine'", 'ours']),
    ({'published': {'mine': {'mean': 1.0}}}, ["'mine'", 'ours, random']),
  ],
)
def test_what_is_not_there_is_refused_with_what_is(report, words):
  """After hours of searching it would be too late."""
  with pytest.raises(sections.ConfigError) as error:
    report_section.check(REPORT | report, ARMS, TABLE)
  text = str(error.value)
  assert all(word in text for word in ('report.', *words)), text
  assert '\n' not in text


@pytest.mark.parametrize('chosen', ['tset', ('phone', 'tset')])
def test_a_column_that_is_not_in_the_table_is_refused(chosen):
  report = {'metric': 'test', 'metrics': {'test': chosen}}
  with pytest.raises(ValueError, match="'tset'.*test"):
    report_section.check(report, ARMS, TABLE)
