"""Studies over a table: what is run, what is remembered, what is refused."""

import numpy as np
import pytest

from irlas_jax import anytime, ledger, sections, tabular

pytestmark = pytest.mark.usefixtures('quick_compiles')
SIZES = (3, 2, 4)
Q_LEARNING = {
  'epsilon_iterations': 6,
  'replay_size': 10,
  'replay_updates': 4,
}
ARMS = {
  'random': {'searcher': {'name': 'random'}},
  'q': {'sweep': {'step_size': (0.1, 0.7)}},
}


@pytest.fixture(name='folder', scope='module')
def fixture_folder(tmp_path_factory):
  """Holds a table of 24 cells, one of which nobody measured."""
  folder = tmp_path_factory.mktemp('tables')
  rng = np.random.default_rng(0)
  values = np.stack([rng.permutation(24) * 4.0, rng.random(24) + 1], axis=1)
  values[5, 0] = np.nan
  np.savez(
    folder / 'own.npz',
    choices=np.array(SIZES),
    metrics=np.array(['valid', 'time']),
    units=np.array(['percent', 's']),
    values=values,
  )
  return folder


def make_config(folder, **changes):
  """Three seeds from 3 on, of random search and two Q-learnings."""
  config = {
    'seed': 3,
    'seeds': 3,
    'space': {'name': 'choices', 'sizes': SIZES},
    'searcher': {'name': 'q_learning', 'q_learning': Q_LEARNING},
    'reward': {'name': 'accuracy', 'floor': -1.0},
    'evaluator': {
      'name': 'table',
      'file': 'own.npz',
      'accuracy': 'valid',
      'seconds': 'time',
    },
    'data_dir': str(folder),
    'search': {'num_proposals': 16, 'batch': 2},
    'arms': ARMS,
  }
  return config | changes


def _lists(arm):
  """An arm's searches as plain numbers."""
  return [[field.tolist() for field in search] for search in arm.searches]


@pytest.fixture(name='workdir', scope='module')
def fixture_workdir(tmp_path_factory):
  return tmp_path_factory.mktemp('study')


@pytest.fixture(name='first', scope='module')
def fixture_first(folder, workdir, quick_compiles):
  """The study, run once, and what was said meanwhile."""
  said: list = []
  study = tabular.run(
    make_config(folder), workdir, said.append, lambda k: said.append(-k)
  )
  return study, said


def test_every_seed_of_every_arm_is_run(first):
  study, said = first
  assert list(study.arms) == ['random', 'q step_size=0.1', 'q step_size=0.7']
  assert study.num_run == 9 and study.seconds > 0
  assert said == [9, -3, -6]
  for arm in study.arms.values():
    assert len(arm.searches) == 3
    for search in arm.searches:
      assert (np.diff(search.rewards) > 0).all() and len(search.rewards) > 0
      assert search.rows.dtype.kind == 'i' and search.rows.max() <= 24
  random, slow, fast = map(_lists, study.arms.values())
  assert random != slow != fast, 'two arms are one'
  assert random[0] != random[1] != random[2], 'two seeds are one'


def test_a_finished_study_runs_nothing_and_says_the_same(
  folder, workdir, first
):
  said: list = []
  again = tabular.run(
    make_config(folder), workdir, said.append, lambda k: said.append(-k)
  )
  assert again.num_run == 0 and said == [0]
  for name, arm in first[0].arms.items():
    assert _lists(again.arms[name]) == _lists(arm)


def test_more_seeds_add_only_these(folder, workdir, first):
  study = tabular.run(make_config(folder, seeds=5), workdir)
  assert study.num_run == 3 * 2
  for name, arm in first[0].arms.items():
    assert _lists(study.arms[name])[:3] == _lists(arm)
    assert len(study.arms[name].searches) == 5


def test_another_arm_adds_only_its_own(folder, workdir, first):
  """And fewer arms or seeds than are known are reported alone."""
  arms = {
    'q': ARMS['q'],
    'evolution': {
      'searcher': {
        'name': 'evolution',
        'evolution': {'population_size': 4, 'sample_size': 2},
      }
    },
  }
  study = tabular.run(make_config(folder, arms=arms, seeds=2), workdir)
  assert study.num_run == 2
  assert list(study.arms) == ['q step_size=0.1', 'q step_size=0.7', 'evolution']
  name = 'q step_size=0.7'
  assert _lists(study.arms[name]) == _lists(first[0].arms[name])[:2]


