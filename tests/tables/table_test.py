"""Metrics by name, and what a table's summary says."""

import numpy as np
import pytest

from irlas_jax.tables import table

CELLS = table.ChoiceCells(np.array([[0], [1]], np.int32), (2,))


def make(**metrics):
  return table.Table(
    CELLS,
    {
      name: table.Metric(np.array(values, np.float32), 'fraction')
      for name, values in metrics.items()
    },
  )


def test_metric_is_found_by_name():
  found = table.metric(make(valid_12=[0.5, 0.25], test_12=[0, 1]), 'valid_12')
  assert found.values.tolist() == [0.5, 0.25] and found.unit == 'fraction'


def test_unknown_metric_names_the_closest_first_and_all():
  wrong = make(params=[1, 2], latency=[1, 2], valid_200=[1, 2])
  with pytest.raises(table.TableError) as error:
    table.metric(wrong, 'valid_20')
  assert str(error.value) == (
    "metric 'valid_20': not in the table; choose one of valid_200, params, "
    'latency.'
  )


def test_summary_counts_what_was_not_measured():
  text = table.summary(make(valid=[0.5, np.nan], test=[0.25, 1]))
  assert text.splitlines() == [
    '2 cells',
    '  valid: 0.5 to 0.5 fraction, 1 not measured',
    '  test: 0.25 to 1 fraction',
  ]
