"""Claims: the searches behind them, interrupted and gone on with."""

import pathlib

import jax
import numpy as np
import pytest

from irlas_jax import (
  claim_rows,
  claims,
  classifiers,
  compression,
  compression_settings,
  evaluations,
  experiment,
  full_training,
  ledger,
  oneshot_runs,
  runs,
  sections,
)
from irlas_jax.evaluators import retrained
from irlas_jax.types import OK, Scores
from tests.fixtures import tiny_claims, tiny_plain

pytestmark = pytest.mark.usefixtures('quick_compiles')
ROOT = pathlib.Path(__file__).parents[1]


class Killed(BaseException):
  """As a signal would end a process."""


@pytest.fixture
def trained(monkeypatch):
  """Stands in for training: the calls (split, key, actions), as a list.

  The call after `limit`, if there is one, kills.
  """
  calls = []
  limit = [None]

  def make(config, kind, population=0, split='valid'):
    del population
    data = classifiers.load_data(config)
    data = data._replace(valid=getattr(data, split))

    def evaluate(key, proposals, bar):
      del bar
      if len(calls) == limit[0]:
        raise Killed
      actions = np.asarray(proposals.actions)
      calls.extend(
        (split, tuple(jax.random.key_data(key).tolist()), tuple(row))
        for row in actions.tolist()
      )
      noise = float(jax.random.uniform(key))
      value = (actions > 0).mean(1) - actions.sum(1) / 1e4 - noise / 10
      value = value.astype(np.float32)
      code = np.zeros(len(value), np.int32)
      return Scores(*[value] * 7, value[:, None], code, code + OK)

    return evaluations.Evaluation(
      lambda: None,
      evaluate,
      lambda curves: 0.0,
      classifiers.score_settings(config, data),
      {'epochs': 1},
      1,
      1,
    )

  choice = sections.Choice(make, ('population',))
  monkeypatch.setitem(evaluations.EVALUATORS, 'trained', choice)
  monkeypatch.chdir(ROOT)
  return calls, limit


def _config(**changes):
  """The tiny claims, with changes of all rows."""
  config = tiny_claims.get_config().to_dict()
  config['rows'] = {k: v | changes for k, v in config['rows'].items()}
  return config


def _figures(measured):
  return [(one.values, one.comparisons, one.verdict) for one in measured]


def test_a_killed_run_goes_on_and_repeats_nothing(trained, tmp_path):
  """Killed in a search and in a training again, and run when complete."""
  calls, limit = trained
  rows = claim_rows.read(_config(), ['finding'])
  whole = claims.run(rows, tmp_path / 'whole')
  all_calls = list(calls)
  calls.clear()
  in_evidence = [name for name, *_ in all_calls].index('test') + 1
  for limit[0] in (5, in_evidence, None):
    try:
      found = claims.run(rows, tmp_path / 'parts')
      assert limit[0] is None
    except Killed:
      assert len(calls) == limit[0]
  assert len(set(calls)) == len(calls)
  assert sorted(calls) == sorted(all_calls)
  told = []
  again = claims.run(rows, tmp_path / 'parts', on_seed=told.append)
  assert sorted(calls) == sorted(all_calls)
  np.testing.assert_equal(_figures(found), _figures(whole))
  np.testing.assert_equal(_figures(again), _figures(whole))
  assert [one.seeds for one in told] == [[3], [3, 4]]


def test_more_seeds_are_all_that_is_run(trained, tmp_path):
  calls, _ = trained
  few, many = (
    claim_rows.read(_config(seeds=seeds), ['rising']) for seeds in (1, 2)
  )
  claims.run(few, tmp_path)
  first = len(calls)
  found = claims.run(many, tmp_path)
  assert len(set(calls)) == len(calls) > first
  fresh = claims.run(many, tmp_path / 'fresh')
  np.testing.assert_equal(_figures(found), _figures(fresh))


