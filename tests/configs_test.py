"""Every config of the repository, as far as it goes without its hours."""

import functools
import importlib
import os
import pathlib
import tempfile

import pytest

import configs
from irlas_jax import (
  claim_rows,
  claims,
  classifiers,
  comparison,
  compression_settings,
  experiment,
  full_training,
  graph,
  language_models,
  reflection,
  tabular,
)
from irlas_jax.training import recipe as recipes
from irlas_jax.training import sources

pytestmark = pytest.mark.usefixtures('quick_compiles')

FOLDER = pathlib.Path(configs.__file__).parent
NAMES = sorted(
  p.relative_to(FOLDER).with_suffix('').as_posix()
  for p in FOLDER.rglob('*.py')
  if p.stem != '__init__'
)
# What takes long is made small; what is checked is that every field binds.
SMALL = {'train_size': 300, 'valid_size': 300}


def _module(name):
  return importlib.import_module(f'configs.{name.replace("/", ".")}')


def _config(name):
  return _module(name).get_config().lock().to_dict()


def _kind(name):
  """The script that runs it."""
  config = _config(name)
  if 'oneshot' in config:
    return 'oneshot'
  if 'arms' in config or 'rows' in config:
    return 'table'
  if 'removal' in config:
    return 'compress'
  return next((k for k in ('search', 'train') if k in config), 'mirror')


def _stages(config):
  """The config of the search, and that of its full training if it has one."""
  final = config.get('retrain')
  return [config, config | final] if final else [config]


COMPRESSIONS = [name for name in NAMES if _kind(name) == 'compress']
SEARCHES = [name for name in NAMES if _kind(name) == 'search']
# A whole network on a stream of images; tests/launch trains it.
STREAMED = [name for name in NAMES if 'stream' in _config(name)]
# Of language models.
TEXTS = [name for name in NAMES if 'text' in _config(name)]
TRAININGS = [
  name
  for name in NAMES
  if _kind(name) in ('search', 'train') and name not in STREAMED + TEXTS
]
# One's own table is made by the reference's example, and tested with it.
OWN = 'own_table'
STUDIES = [name for name in NAMES if 'arms' in _config(name) and name != OWN]
CLAIMS = sorted(_config('claims')['rows'])
# Papers' tables: their full trainings are checked like those of a search.
TABLES = [
  (name, row)
  for name in NAMES
  if name != 'claims'
  for row in sorted(_config(name).get('rows', ()))
]


def _small(config):
  """The config on 300 digits, whose images have 8x8 pixels.

  Of a language model, on 2,000 words and with few units.
  """
  if 'text' in config:
    return config | {
      'dataset': _a_text().name,
      'network': config['network'] | {'units': 4},
      'text': config['text'] | {'num_words': 100},
    }
  config = config | {'dataset': 'digits', 'data_dir': None, 'data': SMALL}
  if config.get('reward', {}).get('name') == 'irlas':
    config['reward'] = config['reward'] | {'num_rollouts': 64}
  return config


@functools.cache
def _a_text():
  """A folder with a text of 2,000 words for each split; gone at the end."""
  folder = tempfile.TemporaryDirectory()
  for split in ('train', 'valid', 'test'):
    path = pathlib.Path(folder.name) / f'{split}.txt'
    path.write_text('one two three\n' * 500)
  return folder


@pytest.mark.parametrize('name', NAMES)
def test_docstring_has_the_command(name):
  """A config that nobody knows how to run is not run."""
  text = _module(name).__doc__
  command = f'python -m launch.{_kind(name)} '
  assert command in text
  words = text[text.index(command) :].replace('\\\n', ' ').split()
  assert f'--config=configs/{name}.py' in words
  assert any(word.startswith('--workdir=') for word in words) or (
    _kind(name) == 'train' and any('--genotype=' in word for word in words)
  )


@pytest.mark.parametrize('name', TRAININGS)
def test_sections_have_the_fields_that_their_parts_take(name):
  """A field that nobody reads, or a value out of range."""
  config = _small(_config(name))
  dataset = classifiers.load_data(config)
  shape = dataset.train.images.shape[1:]
  assert set(config.get('retrain', {})) <= set(config)
  for stage in _stages(config):
    assert classifiers.make_macro(stage['network'], shape).widths
    recipe = classifiers.make_recipe(stage['train'])
    recipes.check(recipe, SMALL['train_size'])


@pytest.mark.parametrize('name', TEXTS)
def test_sections_of_a_language_model_have_the_fields_of_their_parts(name):
  config = _small(_config(name))
  assert set(config.get('retrain', {})) <= set(config)
  for stage in _stages(config):
    assert language_models.make_sizes(stage['network']).units
    text = language_models.load_text(stage)
    assert language_models.make_recipe(stage['train'], text).epochs
    genotype = None if 'name' in stage['network'] else 'any'
    language_models.check_network(stage, genotype)


@pytest.mark.parametrize('name', SEARCHES)
def test_a_search_can_be_built_by_any_searcher(name):
  """Only the name is to be changed for a baseline."""
  config = _small(_config(name))
  parts = experiment.build(config)
  learns = config['reward']['name'] == 'irlas'
  assert (parts.mirror is not None) == learns
  assert parts.num_iterations * parts.batch >= config['search']['num_proposals']
  if learns:
    assert graph.size(parts.expert) <= parts.kind.space.num_steps + 1, (
      'the expert is no child of this space, so the report has no row for it'
    )
  plain = config | {'reward': {'name': 'accuracy'}}
  for searcher in experiment.SEARCHERS:
    named = config['searcher'] | {'name': searcher}
    experiment.build(plain | {'searcher': named})


