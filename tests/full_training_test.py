"""Full training of a genotype of any space, and what is refused."""

import json

import numpy as np
import pytest

from irlas_jax import full_training, sections
from irlas_jax.spaces import genotypes

pytestmark = pytest.mark.usefixtures('quick_compiles')

RESNET = '(1, SepConv, 3, 0, 0)(2, SepConv, 3, 1, 0)(3, Add, 0, 0, 2)'


@pytest.fixture(scope='module')
def final(make_config):
  """A full training of two epochs; its layers are not in canonical order."""
  code = '(1, MaxPool, 3, 0, 0)(2, SepConv, 3, 0, 0)(3, Terminal)'
  config = make_config()
  return full_training.retrain(config | config['retrain'], code)


def test_full_training_takes_its_own_sections(final):
  """The children's recipe is far too short for a final figure."""
  assert final.result.history.accuracy.shape == (2,)
  assert final.config['train']['epochs'] == 2
  assert 0 <= final.result.test_accuracy <= 1


def test_isomorphic_genotypes_train_to_the_same_network(final, make_config):
  """Layers numbered otherwise would draw other weights."""
  code = '(1, SepConv, 3, 0, 0)(2, MaxPool, 3, 0, 0)(3, Terminal)'
  config = make_config()
  other = full_training.retrain(config | config['retrain'], code)
  assert other.genotype == final.genotype
  assert other.result.test_loss == final.result.test_loss


@pytest.mark.parametrize(
  'content, words',
  [
    ('(1, Swish, 3, 0, 0)(2, Terminal)', ['Layer 1', 'Swish', 'SepConv']),
    (f'{RESNET}(4, Conv, 3, 4, 0)(5, Terminal)', ['Layer 4', 'before it']),
    (f'{RESNET}(4, Conv, 3, 7, 0)(5, Terminal)', ['Layer 4', '7']),
    (RESNET, ['No terminal after layer 3', '(4, Terminal)']),
    ('(1, Conv, 2, 0, 0)(2, Terminal)', ['Layer 1', 'kernel 2', '1 or 3']),
    ('(1, Add, 0, 0, 0)(2, Terminal)', ['Layer 1', 'twice']),
    (
      ''.join(f'({i}, Conv, 3, 0, 0)' for i in range(1, 25)) + '(25, Terminal)',
      ['Layer 24', 'at most 23'],
    ),
  ],
)
def test_a_genotype_is_refused_by_layer_and_rule(tmp_path, content, words):
  """A wrong layer would be trained for an hour, or fail without its name."""
  path = tmp_path / 'mine.json'
  path.write_text(json.dumps({'genotype': content}))
  with pytest.raises(genotypes.GenotypeError) as error:
    full_training.read_genotype(path)
  assert all(word in str(error.value) for word in [str(path), *words])


@pytest.mark.parametrize(
  'content, words',
  [
    ('(1, Conv, 3, 0, 0)', 'not JSON'),
    ('["genotype"]', 'has no genotype'),
    ('{"genotype": 3}', 'has no genotype'),
    ('', 'not JSON'),
    (None, 'no such genotype file'),
  ],
)
def test_a_file_that_holds_no_genotype_is_refused(tmp_path, content, words):
  """best.json is easily confused with another file of a workdir."""
  path = tmp_path / 'mine.json'
  if content is not None:
    path.write_text(content)
  with pytest.raises(genotypes.GenotypeError, match=words):
    full_training.read_genotype(path)


def test_a_genotype_is_read_as_it_was_written(tmp_path):
  """What a search writes is what a training reads."""
  code = f'{RESNET}(4, Terminal)'
  path = tmp_path / 'best.json'
  path.write_text(json.dumps({'genotype': code, 'reward': 1.0}))
  assert full_training.read_genotype(path) == code


CELLS = {
  'nasbench201': '|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|none~1|'
  'nor_conv_3x3~2|',
  'nasbench101': 'conv1x1 conv3x3 | 0-1 0-2 1-3 2-3',
}


@pytest.mark.parametrize('space', CELLS)
def test_cells_are_trained_fully_too(make_config, space):
  """By the networks of their own space, whose text comes back."""
  config = make_config() | {'space': {'name': space}}
  final = full_training.retrain(config | config['retrain'], CELLS[space])
  assert np.isfinite(final.result.test_loss)
  again = full_training.canonical_genotype(final.genotype, config)
  assert again == final.genotype


def test_numbering_of_a_cell_does_not_matter(make_config):
  config = make_config() | {'space': {'name': 'nasbench101'}}
  one, other = (
    full_training.canonical_genotype(f'{ops} | 0-1 0-2 1-3 2-3', config)
    for ops in ('conv1x1 conv3x3', 'conv3x3 conv1x1')
  )
  assert one == other


def test_what_nothing_trains_is_refused(make_config):
  config = make_config() | {'space': {'name': 'choices', 'sizes': (2, 2)}}
  with pytest.raises(sections.ConfigError, match='Nothing trains .*choices'):
    full_training.retrain(config, '0-1')


def test_data_are_in_memory_or_streamed_not_both(make_config):
  config = make_config() | {'stream': {}}
  with pytest.raises(sections.ConfigError, match="'data' and 'stream'"):
    full_training.retrain(config, f'{RESNET}(4, Terminal)')


def test_a_config_names_the_space_or_the_file_does(make_config, tmp_path):
  path = tmp_path / 'best.json'
  found = {'name': 'nasbench201'}
  path.write_text(json.dumps({'genotype': 'x', 'config': {'space': found}}))
  assert full_training.with_space_of(path, {'seed': 0}) == {
    'seed': 0,
    'space': found,
  }
  config = make_config()
  assert full_training.with_space_of(path, config) == config


@pytest.mark.parametrize(
  'section, field, value, words',
  [
    ('train', 'evaluations', 3, 'train.evaluations is 3: .* divide'),
    ('train', 'batch_size', 100_000, 'train.batch_size is 100000'),
    ('network', 'num_stages', 9, 'network.num_stages is 9'),
  ],
)
def test_a_config_that_cannot_train_is_refused_without_training(
  make_config, section, field, value, words
):
  """A search of hours would end in an error about its last step."""
  config = make_config()
  config |= config['retrain']
  full_training.check(config)
  config |= {section: config[section] | {field: value}}
  with pytest.raises(ValueError, match=words):
    full_training.check(config)
