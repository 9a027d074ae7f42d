"""What a mirror stimuli function is shown to see, of blocks made for it."""

import json

import jax
import numpy as np
import pytest

from irlas_jax import experiment, graph, objectives, reflection, sections
from irlas_jax.spaces import nsc

pytestmark = pytest.mark.usefixtures('quick_compiles')

RESNET = (
  '(1, SepConv, 3, 0, 0)(2, SepConv, 3, 1, 0)(3, Add, 0, 0, 2)(4, Terminal)'
)
POOLS = '(1, MaxPool, 3, 0, 0)(2, AvgPool, 3, 0, 0)(3, Terminal)'


def _light(config):
  """Features that compile fast."""
  light = {'resolutions': ('kind',), 'tables': ('nodes',)}
  return config | {'reward': config['reward'] | {'features': light}}


@pytest.fixture(scope='module')
def found(make_config):
  """Blocks of up to three layers, by the tiny config's expert, ResNet."""
  with jax.debug_key_reuse(True):
    return reflection.reflect(make_config(), [POOLS, 'resnet', POOLS])


def test_the_expert_and_a_random_block_stand_before_those_asked_for(found):
  """Blocks that are asked for twice are shown twice."""
  names = [block.name for block in found.blocks]
  assert names == ['Expert', 'Best random', 'block 1', 'resnet', 'block 3']
  assert [block.num_layers for block in found.blocks[2:]] == [2, 3, 2]
  assert found.blocks[0].genotype == found.blocks[3].genotype == RESNET
  assert nsc.text_of(nsc.from_graph(found.blocks[2].graph)) == POOLS


def test_scores_are_of_the_expert_s_scale(found):
  """One for the expert, and less for what has nothing of it."""
  expert, random, pools, copy, _ = (block.seen.score for block in found.blocks)
  assert expert == copy == pytest.approx(1.0, abs=1e-4)
  assert pools < 0 < random < 1


def test_shares_and_contributions_add_up_to_the_score(found):
  """A figure whose numbers did not would explain another score."""
  for block in found.blocks:
    score, contributions, shares = block.seen
    total = shares.nodes.sum() + shares.edges.sum()
    assert found.constant + total == pytest.approx(score, abs=1e-4)
    total = contributions.sum()
    assert found.constant + total == pytest.approx(score, abs=1e-4)


def test_features_of_one_name_are_one(found):
  """An identity is a family, an operation and a kind."""
  assert len(set(found.features)) == len(found.features) == len(found.weights)
  for block in found.blocks:
    assert block.counts.shape == block.seen.contributions.shape


def test_counts_say_how_often(found):
  """Neither discounted nor normalised, and no name counted twice."""
  counts = dict(zip(found.features, found.blocks[0].counts, strict=True))
  assert counts['sep_conv 3'] == counts['sep_conv fan-out 1'] == 2
  assert counts['add'] == counts['input -> add'] == 1
  assert counts['sep_conv 3 -> sep_conv 3'] == 1
  assert counts['identity'] == counts['pooling'] == 0


def test_weights_are_in_units_of_the_score(found):
  """A contribution is a weight times a normalised, discounted count."""
  index = found.features.index('max_pool 3')
  joined = found.blocks[2]
  # Two layers of depth 1 and their concatenation, discounted.
  assert joined.counts[index] == 1
  alike = found.features.index('avg_pool 3')
  ratio = (
    joined.seen.contributions[[index, alike]] / found.weights[[index, alike]]
  )
  assert ratio[0] == pytest.approx(ratio[1], rel=1e-4) and 0 < ratio[0] < 1


def test_the_mirror_is_that_of_a_search_by_the_same_config(make_config, found):
  """Another seed of the rollouts would show what has guided nobody."""
  phi, fitted, _ = experiment.build(make_config()).mirror
  weights = reflection.by_name(phi.names, fitted.weights)
  scale = float(fitted.expert - fitted.random)
  np.testing.assert_allclose(found.weights * scale, weights, atol=1e-5)


def test_values_of_one_name_are_summed():
  names = ['a', 'b', 'a', 'c', 'b']
  assert reflection.distinct(names) == ('a', 'b', 'c')
  summed = reflection.by_name(names, [1.0, 2.0, 3.0, 4.0, 5.0])
  np.testing.assert_array_equal(summed, [4, 7, 4])


