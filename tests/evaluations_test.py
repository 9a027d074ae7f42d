"""Evaluators of a config: which table, which rows; latencies of children."""

import pathlib

import jax
import numpy as np
import pytest

from irlas_jax import (
  classifiers,
  evaluations,
  experiment,
  kinds,
  runs,
  sections,
)
from irlas_jax.evaluators import child_latency, latency, trained
from irlas_jax.networks import block as networks
from irlas_jax.policies import sampling
from irlas_jax.tables import table as tables
from irlas_jax.types import ABSENT, OK, Proposals, Scores

pytestmark = pytest.mark.usefixtures('quick_compiles')
SIZES = (3, 2)
ACTIONS = np.array([[2, 1], [0, 0], [1, 0], [0, 1]], np.int32)
CHOICES = kinds.SPACES['choices'].make(SIZES)


def write(path, **changes):
  """Four of six cells: accuracies, two counts and times."""
  arrays = {
    'choices': np.array(SIZES),
    'actions': ACTIONS,
    'metrics': np.array(['valid', 'late', 'size', 'work', 'time', 'delay']),
    'units': np.array(
      ['percent', 'percent', 'parameters', 'multiply-adds', 's', 's']
    ),
    'values': np.arange(24.0).reshape(4, 6) + 1,
  }
  np.savez(path, **arrays | changes)


@pytest.fixture(name='folder', scope='module')
def fixture_folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('tables')
  write(folder / 'own.npz')
  return folder


def make(folder, kind=CHOICES, **fields):
  section = {'name': 'table', 'file': 'own.npz', 'accuracy': 'valid'} | fields
  config = {
    'evaluator': {k: v for k, v in section.items() if v is not None},
    'data_dir': str(folder),
    'search': {'batch': 3},
  }
  return evaluations.make(config, kind)


@pytest.fixture(name='whole', scope='module')
def fixture_whole(folder, quick_compiles):
  """All columns that a table can give."""
  return make(
    folder, params='size', madds='work', seconds='time', latency='delay'
  )


def test_every_column_is_where_it_belongs(whole):
  """Rows [1, 7, 13, 19] and on, in units of the contract."""
  scores = jax.tree.map(
    lambda column: np.asarray(column)[:4], whole.rows.scores
  )
  first = np.array([1.0, 7, 13, 19])
  np.testing.assert_allclose(scores.accuracy, first / 100)
  for name, place in (
    ('params', 2), ('madds', 3), ('seconds', 4), ('latency', 5)
  ):  # fmt: skip
    np.testing.assert_allclose(getattr(scores, name), first + place)
  assert np.isnan(scores.loss).all()
  assert whole.table.metrics['late'].values.shape == (4,)


def test_the_evaluator_answers_with_a_cells_own_row(whole):
  asked = np.array([[1, 0], [2, 0], [2, 1]])  # rows 2, none, 0
  found = whole.evaluate(
    jax.random.key(0), Proposals(asked, asked, ()), np.zeros(1)
  )
  assert found.failure.tolist() == [OK, ABSENT, OK]
  np.testing.assert_allclose(found.params, [15, np.nan, 3])
  assert whole.population == 3 and whole.num_evaluations == 1
  assert found.curve.shape == (3, 1)
  assert whole.prepare() is None


def test_graphs_are_those_of_the_rows(whole):
  encoded = jax.vmap(CHOICES.space.encode)(whole.rows.graphs)
  np.testing.assert_array_equal(encoded[:4], ACTIONS)


def test_what_a_score_depends_on_is_in_the_settings(folder, tmp_path, whole):
  """Two tables, or two columns of one, must not share an evaluation."""
  plain = make(folder)
  write(tmp_path / 'own.npz', values=np.arange(24.0).reshape(4, 6) + 2)
  others = [
    whole,
    make(folder, accuracy='late'),
    make(folder, seconds='time'),
    make(folder, seconds='delay'),
    make(folder, dataset='cifar100'),
    make(tmp_path),
  ]
  keys = [repr(one.settings) for one in (plain, *others)]
  assert len(set(keys)) == len(keys)
  write(tmp_path / 'own.npz')
  assert make(tmp_path).settings == plain.settings, 'the same file elsewhere'
  assert plain.fidelity != others[1].fidelity


def _refused(folder, words, kind=CHOICES, **fields):
  with pytest.raises(ValueError) as error:
    make(folder, kind, **fields)
  text = str(error.value)
  assert all(word in text for word in words), text
  assert '\n' not in text


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'accuracy': 'vald'}, ["'vald'", 'valid']),
    ({'params': 'sise'}, ["'sise'", 'size']),
    ({'accuracy': None}, ['evaluator.accuracy is missing']),
    ({'file': None}, ['evaluator.file is missing']),
    ({'loss': 'size'}, ['evaluator.loss', 'params', 'dataset']),
  ],
)
def test_a_wrong_field_is_refused(folder, fields, words):
  _refused(folder, words, **fields)


