"""Searches from config to outcome, resumed; and genotypes trained fully."""

import json

import numpy as np
import pytest

from irlas_jax import (
  classifiers,
  evaluations,
  experiment,
  graph,
  ledger,
  runs,
  sections,
)
from irlas_jax.evaluators import trained
from irlas_jax.spaces import nsc
from irlas_jax.types import OK, Scores

pytestmark = pytest.mark.usefixtures('quick_compiles')

RESNET = '(1, SepConv, 3, 0, 0)(2, SepConv, 3, 1, 0)(3, Add, 0, 0, 2)'


class Stop(BaseException):
  """Stands for whatever ends a process."""


@pytest.fixture
def fake(monkeypatch):
  """Lists what is evaluated, in place of training it.

  Accuracies depend on the architecture: the more layers, the better.
  """
  calls: list[int] = []

  def evaluate(key, proposals, bar):
    del key, bar
    actions = np.asarray(proposals.actions)
    calls.append(len(actions))
    accuracy = (actions > 0).mean(1) - actions.sum(1) / 1e4
    value = accuracy.astype(np.float32)
    code = np.zeros(len(value), np.int32)
    return Scores(*[value] * 7, value[:, None], code, code + OK)

  def make(config, kind, population=0):
    del kind, population
    settings = classifiers.score_settings(config, classifiers.load_data(config))
    fidelity = {'epochs': config['train']['epochs']}
    return evaluations.Evaluation(
      lambda: None, evaluate, lambda curves: 0.0, settings, fidelity, 4, 1
    )

  choice = sections.Choice(make, ('population',))
  monkeypatch.setitem(evaluations.EVALUATORS, 'trained', choice)
  return calls


@pytest.fixture
def quickest(make_config):
  """({dotted name: value}) -> a config without anything to fit or to learn."""

  def make(changes=()):
    changes = {'searcher.name': 'random'} | dict(changes)
    return make_config(changes) | {'reward': {'name': 'accuracy'}}

  return make


def _same(one, other):
  """Whether two lists of trials agree in all but the clock."""

  def plain(trials):
    return [str(t._replace(scores=t.scores | {'seconds': 0.0})) for t in trials]

  return plain(one) == plain(other)


@pytest.fixture(scope='module')
def finished(make_config, tmp_path_factory):
  """The workdir of a search of trained children, and its outcome."""
  workdir = tmp_path_factory.mktemp('finished')
  return workdir, runs.run(make_config(), workdir)


def _evaluations(workdir, config):
  """{key: (status, attempts, scores)} of a ledger."""
  query = 'SELECT key, status, attempts, scores FROM evaluations ORDER BY key'
  with ledger.open(workdir, config, runs.FREE) as book:
    return list(book.connection.execute(query))


def test_a_search_has_trials_a_best_block_and_the_expert_s_score(
  finished, make_config
):
  """What is reported has to be what was found."""
  workdir, outcome = finished
  trials = outcome.trials
  assert [(t.iteration, t.position) for t in trials] == [
    (i, j) for i in range(3) for j in range(4)
  ]
  assert outcome.best.reward == max(trial.reward for trial in trials)
  assert outcome.best in trials
  text = nsc.text_of(nsc.from_graph(outcome.graph))
  assert text == outcome.best.genotype
  assert json.loads(outcome.best.key)[0] == graph.digest(outcome.graph)
  assert outcome.expert.genotype == f'{RESNET}(4, Terminal)'
  assert 0 < outcome.expert.scores['accuracy'] < 1
  best, expert = outcome.seen
  assert best.score <= expert.score == pytest.approx(1.0)
  assert outcome.explanation == runs.explain(outcome.parts, best)
  assert outcome.compiles.number > 0 and outcome.seconds > 0
  rows = _evaluations(workdir, make_config())
  assert {row[0] for row in rows} == {
    *(trial.key for trial in trials),
    outcome.expert.key,
  }
  assert all(row[1:3] == ('finished', 1) for row in rows)


def test_running_a_finished_search_again_trains_nothing(
  finished, make_config, monkeypatch
):
  """The reports can be made anew, by a machine without an accelerator."""
  workdir, outcome = finished
  before = _evaluations(workdir, make_config())

  def never(*_):
    raise AssertionError('nothing is left to compile')

  monkeypatch.setattr(trained, 'check_memory', never)
  again = runs.run(make_config(), workdir)
  assert str(again.trials) == str(outcome.trials)
  assert str(again.best) == str(outcome.best)
  assert str(again.expert.scores) == str(outcome.expert.scores)
  assert again.explanation == outcome.explanation
  assert _evaluations(workdir, make_config()) == before


def test_a_search_that_was_cut_off_ends_as_if_it_had_not_been(
  finished, make_config, tmp_path
):
  """Trained scores included: a child's do not depend on when it is trained."""

  def stop(trials):
    if trials[0].iteration == 1:
      raise Stop

  with pytest.raises(Stop):
    runs.run(make_config(), tmp_path, on_trials=stop)
  known = _evaluations(tmp_path, make_config())
  resumed = runs.run(make_config(), tmp_path)
  assert _same(resumed.trials, finished[1].trials)
  assert set(known) <= set(_evaluations(tmp_path, make_config()))


