"""What the benchmark of tree search counts, and its command."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import tree_search

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
  'best, drawn, want', [(1, 3, 0.3), (2, 3, 1 - 7 / 15), (2, 9, 1.0)]
)
def test_random_search_without_replacement(best, drawn, want):
  """Of ten rows; 1 - (8 / 10) (7 / 9) (6 / 8) for two best ones."""
  assert tree_search.random_found(10, best, drawn) == pytest.approx(want)


@pytest.mark.parametrize('best, want', [(1, 5), (2, 3), (10, 1)])
def test_its_median(best, want):
  assert tree_search.random_median(10, best) == want


def test_the_count_at_the_first_hit():
  """And infinity for a search that has none."""
  distinct = np.array([[1, 1, 2, 3], [1, 2, 3, 4]])
  hits = np.array([[False, False, True, True], [False] * 4])
  assert tree_search.first_hits(distinct, hits).tolist() == [2, np.inf]


def test_the_command_measures_and_writes(tmp_path):
  """Tiny: a tree finds the best of 27 rows in 30 proposals, in every seed."""
  output = tmp_path / 'tree.md'
  done = subprocess.run(
    [
      *(sys.executable, '-m', 'benchmarks.tree_search', '--tiny'),
      *('--tree_seeds=16', '--tree_repeats=1', f'--output={output}'),
    ],
    cwd=ROOT,
    env=os.environ
    | {'JAX_PLATFORMS': 'cpu', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
    capture_output=True,
    text=True,
    timeout=400,
  )
  assert done.returncode == 0, done.stderr
  text = output.read_text()
  assert text == done.stdout
  lines = [[x.strip() for x in line.split('|')] for line in text.splitlines()]
  found = {line[2]: line[3:-1] for line in lines if len(line) == 10}
  assert found['random without replacement'][-2] == '14'
  for name in ('tree search', 'tree search, Meta-DNN'):
    assert found[name][:4] == ['30', '27', '100%', '100%']
  timed = [line for line in lines if len(line) == 8]
  assert [line[2] for line in timed[2:]] == [*tree_search.ARMS][2:]
