"""Reward curves and cost pictures: the numbers behind them, and the files."""

import numpy as np
import pytest
from matplotlib import figure
from PIL import Image

from irlas_jax.reports import curves, figures

NAN = np.nan


@pytest.fixture(name='axes')
def _axes(monkeypatch):
  """Calls what it is given, and returns the axes of what was saved."""
  saved: list[figure.Figure] = []
  monkeypatch.setattr(figures, 'save', lambda fig, path: saved.append(fig))

  def call(function, *args, **kwargs):
    function('unused', *args, **kwargs)
    return saved.pop().axes[0]

  return call


def _line(axes, start):
  """Data [2, k] of the line whose label starts so."""
  lines = [line for line in axes.lines if line.get_label().startswith(start)]
  assert len(lines) == 1, [line.get_label() for line in axes.lines]
  return np.array(lines[0].get_data(), float)


def _size(path):
  with Image.open(path) as image:
    image.load()
    assert image.format == 'PNG'
    return image.size


@pytest.mark.parametrize(
  'values, window, expected',
  [
    ([1, 3, 5, 7], 2, [1, 2, 4, 6]),
    ([1, 3, 5, 7], 1, [1, 3, 5, 7]),
    ([1, 3, 5, 7], 9, [1, 2, 3, 4]),
    ([NAN, 2, NAN, NAN, 6], 2, [NAN, 2, 2, NAN, 6]),
    ([NAN, NAN], 5, [NAN, NAN]),
  ],
)
def test_running_mean_by_hand(values, window, expected):
  mean = curves.running_mean(np.array(values, float), window)
  np.testing.assert_allclose(mean, expected)


def test_best_so_far_by_hand():
  best = curves.best_so_far(np.array([NAN, 1, 0, NAN, 3, 2]))
  np.testing.assert_array_equal(best, [NAN, 1, 1, 1, 3, 3])


def test_pareto_front_by_hand():
  """2 is beaten by 0, 3 costs more for no more, 5 repeats 4."""
  accuracy = np.array([0.8, 0.6, 0.7, 0.8, 0.9, 0.9])
  madds = np.array([2.0, 1.0, 2.0, 3.0, 4.0, 4.0])
  np.testing.assert_array_equal(curves.pareto_front(accuracy, madds), [1, 0, 4])


def test_pareto_front_is_what_no_pair_dominates():
  rng = np.random.default_rng(0)
  accuracy, madds = rng.integers(0, 12, (2, 60)).astype(float)
  front = curves.pareto_front(accuracy, madds)
  no_worse = (accuracy[:, None] >= accuracy) & (madds[:, None] <= madds)
  better = (accuracy[:, None] > accuracy) | (madds[:, None] < madds)
  free = ~np.any(no_worse & better, axis=0)
  pairs = {(accuracy[i], madds[i]) for i in np.flatnonzero(free)}
  assert {(accuracy[i], madds[i]) for i in front} == pairs
  assert len(front) == len(pairs)


def test_repeated_and_unmeasured_pairs_are_left_out():
  accuracy = np.array([0.5, NAN, 0.5, 0.6, 0.5, 0.7, 0.8])
  madds = np.array([2.0, 2.0, 2.0, 2.0, 3.0, 0.0, np.inf])
  np.testing.assert_array_equal(
    curves.first_of_each(accuracy, madds), [0, 3, 4]
  )


def test_failures_are_crosses_and_count_for_nothing(axes):
  """A floor of -100 neither moves the mean nor squashes the curve."""
  rewards = [0.5, -100.0, np.inf, 0.7, NAN]
  failed = [False, True, False, False, False]
  drawn = axes(curves.reward_curve, rewards, failed=failed, window=5)
  np.testing.assert_array_equal(_line(drawn, 'failed (3)')[0], [2, 3, 5])
  np.testing.assert_allclose(_line(drawn, 'mean')[1][-1], 0.6)
  np.testing.assert_allclose(_line(drawn, 'best')[1], [0.5, 0.5, 0.5, 0.7, 0.7])
  low, high = drawn.get_ylim()
  assert 0.4 < low < 0.5 and 0.7 < high < 0.8


def test_best_and_baseline_are_labelled_and_in_range(axes):
  drawn = axes(curves.reward_curve, [0.1, 0.3, 0.2], baseline=0.9)
  labels = drawn.get_legend_handles_labels()[1]
  assert 'best so far (0.3, proposal 2)' in labels
  assert 'baseline 0.9' in labels
  assert drawn.get_ylim()[1] > 0.9


@pytest.mark.parametrize('baseline', [None, NAN])
def test_no_baseline(axes, baseline):
  drawn = axes(curves.reward_curve, [0.1, 0.3], baseline=baseline)
  assert not any('baseline' in line.get_label() for line in drawn.lines)


def test_exploration_is_shaded_up_to_the_end_value(axes):
  """Epsilon reaches 0.1 at the fourth proposal: three are shaded, by it."""
  epsilon = [1.0, 0.5, 0.5, 0.1, 0.1]
  drawn = axes(curves.reward_curve, np.arange(5), exploration=epsilon)
  (image,) = drawn.images
  assert list(image.get_extent()) == [0.5, 3.5, 0, 1]
  opacity = image.get_array()[0, :, 3]
  assert len(opacity) == 3 and opacity[0] > opacity[1] == opacity[2] > 0
  (text,) = drawn.texts
  assert text.get_text() == 'exploration: epsilon 1 to 0.1'
  assert drawn.get_xlim() == (0.5, 5.5)