@pytest.mark.parametrize('name', COMPRESSIONS)
def test_a_compression_could_begin(name):
  config = _small(_config(name))
  config['space'] = config['space'] | {'image_size': 8}
  assert compression_settings.check(config).text.startswith('C(')


@pytest.fixture
def one_arm(monkeypatch):
  """Of a study the first search is run, and stands for all others.

  Every arm is built and traced; to compile them all takes minutes.
  """
  make, first = tabular._program, []

  def program(family, population):
    def searches(items):
      if not first:
        first.append(make(family, population)(items)[0])
      return first * len(items)

    return searches

  monkeypatch.setattr(tabular, '_program', program)


@pytest.mark.usefixtures('one_arm')
@pytest.mark.parametrize('name', STUDIES)
def test_the_arms_of_a_study_can_be_run(name, tmp_path):
  """A field of an arm or of the report that is wrong would be seen late."""
  if 'IRLAS_DATA_DIR' not in os.environ:
    pytest.skip('tables are looked for in IRLAS_DATA_DIR')
  config = _config(name)
  few = {'num_proposals': 4 * config['search']['batch']}
  config['search'] = {'batch': config['search']['batch']} | few
  config['seeds'] = 2
  study = tabular.run(config, tmp_path)
  summary = comparison.summarise(study)
  assert set(summary.curves) == set(study.arms)
  assert len(summary.differences) == len(config['report']['comparisons'])


@pytest.mark.parametrize('name', CLAIMS)
def test_the_arms_of_a_claim_can_be_built(name, monkeypatch):
  """And all rows have what the claim is about beside random search."""
  monkeypatch.chdir(FOLDER.parent)
  (row,) = claim_rows.read(_config('claims'), [name])
  assert row.seeds >= 5 and row.retrain >= 3 and row.claim and row.source
  assert row.arm in row.arms and row.arm != 'random'
  if row.method != 'search':
    assert claims.PREPARED[row.method](row)
    return
  assert row.arms['random']['searcher']['name'] == 'random'
  for config in row.arms.values():
    assert experiment.build(_small(config)).num_iterations > 1


@pytest.mark.parametrize('name, row', TABLES)
def test_the_arms_of_a_table_can_be_built_and_trained_fully(
  name, row, monkeypatch
):
  monkeypatch.chdir(FOLDER.parent)
  (found,) = claim_rows.read(_config(name), [row])
  assert found.final and found.published and found.source
  for config in found.arms.values():
    small = _small(config)
    assert experiment.build(small).num_iterations > 1
    final = small | {k: v for k, v in config['retrain'].items() if k != 'data'}
    full_training.check(_small(final))


def _steps(config):
  """Of training, of all children or of all that a hypernetwork weighs."""
  train, evaluator = config['train'], config['evaluator']
  steps = config['data']['train_size'] // train['batch_size'] * train['epochs']
  if evaluator['name'] == 'ghn':
    return steps * evaluator['ghn']['meta_batch']
  return steps * config['search']['num_proposals']


def test_equal_budgets_of_a_claim(monkeypatch):
  """What is compared with random search has as many proposals."""
  monkeypatch.chdir(FOLDER.parent)
  for row in claim_rows.read(_config('claims')):
    ours, theirs = (row.arms[name] for name in (row.arm, 'random'))
    if row.method != 'search':
      assert ours['train'] == theirs['train'], row.name
    elif ours['evaluator'] == theirs['evaluator']:
      assert ours['search'] == theirs['search'], row.name
    else:  # a hypernetwork's steps of so many blocks, or children's steps
      assert _steps(ours) == _steps(theirs), row.name


def test_the_mirror_of_its_own_config_can_be_shown():
  """That of a search's config is built as the search builds it."""
  config = _config('mirror')
  config['reward'] |= {'num_rollouts': 64}
  found = reflection.reflect(config)
  assert found.blocks[0].seen.score == pytest.approx(1.0)


@pytest.fixture(scope='module')
def read_once():
  """Reading CIFAR-10 takes ten seconds."""
  with pytest.MonkeyPatch.context() as patch:
    cached = functools.cache(sources.read_tfds)
    patch.setattr(sources, 'read_tfds', cached)
    yield


@pytest.mark.usefixtures('read_once')
@pytest.mark.parametrize('name', TRAININGS)
def test_its_own_data_fit_its_sizes(name):
  """Sizes that ask for more images than there are end a run at its start."""
  config = _config(name)
  if config['dataset'] != 'digits' and 'IRLAS_DATA_DIR' not in os.environ:
    pytest.skip(f'{config["dataset"]} is looked for in IRLAS_DATA_DIR')
  for stage in _stages(config):
    dataset = classifiers.load_data(stage)
    sizes = stage['data']
    assert len(dataset.train.labels) == sizes['train_size']
    assert len(dataset.valid.labels) == sizes['valid_size']
    shape = dataset.train.images.shape[1:]
    classifiers.make_macro(stage['network'], shape)
    recipe = classifiers.make_recipe(stage['train'])
    recipes.check(recipe, sizes['train_size'])