def test_a_changed_field_is_another_arm(folder, workdir, first):
  """An arm's name says nothing of its settings."""
  changed = Q_LEARNING | {'step_size': 0.7, 'epsilon_iterations': 1}
  arms = {'q step_size=0.7': {'searcher': {'q_learning': changed}}}
  study = tabular.run(make_config(folder, arms=arms), workdir)
  assert study.num_run == 3
  name = 'q step_size=0.7'
  assert _lists(study.arms[name]) != _lists(first[0].arms[name])


def test_a_swept_value_is_an_arm_with_that_value(folder, tmp_path, first):
  """Traced or not, the same search; elsewhere, so that all are run."""
  arms = {
    'fast': {'searcher': {'q_learning': {'step_size': 0.7}}},
    'slow': {'searcher': {'q_learning': {'step_size': 0.1}}},
  }
  study = tabular.run(make_config(folder, arms=arms), tmp_path)
  assert study.num_run == 6
  swept = first[0].arms
  assert _lists(study.arms['fast']) == _lists(swept['q step_size=0.7'])
  assert _lists(study.arms['slow']) == _lists(swept['q step_size=0.1'])
  again = tabular.run(make_config(folder), tmp_path)
  assert again.num_run == 3, 'only random search is new'


def test_two_swept_fields_are_combined(folder, tmp_path):
  sweep = {'step_size': (0.1, 0.7), 'discount': (1.0, 0.5)}
  config = make_config(folder, arms={'q': {'sweep': sweep}}, seeds=1)
  study = tabular.run(config, tmp_path)
  assert list(study.arms) == [
    f'q step_size={step} discount={discount}'
    for step in ('0.1', '0.7')
    for discount in ('1.0', '0.5')
  ]
  for name, arm in study.arms.items():
    own = arm.config['searcher']['q_learning']
    step, discount = (own[field] for field in sweep)
    assert name == f'q step_size={step} discount={discount}'


def test_seed_i_is_the_config_with_that_seed(folder, tmp_path, first):
  """Else a study would say nothing of `launch.search --config.seed=i`."""
  arms = {'random': ARMS['random']}
  config = make_config(folder, arms=arms, seed=4, seeds=1)
  study = tabular.run(config, tmp_path)
  assert _lists(study.arms['random']) == _lists(first[0].arms['random'])[1:2]


def test_a_study_that_was_cut_off_goes_on_where_it_stopped(
  folder, tmp_path, monkeypatch, first
):
  """What was acknowledged stays; the rest comes out as if nothing happened."""
  monkeypatch.setattr(tabular, 'POPULATION', 4)

  class ProcessEnd(BaseException):
    """Stands for whatever ends a process."""

  durable: list[int] = []

  def end_at_the_second(count):
    durable.append(count)
    if len(durable) == 2:
      raise ProcessEnd

  config = make_config(folder)
  with pytest.raises(ProcessEnd):
    tabular.run(config, tmp_path, on_searches=end_at_the_second)
  assert durable == [3, 4]
  study = tabular.run(config, tmp_path, on_searches=durable.append)
  assert study.num_run == 2 and durable == [3, 4, 2]
  for name, arm in first[0].arms.items():
    assert _lists(study.arms[name]) == _lists(arm)


def test_another_budget_is_run_anew(folder, workdir, first):
  """A search that was cut short is not the beginning of a longer one."""
  search = {'num_proposals': 8, 'batch': 2}
  arms = {'random': ARMS['random']}
  config = make_config(folder, search=search, arms=arms)
  study = tabular.run(config, workdir)
  assert study.num_run == 3
  for search in study.arms['random'].searches:
    assert search.evaluations.max() <= 8
  again = tabular.run(make_config(folder, arms=arms), workdir)
  assert again.num_run == 0
  assert _lists(again.arms['random']) == _lists(first[0].arms['random'])


def test_other_scores_in_the_same_place_are_refused(folder, workdir, first):
  """Arms that were told different things would be compared."""
  evaluator = make_config(folder)['evaluator'] | {'accuracy': 'time'}
  with pytest.raises(ledger.LedgerMismatch, match='evaluator.accuracy'):
    tabular.run(make_config(folder, evaluator=evaluator), workdir)