@pytest.mark.parametrize(
  'name, arguments',
  [
    ('choices', ((3, 3),)),
    ('choices', ((2, 3),)),
    ('choices', ((3, 2, 1),)),
    ('nasbench201', ()),
    ('nasbench101', (5, 6)),
    ('block', (2, 'separable')),
  ],
)
def test_a_table_of_another_space_is_refused(folder, name, arguments):
  """Its rows would be found by numbers that mean something else."""
  kind = kinds.SPACES[name].make(*arguments)
  _refused(folder, ['[3, 2]', 'space.name=choices', '(3, 2)'], kind)


def test_a_table_of_all_fives_is_no_matter_of_its_name(tmp_path):
  """NAS-Bench-201's cells can be a table of one's own."""
  write(
    tmp_path / 'own.npz',
    choices=np.full(6, 5),
    actions=np.eye(4, 6, dtype=int) * 4,
  )
  kind = kinds.SPACES['nasbench201'].make()
  rows = make(tmp_path, kind).rows
  assert int(rows.locate(np.array([0, 4, 0, 0, 0, 0]))) == 1
  assert int(rows.locate(np.zeros(6, np.int32))) == 4


# Input, one or two operations, output; the last two are the same cell.
CELLS = tables.GraphCells(
  np.array(
    [
      [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
      [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]],
    ],
    np.uint8,
  ),
  np.array([[-1, 1, -2, -3], [-1, 0, 2, -2]], np.int8),
)


@pytest.mark.parametrize('encoding', ['direct', 'steps'])
def test_a_cell_is_found_however_it_is_numbered(encoding):
  """Rows of graphs are found by what they are."""
  kind = kinds.SPACES['nasbench101'].make(4, 6, encoding)
  locate, graphs = evaluations._cells(
    kind, tables.Table(CELLS, {}), 'cells.npz'
  )
  assert graphs.ops.shape == (2, 4)
  texts = {
    'conv1x1 | 0-1 1-2': 0,
    'conv3x3 maxpool3x3 | 0-1 0-2 1-3 2-3': 1,
    'maxpool3x3 conv3x3 | 0-1 0-2 1-3 2-3': 1,
    'conv3x3 | 0-1 1-2': -1,
    '| 0-1': -1,
  }
  find = jax.jit(lambda graph: locate(kind.space.encode(graph)))
  found = {text: int(find(kind.parse(text))) for text in texts}
  assert found == texts


@pytest.mark.parametrize('name', ['nasbench201', 'choices'])
def test_graphs_are_refused_by_spaces_of_choices(name):
  arguments = {'choices': (SIZES,)}.get(name, ())
  kind = kinds.SPACES[name].make(*arguments)
  with pytest.raises(sections.ConfigError, match='space.name=nasbench101'):
    evaluations._cells(kind, tables.Table(CELLS, {}), 'cells.npz')


def test_a_file_is_looked_for_in_the_data_folder_first(tmp_path, monkeypatch):
  """Then where one stands; an absolute path is what it is."""
  data, here = tmp_path / 'data', tmp_path / 'here'
  for folder in (data, here):
    folder.mkdir()
    (folder / 'both.npz').touch()
  (here / 'mine.npz').touch()
  monkeypatch.chdir(here)
  monkeypatch.delenv('IRLAS_DATA_DIR', raising=False)
  find = evaluations.find_table
  assert find('both.npz', str(data)) == data / 'both.npz'
  assert find('mine.npz', str(data)) == pathlib.Path('mine.npz')
  assert find('both.npz', None) == pathlib.Path('both.npz')
  assert find(str(here / 'both.npz'), str(data)) == here / 'both.npz'
  monkeypatch.setenv('IRLAS_DATA_DIR', str(data))
  assert find('both.npz', None) == data / 'both.npz'
  assert find('both.npz', str(here)) == here / 'both.npz'
  monkeypatch.setenv('HOME', str(tmp_path))
  assert find('both.npz', '~/here') == here / 'both.npz'
  assert find('~/here/mine.npz', str(data)) == here / 'mine.npz'


def test_a_file_that_is_nowhere_says_how_to_name_it(folder):
  with pytest.raises(FileNotFoundError, match='nowhere.npz') as error:
    make(folder, file='nowhere.npz')
  assert 'evaluator.file' in str(error.value)


def test_what_a_table_does_not_say_is_known_to_be_unknown(folder, whole):
  """A reward made of it would be the floor everywhere."""
  assert set(make(folder).unknown) == {'params', 'madds', 'latency'}
  assert whole.unknown == ()


