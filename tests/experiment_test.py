"""From a config to the parts: every name works, every mistake is named."""

import functools

import jax
import numpy as np
import pytest

from irlas_jax import (
  classifiers,
  devices,
  experiment,
  graph,
  kinds,
  objectives,
  search,
  sections,
)
from irlas_jax.policies import sampling
from irlas_jax.spaces import block
from irlas_jax.training import recipe as recipes
from irlas_jax.types import OK, Graph, Scores

pytestmark = pytest.mark.usefixtures('quick_compiles')

# Without an expert's features to fit, parts are made in no time.
PLAIN = {'reward': {'name': 'accuracy'}}


def _refused(config, *words):
  with pytest.raises(ValueError) as error:
    experiment.build(config)
  text = str(error.value)
  assert all(word in text for word in words), text
  assert '\n' not in text


@pytest.mark.parametrize(
  'field, words',
  [
    ('space.name', ['space.name', 'block']),
    ('space.operations', ['space.operations', 'dense, separable']),
    (
      'searcher.name',
      ['searcher.name', 'q_learning, reinforce, ppo, random, evolution'],
    ),
    ('reward.name', ['reward.name', 'accuracy, cost, irlas, block_qnn']),
    (
      'reward.learner.name',
      [
        'reward.learner.name',
        'projection, max_margin, max_entropy, contrastive',
        'structured_margin',
        'mean_difference, cosine',
      ],
    ),
    ('evaluator.name', ['evaluator.name', 'trained']),
    ('expert', ['resnet, resnet_bottleneck, resnext', 'a JSON file']),
    ('dataset', ['digits', '.npz', 'TFDS']),
  ],
)
def test_an_unknown_name_is_refused_with_the_names_there_are(
  make_config, field, words
):
  """A typing error must not cost a search, nor a look into the code."""
  config = make_config({field: 'nonesuch'})
  _refused(config, "'nonesuch'", *words)


@pytest.mark.parametrize(
  'section, words',
  [
    ('space', ['num_layers, operations']),
    ('searcher', ["no field of 'q_learning'", 'step_size', 'epsilon_scale']),
    ('reward', ["no field of 'irlas'", 'mirror, learner, features']),
    (
      'reward.learner',
      ["no field of 'max_margin'", 'num_iterations, tolerance'],
    ),
    (
      'reward.features',
      ['does not exist', 'resolutions, tables, discount, normalised'],
    ),
    ('evaluator', ["no field of 'trained'", 'population']),
    ('network', ['width, num_stages, blocks_per_stage']),
    ('train', ['epochs', 'learning_rate', 'cutout']),
    ('data', ['train_size, valid_size', 'image_size']),
  ],
)
def test_a_wrong_field_is_refused_with_the_fields_there_are(
  make_config, section, words
):
  """A field that nobody reads would be believed to do something."""
  config = make_config()
  config['reward'].setdefault('features', {})
  functools.reduce(dict.get, section.split('.'), config)['miror'] = 1
  _refused(config, f'{section}.miror', *words)


def test_a_choice_without_fields_says_so(make_config):
  """An empty list of fields reads like a bug."""
  config = make_config()
  config['searcher'] = {'name': 'random', 'step_size': 1.0}
  _refused(config, "searcher.step_size is no field of 'random'", 'none')


@pytest.mark.parametrize(
  'section, field',
  [
    ('space', 'num_layers'),
    ('reward', 'mirror'),
    ('network', 'width'),
  ],
)
def test_a_field_without_a_default_is_asked_for(make_config, section, field):
  """Python's own words name an argument of a private function."""
  config = make_config()
  del config[section][field]
  _refused(config, f'{section}.{field} is missing')


@pytest.mark.parametrize(
  'section',
  [
    'seed',
    'space',
    'search',
    'searcher',
    'evaluator',
    'network',
    'train',
    'reward',
    'dataset',
    'data',
    'data_dir',
  ],
)
def test_a_section_that_is_not_there_is_named(make_config, section):
  """A KeyError tells nobody that a config is meant."""
  config = make_config() | PLAIN
  del config[section]
  _refused(config, f"The config has no '{section}'")


