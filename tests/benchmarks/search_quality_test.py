"""The comparison of searchers: its statistics, its evidence, its resumption."""

import contextlib
import json

import jax
import numpy as np
import pytest

from benchmarks import search_quality, search_quality_latency
from benchmarks import search_quality_report as reports
from benchmarks import search_quality_searches as searches
from irlas_jax import graph
from irlas_jax.evaluators import trained
from irlas_jax.reports import records
from irlas_jax.types import OK, Scores

pytestmark = pytest.mark.usefixtures('quick_compiles')

EVIDENCE = {'last': 4, 'second_size': 50}
ARMS = ['random', 'evolution-none', 'evolution-control']


@pytest.fixture(scope='module')
def bench(make_config):
  """A bench whose evaluators are replaced before they compile anything."""
  return searches.make_bench(make_config() | {'evidence': EVIDENCE})


@pytest.fixture(scope='module')
def rewards_once():
  """All runs are of one seed, and its rewards take seconds to compile."""
  with pytest.MonkeyPatch.context() as patch:
    made, make = {}, searches.make_reward

    def make_once(bench, key, *names):
      if names not in made:
        made[names] = make(bench, key, *names)
      return made[names]

    patch.setattr(searches, 'make_reward', make_once)
    yield


class ProcessEnd(BaseException):
  """Stands for whatever ends a process."""


class Fake:
  """Scores drawn from the child's key; ends the process at its n-th call."""

  def __init__(self, kind, dies_at=None):
    self.kind, self.dies_at = kind, dies_at
    self.calls, self.digests = 0, []

  def __call__(self, key, proposals, bar):
    self.calls += 1
    if self.calls == self.dies_at:
      raise ProcessEnd
    graphs = jax.device_get(jax.vmap(self.kind.space.decode)(proposals.actions))
    names = [
      graph.digest(type(graphs)(*(field[i] for field in graphs)))
      for i in range(len(proposals.actions))
    ]
    self.digests += names
    keys = trained.child_keys(key, names)
    accuracy = np.array([jax.random.uniform(k) for k in keys], np.float32)
    blank = np.full_like(accuracy, np.nan)
    failure = np.full(len(names), OK, np.int32)
    madds = 1000 + 1000 * accuracy
    return Scores(
      accuracy,
      blank,
      madds,
      madds,
      blank,
      blank,
      blank,
      accuracy[:, None],
      0 * failure,
      failure,
    )


def _with_fakes(bench, dies_at=None):
  """The bench with evaluators that train nothing, and these."""
  fakes = Fake(bench.kind, dies_at), Fake(bench.kind)
  children, evidence = (
    scorer._replace(evaluator=trained.Trained(lambda: None, fake))
    for scorer, fake in zip(
      (bench.children, bench.evidence), fakes, strict=True
    )
  )
  return bench._replace(children=children, evidence=evidence), *fakes


def _run(bench, folder, check_time=lambda: None, seeds=(3,), arms=ARMS):
  folders = folder / 'results', folder / 'runs'
  search_quality.run_seeds(bench, seeds, arms, folders, check_time)
  return {
    path.name: json.loads(path.read_text())
    for path in sorted(folders[0].iterdir())
  }


@pytest.fixture(scope='module')
def undisturbed(bench, rewards_once, tmp_path_factory):
  """Results of a run that nothing ended, and its evaluators."""
  faked, *fakes = _with_fakes(bench)
  return _run(faked, tmp_path_factory.mktemp('undisturbed')), *fakes


def test_arms_share_children_and_retrain_what_counts(bench, undisturbed):
  """A block that two arms propose is trained once."""
  results, children, evidence = undisturbed
  (result,) = results.values()
  assert list(result['arms']) == ARMS
  assert len(set(children.digests)) == len(children.digests)
  assert sorted(evidence.digests) == sorted(result['blocks'])
  proposed = [arm['distinct'] for arm in result['arms'].values()]
  assert max(proposed) <= len(children.digests) <= sum(proposed)
  for arm in result['arms'].values():
    assert arm['proposals'] == 12 and sum(arm['last'].values()) == 4
    assert {*arm['last'], arm['best']} <= result['blocks'].keys()
    assert len(arm['trace']['reward']) == 3


def test_evidence_is_not_the_score_of_the_search(undisturbed):
  """Judging blocks by what picked them flatters."""
  blocks = undisturbed[0]['seed_3.json']['blocks'].values()
  assert all(b['accuracy'] != b['search_accuracy'] for b in blocks)


def test_without_an_expert_the_best_is_the_most_accurate(undisturbed):
  """The reward of `none` has no mirror stimuli in it."""
  arm = undisturbed[0]['seed_3.json']['arms']['random']
  trace = arm['trace']
  np.testing.assert_allclose(
    trace['reward'], 100 * np.array(trace['accuracy']), rtol=1e-3
  )