@pytest.fixture(scope='module')
def ones(make_config, tmp_path_factory):
  """All eight blocks of one layer: an expert, and the others asked for."""
  path = tmp_path_factory.mktemp('ones') / 'expert.json'
  path.write_text(json.dumps({'genotype': '(1, Conv, 3, 0, 0)(2, Terminal)'}))
  config = _light(make_config({'space.num_layers': 1, 'expert': str(path)}))
  kinds = ['SepConv, 1', 'SepConv, 5', 'Identity, 0']
  kinds += [f'{name}Pool, {k}' for name in ('Max', 'Avg') for k in (1, 3)]
  codes = [f'(1, {kind}, 0, 0)(2, Terminal)' for kind in kinds]
  return reflection.reflect(config, codes)


def test_no_copy_of_the_expert_is_the_best_random_block(ones):
  """Of 64 blocks of one layer, about eight are."""
  expert, random, *others = ones.blocks
  assert graph.digest(random.graph) != graph.digest(expert.graph)
  best = max(block.seen.score for block in others)
  assert random.seen.score == pytest.approx(best, abs=1e-4)
  assert random.seen.score < expert.seen.score


def test_ranks_are_shares_of_the_blocks_of_a_length(ones):
  """Of eight blocks, each as likely."""
  scores = np.array([b.seen.score for b in ones.blocks if b.name[0] != 'B'])
  assert len(scores) == 8
  for block in ones.blocks:
    more = (scores > block.seen.score + 1e-4).mean()
    assert block.above == pytest.approx(more, abs=0.04)
  assert ones.blocks[0].above == 0


@pytest.fixture(scope='module')
def longer(make_config, tmp_path_factory):
  """By an expert of seven layers in a space of three; blocks from files."""
  folder = tmp_path_factory.mktemp('longer')
  paths = [folder / name / 'best.json' for name in ('a', 'b', 'c/a')]
  for path in paths:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'genotype': POOLS}))
  config = _light(make_config({'expert': 'inception'}))
  return reflection.reflect(config, [str(path) for path in paths])


def test_an_expert_longer_than_the_space_has_no_rank(longer):
  """There are no random blocks to rank it among; it is shown all the same."""
  expert = longer.blocks[0]
  assert np.isnan(expert.above) and expert.num_layers == 7
  assert expert.seen.score == pytest.approx(1.0, abs=1e-4)
  assert expert.seen.shares.nodes[-1] != 0  # its outputs are joined


def test_files_are_named_by_folder_and_all_names_differ(longer):
  """Many searches' blocks are called best.json."""
  names = [block.name for block in longer.blocks[2:]]
  assert names == ['a/best', 'b/best', 'a/best (2)']


CHAIN = ''.join(f'({i}, SepConv, 3, {i - 1}, 0)' for i in range(1, 6))


@pytest.mark.parametrize(
  'changes, genotype, words',
  [
    (
      {},
      f'{CHAIN}(6, Terminal)',
      ['block 1', '5 layers', 'has 3', '--config.space.num_layers=5'],
    ),
    ({}, 'inception', ['inception', '7 layers', 'num_layers=7']),
    (
      {},
      '(1, Conv, 3, 0, 0)(2, Terminal)',
      ['block 1', 'Layer 1', 'Conv', 'space.operations'],
    ),
    ({}, '(1, Conv, 3, 0, 0)', ['block 1', 'No terminal']),
    ({}, 'resnxt', ["'resnxt'", 'no such file', 'resnext']),
    ({}, 'none(1).json', ["'none(1).json'", 'no such file']),
    ({'expert': 'nonesuch'}, 'resnet', ["'nonesuch'", 'densenet']),
    ({'space.num_layers': 0}, 'resnet', ['space.num_layers is 0']),
    ({'reward.name': 'nonesuch'}, 'resnet', ['reward.name', 'irlas']),
  ],
)
def test_what_cannot_be_shown_is_refused_before_any_work(
  make_config, monkeypatch, changes, genotype, words
):
  """The name of the block and the remedy, in one line."""

  def never(*_):
    raise AssertionError('it was fitted')

  monkeypatch.setattr(objectives.mirror_stimuli, 'fit', never)
  with pytest.raises(ValueError) as error:
    reflection.reflect(make_config(changes), [genotype])
  assert all(word in str(error.value) for word in words), error.value
  assert '\n' not in str(error.value)


def test_a_reward_without_a_mirror_is_refused(make_config):
  config = make_config() | {'reward': {'name': 'accuracy'}}
  with pytest.raises(sections.ConfigError, match="'accuracy'.*choose irlas"):
    reflection.reflect(config)


@pytest.mark.parametrize('section', ['seed', 'space', 'expert', 'reward'])
def test_a_missing_section_is_named(make_config, section):
  """A config of a full training has no space."""
  config = make_config()
  del config[section]
  with pytest.raises(sections.ConfigError, match=section):
    reflection.reflect(config)