def test_a_mirror_without_an_expert_is_refused(make_config):
  """Only this reward needs one."""
  config = make_config()
  del config['expert']
  _refused(config, "no 'expert'", 'reward.name=accuracy')


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('search.batch', 0, ['at least 1']),
    ('search.batch', -4, ['at least 1']),
    ('search.num_proposals', 0, ['at least 1']),
    ('space.num_layers', 24, ['1 to 23']),
    ('data.valid_size', 0, ['at least 1']),
    ('data.train_size', 2000, ['1297 images']),
    ('network.width', 0, ['at least 1']),
    ('network.blocks_per_stage', 0, ['at least 1']),
    ('network.num_stages', 0, ['at least 1']),
    ('network.num_stages', 5, ['8x8 pixels allow 4']),
    ('evaluator.population', -1, ['multiple']),
    ('train.epochs', 0, ['at least 1']),
    ('train.evaluations', 3, ['divide']),
    ('train.batch_size', 51, ['50']),
  ],
)
def test_a_number_that_makes_no_sense_is_refused(
  make_config, field, value, words
):
  """It would fail deep inside, or train networks of nothing."""
  # The last part of `data.train_size` is the name by which data.py knows it.
  config = make_config({field: value}) | PLAIN
  _refused(config, field.removeprefix('data.'), str(value), *words)


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('resolutions', ('kind', 'colour'), ['family, operation, kind']),
    ('tables', ('nodes', 'colours'), ['nodes, fan_out, fan_in, depths, reads']),
  ],
)
def test_features_that_do_not_exist_are_refused_with_those_that_do(
  make_config, field, value, words
):
  """They are lists, of which one entry may be mistyped."""
  config = make_config()
  config['reward']['features'] = {field: value}
  _refused(config, f'features.{field} has {value[1]!r}', *words)


def test_a_name_where_a_section_belongs_is_refused(make_config):
  """It was a name once; Python's own words name nothing."""
  config = make_config()
  config['reward']['learner'] = 'max_margin'
  _refused(config, "reward.learner is 'max_margin'", 'section', 'projection')


def test_rollouts_are_counted_before_they_are_drawn(make_config):
  """The best of no rollouts is an error of NumPy."""
  config = make_config({'reward.num_rollouts': 0})
  _refused(config, 'reward.num_rollouts is 0', 'at least 1')


def test_images_are_halved_between_stages_down_to_one_pixel():
  """A stage of no pixels gives NaN and no error."""
  section = {'width': 2, 'num_stages': 4, 'blocks_per_stage': 1}
  macro = classifiers.make_macro(section, (8, 9, 1))
  assert macro.widths == (2, 4, 8, 16)
  for sides in ((7, 64), (64, 7)):
    with pytest.raises(sections.ConfigError, match='allow 3'):
      classifiers.make_macro(section, (*sides, 1))


def test_a_choice_takes_common_fields_and_its_own_subsection():
  """Changing a name alone must not need other changes of the config."""
  table = {
    'one': sections.Choice(lambda **fields: ('one', fields), ('a', 'b')),
    'two': sections.Choice(lambda **fields: ('two', fields), ('a', 'c')),
  }
  section = {'name': 'one', 'a': 1, 'one': {'b': 2}, 'two': {'c': 3}}
  make = functools.partial(sections.choose, section='s', table=table)
  assert make({'s': section})() == ('one', {'a': 1, 'b': 2})
  assert make({'s': section | {'name': 'two'}})() == ('two', {'a': 1, 'c': 3})
  both = section | {'a': 1, 'one': {'a': 5}}
  assert make({'s': both})() == ('one', {'a': 5})  # its own come first


def _tree_sizes(section):
  """The shapes of a searcher's parameters on blocks of two layers."""
  kind = kinds.SPACES['block'].make(2, 'separable')
  searcher = experiment.make_searcher({'searcher': section}, kind)
  params = jax.eval_shape(searcher.init, jax.random.key(0)).params
  return jax.tree.map(lambda leaf: leaf.shape, params), kind.space