def test_a_run_that_ends_early_goes_on_to_the_same_result(
  bench, undisturbed, tmp_path
):
  """Killed twice at one child, then out of time, then let be."""
  trained_children, trained_again = [], []
  for end, dies_at, time_over in (
    (ProcessEnd, 5, 100),
    (ProcessEnd, 1, 100),
    (search_quality.OutOfTime, None, 10),  # 9 iterations, then the evidence
    (None, None, 100),
  ):
    faked, children, evidence = _with_fakes(bench, dies_at)
    with pytest.raises(end) if end else contextlib.nullcontext():
      results = _run(faked, tmp_path, _over_after(time_over))
    assert end is None or not (tmp_path / 'results').exists()
    trained_children += children.digests
    trained_again += evidence.digests
  expected, children, evidence = undisturbed
  assert results == expected
  assert sorted(trained_children) == sorted(children.digests)
  assert sorted(trained_again) == sorted(evidence.digests)


def _over_after(count):
  """A check for which the time is over at its call number `count`."""
  left = iter(range(count - 1))

  def check_time():
    if next(left, None) is None:
      raise search_quality.OutOfTime

  return check_time


def test_time_given_is_kept():
  """0 is no limit."""
  search_quality.check_time_fn(0)()
  search_quality.check_time_fn(1)()
  with pytest.raises(search_quality.OutOfTime):
    search_quality.check_time_fn(-1)()


def test_finished_arms_are_kept_and_others_added(bench, undisturbed, tmp_path):
  """One file a seed, whatever the order in which its arms were run."""
  for arms in (ARMS[1:], ARMS[:2], ARMS):
    faked, *fakes = _with_fakes(bench)
    results = _run(faked, tmp_path, arms=arms)
  assert not any(fake.calls for fake in fakes)
  old, new = undisturbed[0]['seed_3.json'], results['seed_3.json']
  assert new['arms'] == old['arms'] and new['blocks'] == old['blocks']


def test_results_of_another_config_are_refused(bench, undisturbed, tmp_path):
  """Two settings in one table are no comparison."""
  result = undisturbed[0]['seed_3.json']
  other = result | {'config': result['config'] | {'expert': 'densenet'}}
  for seed, content in enumerate((result, other), start=3):
    records.write_json(tmp_path / f'seed_{seed}.json', content)
  with pytest.raises(ValueError, match='seed_4.json.*expert.*densenet'):
    reports.report(tmp_path)
  with pytest.raises(ValueError, match='--results'):
    search_quality.missing_arms(tmp_path / 'seed_4.json', bench.config, ARMS)


def test_second_split_is_of_images_that_no_search_sees(bench):
  """Evidence on images that were searched on would be none."""
  first, second = searches.load_splits(bench.config)
  assert len(second.valid.labels) == EVIDENCE['second_size']
  seen = {image.tobytes() for split in first[1:4] for image in split.images}
  assert not seen & {image.tobytes() for image in second.valid.images}
  np.testing.assert_array_equal(second.train.images, first.train.images)
  np.testing.assert_array_equal(second.mean, first.mean)
  with pytest.raises(ValueError, match='images'):
    searches.load_splits(
      bench.config | {'evidence': EVIDENCE | {'second_size': 2000}}
    )


def test_a_random_expert_is_as_long_as_the_human_one(bench):
  """The control differs from the human expert in its topology only."""
  keys = jax.random.split(jax.random.key(0), 5)
  found = [searches.control_expert(bench, key) for key in keys]
  length = graph.size(bench.kind.expert(bench.config['expert']))
  assert {graph.size(bench.kind.parse(text)) for text in found} == {length}
  assert len(set(found)) > 1
  longer = bench._replace(config=bench.config | {'expert': 'inception'})
  with pytest.raises(ValueError, match='space.num_layers'):
    searches.control_expert(longer, keys[0])


def test_rewards_like_the_block_they_are_to_like(bench):
  """The mirror is worth 2 points at its own expert, and less elsewhere."""
  control = '(1, AvgPool, 3, 0, 0)(2, MaxPool, 3, 1, 0)(3, Terminal)'
  graphs = jax.tree.map(
    lambda *x: np.stack(x),
    bench.kind.expert('resnet'),
    bench.kind.parse(control),
  )
  half = np.full(2, 0.5, np.float32)
  scores = Scores(*[half] * 9, np.zeros(2, np.int32))
  none, expert, other = (
    searches.make_reward(bench, jax.random.key(0), guidance, control)(
      scores, graphs
    )
    for guidance in ('none', 'expert', 'control')
  )
  np.testing.assert_allclose(none, [50, 50])
  np.testing.assert_allclose([expert[0], other[1]], 52, rtol=1e-5)
  assert max(expert[1], other[0]) < 51.9


