"""What a search and a training leave behind, made from invented results."""

import json
import math
import warnings

import numpy as np
import pytest
from PIL import Image

from irlas_jax import (
  devices,
  experiment,
  full_training,
  kinds,
  ledger,
  reflection,
  runs,
  search,
)
from irlas_jax.evaluators import retrained
from irlas_jax.reports import summary
from irlas_jax.rewards import features
from irlas_jax.training import history as histories
from irlas_jax.types import CRASHED, DIVERGED, OK

KIND = kinds.SPACES['block'].make(3, 'separable')
CODES = (
  '(1, SepConv, 3, 0, 0)(2, Terminal)',
  '(1, SepConv, 3, 0, 0)(2, Add, 0, 0, 1)(3, Terminal)',
  '(1, MaxPool, 3, 0, 0)(2, Terminal)',
)
PICTURES = ('reward.png', 'block.png', 'cost.png')


def _scores(accuracy, failure=OK, epochs=20.0):
  nan = math.nan
  return {
    'accuracy': accuracy,
    'loss': 1.5,
    'params': 1234.0 if failure != CRASHED else nan,
    'madds': 56789.0 if failure != CRASHED else nan,
    'latency': nan,
    'seconds': 2.0,
    'epochs': epochs,
    'curve': [accuracy],
    'index': 0,
    'failure': failure,
  }


def _trial(i, code, reward, scores):
  key = ledger.record_key(f'hash{code}', {}, {})
  length = CODES[code].count('(') - 1
  exploration = 1.0 - i / 10
  return search.Trial(
    i // 2, i % 2, key, CODES[code], length, reward, exploration, scores
  )


def _seen(score):
  """24 nodes, of which the first layer has it all."""
  nodes, edges = np.zeros(25), np.zeros((25, 25))
  nodes[1] = score
  shares = features.Shares(nodes, edges)
  return reflection.Seen(score, np.array([score]), shares)


def _outcome(make_config, trials, expert=True, seen=()):
  graph = KIND.expert('resnet')
  parts = experiment.Parts(KIND, None, None, graph, None, None, 1, 2)
  best = max(trials, key=lambda trial: trial.reward)
  answer = search.Answer('key', CODES[0], graph, _scores(0.8125))
  return runs.Outcome(
    make_config(),
    parts,
    trials,
    best,
    KIND.parse(best.genotype),
    graph,
    answer if expert else None,
    [('sep_conv kernel=3', 0.125)],
    seen,
    devices.Compiles(7, 3.25),
    61.0,
  )


@pytest.fixture
def trials():
  return [
    _trial(0, 0, 51.0, _scores(0.5)),
    _trial(1, 1, 76.5, _scores(0.75)),
    _trial(2, 0, 51.0, _scores(0.5)),
    _trial(3, 2, 0.0, _scores(math.nan, DIVERGED)),
  ]


def _strict(path):
  """The JSON of a file; NaN and infinities, which are no JSON, are refused."""

  def refuse(name):
    raise AssertionError(f'{name} in {path}')

  return json.loads(path.read_text(), parse_constant=refuse)


def test_best_json_says_what_was_found_and_how(make_config, tmp_path, trials):
  """The result has to be reproducible from this file alone."""
  outcome = _outcome(make_config, trials)
  summary.write_search(tmp_path, outcome)
  best = _strict(tmp_path / 'best.json')
  assert best['genotype'] == CODES[1]
  assert (best['reward'], best['hash'], best['proposal']) == (76.5, 'hash1', 2)
  assert best['scores']['accuracy'] == 0.75
  assert best['scores']['latency'] is None
  assert best['config'] == make_config() and best['seed'] == 0
  assert set(best['versions']) == {
    *('python', 'irlas_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')
  }
  assert full_training.read_genotype(tmp_path / 'best.json') == CODES[1]
  assert not list(tmp_path.glob('*.new'))


def test_pictures_are_drawn(make_config, tmp_path, trials):
  """The three files that the text promises."""
  text = summary.write_search(tmp_path, _outcome(make_config, trials))
  for name in PICTURES:
    assert (tmp_path / name).read_bytes()[:4] == b'\x89PNG'
    assert name in text


def test_what_the_mirror_sees_colours_the_blocks(make_config, tmp_path, trials):
  """Without a mirror, their operations do."""
  pictures = []
  for seen in ((), (_seen(0.5), _seen(1.0)), (_seen(-0.5), _seen(1.0))):
    summary.write_search(tmp_path, _outcome(make_config, trials, seen=seen))
    with Image.open(tmp_path / 'block.png') as image:
      pictures.append(np.asarray(image.convert('RGB')).astype(int))
  plain, like, unlike = pictures
  assert like.shape == unlike.shape and like.shape[0] > plain.shape[0]
  left = np.arange(like.shape[1]) < like.shape[1] // 2
  changed = (like != unlike).any(-1)
  assert changed[:, left].sum() > 1000 and changed[:, ~left].sum() == 0