def test_a_search_is_that_of_the_same_config_and_seed(trained, tmp_path):
  (row,) = claim_rows.read(_config(), ['rising'])
  (found,) = claims.run([row], tmp_path)
  for arm, config in row.arms.items():
    for i, one in enumerate(found.searches[arm]):
      folder = tmp_path / f'alone-{arm}-{i}'
      alone = runs.run(config | {'seed': config['seed'] + i}, folder)
      assert one['best'] == alone.best.genotype
      accuracies = [100 * trial.scores['accuracy'] for trial in alone.trials]
      rise = np.mean(accuracies[-2:]) - np.mean(accuracies[:2])
      assert one['rise'] == pytest.approx(rise)
      assert one['trainings'] == len({trial.key for trial in alone.trials})


def test_the_evidence_is_on_test_data_with_keys_of_its_own(trained, tmp_path):
  """One key a seed for searches, and one a training again; never the same."""
  calls, _ = trained
  (row,) = claim_rows.read(_config(), ['finding'])
  (found,) = claims.run([row], tmp_path)
  keys = {
    split: {key for name, key, _ in calls if name == split}
    for split in ('valid', 'test')
  }
  assert len(keys['valid']) == row.seeds
  assert len(keys['test']) == row.seeds * row.retrain
  assert not keys['valid'] & keys['test']
  for seed in found.seeds:
    split = experiment.make_keys(seed)
    used = {tuple(jax.random.key_data(key).tolist()) for key in split}
    assert not used & keys['test']
  for arm in row.arms:
    scores = found.values['best'][arm], found.values['accuracy'][arm]
    assert not np.isclose(*scores).any()


def test_the_best_is_trained_fully_where_a_row_says_so(
  trained, tmp_path, monkeypatch
):
  """By the config's own section, with seeds of its own, and never twice."""
  calls, _ = trained
  seen = []

  def retrain(config, genotype, workdir):
    seen.append((config['seed'], genotype, config['train']['epochs'], workdir))
    result = retrained.Retrained(None, None, len(seen) / 10, 1.0, 5, 7, 0.5)
    return full_training.Final(config, genotype, result)

  monkeypatch.setattr(full_training, 'retrain', retrain)
  train = tiny_plain.get_config().train.to_dict() | {'epochs': 9}
  more = {'final': True, 'changes': {'retrain': {'train': train}}}
  (row,) = claim_rows.read(_config(**more), ['finding'])
  (found,) = claims.run([row], tmp_path)
  assert not [split for split, *_ in calls if split == 'test']
  seeds, genotypes, epochs, folders = zip(*seen, strict=True)
  assert len(set(seeds)) == row.seeds * row.retrain
  assert len(set(folders)) == len(set(zip(seeds, genotypes, strict=True)))
  assert set(epochs) == {9}
  best = {one['best'] for arm in found.searches.values() for one in arm}
  assert set(genotypes) <= best  # of isomorphic ones, the first
  in_percent = found.values['best'][next(iter(row.arms))]
  assert in_percent[0] == pytest.approx(100 * (0.1 + 0.2) / 2)
  again = claims.run([row], tmp_path)
  assert len(seen) == len(folders)  # one a network: arms may share it
  np.testing.assert_equal(_figures(again), _figures([found]))


def test_the_test_data_are_those_that_the_evidence_sees(make_config):
  """By the trained evaluator itself: other images than a search's."""
  config = make_config()
  kind = experiment.build(config | {'reward': {'name': 'accuracy'}}).kind
  settings = [
    evaluations.make(config, kind, split).settings['images']
    for split in ('valid', 'test')
  ]
  data = classifiers.load_data(config)
  digest = evaluations.datasets.digest
  assert settings == [digest(data), digest(data._replace(valid=data.test))]
  assert settings[0] != settings[1]


