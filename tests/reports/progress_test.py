"""The progress bar: what a user sees while a search runs."""

import math
from types import SimpleNamespace

import pytest

from irlas_jax.reports import progress


def _trial(key, reward):
  return SimpleNamespace(key=key, reward=reward)


def _last(text):
  return text.replace('\r', '\n').strip().splitlines()[-1]


def test_bar_shows_the_best_reward_and_how_many_were_evaluated(capsys):
  """Isomorphic proposals are one evaluation."""
  with progress.Bar() as bar:
    bar.start(8)
    assert 'compiling' in _last(capsys.readouterr().err)
    bar.trained(2)
    bar.update([_trial('a', 51.0), _trial('b', 71.25), _trial('a', 51.0)])
    bar.update([_trial('c', math.nan), _trial('b', 71.25), _trial('d', 3.0)])
    bar.update([_trial('e', 62.0), _trial('a', 51.0)])
  line = _last(capsys.readouterr().err)
  assert 'searching: 100%' in line and '8/8' in line
  assert 'best=71.25' in line and 'evaluated=5' in line
  assert 'trained=2' in line


def test_bar_that_never_started_leaves_nothing_behind(capsys):
  """An error before the first proposal is to stand alone."""
  with pytest.raises(KeyError), progress.Bar():
    raise KeyError
  assert capsys.readouterr().err == ''


def test_bar_is_closed_by_an_error(capsys):
  """Its message begins on a line of its own."""
  with pytest.raises(KeyError), progress.Bar() as bar:
    bar.start(4)
    raise KeyError
  assert capsys.readouterr().err.endswith('\n')