@pytest.mark.parametrize('budget, some', [(8.0, True), (0.5, False)])
def test_a_budget_in_seconds(folder, tmp_path, budget, some):
  """An evaluation takes 1 to 2 s; of half a second nothing comes."""
  search = {'num_proposals': 16, 'batch': 2, 'seconds': budget}
  arms = {'random': ARMS['random']}
  config = make_config(folder, search=search, arms=arms, seeds=2)
  (arm,) = tabular.run(config, tmp_path).arms.values()
  for search in arm.searches:
    assert bool(len(search.rows)) == some
    assert (search.spent <= budget).all()
    assert (search.spent >= search.evaluations).all()
  rows = anytime.found(arm.searches, np.array([0.25, budget]))
  assert (rows[:, 0] == -1).all() and ((rows[:, 1] >= 0) == some).all()
  reach = anytime.first_reach(arm.searches, np.ones(25), 1.0)
  assert np.isfinite(reach).all() == some


def _refused(config, workdir, *words):
  with pytest.raises(sections.ConfigError) as error:
    tabular.run(config, workdir)
  text = str(error.value)
  assert all(word in text for word in words), text
  assert '\n' not in text
  assert not list(workdir.iterdir()), 'a refused study left something behind'


@pytest.mark.parametrize('values', [(1, 2), (0.1, 1), (), 0.1, 'fast', ('a',)])
def test_a_sweep_that_is_no_list_of_floats_is_refused(folder, tmp_path, values):
  """A traced size would fail within the compiler, without a name."""
  arms = {'mine': {'sweep': {'step_size': values}}}
  config = make_config(folder, arms=arms)
  _refused(config, tmp_path, 'arms.mine.sweep.step_size', repr(values))


@pytest.mark.parametrize('field', ['replay_size', 'replay_updates'])
def test_a_sweep_of_what_cannot_be_traced_is_refused(folder, tmp_path, field):
  """The compiler's own words are many lines and name no field."""
  arms = {'mine': {'sweep': {field: (5.0, 6.0)}}}
  config = make_config(folder, arms=arms)
  _refused(config, tmp_path, 'arms.mine', field)


def test_a_budget_in_seconds_needs_times(folder, tmp_path):
  """Without them nothing is ever spent; no more proposals would help."""
  search = {'num_proposals': 16, 'batch': 2, 'seconds': 8.0}
  config = make_config(folder, search=search)
  del config['evaluator']['seconds']
  _refused(config, tmp_path, 'search.seconds', 'evaluator.seconds')


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'searcher': {'name': 'nonesuch'}}, ["'nonesuch'", 'local_search']),
    ({'searcher': {'speed': 1.0}}, ['searcher.speed']),
    ({'sweep': {'speed': (1.0,)}}, ['searcher.speed']),
    ({'space': {'sizes': (3, 2)}}, ['(3, 2, 4)']),
    ({'evaluator': {'accuracy': 'best'}}, ['best', 'valid']),
    ({'evaluator': {'name': 'nonesuch'}}, ['evaluator.name', 'table']),
  ],
)
def test_what_is_wrong_with_an_arm_is_said_with_its_name(
  folder, tmp_path, changes, words
):
  arms = {'random': ARMS['random'], 'mine': changes}
  _refused(make_config(folder, arms=arms), tmp_path, 'arms.mine:', *words)


def test_children_that_are_trained_are_no_table(make_config, tmp_path):
  """A whole search of them is not compiled; it says what to run instead."""
  plain = {'reward': {'name': 'accuracy'}, 'seeds': 1, 'arms': {'mine': {}}}
  config = make_config() | plain
  _refused(config, tmp_path, 'arms.mine', 'trained', 'launch.search')


@pytest.mark.parametrize('section', ['seed', 'seeds', 'arms'])
def test_a_section_that_is_not_there_is_named(folder, tmp_path, section):
  config = make_config(folder)
  del config[section]
  _refused(config, tmp_path, repr(section))


def test_there_is_a_seed_at_least(folder, tmp_path):
  _refused(make_config(folder, seeds=0), tmp_path, 'seeds is 0')


def test_merging_goes_section_by_section_and_changes_nothing_given():
  config = {'a': 1, 'b': {'c': 2, 'd': {'e': 3}}, 'f': {'g': 4}}
  changes = {'b': {'d': {'e': 5, 'h': 6}}, 'f': 7, 'i': {'j': 8}}
  merged = tabular.merge(config, changes)
  expected = {'a': 1, 'b': {'c': 2, 'd': {'e': 5, 'h': 6}}, 'f': 7}
  assert merged == expected | {'i': {'j': 8}}
  assert config == {'a': 1, 'b': {'c': 2, 'd': {'e': 3}}, 'f': {'g': 4}}