def test_arms_of_a_seed_share_what_they_train(trained, tmp_path):
  """Two names of one arm: the second trains nothing."""
  calls, _ = trained
  arm = {'searcher': {'name': 'random'}}
  config = _config(arms={'values': arm}, reference='random')
  (row,) = claim_rows.read(config, ['finding'])
  (found,) = claims.run([row], tmp_path)
  assert len(set(calls)) == len(calls)
  assert found.comparisons[0].mean == 0
  assert found.verdict == 'undecided'


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'arm': 'q'}, ['rows.finding.arm', "'q'", 'random, values']),
    ({'reference': 'q'}, ['rows.finding.reference', "'q'"]),
    ({'figure': 'worst'}, ['rows.finding.figure', 'best, rise']),
    ({'claims': ''}, ['rows.finding.claims', 'margin']),
    ({'claim': None}, ['rows.finding.claim is missing']),
    ({'seeds': 0}, ['rows.finding.seeds', 'at least 1']),
    ({'config': 'none.py'}, ['rows.finding.config', "'none.py'"]),
    ({'changes': {'search': {'workers': 2}}}, ['search.workers', 'set 0']),
    ({'final': True}, ['rows.finding.final', 'no section retrain']),
    ({'published': {'q': '3 %'}}, ['rows.finding.published', "'q'"]),
  ],
)
def test_a_row_that_is_wrong_is_told_by_its_name(monkeypatch, changes, words):
  monkeypatch.chdir(ROOT)
  config = _config(**{'arms': {'random': {}, 'values': {}}} | changes)
  with pytest.raises((ValueError, OSError)) as caught:
    claim_rows.read(config, ['finding'])
  assert all(word in str(caught.value) for word in words), caught.value


def test_a_row_that_is_not_there_is_told_with_those_that_are():
  with pytest.raises(sections.ConfigError, match="'q'.*finding, rising"):
    claim_rows.read(_config(), ['finding', 'q'])


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'search': {'batch': 0}}, 'arms.*search.batch is 0'),
    ({'searcher': {'name': 'q'}}, "arms.values: searcher.name is 'q'"),
    ({'evaluator': {'name': 'table', 'accuracy': 'a', 'file': 'f'}}, 'arms'),
  ],
)
def test_an_arm_that_is_wrong_is_told_before_any_search(
  trained, tmp_path, changes, words
):
  calls, _ = trained
  config = _config(arms={'values': changes})
  rows = claim_rows.read(config, ['rising'])
  with pytest.raises((ValueError, OSError), match=words):
    claims.run(rows, tmp_path / 'out')
  assert not calls and not (tmp_path / 'out').exists()


def test_another_budget_is_another_search_of_the_same_trials(trained, tmp_path):
  """What was trained for fewer proposals is not trained again for more."""
  calls, _ = trained
  claims.run(claim_rows.read(_config(), ['rising']), tmp_path)
  more = {'changes': {'search': {'num_proposals': 12}}}
  found = claims.run(claim_rows.read(_config(**more), ['rising']), tmp_path)
  assert len(set(calls)) == len(calls)
  assert found[0].searches['values'][0]['proposals'] == 12


def test_searches_of_another_config_are_not_mixed(trained, tmp_path):
  claims.run(claim_rows.read(_config(), ['rising']), tmp_path)
  changes = {'searcher': {'q_learning': {'step_size': 0.1}}}
  rows = claim_rows.read(_config(changes=changes), ['rising'])
  with pytest.raises(ledger.LedgerMismatch, match='step_size'):
    claims.run(rows, tmp_path)


def test_evaluators_are_made_once_a_row(trained, tmp_path, monkeypatch):
  """One for searches and one for the evidence, whatever arm, batch and seed."""
  make, splits = evaluations.make, []

  def counted(config, kind, split='valid'):
    splits.append(split)
    return make(config, kind, split)

  monkeypatch.setattr(evaluations, 'make', counted)
  arms = {'values': {'search': {'batch': 2}}, 'other': {}}
  claims.run(claim_rows.read(_config(arms=arms), ['rising']), tmp_path)
  assert splits == ['valid', 'test']


