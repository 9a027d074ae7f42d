"""Hypernetworks by a config: what they depend on, and what is refused."""

import jax
import numpy as np
import pytest

from irlas_jax import evaluations, kinds, runs, sections
from irlas_jax import hypernetworks as made_by_config

pytestmark = pytest.mark.usefixtures('quick_compiles')


@pytest.fixture
def config(make_config):
  """The tiny search, scored by a small hypernetwork."""

  def make(**fields):
    config = make_config({'searcher.name': 'random'})
    config['reward'] = {'name': 'accuracy'}
    small = dict(name='ghn', hidden=4, decoder=4, passes=1, meta_batch=2)
    config['evaluator'] = small | fields
    return config

  return make


def _kind(config):
  return sections.choose(config, 'space', kinds.SPACES)()


def _make(config, split='valid'):
  return evaluations.make(config, _kind(config), split)


def test_a_search_runs_to_its_end(config, tmp_path):
  """And longer ones, gone on with, compile no more for more proposals."""
  whole = config(file=str(tmp_path / 'hypernetwork'))
  del whole['retrain']
  found = [
    runs.run(
      whole | {'search': whole['search'] | {'num_proposals': proposals}},
      tmp_path / 'run',
    )
    for proposals in (4, 8, 16)
  ]
  rewards = [[trial.reward for trial in one.trials] for one in found]
  assert [len(one) for one in rewards] == [4, 8, 16]
  assert all(0 <= reward <= 100 for reward in rewards[-1])
  assert rewards[0] == rewards[1][:4] and rewards[1] == rewards[2][:8]
  assert found[2].compiles.number <= found[1].compiles.number


def test_settings_have_all_that_a_score_depends_on(config):
  """Every change but of speed, or of the file's name, is another score."""
  plain = _make(config()).settings
  for fields in ({'population': 8}, {'slots': 2}, {'file': 'other'}):
    assert _make(config(**fields)).settings == plain
  for fields in (
    *({'seed': 1}, {'layers': 2}, {'meta_batch': 3}, {'images': 20}),
    *({'image_batch': 10}, {'hidden': 5}, {'decoder': 5}, {'passes': 2}),
    *({'virtual_edges': 0}, {'layer_norm': False}, {'normalise': False}),
  ):
    assert _make(config(**fields)).settings != plain, fields
  for section in ('network', 'train', 'space'):
    other = config()
    name = {'network': 'width', 'train': 'epochs', 'space': 'num_layers'}
    other[section] = other[section] | {name[section]: 2}
    assert _make(other).settings != plain, section
  assert _make(config(), 'test').settings != plain


def test_one_hypernetwork_serves_all_seeds(config):
  """As a table does: the seed of a search is none of it."""
  evaluation = _make(config())
  assert evaluations.with_seed(evaluation, 5).settings == evaluation.settings
  assert evaluation.unknown == ('latency',)


@pytest.mark.parametrize(
  'fields, message',
  [
    ({'meta_batch': 0}, 'evaluator.meta_batch is 0'),
    ({'image_batch': 0}, 'evaluator.image_batch is 0'),
    ({'slots': -1}, 'evaluator.slots is -1'),
    ({'layers': 9}, 'evaluator.layers is 9: .* its most, 3'),
    ({'hidden': 0}, 'evaluator.hidden is 0'),
    ({'depth': 1}, 'evaluator.depth is no field'),
  ],
)
def test_fields_that_are_wrong(config, fields, message):
  with pytest.raises(ValueError, match=message):
    _make(config(**fields))


def test_spaces_without_a_layout_are_refused(config):
  wrong = config() | {'space': {'name': 'nasnet'}}
  with pytest.raises(sections.ConfigError, match='among block, nasbench201'):
    _make(wrong)


def test_cells_have_one_length(config):
  wrong = config(layers=2) | {'space': {'name': 'nasbench201'}}
  with pytest.raises(sections.ConfigError, match='evaluator.layers is 2'):
    _make(wrong)


def test_architectures_to_train_on_are_as_long_as_was_said():
  kind = kinds.SPACES['block'].make(num_layers=4, operations='dense')
  for layers, most in ((2, 2), (0, 4)):
    draw = made_by_config.drawn(kind.space, layers)
    graphs = draw(jax.random.key(0), 64)
    lengths = np.asarray(graphs.ops >= 0).sum(1) - 1
    assert set(lengths) == set(range(1, most + 1))