@pytest.mark.parametrize('name', ['reinforce', 'ppo'])
def test_a_policy_has_the_sizes_of_its_section(name):
  """Whichever searcher it is for; arms may name another and leave the sizes."""
  policy = {'name': 'lstm', 'lstm': {'hidden': 7, 'layers': 2}}
  own = {'learning_rate': 0.1, 'policy': policy}
  sizes, space = _tree_sizes({'name': name, name: own})
  assert sizes['Embed_0']['embedding'] == (space.num_actions + 1, 7)
  assert 'OptimizedLSTMCell_1' in sizes
  own['policy'] = policy | {'name': 'free_logits'}
  sizes, _ = _tree_sizes({'name': name, name: own})
  assert sizes == (2, space.num_actions)


def test_without_a_policy_each_searcher_has_its_own():
  """Free logits, and the controller of NASNet."""
  sizes, space = _tree_sizes({'name': 'reinforce', 'learning_rate': 0.1})
  assert sizes == (2, space.num_actions)
  sizes, _ = _tree_sizes({'name': 'ppo'})
  assert sizes['Embed_0']['embedding'] == (space.num_actions + 1, 100)
  assert 'OptimizedLSTMCell_1' not in sizes


@pytest.mark.parametrize(
  'policy, words',
  [
    ({'name': 'gru'}, ["policy.name is 'gru'", 'free_logits, lstm']),
    ({'name': 'lstm', 'hiden': 3}, ['policy.hiden', 'hidden, layers']),
    ({'name': 'free_logits', 'hidden': 3}, ['policy.hidden', 'none']),
    ({'name': 'lstm', 'hidden': 0}, ['hidden=0', 'at least 1']),
    ('lstm', ["policy is 'lstm'", 'section']),
  ],
)
def test_a_policy_that_cannot_be_is_refused(make_config, policy, words):
  config = make_config({'searcher.name': 'reinforce'}) | PLAIN
  config['searcher']['policy'] = policy
  _refused(config, *words)


@pytest.mark.parametrize(
  'name, field',
  [
    ('reinforce', 'learning_rate'),
    ('reinforce', 'weight_clip'),
    ('ppo', 'learning_rate'),
    ('ppo', 'clip'),
  ],
)
def test_what_is_swept_may_be_traced(name, field):
  """Studies compile one program for all values of such a field."""
  kind = kinds.SPACES['block'].make(2, 'separable')
  policy = {'name': 'lstm', 'hidden': 2, 'layers': 1}

  def one_iteration(value):
    own = {'learning_rate': 0.1, 'policy': policy} | {field: value}
    section = {'name': name, name: own}
    searcher = experiment.make_searcher({'searcher': section}, kind)
    state = searcher.init(jax.random.key(0))
    proposals, state = searcher.propose(jax.random.key(1), state, 2)
    rewards, valid = np.zeros(2, np.float32), np.ones(2, bool)
    key = jax.random.key(2)
    return searcher.update(key, state, proposals, rewards, valid).updates

  assert jax.eval_shape(one_iteration, np.float32(0.5)).shape == ()


def test_recipe_defaults_fill_what_a_config_leaves_out():
  """A short config would be refused, or half of it ignored."""
  recipe = classifiers.make_recipe({'epochs': 3, 'optimizer': 'adam'})
  assert recipe == recipes.Recipe(epochs=3, optimizer='adam')


@pytest.fixture(scope='module')
def dataset(make_config):
  return classifiers.load_data(make_config())


@pytest.mark.parametrize(
  'field, value',
  [
    ('seed', 1),
    ('space.operations', 'dense'),
    ('space.num_layers', 2),
    ('data.valid_size', 51),
    ('network.width', 5),
    ('train.learning_rate', 0.2),
  ],
)
def test_all_that_a_score_depends_on_is_in_its_settings(
  make_config, dataset, field, value
):
  """The ledger would answer with a score of another config."""
  config, other = make_config(), make_config({field: value})
  settings = functools.partial(classifiers.score_settings, dataset=dataset)
  assert settings(other) != settings(config)