def test_text_compares_best_expert_first_and_last(
  make_config, tmp_path, trials
):
  """A search that did not help must be seen to."""
  text = summary.write_search(tmp_path, _outcome(make_config, trials))
  rows = [line.split() for line in text.splitlines()]
  for row in (
    'best block 76.50 75.00 1,234 56,789 2',
    'expert resnet - 81.25 1,234 56,789 3',
    'mean of the first 1 proposals 51.00 50.00 1,234 56,789 1',
    'mean of the last 1 proposals 0.00 - 1,234 56,789 1',
  ):
    assert row.split() in rows, text
  assert (
    '4 proposals, 3 distinct architectures trained, 1 failed; 61 s.' in text
  )
  assert '7 programs compiled or loaded, 3.2 s' in text
  assert 'Most like the expert in: sep_conv kernel=3 (+0.12).' in text


def test_an_expert_that_does_not_fit_has_no_row(make_config, tmp_path, trials):
  """Its score was not measured."""
  outcome = _outcome(make_config, trials, expert=False)
  text = summary.write_search(tmp_path, outcome)
  assert 'expert resnet' not in text
  assert (tmp_path / 'cost.png').exists()


def test_children_that_were_stopped_early_are_counted(make_config, tmp_path):
  """Their accuracies are of a part of the training."""
  scores = [_scores(0.5), _scores(0.25, epochs=0.5), _scores(0.25, epochs=0.5)]
  trials = [_trial(i, i, 50.0 - i, row) for i, row in enumerate(scores)]
  text = summary.write_search(tmp_path, _outcome(make_config, trials))
  wanted = '3 distinct architectures trained, 2 stopped early, 0 failed'
  assert wanted in text


def test_a_search_in_which_everything_failed_is_reported(make_config, tmp_path):
  """Of all results this one needs a report most."""
  trials = [
    _trial(0, 0, 0.0, _scores(math.nan, DIVERGED)),
    _trial(1, 1, 0.0, _scores(math.nan, CRASHED)),
  ]
  with warnings.catch_warnings():
    warnings.simplefilter('error', RuntimeWarning)
    text = summary.write_search(tmp_path, _outcome(make_config, trials))
  assert '2 distinct architectures trained, 2 failed' in text
  assert 'nan' not in text.lower()
  assert _strict(tmp_path / 'best.json')['scores']['accuracy'] is None
  for name in PICTURES:
    assert (tmp_path / name).exists()


def _final(make_config, accuracy):
  history = histories.History(
    np.array([0.25, math.nan]),
    np.array([2.0, math.nan]),
    np.array([2.5, math.nan]),
    np.int32(1),
    np.bool_(False),
  )
  result = retrained.Retrained(
    {}, history, accuracy, math.nan, 12345, 678901, 90.0
  )
  return full_training.Final(make_config(), CODES[1], result)


def test_a_predictor_is_judged_by_its_ranks(make_config, tmp_path):
  """Of those that it was asked about; without one nothing is said."""
  scores = [_scores(accuracy) for accuracy in (0.2, 0.4, 0.6, 0.8)]
  trials = [_trial(i, i % 3, 20.0 * i, one) for i, one in enumerate(scores)]
  plain = summary.write_search(tmp_path, _outcome(make_config, trials))
  guesses = (math.nan, 3.0, 1.0, 2.0)
  told = [
    trial._replace(predicted=guess)
    for trial, guess in zip(trials, guesses, strict=True)
  ]
  text = summary.write_search(tmp_path, _outcome(make_config, told))
  assert 'the 3 proposals' in text and 'correlation of -0.50' in text
  assert 'The predictor' not in plain


def test_final_json_has_the_figures_of_the_training(make_config, tmp_path):
  """Evaluations that were not reached are null, not NaN."""
  text = summary.write_final(tmp_path / 'new', _final(make_config, 0.9625))
  final = _strict(tmp_path / 'new' / 'final.json')
  assert final['genotype'] == CODES[1]
  assert final['test_accuracy'] == 0.9625 and final['test_loss'] is None
  assert final['valid_accuracy'] == [0.25, None]
  assert (final['params'], final['madds']) == (12345, 678901)
  assert final['config'] == make_config() and 'jax' in final['versions']
  assert 'Test accuracy 96.25 % (error 3.75 %)' in text
  assert '12,345 parameters, 678,901 multiply-adds, 90 s' in text
  assert str(tmp_path / 'new' / 'final.json') in text


def test_finished_training_is_read_back_and_no_other(make_config, tmp_path):
  """The same command again would otherwise train the best block once more."""
  final = _final(make_config, 0.9625)
  text = summary.write_final(tmp_path, final)
  config, genotype = final.config, final.genotype
  assert summary.read_final(tmp_path, config, genotype) == text
  assert summary.read_final(tmp_path, config | {'seed': 9}, genotype) is None
  assert summary.read_final(tmp_path, config, genotype + ' ') is None
  assert summary.read_final(tmp_path / 'elsewhere', config, genotype) is None
