"""Which runs a sweep has, and what it says of them."""

import ml_collections
import pytest

from irlas_jax import sweeps
from irlas_jax.sweeps import Axis, Draw, Result, Run


@pytest.fixture
def config():
  made = ml_collections.ConfigDict()
  made.seed = 0
  made.data_dir = ml_collections.config_dict.placeholder(str)
  made.space = dict(name='choices', sizes=(3, 2))
  made.train = dict(learning_rate=0.1, pad=0, mirror=False)
  return made.lock()


@pytest.mark.parametrize(
  'text, expected',
  [
    ('seed=0:3', Axis('seed', (0, 1, 2))),
    ('seed=7', Axis('seed', (7,))),
    ('train.learning_rate=0.1,1', Axis('train.learning_rate', (0.1, 1.0))),
    ('train.learning_rate=1e-3', Axis('train.learning_rate', (0.001,))),
    ('train.learning_rate=0.1,0.10', Axis('train.learning_rate', (0.1,))),
    ('train.mirror=True,False', Axis('train.mirror', (True, False))),
    ('space.name=choices,block', Axis('space.name', ('choices', 'block'))),
    ('space.sizes=(3, 2),[4,4]', Axis('space.sizes', ((3, 2), (4, 4)))),
    ('data_dir=a,b', Axis('data_dir', ('a', 'b'))),
    (
      'train.learning_rate=log(0.001,0.1)',
      Axis('train.learning_rate', Draw(0.001, 0.1, True)),
    ),
    (
      'train.learning_rate=uniform(0, 1)',
      Axis('train.learning_rate', Draw(0.0, 1.0, False)),
    ),
  ],
)
def test_an_axis_has_the_type_of_its_field(text, expected, config):
  found = sweeps.axis(text, config)
  assert found == expected
  if not isinstance(found.values, Draw):
    assert list(map(type, found.values)) == list(map(type, expected.values))


@pytest.mark.parametrize(
  'text, words',
  [
    ('train.learning_rat=1', "no field 'train.learning_rat'.*learning_rate"),
    ('trian.pad=1', "no field 'trian.pad'.*train.pad"),
    ('seed.a=1', "no field 'seed.a'"),
    ('train=1', 'is a section: choose from train.learning_rate'),
    ('train.pad=1.5', "train.pad takes int, not '1.5'"),
    ('train.pad=True', "train.pad takes int, not 'True'"),
    ('train.pad=two', "train.pad takes int, not 'two'"),
    ('train.mirror=1', "train.mirror takes bool, not '1'"),
    ('space.sizes=3', "space.sizes takes tuple, not '3'"),
    ('seed=5:5', 'there is no value'),
    ('seed=uniform(0,1)', 'only floats are drawn'),
    ('train.learning_rate=log(0,1)', 'from a number to a larger one'),
    ('train.learning_rate=uniform(2,1)', 'from a number to a larger one'),
    ('seed', 'write field=value'),
    ('seed=', 'write field=value'),
  ],
)
def test_a_wrong_axis_is_refused(text, words, config):
  """Before any run: the last one would fail hours later."""
  with pytest.raises(sweeps.SweepError, match=words):
    sweeps.axis(text, config)


RATES = Axis('train.learning_rate', (0.01, 0.1))
SEEDS = Axis('seed', (0, 1, 2))


def test_a_grid_has_all_combinations():
  found = sweeps.runs([RATES, SEEDS])
  assert [tuple(run.point.values()) for run in found] == [
    *[(0.01, 0), (0.01, 1), (0.01, 2)],
    *[(0.1, 0), (0.1, 1), (0.1, 2)],
  ]
  assert found[0].name == 'learning_rate=0.01,seed=0'
  assert len({run.name for run in found}) == 6


def test_a_longer_axis_keeps_the_names():
  """Runs that are finished would be run again."""
  longer = SEEDS._replace(values=(0, 1, 2, 3))
  short, long = sweeps.runs([RATES, SEEDS]), sweeps.runs([RATES, longer])
  assert {run.name for run in short} < {run.name for run in long}


def test_a_random_sweep_draws_settings_and_has_all_their_seeds():
  """Else settings would be compared on different seeds."""
  values = tuple(range(10))
  axes = [Axis('train.pad', values), RATES, SEEDS]
  found = sweeps.runs(axes, num_random=4)
  settings = {tuple(run.point.values())[:2] for run in found}
  assert len(found) == 12 and len(settings) == 4
  longer = sweeps.runs(axes, num_random=6)
  assert longer[:12] == found
  assert sweeps.runs(axes, num_random=4, seed=1) != found
  assert len(sweeps.runs(axes, num_random=99)) == 60  # the whole grid


def test_numbers_are_drawn_within_their_bounds():
  axes = [Axis('a', Draw(0.001, 0.1, True)), Axis('b', Draw(2.0, 3.0, False))]
  found = sweeps.runs(axes, num_random=200)
  rates = sorted(run.point['a'] for run in found)
  assert 0.001 <= rates[0] and rates[-1] <= 0.1
  assert 0.006 < rates[100] < 0.016  # the median of logarithms is 0.01
  assert all(2 <= run.point['b'] <= 3 for run in found)
  assert sweeps.runs(axes, num_random=3) == found[:3]


def test_what_cannot_be_swept_is_refused():
  with pytest.raises(sweeps.SweepError, match='--random=N'):
    sweeps.runs([Axis('a', Draw(0.0, 1.0, False))])
  with pytest.raises(sweeps.SweepError, match='swept twice'):
    sweeps.runs([SEEDS, SEEDS])


def test_names_are_folders_and_no_two_are_alike():
  """Two runs in one workdir are refused, or worse."""
  long = 'x' * 200
  axes = [
    Axis('a.file', ('p/q', 'p?q', long, long + 'y')),
    Axis('b.file', ('',)),
  ]
  names = [run.name for run in sweeps.runs(axes)]
  assert len(set(names)) == 4
  assert all('/' not in name and len(name) < 130 for name in names)
  assert names[0].startswith('a.file=p_q')  # both are called file


def _result(reward, test=float('nan')):
  return Result(reward, 0.5, test, 1000.0, float('nan'))


def test_a_row_is_the_mean_over_seeds():
  found = sweeps.runs([RATES, SEEDS])
  results = {found[0].name: _result(1.0), found[1].name: _result(3.0, 0.9)}
  first, second = sweeps.rows(found, results)
  # Standard deviation of 1 and 3 with n - 1: the root of 2.
  assert first == {
    'learning_rate': '0.01',
    'runs': '2/3',
    'best reward': '2.00 ± 1.41',
    'its accuracy %': '50.00 ± 0.00',
    'test accuracy %': '90.00',
    'parameters': '1,000 ± 0',
  }
  assert second['runs'] == '0/3' and second['best reward'] is None


def test_without_seeds_a_row_is_a_run():
  found = sweeps.runs([RATES])
  rows = sweeps.rows(found, {found[1].name: _result(2.0)})
  assert [row['learning_rate'] for row in rows] == ['0.01', '0.1']
  assert rows[1]['best reward'] == '2.00'


def test_one_setting_over_seeds_is_one_row():
  found = sweeps.runs([SEEDS])
  assert found[0] == Run('seed=0', {'seed': 0})
  (row,) = sweeps.rows(found, {run.name: _result(4.0) for run in found})
  assert row['best reward'] == '4.00 ± 0.00'