@pytest.mark.parametrize(
  'changes',
  [
    {'expert': 'densenet', 'reward.learner.name': 'cosine'},
    {'reward.mirror': 0.0, 'searcher.name': 'evolution'},
    {'space.operations': 'dense', 'reward.learner.name': 'projection'},
  ],
  ids=str,
)
def test_a_word_of_a_config_makes_another_search(
  fake, make_config, tmp_path, changes
):
  """Names have to work in any combination."""
  config = make_config(changes)
  outcome = runs.run(config, tmp_path)
  assert len({trial.key for trial in outcome.trials}) > 4
  assert np.isfinite([trial.reward for trial in outcome.trials]).all()
  assert sum(fake) == len(_evaluations(tmp_path, config))


def test_searchers_propose_differently(fake, quickest, tmp_path):
  """A name that is read and not used would pass for a baseline."""
  found = {}
  for name in experiment.SEARCHERS:
    config = quickest({'searcher.name': name, 'search.num_proposals': 20})
    config['searcher']['ppo'] = {'learning_rate': 0.1}  # learns at once
    outcome = runs.run(config, tmp_path / name)
    found[name] = tuple(trial.genotype for trial in outcome.trials)
    assert len(set(found[name])) > 4
  assert len(set(found.values())) == len(found) == 7


def test_those_who_watch_are_told_of_every_trial(fake, quickest, tmp_path):
  """A progress bar would stand still or never be full."""
  totals, seen = [], []
  config = quickest({'search.num_proposals': 10})
  outcome = runs.run(config, tmp_path, totals.append, seen.extend)
  assert totals == [12]  # whole batches
  assert seen == outcome.trials


def test_a_budget_may_be_raised_later(fake, make_config, tmp_path):
  """A finished workdir is the best start of a longer search."""
  shorter = runs.run(make_config(), tmp_path)
  evaluated = sum(fake)
  longer = runs.run(make_config({'search.num_proposals': 20}), tmp_path)
  assert _same(longer.trials[:12], shorter.trials)
  assert len(longer.trials) == 20
  known = {*(trial.key for trial in shorter.trials), shorter.expert.key}
  new = {trial.key for trial in longer.trials} - known
  assert sum(fake) == evaluated + len(new)


@pytest.mark.parametrize(
  'changes',
  [
    {'data_dir': '/elsewhere'},
    {'evaluator.population': 2},
    {'retrain.train.epochs': 9},
  ],
  ids=str,
)
def test_what_no_score_depends_on_may_change(fake, quickest, tmp_path, changes):
  """Data move, and machines have other numbers of devices."""
  first = runs.run(quickest(), tmp_path)
  fake.clear()
  again = runs.run(quickest(changes), tmp_path)
  assert _same(again.trials, first.trials)
  assert fake == []


@pytest.mark.parametrize(
  'field, value',
  [('seed', 1), ('search.batch', 6), ('searcher.name', 'evolution')],
)
def test_another_search_in_a_workdir_is_refused(
  fake, quickest, tmp_path, field, value
):
  """Two searches would be mixed in one ledger."""
  runs.run(quickest(), tmp_path)
  before = _evaluations(tmp_path, quickest())
  with pytest.raises(ledger.LedgerMismatch, match=field):
    runs.run(quickest({field: value}), tmp_path)
  assert _evaluations(tmp_path, quickest()) == before


def test_a_config_that_cannot_run_leaves_nothing_behind(
  make_config, tmp_path, monkeypatch
):
  """Mended, it would be refused: the workdir is that of another config."""

  def too_small(needed, available):
    raise trained.MemoryTooSmall('lower network.width')

  monkeypatch.setattr(trained, 'check_memory', too_small)
  with pytest.raises(trained.MemoryTooSmall):
    runs.run(make_config(), tmp_path / 'new')
  with pytest.raises(sections.ConfigError):
    runs.run(make_config({'network.width': 0}), tmp_path / 'new')
  assert not (tmp_path / 'new').exists()


def test_an_expert_that_does_not_fit_still_guides(fake, make_config, tmp_path):
  """ResNeXt has seven layers: it is no child of a space of three."""
  outcome = runs.run(make_config({'expert': 'resnext'}), tmp_path)
  assert outcome.expert is None
  assert outcome.parts.mirror is not None
  assert sum(fake) == len({trial.key for trial in outcome.trials})


def test_the_explanation_names_what_the_expert_has_too(make_config):
  """Features of other blocks would explain nothing."""
  parts = experiment.build(make_config())
  expert = graph.resize(parts.expert, 4)
  (seen,) = runs.see(parts, expert)
  terms = runs.explain(parts, seen, most=3)
  assert len(terms) == 3
  values = [value for _, value in terms]
  assert values == sorted(values, reverse=True) and values[-1] > 0
  assert any('sep_conv' in name for name, _ in terms)
  assert len({name for name, _ in terms}) == 3
  assert not any('pool' in name for name, _ in terms)


def test_nothing_is_seen_without_an_expert(make_config):
  """The reward that looks at accuracy only has nothing to explain."""
  config = make_config() | {'reward': {'name': 'accuracy'}}
  assert runs.see(experiment.build(config), None) == ()