def _children(name, *arguments):
  kind = kinds.SPACES[name].make(*arguments)
  macro = networks.cifar(8, 2, 2)
  return kind, evaluations._children(kind, macro, 10, (8, 8, 3))


@pytest.mark.parametrize(
  'space',
  [('block', 5, 'separable'), ('nasbench201',)],
)
def test_no_architecture_has_a_piece_that_is_not_measured(space):
  """It would end a search in the middle."""
  kind, children = _children(*space)

  def pieces(graphs):
    found = (latency.pieces(children.module(g), (8, 8, 3)) for g in graphs)
    return {piece for one in found for piece in one}

  actions = sampling.uniform_lengths(jax.random.key(1), kind.space, 150)
  random = pieces(evaluations._decoded(kind.space, actions))
  assert len(random) > 12
  assert random <= pieces(children.covering())


def _check_measured(children):
  clock = child_latency.measured(children, calls=1)
  assert 0 < clock.seconds(children.sample()[0]) < 10


@pytest.mark.parametrize('space', [('block', 2, 'separable'), ('nasbench201',)])
def test_children_can_be_measured(space):
  """By what they compute; latencies are not of padded programs."""
  _check_measured(_children(*space)[1])


def test_children_of_unknown_pieces_can_only_be_measured(tmp_path):
  """And are refused before the search where they are to be predicted."""
  _, children = _children('nasbench101', 5, 6)
  _check_measured(children)
  with pytest.raises(
    ValueError, match='NasBench101Network are not known.*meas'
  ):
    child_latency.predicted(children, str(tmp_path / 'table.json'))


class Stop(BaseException):
  """Stands for whatever ends a process."""


@pytest.fixture(name='timed')
def fixture_timed(make_config, tmp_path, monkeypatch):
  """(fields of evaluator.latency) -> a config that is rewarded for latency."""
  monkeypatch.setattr(evaluations, 'SAMPLE', 1)
  table = {'name': 'predicted', 'file': str(tmp_path / 'table.json')}

  def config(**section):
    found = make_config({'searcher.name': 'random'})
    found['reward'] = {'name': 'cost', 'weight': 2.0, 'measure': 'latency'}
    found['evaluator']['latency'] = section or table | {'calls': 2}
    return found

  return config


def _check_rewards(trials):
  scores = [trial.scores for trial in trials]
  assert len({one['latency'] for one in scores}) > 2
  expected = [
    100 * one['accuracy'] - 2 * np.log2(one['latency'] / 1e-3) for one in scores
  ]
  found = [trial.reward for trial in trials]
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_trained_children_are_rewarded_for_their_latency(timed, tmp_path):
  config = timed()
  config['search']['num_proposals'] = 4
  _check_rewards(runs.run(config, tmp_path / 'run').trials)


@pytest.fixture(name='untrained')
def fixture_untrained(monkeypatch):
  """Children are not trained: their actions are their accuracy."""

  def evaluate(key, proposals, bar):
    del key, bar
    value = np.asarray(proposals.actions).sum(1) / np.float32(1e3)
    code = np.zeros(len(value), np.int32)
    return Scores(*[value] * 7, value[:, None], code, code + OK)

  made = trained.Trained(lambda: None, evaluate)
  monkeypatch.setattr(trained, 'trained', lambda *_: made)


@pytest.mark.usefixtures('untrained')
def test_a_search_by_latency_that_was_cut_off_ends_as_if_it_had_not_been(
  timed, tmp_path
):
  """What is predicted after the stop is read from what was measured before."""

  def stop(trials):
    if trials[0].iteration == 1:
      raise Stop

  with pytest.raises(Stop):
    runs.run(timed(), tmp_path / 'cut', on_trials=stop)
  whole = runs.run(timed(), tmp_path / 'whole')
  again = runs.run(timed(), tmp_path / 'cut')
  assert str(again.trials) == str(whole.trials)
  _check_rewards(whole.trials)


def test_a_reward_of_what_nobody_measures_is_refused(timed):
  """Every child would get the floor."""
  config = timed(name='none')
  for _ in range(2):
    with pytest.raises(sections.ConfigError, match='reward.measure is latency'):
      experiment.build(config)
    config['evaluator'].pop('latency', None)


def test_settings_of_scores_without_a_latency_are_those_of_before(timed):
  """Ledgers would train everything again."""
  config = timed(name='none') | {'reward': {'name': 'accuracy'}}
  settings = experiment.build(config).problem.settings
  dataset = classifiers.load_data(config)
  assert settings == classifiers.score_settings(config, dataset)
  assert 'latency' in experiment.build(timed(name='measured')).problem.settings
