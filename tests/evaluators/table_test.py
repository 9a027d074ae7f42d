"""Looking up: every architecture's own row, and what is in no table."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.evaluators import table
from irlas_jax.rewards import shaping
from irlas_jax.spaces import choices
from irlas_jax.types import ABSENT, OK, Proposals, Scores

pytestmark = pytest.mark.usefixtures('quick_compiles')
SIZES = (3, 2, 4)
EVERYTHING = np.array(list(itertools.product(*map(range, SIZES))), np.int32)
# Some of them in some order; the third row's accuracy nobody measured.
ROWS = np.array([[2, 1, 3], [0, 0, 0], [1, 0, 2], [0, 1, 0]], np.int32)
ACCURACY = np.array([0.5, 0.25, np.nan, 0.75])
SIZE = np.array([1e6, 2e6, 3e6, 4e6])


@pytest.fixture(name='rows', scope='module')
def fixture_rows():
  """The four rows as an evaluator of populations of up to 5."""
  graphs = jax.device_get(jax.vmap(choices.choices(SIZES).decode)(ROWS))
  scores = table.scores(ACCURACY, params=SIZE)
  return table.tabulated(
    table.locate_choices(ROWS, SIZES), scores, graphs, population=5
  )


def proposals(actions):
  return Proposals(jnp.asarray(actions), jnp.asarray(actions), ())


def test_scores_say_what_was_given_and_nothing_else():
  found = table.scores(ACCURACY, seconds=SIZE)
  assert found.failure.tolist() == [OK, OK, ABSENT, OK]
  np.testing.assert_array_equal(found.seconds, SIZE)
  np.testing.assert_array_equal(found.curve, ACCURACY[:, None])
  for name in ('loss', 'params', 'madds', 'latency'):
    assert np.isnan(getattr(found, name)).all(), name
  assert {str(column.dtype) for column in found} == {'float32', 'int32'}
  assert all(len(column) == 4 for column in found)


def test_every_architecture_has_its_row_or_the_last(rows):
  """Row-major mistakes would give a neighbour's scores."""
  found = jax.jit(jax.vmap(rows.locate))(EVERYTHING)
  expected = [
    next((i for i, row in enumerate(ROWS) if (row == actions).all()), 4)
    for actions in EVERYTHING
  ]
  np.testing.assert_array_equal(found, expected)
  assert found.dtype == jnp.int32


@pytest.mark.parametrize('sizes', [(3, 2, 4), (1,), (5,), (1, 1, 3), (2,) * 5])
def test_all_combinations_are_found_in_any_order(sizes):
  actions = np.array(list(itertools.product(*map(range, sizes))), np.int32)
  order = np.random.default_rng(0).permutation(len(actions))
  locate = table.locate_choices(actions[order], sizes)
  found = jax.vmap(locate)(actions)
  np.testing.assert_array_equal(found[order], np.arange(len(order)))


def test_the_last_row_is_what_no_table_has(rows):
  last = jax.tree.map(lambda column: column[4], rows.scores)
  assert last.failure == ABSENT
  assert all(
    np.isnan(getattr(last, name)).all()
    for name in Scores._fields
    if name not in ('index', 'failure')
  )
  assert {len(field) for field in rows.graphs} == {5}
  np.testing.assert_array_equal(rows.graphs.attrs[:4, 1:, 0], ROWS)


def test_what_is_not_there_gets_the_floor(rows):
  """Neither an absent row nor one without accuracy may look measured."""
  asked = proposals(np.array([[0, 1, 0], [0, 0, 1], [1, 0, 2], [2, 1, 3]]))
  found = rows.evaluate(jax.random.key(0), asked, 0.0)
  assert found.failure.tolist() == [OK, ABSENT, ABSENT, OK]
  np.testing.assert_array_equal(found.params, [4e6, np.nan, 3e6, 1e6])
  rewards = shaping.accuracy_reward(-1.0)(found, None)
  np.testing.assert_allclose(rewards, [75, -1, -1, 50])
  whole = shaping.accuracy_reward(-1.0)(rows.scores, rows.graphs)
  np.testing.assert_allclose(whole, [50, 25, -1, 75, -1])


def test_as_many_answers_as_proposals(rows):
  """What fills a call up must not come back."""
  for n in (1, 2, 3, 4):
    found = rows.evaluate(jax.random.key(n), proposals(ROWS[:n]), 0.0)
    np.testing.assert_array_equal(found.params, SIZE[:n])
    assert all(len(column) == n for column in found)


def test_looking_up_is_compiled_once():
  """A last batch of another size must not be another program."""
  scores = table.scores(ACCURACY)
  traces = []

  def locate(actions):
    traces.append(actions.shape)
    return actions[0]

  graphs = jax.device_get(jax.vmap(choices.choices(SIZES).decode)(ROWS))
  evaluate = table.tabulated(locate, scores, graphs, 7).evaluate
  for n in (7, 1, 3, 5):
    evaluate(jax.random.key(0), proposals(EVERYTHING[:n]), 0.0)
  assert traces == [(3,)]


def test_more_than_the_population_is_refused(rows):
  """Rows left out in silence would be rows of nobody."""
  with pytest.raises(ValueError):
    rows.evaluate(jax.random.key(0), proposals(EVERYTHING[:6]), 0.0)


def test_too_many_combinations_are_refused():
  """A map of 5^20 integers would end the process."""
  with pytest.raises(ValueError, match='95,367,431,640,625') as error:
    table.locate_choices(np.zeros((1, 20), np.int32), (5,) * 20)
  assert '67,108,864' in str(error.value)