@pytest.mark.parametrize(
  'field, value',
  [
    ('data_dir', '/elsewhere'),
    ('search.num_proposals', 999),
    ('searcher.name', 'random'),
    ('expert', 'resnext'),
    ('reward.mirror', 0.0),
    ('evaluator.population', 8),
    ('retrain.train.epochs', 9),
  ],
)
def test_what_no_score_depends_on_is_not_in_its_settings(
  make_config, dataset, field, value
):
  """Children would be trained again for a change that is not theirs."""
  config, other = make_config(), make_config({field: value})
  settings = functools.partial(classifiers.score_settings, dataset=dataset)
  assert settings(other) == settings(config)


@pytest.mark.parametrize(
  'split, counts', [('train', True), ('valid', True), ('test', False)]
)
def test_the_images_that_a_child_sees_are_in_its_settings(
  make_config, dataset, split, counts
):
  """A file of the same name may hold other images tomorrow."""
  images, labels = getattr(dataset, split)
  images = images.copy()
  images[0, 0, 0] += 0.5
  other = dataset._replace(**{split: type(dataset.test)(images, labels)})
  settings = functools.partial(classifiers.score_settings, make_config())
  assert (settings(other) != settings(dataset)) == counts


def test_the_parts_are_what_the_config_says(make_config):
  """A section that is read and not used changes nothing."""
  changes = {
    'search.num_proposals': 13,
    'space.num_layers': 2,
    'train.epochs': 6,
    'train.evaluations': 3,
    'evaluator.population': 2,
  }
  parts = experiment.build(make_config(changes) | PLAIN)
  assert isinstance(parts.problem, search.Problem)
  assert (parts.num_iterations, parts.batch) == (4, 4)  # 13 rounded up
  assert parts.kind.space.num_steps == 2
  assert parts.problem.fidelity == {'epochs': 6}
  assert parts.problem.num_evaluations == 3
  assert parts.problem.population == 2
  assert parts.mirror is None
  assert graph.size(parts.expert) == 4  # the input and three layers


def test_a_population_of_zero_is_one_child_a_device(make_config):
  """The default has to fit whatever the machine has."""
  config = make_config({'evaluator.population': 0}) | PLAIN
  assert experiment.build(config).problem.population == devices.count()


def _one(accuracy, architecture):
  """Scores and a batch of one architecture."""
  value = np.array([accuracy], np.float32)
  code = np.zeros(1, np.int32)
  scores = Scores(*[value] * 7, value[:, None], code, code + OK)
  return scores, Graph(*(np.asarray(field)[None] for field in architecture))


@pytest.fixture(scope='module')
def kind(make_config):
  """The block space of three layers and what is known of its graphs."""
  return sections.choose(make_config(), 'space', kinds.SPACES)()


def test_features_are_those_of_the_section(kind):
  """A field that is read and not used changes nothing."""
  section = {'resolutions': ('operation',), 'tables': ('nodes', 'depths')}
  operations = ['input', 'avg_pool', 'max_pool', 'identity', 'sep_conv']
  fields = {'discount': 0.25, 'normalised': False}
  chain = kind.parse('(1, SepConv, 3, 0, 0)(2, MaxPool, 3, 1, 0)(3, Terminal)')
  for more, discount in (({}, 0.8), (fields, 0.25)):
    phi = objectives.make_features(kind, section | more)
    assert {*phi.names[:7]} == {*operations, 'add', 'concat'}
    assert len(phi.names) == 7 + 7 * 3
    mu = jax.jit(phi.counts)(chain)
    first, second = (mu[phi.names.index(x)] for x in ('sep_conv', 'max_pool'))
    assert second / first == pytest.approx(discount)
  assert first == 1


