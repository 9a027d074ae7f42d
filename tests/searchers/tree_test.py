"""UCT, paths and exhaustion on trees small enough to write down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.searchers import tree
from irlas_jax.spaces import choices

SPACE = choices.choices((2, 1, 2))  # nothing to choose at the second step
FIRST, LAST = 0.1, 0.9  # draws that pick the first, or last, of what may be


def _small():
  """A root whose children 1, 2 have 3 and 1 visits; there is no third."""
  blank = tree.empty(4, 3)
  return blank._replace(
    children=blank.children.at[0].set(jnp.array([1, 2, 4])),
    visits=jnp.array([4, 3, 1, 0]),
    values=jnp.array([26.0, 24.0, 2.0, 0.0]),
    size=jnp.int32(3),
    low=jnp.float32(2.0),
    high=jnp.float32(12.0),
  )


def test_bounds_by_hand():
  """Means 8 and 2 are 0.6 and 0 between the least and the highest reward."""
  small = _small()
  found = tree.uct(small, jnp.int32(0), small.children[0], 0.5)
  want = [
    0.6 + 0.5 * np.sqrt(2 * np.log(4) / 3),
    0.0 + 0.5 * np.sqrt(2 * np.log(4) / 1),
    np.inf,
  ]
  np.testing.assert_allclose(found, want, rtol=1e-6)


def test_a_proposal_in_flight_is_a_visit_of_the_least_value():
  small = _small()
  small = small._replace(pending=jnp.array([2, 2, 0, 0]))
  found = tree.uct(small, jnp.int32(0), small.children[0], 0.5)
  want = (24 - 3 * 2) / 10 / 5 + 0.5 * np.sqrt(2 * np.log(6) / 5)
  np.testing.assert_allclose(found[0], want, rtol=1e-6)


@pytest.mark.parametrize('scale, shift', [(100.0, 0.0), (0.01, -7.0)])
def test_bounds_do_not_depend_on_the_scale_of_rewards(scale, shift):
  small = _small()
  other = small._replace(
    values=scale * small.values + shift * small.visits,
    low=scale * small.low + shift,
    high=scale * small.high + shift,
  )
  node, kids = jnp.int32(0), small.children[0]
  np.testing.assert_allclose(
    tree.uct(other, node, kids, 0.5), tree.uct(small, node, kids, 0.5), 1e-4
  )


def test_nothing_is_known_before_the_first_reward():
  """No infinite limits in the bounds of what is pending."""
  blank = tree.empty(3, 2)
  blank = blank._replace(pending=jnp.array([2, 2, 0]))
  found = tree.uct(blank, jnp.int32(0), jnp.array([1, 2]), 1.0)
  want = [np.sqrt(np.log(2)), np.inf]
  np.testing.assert_allclose(found, want, rtol=1e-6)


def _simulate(whole, *draws):
  """The sequence, its path, and the tree that it leaves."""
  actions, route = tree.simulate(jnp.array(draws), whole, SPACE, 1.0)
  recorded = tree.record(whole, actions, route)
  return actions.tolist(), tree.path(route, len(whole.visits)), recorded


def test_a_simulation_selects_one_node_and_remembers_the_others():
  """Forced steps have no nodes; only what is selected is pending."""
  actions, path, whole = _simulate(tree.empty(8, 2), LAST, FIRST, FIRST)
  assert actions == [1, 0, 0]
  assert path.tolist() == [0, 1, 8, 8]
  assert whole.children[0].tolist() == [8, 1]
  assert whole.children[1].tolist() == [2, 8]
  assert whole.pending.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
  assert whole.exhausted.tolist()[:3] == [False, False, True]
  assert whole.size == 3


def test_the_paths_of_four_simulations_exhaust_the_tree():
  """Each child of the root first, then what is left below them."""
  whole, found = tree.empty(8, 2), []
  for _ in range(4):
    actions, path, whole = _simulate(whole, FIRST, FIRST, FIRST)
    found.append((actions, path.tolist()))
  # 1 and 3 are children of the root; 2, 4, 5 and 6 whole sequences.
  assert found == [
    ([0, 0, 0], [0, 1, 8, 8]),
    ([1, 0, 0], [0, 3, 8, 8]),
    ([0, 0, 1], [0, 1, 8, 5]),
    ([1, 0, 1], [0, 3, 8, 6]),
  ]
  assert whole.exhausted.tolist()[:7] == [True] * 7
  assert whole.size == 7


def test_counts_and_values_go_up_the_path():
  """Rows without a result change nothing, not even if they are NaN."""
  whole = tree.empty(4, 2)._replace(pending=jnp.array([3, 2, 1, 0]))
  paths = jnp.array([[0, 1, 4], [0, 1, 2], [0, 1, 2]])
  after = jax.jit(tree.back_up)(
    whole,
    paths,
    jnp.array([5.0, 7.0, jnp.nan]),
    jnp.array([4.0, 8.0, jnp.nan]),
    jnp.array([True, True, False]),
  )
  assert after.visits.tolist() == [2, 2, 1, 0]
  assert after.values.tolist() == [12.0, 12.0, 7.0, 0.0]
  assert after.pending.tolist() == [1, 0, 0, 0]
  assert (after.low, after.high) == (4.0, 8.0)


def test_a_full_tree_keeps_what_it_has():
  """Sequences go on, and are backed up from the last node there is."""
  whole = tree.empty(2, 2)
  for _ in range(5):
    actions, path, whole = _simulate(whole, LAST, FIRST, LAST)
    assert actions[1] == 0 and path[0] == 0
  assert whole.size == 2 and whole.children[0].tolist() == [2, 1]
  assert not whole.exhausted.any()
  assert whole.pending.tolist() == [5, 1]


def test_a_tree_without_room_is_refused():
  with pytest.raises(ValueError, match='num_nodes'):
    tree.empty(0, 2)