def test_the_best_is_trained_again_with_changes_of_its_own(
  trained, tmp_path, monkeypatch
):
  make, epochs = evaluations.make, {}

  def noted(config, kind, split='valid'):
    epochs[split] = config['train']['epochs']
    return make(config, kind, split)

  monkeypatch.setattr(evaluations, 'make', noted)
  config = _config(again={'train': {'epochs': 7}})
  claims.run(claim_rows.read(config, ['finding']), tmp_path)
  assert epochs == {'valid': 1, 'test': 7}


def _row_of(path, arms, **fields):
  config = {'rows': {'one': {'config': path, 'claim': 'It is.', 'arms': arms}}}
  config['rows']['one'] |= fields | {'seeds': 2}
  (row,) = claim_rows.read(config)
  return row


def test_a_oneshot_method_is_run_once_an_arm_and_seed(monkeypatch, tmp_path):
  """What it was tested to be is the figure; a second call remembers it."""
  monkeypatch.chdir(ROOT)
  ran = []

  def run(config, folder):
    ran.append((config['oneshot']['connections'], config['seed'], folder))
    names = 'valid_accuracy', 'test_accuracy', 'parameters', 'seconds'
    values = 0.5, 0.6 + len(ran) / 100, 70.0, 8.0
    numbers = dict(zip(names, values, strict=True))
    return oneshot_runs.Outcome(config, '0; 1', numbers, {})

  monkeypatch.setattr(oneshot_runs, 'run', run)
  kinds = ('learnt', 'random')
  arms = {kind: {'oneshot': {'connections': kind}} for kind in kinds}
  path = 'configs/maskconnect_small.py'
  row = _row_of(path, arms, arm='learnt')
  for _ in range(2):
    (found,) = claims.run([row], tmp_path)
  assert [one[:2] for one in ran] == [(k, i) for i in (0, 1) for k in kinds]
  assert len({folder for *_, folder in ran}) == 4
  np.testing.assert_allclose(found.values['best']['learnt'], [61, 63])
  np.testing.assert_allclose(found.values['parameters']['random'], [70, 70])


def _student(name, params, tested=float('nan')):
  return compression.Student(name, name, params, 0.5, 0.9, tested)


def test_a_compression_gives_all_arms_of_its_seed(monkeypatch, tmp_path):
  """Only students that were tested stand for a baseline."""
  monkeypatch.chdir(ROOT)
  ran = []

  def run(config, folder):
    ran.append((config['seed'], folder.name))
    found = _student('removal', 10.0, 0.97)
    students = (
      *(
        found,
        _student('uniform 25 %', 9.0),
        _student('uniform 50 %', 8.0, 0.8),
      ),
      *(
        _student('random removal', 7.0),
        _student('random shrinkage', 6.0, 0.7),
      ),
    )
    reference = compression_settings.Reference('all', None, 100.0, 0.9, 0.98)
    return compression.Compressed(reference, found, students, {})

  monkeypatch.setattr(compression, 'run', run)
  names = ('found', 'teacher', 'uniform', 'random')
  fields = dict(arm='found', reference='teacher', margin=-1.5, parameters=0.1)
  path, arms = 'configs/n2n_small.py', {name: {} for name in names}
  row = _row_of(path, arms, **fields)
  for _ in range(2):
    (found,) = claims.run([row], tmp_path)
  assert ran == [(0, '0'), (1, '1')]
  best = {name: found.values['best'][name] for name in names}
  assert [best[name][0] for name in names] == pytest.approx([97, 98, 80, 70])
  assert found.share == pytest.approx(0.1) and found.verdict == 'holds'
  few = {'found': {}, 'random': {}}
  with pytest.raises(sections.ConfigError, match='all of one config'):
    claims.run([_row_of(path, few, arm='found', reference='')], tmp_path)
