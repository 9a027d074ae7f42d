"""The benchmark of workers: its arithmetic; it is run by hand."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import distributed, distributed_evaluators
from benchmarks import tabular_search as other  # shares a namespace of flags


def test_its_flags_are_its_own():
  """Benchmarks could not be imported together."""
  assert other.FILE and distributed.GOAL_RATE


def test_a_steady_rate_leaves_out_both_ends():
  """Workers that start or end one by one are not how busy they are kept."""
  times = np.array([5.0, 6.0, 6.5, 7.5, 20.0])
  counts = np.array([1, 2, 4, 6, 7])
  found = distributed.Measured(times, counts, [])
  # From 2 evaluations, at 6.0, to 6, at 7.5.
  assert distributed.steady_rate(found, 2, 6) == pytest.approx(4 / 1.5)
  # The third came together with the fourth.
  assert distributed.steady_rate(found, 3, 5) == pytest.approx(2 / 1.0)


def test_growth_is_an_evaluation_s():
  memory = distributed.Memory
  found = distributed.Measured(
    np.array([0.0, 1.0, 3.0]),
    np.array([10, 50, 110]),
    [(10, memory(1000, 50)), (50, memory(1500, 50)), (110, memory(3000, 60))],
  )
  row = distributed.instant_row(found, 110)
  assert row['bytes an evaluation'] == pytest.approx(20)
  assert row['evaluations/s'] == pytest.approx(100 / 3)


@pytest.mark.parametrize('share, verdict', [(0.95, 'met'), (0.94, 'not met')])
def test_goals_are_told_of_the_most_workers(share, verdict):
  rows = [
    {'workers': 64, 'efficiency': share},
    {'workers': 2, 'efficiency': 0.1},
  ]
  goals = distributed.goal_rows(rows, {'evaluations/s': 500.0})
  assert goals[0]['what'] == 'efficiency of 64 workers'
  assert [goal['verdict'] for goal in goals] == [verdict, 'met']


def test_evaluators_tell_architectures_apart():
  evaluate = distributed_evaluators.make_sleeping(0.0)
  scores = {
    evaluate(np.array([[i, j]]), None, None)['accuracy'][0]
    for i in range(10)
    for j in range(10)
  }
  assert len(scores) == 100 and 0 <= min(scores) and max(scores) < 1


def test_evaluators_import_no_jax():
  code = (
    'import sys, benchmarks.distributed_evaluators; '
    "sys.exit('jax' in sys.modules)"
  )
  assert subprocess.run([sys.executable, '-c', code]).returncode == 0