def test_paired_differences():
  """Hand-computed; every resample of equal differences has their mean."""
  found = reports.paired([3.0, 4.0, 5.0], [1.0, 2.0, 3.0], False)
  assert found == (2.0, 2.0, 2.0) and found.excludes_zero
  found = reports.paired([2.0, 8.0], [1.0, 2.0], True)  # times 2 and 4
  np.testing.assert_allclose(found, [100 * (8**0.5 - 1), 100, 300])
  assert not reports.paired([1.0, 2.0], [2.0, 1.0], False).excludes_zero
  assert not reports.paired([2.0], [1.0], False).excludes_zero


def test_bootstrap_interval():
  """Of two values: means 0, 1/2, 1 at 1/4, 1/2, 1/4; of many: the normal."""
  assert reports.bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)
  values = np.random.default_rng(1).normal(size=400)
  low, high = reports.bootstrap_interval(values)
  expected = values.mean() + 1.96 * values.std() / 20 * np.array([-1, 1])
  np.testing.assert_allclose([low, high], expected, atol=5e-3)


RESULT = {
  'config': {'search': {'num_proposals': 4}, 'evidence': {'last': 4}},
  'environment': {},
  'arms': {
    'random': {'last': {'a': 3, 'b': 1}, 'best': 'c', 'distinct': 9},
    'evolution-none': {'last': {'c': 4}, 'best': 'c', 'distinct': 1},
  },
  'blocks': {
    'a': {'accuracy': 0.5, 'madds': 100.0, 'layers': 1},
    'b': {'accuracy': None, 'madds': 300.0, 'layers': 4},
    'c': {'accuracy': 0.75, 'madds': 400.0, 'layers': 7},
  },
}


def test_figures_of_an_arm():
  """Distinct blocks count once each, one that failed counts as 0."""
  found = reports.figures(RESULT, 'random', {'a': 0.001, 'b': 0.002})
  assert found == {
    'accuracy': 25.0,
    'best': 75.0,
    'madds': 200.0,
    'latency': 1.5,
    'layers': 2.5,
    'distinct': 2,
    'distinct_all': 9,
  }
  assert np.isnan(reports.figures(RESULT, 'random', {'a': 1.0})['latency'])


def test_report_says_which_intervals_exclude_zero(tmp_path):
  """Three equal seeds leave no doubt; their difference may be 0 or not."""
  for seed in range(3):
    records.write_json(tmp_path / f'seed_{seed}.json', RESULT)
  text = reports.report(tmp_path)
  pair = 'evolution-none minus random'
  assert '3 seeds' in text and '9 blocks trained again, 3 failed' in text
  assert f'- {pair}: accuracy, points **+50.00 [+50.00, +50.00]**' in text
  assert f'- {pair}: multiply-adds, % **+100.00 [+100.00, +100.00]**' in text
  assert f'{pair}: best block' not in text and 'latency, %' not in text
  assert '3 of 4 intervals exclude 0' in text


def test_rounds_that_order_blocks_alike_agree():
  """Order only: any increasing function is 1."""
  x = np.array([3.0, 1.0, 2.0, 5.0])
  agree = search_quality_latency.repeatability
  assert agree(np.stack([x, np.exp(x)], 1)) == pytest.approx(1)
  assert agree(np.stack([x, -x], 1)) == pytest.approx(-1)
  halves = np.array([[1, 2, 3], [1, 3, 2]]).T
  assert agree(halves) == pytest.approx(0.5)


CONFIG = f"""
from tests.fixtures import tiny


def get_config():
  config = tiny.get_config()
  config.evidence = dict({EVIDENCE})
  return config
"""


def test_the_command_trains_and_scores_blocks(launch, tmp_path):
  """The whole path with real children, whose second training differs."""
  config, results = tmp_path / 'config.py', tmp_path / 'results'
  config.write_text(CONFIG)
  status, output, errors = launch(
    'benchmarks.search_quality',
    f'--config={config}',
    f'--workdir={tmp_path / "runs"}',
    f'--results={results}',
    '--arms=evolution-expert',
    '--num_seeds=1',
  )
  assert status == 0, errors
  assert 'seed_0.json' in output
  (result,) = reports.read_results(results)
  blocks = result['blocks'].values()
  assert any(b['accuracy'] != b['search_accuracy'] for b in blocks)
  assert all(b['params'] > 0 and b['madds'] > 0 for b in blocks)
  assert 'evolution-expert' in reports.report(results)