def test_every_layer_of_the_space_has_a_name_at_every_resolution(kind):
  """A node without a label is not seen; the join is a node as well."""
  section = {'tables': ('nodes',), 'normalised': False}
  counts = jax.vmap(objectives.make_features(kind, section).counts)
  choices = block.choices(kind.space.num_steps, 'separable')
  made = sorted({(choice.operation, choice.kernel) for choice in choices})
  layers = [_single(*layer) for layer in made]
  mu = jax.jit(counts)(jax.tree.map(lambda *x: np.stack(x), *layers))
  sizes = [len(labels.names) for labels in kind.resolutions.values()]
  for part in np.split(mu, np.cumsum(sizes)[:-1], axis=1):
    np.testing.assert_array_equal(part.sum(1), 1)
  assert len(set(part.argmax(1).tolist())) == len(layers)  # kinds come last
  assert kind.join == kind.space.operations.index('concat')


def _single(operation, kernel):
  """A block of one layer, which reads the input."""
  ops = np.array([0, block.OPERATIONS.index(operation)], np.int32)
  attrs = np.array([[0], [kernel]], np.int32)
  edges = np.array([[False, True], [False, False]])
  return Graph(ops, attrs, edges, np.array([0, 1], np.int8))


def test_features_of_the_same_name_are_the_same(kind):
  """Some labels come at several resolutions; names would mislead."""
  phi = objectives.make_features(kind, {})
  actions = sampling.uniform_lengths(jax.random.key(0), kind.space, 200)
  counts = jax.jit(jax.vmap(lambda x: phi.counts(kind.space.decode(x))))
  named = {}
  for name, column in zip(
    phi.names, np.asarray(counts(actions)).T, strict=True
  ):
    np.testing.assert_array_equal(named.setdefault(name, column), column)
  assert len(named) < len(phi.names)


def test_rollouts_have_all_lengths(make_config):
  """Drawn step by step, nearly all of them are as long as can be."""
  parts = experiment.build(make_config({'reward.num_rollouts': 300}))
  lengths = (parts.mirror.rollouts.ops > 0).sum(1)
  shares = np.bincount(lengths) / 300
  np.testing.assert_allclose(shares, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.08)


def test_the_mirror_is_learnt_as_the_config_says(make_config):
  """Sections within a section are easily left out."""
  config = make_config()
  config['reward'] |= {
    'learner': {'name': 'projection', 'projection': {'num_iterations': 3}},
    'features': {'resolutions': ('kind',), 'tables': ('reads',)},
  }
  mirror = experiment.build(config).mirror
  assert mirror.fitted.trace.shape == (3,)
  assert len(mirror.fitted.weights) == len(mirror.features.names)
  assert all(' -> ' in name for name in mirror.features.names)
  assert 'input -> sep_conv 3' in mirror.features.names


@pytest.mark.parametrize('learner', list(objectives.LEARNERS))
def test_likeness_to_the_expert_is_worth_mirror_points(make_config, learner):
  """The weight of a config would have no unit, or another learner none."""
  changes = {'reward.mirror': 3.0, 'reward.learner.name': learner}
  parts = experiment.build(make_config(changes))
  expert = graph.resize(parts.expert, 4)
  (reward,) = parts.problem.reward(*_one(0.5, expert))
  assert reward == pytest.approx(53.0, abs=1e-3)


def test_a_mirror_of_zero_is_the_reward_without_an_expert(make_config):
  """The ablation has to differ from the method in nothing else."""
  parts = experiment.build(make_config({'reward.mirror': 0.0}))
  expert = graph.resize(parts.expert, 4)
  (reward,) = parts.problem.reward(*_one(0.5, expert))
  assert reward == pytest.approx(50.0, abs=1e-5)


def test_seeds_change_every_random_choice_and_nothing_else_does(make_config):
  """Two seeds that share rollouts or proposals are not two experiments."""

  def keys(seed):
    parts = experiment.build(make_config({'seed': seed}))
    child = parts.problem.evaluate.args[0]
    data = [jax.random.key_data(k).tolist() for k in (parts.key, child)]
    return [*data, parts.mirror.fitted.weights.tolist()]

  first, again, other = keys(0), keys(0), keys(1)
  assert first == again
  assert all(a != b for a, b in zip(first, other, strict=True))
  assert first[0] != first[1]