def test_unknown_exploration_is_not_shaded(axes):
  epsilon = [NAN, 0.8, NAN, 0.1]
  drawn = axes(curves.reward_curve, np.arange(4), exploration=epsilon)
  opacity = drawn.images[0].get_array()[0, :, 3]
  np.testing.assert_array_equal(opacity > 0, [False, True, False])
  assert drawn.texts[0].get_text() == 'exploration: epsilon 0.8 to 0.1'


@pytest.mark.parametrize('epsilon', [1.0, NAN])
def test_constant_exploration_is_not_a_phase(axes, epsilon):
  exploration = np.full(5, epsilon)
  drawn = axes(curves.reward_curve, np.arange(5), exploration=exploration)
  assert not drawn.images and not drawn.texts


def test_each_pair_is_one_point_coloured_by_its_proposal(axes):
  drawn = axes(
    curves.accuracy_against_cost,
    [0.5, 0.5, 0.8, NAN],
    [1e6, 1e6, 2e6, 3e6],
    rewards=[0.1, 0.1, 0.4, -1],
    best=2,
    expert=(0.7, 3e6),
  )
  (points,) = drawn.collections
  np.testing.assert_allclose(points.get_offsets(), [[1e6, 0.5], [2e6, 0.8]])
  np.testing.assert_array_equal(points.get_array(), [1, 3])
  np.testing.assert_allclose(_line(drawn, 'Pareto'), [[1e6, 2e6], [0.5, 0.8]])
  np.testing.assert_allclose(_line(drawn, 'best reward 0.4').T, [[2e6, 0.8]])
  np.testing.assert_allclose(_line(drawn, 'expert').T, [[3e6, 0.7]])
  assert drawn.get_xscale() == 'log'


@pytest.mark.parametrize('unknown', [NAN, None])
def test_a_best_without_measurements_is_not_marked(axes, unknown):
  drawn = axes(
    curves.accuracy_against_cost,
    [0.5, unknown],
    [1e6, unknown],
    rewards=[0, 1],
    best=1,
    expert=(unknown, 1e6),
  )
  assert [line.get_label() for line in drawn.lines] == ['Pareto front']


def test_a_narrow_range_of_costs_has_ticks(axes):
  """Within a factor of two there may be no power of ten to label."""
  drawn = axes(
    curves.accuracy_against_cost,
    [0.5, 0.6],
    [1.2e7, 1.5e7],
    rewards=[0, 1],
    best=1,
  )
  low, high = drawn.get_xlim()
  ticks = [tick for tick in drawn.get_xticks() if low <= tick <= high]
  assert len(ticks) >= 3


@pytest.mark.parametrize(
  'rewards, options',
  [
    ([0.5], {}),
    ([NAN, NAN], {'exploration': [1.0, 0.1]}),
    ([0.1, 0.2, 0.3], {'title': 'A run', 'baseline': 0.2, 'failed': [1, 1, 1]}),
  ],
)
def test_reward_curve_writes_the_same_png_twice(tmp_path, rewards, options):
  path = curves.reward_curve(tmp_path / 'a.png', rewards, **options)
  assert _size(path) == (1200, 720)
  again = curves.reward_curve(tmp_path / 'b.png', rewards, **options)
  assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize('accuracy', [[0.5, 0.6], [0.5, 0.5], [NAN, NAN]])
def test_accuracy_against_cost_writes_the_same_png_twice(tmp_path, accuracy):
  options = {'rewards': [NAN, 0.3], 'best': 1}
  path, again = (
    curves.accuracy_against_cost(tmp_path / name, accuracy, [1, 1e3], **options)
    for name in ('a.png', 'b.png')
  )
  assert _size(path) == (1200, 720)
  assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
  'rewards, options, message',
  [
    ([], {}, 'rewards has shape'),
    ([[1.0]], {}, 'rewards has shape'),
    ([1, 2], {'failed': [True]}, 'failed has 1 entries for 2'),
    ([1, 2], {'exploration': [1.0]}, 'exploration has 1 entries for 2'),
    ([1, 2], {'window': 0}, 'window is 0'),
  ],
)
def test_reward_curve_names_what_is_wrong(tmp_path, rewards, options, message):
  with pytest.raises(ValueError, match=message):
    curves.reward_curve(tmp_path / 'a.png', rewards, **options)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'madds': [1.0]}, 'madds has 1 entries for 2'),
    ({'rewards': [1.0]}, 'rewards has 1 entries for 2'),
    ({'best': 2}, 'best is 2'),
    ({'best': -1}, 'best is -1'),
  ],
)
def test_accuracy_against_cost_names_what_is_wrong(tmp_path, changes, message):
  options = {'madds': [1.0, 2.0], 'rewards': [1.0, 2.0], 'best': 0} | changes
  with pytest.raises(ValueError, match=message):
    curves.accuracy_against_cost(tmp_path / 'a.png', [0.1, 0.2], **options)
  assert not list(tmp_path.iterdir())
