"""Language models by configs: scores, full trainings, and what is refused."""

import copy

import jax
import numpy as np
import pytest

from irlas_jax import experiment, full_training, language_models, sections
from irlas_jax.rewards import shaping
from irlas_jax.types import DIVERGED, OK, Proposals
from tests.fixtures import tiny_language

pytestmark = pytest.mark.usefixtures('quick_compiles')
PAPER = (
  'add tanh, elem_mult relu, elem_mult sigmoid; inject: add relu into 0; '
  'cell: 1'
)
SWAPPED = (
  'elem_mult relu, add tanh, elem_mult sigmoid; inject: add relu into 1; '
  'cell: 0'
)
SEPARATE = {'name': 'lstm', 'units': 4, 'layers': 1, 'init_scale': 0.3}


@pytest.fixture(name='config', scope='module')
def fixture_config(tmp_path_factory):
  """The tiny config, with a text of four words in a cycle."""
  folder = tmp_path_factory.mktemp('text')
  for split, count in (('train', 100), ('valid', 20), ('test', 30)):
    (folder / f'{split}.txt').write_text('one two three\n' * count)
  config = tiny_language.get_config()
  config.dataset = str(folder)
  return config.lock().to_dict()


def _changed(config, section, **fields):
  return config | {section: config[section] | fields}


def _evaluate(config, *texts):
  """Scores of cells by their texts, by a config's evaluator."""
  parts = experiment.build(config)
  space = parts.kind.space
  actions = np.stack([space.encode(parts.kind.parse(x)) for x in texts])
  proposals = Proposals(actions, actions, ())
  return jax.device_get(parts.problem.evaluate(proposals, -np.inf))


def test_children_are_scored_by_the_next_word(config):
  """Isomorphic cells are one child, in whatever slot; rewards follow."""
  scores = _evaluate(config, PAPER, PAPER.replace('relu', 'tanh'), SWAPPED)
  assert scores.failure.tolist() == 3 * [OK]
  assert ((scores.loss > 0) & (scores.loss < 2)).all()
  assert ((scores.accuracy >= 0) & (scores.accuracy <= 1)).all()
  assert scores.loss[0] == scores.loss[2] != scores.loss[1]
  # 5 words of 4 units, a bias each, and two leaves of two matrices.
  assert scores.params.tolist() == 3 * [5 * 4 + 5 + 2 * 2 * 16]
  assert scores.epochs.tolist() == [2, 2, 2] and scores.curve.shape == (3, 1)
  rewards = shaping.perplexity_reward()(scores, None)
  np.testing.assert_allclose(rewards, 80 / np.exp(scores.loss) ** 2, rtol=1e-5)
  two = _changed(config, 'evaluator', population=4, slots=2)
  together = _evaluate(two, PAPER, PAPER.replace('relu', 'tanh'), SWAPPED)
  np.testing.assert_allclose(together.loss, scores.loss, rtol=1e-4)


def test_a_child_that_diverges_is_a_row_and_no_exception(config):
  wild = _changed(config, 'train', learning_rate=1e30, clip_norm=0.0)
  text = 'add relu, add relu, elem_mult identity; inject: add relu into 2; '
  scores = _evaluate(wild, f'{text}cell: 2')
  assert scores.failure.tolist() == [DIVERGED]
  assert np.isnan(scores.loss).all() and np.isnan(scores.accuracy).all()
  reward = shaping.perplexity_reward(floor=-1.0)(scores, None)
  assert reward.tolist() == [-1.0]


def test_a_training_that_is_stopped_goes_on_to_the_same_end(config, tmp_path):
  """A genotype's; isomorphic ones are the same training."""
  final = config | config['retrain']
  whole = full_training.retrain(final, PAPER)
  with pytest.raises(full_training.Stopped, match='after evaluation 1'):
    full_training.retrain(
      final, SWAPPED, workdir=tmp_path, should_stop=lambda: True
    )
  rest = full_training.retrain(final, PAPER, workdir=tmp_path)
  assert rest.genotype == whole.genotype
  assert rest.result.test_loss == whole.result.test_loss
  for one, other in zip(rest.result.history, whole.result.history, strict=True):
    np.testing.assert_array_equal(one, other)
  assert whole.result.params == 5 * 4 + 5 + 2 * 2 * 16
  assert whole.result.madds == 5 * 4 + 2 * 2 * 16
  other = _changed(final, 'train', learning_rate=0.2)
  with pytest.raises(ValueError, match='train.learning_rate'):
    full_training.retrain(other, PAPER, workdir=tmp_path)


def test_an_lstm_needs_no_genotype(config):
  """And learns a cycle of words."""
  final = config | config['retrain'] | {'network': SEPARATE}
  del final['space']
  final = _changed(final, 'train', epochs=20, learning_rate=0.5)
  result = full_training.retrain(final).result
  assert result.history.accuracy.shape == (2,)
  assert result.test_loss < 0.5 and result.test_accuracy > 0.9
  assert result.params == 2 * 5 * 4 + 5 + 2 * 4 * 16 + 16


@pytest.mark.parametrize(
  'network, genotype, words',
  [
    ({'name': 'gru'}, None, "network.name is 'gru': .* lstm"),
    ({'units': 4}, None, 'Nothing to train: give --genotype'),
    ({'name': 'lstm'}, PAPER, 'leave --genotype out'),
    ({'width': 4}, PAPER, 'network.width does not exist'),
    ({'units': 0}, PAPER, 'network.units is 0'),
  ],
)
def test_one_network_is_asked_for(config, network, genotype, words):
  with pytest.raises(ValueError, match=words):
    full_training.retrain(config | {'network': network}, genotype)


def test_a_final_training_that_cannot_run_is_refused_before_the_search(config):
  final = config | config['retrain']
  full_training.check(final)
  with pytest.raises(ValueError, match='batch_size is 300'):
    full_training.check(_changed(final, 'train', batch_size=300))
  with pytest.raises(FileNotFoundError, match='nowhere'):
    full_training.check(final | {'dataset': 'nowhere'})


def test_other_spaces_and_evaluators_are_refused_by_name(config):
  digits = copy.deepcopy(config) | {
    'space': {'name': 'block', 'num_layers': 2, 'operations': 'dense'}
  }
  with pytest.raises(sections.ConfigError, match='takes nas_rl_recurrent'):
    experiment.build(digits)
  with pytest.raises(sections.ConfigError, match='is missing|has no'):
    language_models.load_text({'dataset': 'ptb'})
  with pytest.raises(sections.ConfigError, match='leave --export out'):
    full_training.check_export(config)
