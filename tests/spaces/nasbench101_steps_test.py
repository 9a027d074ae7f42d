"""Building cells step by step: masks by hand and by a plain Python model."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from irlas_jax.policies import sampling
from irlas_jax.spaces import fingerprint, nasbench101, nasbench101_steps
from irlas_jax.types import Graph

pytestmark = pytest.mark.usefixtures('quick_compiles')
SPACES = [(3, 1), (3, 9), (4, 3), (5, 5), (7, 9)]


def _space(max_vertices, max_edges=9):
  return nasbench101_steps.nasbench101_steps(max_vertices, max_edges)


def _edge(max_vertices, u, v):
  """The action that adds edge u -> v."""
  pairs = list(zip(*nasbench101.pairs(max_vertices), strict=True))
  return nasbench101_steps.FIRST_EDGE + pairs.index((u, v))


def _legal_by_the_rules(max_vertices, max_edges, actions):
  """The set of legal actions after a prefix, with networkx."""
  if actions and actions[-1] == 0:
    return {0}
  last = max_vertices - 1
  nodes = sum(action <= 3 for action in actions)
  there = [*range(nodes + 1), last]
  all_pairs = list(zip(*nasbench101.pairs(max_vertices), strict=True))
  drawn = [all_pairs[action - 4] for action in actions if action > 3]

  def connected(edges):
    return nx.has_path(nx.DiGraph([*edges, (last, 'end'), (0, 0)]), 0, last)

  result = {0} if connected(drawn) else set()
  if not drawn and nodes < max_vertices - 2:
    result |= {1, 2, 3}
  for u, v in all_pairs:
    after = [*drawn, (u, v)]
    fits = len(after) + (not connected(after)) <= max_edges
    if (u, v) not in drawn and u in there and v in there and fits:
      result.add(_edge(max_vertices, u, v))
  return result


@pytest.mark.parametrize('max_vertices, max_edges', SPACES)
def test_random_episodes_meet_the_masks_of_the_rules(max_vertices, max_edges):
  space = _space(max_vertices, max_edges)
  actions = sampling.uniform_lengths(jax.random.key(1), space, 40)
  masks = jax.jit(jax.vmap(lambda row: sampling.legal_masks(space, row)))
  for row, mask in zip(
    np.asarray(actions), np.asarray(masks(actions)), strict=True
  ):
    for t in range(space.num_steps):
      expected = _legal_by_the_rules(max_vertices, max_edges, row[:t].tolist())
      assert set(np.flatnonzero(mask[t]).tolist()) == expected
      assert row[t] in expected


@pytest.mark.parametrize('max_vertices, max_edges', SPACES)
def test_every_episode_is_a_cell_and_encodes(max_vertices, max_edges):
  space = _space(max_vertices, max_edges)
  actions = sampling.uniform_lengths(jax.random.key(2), space, 500)
  decode = jax.jit(jax.vmap(space.decode))
  cells = Graph(*map(np.asarray, decode(actions)))
  codes = np.select([cells.ops == 4, cells.ops < 0], [-2, -3], cells.ops - 1)
  checked = nasbench101.from_matrices(cells.edges.astype(int), codes)
  assert cells.edges.sum((1, 2)).max() <= max_edges
  back = jax.jit(jax.vmap(space.encode))(cells)
  for field, want, again in zip(cells, checked, decode(back), strict=True):
    np.testing.assert_array_equal(field, want)
    np.testing.assert_array_equal(again, want)
    assert field.dtype == want.dtype
  masks = jax.jit(jax.vmap(lambda row: sampling.legal_masks(space, row)))
  chosen = np.take_along_axis(
    np.asarray(masks(back)), np.asarray(back)[..., None], axis=2
  )
  assert chosen.all(), 'encode gives legal actions'


def test_all_91_cells_of_four_vertices_are_reached():
  """Every legal episode, by following the masks: none is without a path."""
  space = _space(4)
  legal = jax.jit(jax.vmap(space.legal, (0, None)))
  actions = np.zeros((1, space.num_steps), np.int32)
  for t in range(space.num_steps):
    rows, chosen = np.nonzero(np.asarray(legal(actions, t)))
    assert len(set(rows)) == len(actions), 'an episode without a way on'
    actions = actions[rows]
    actions[:, t] = chosen
  cells = jax.jit(jax.vmap(space.decode))(actions)
  assert np.asarray(cells.edges).any((1, 2)).all()
  names = jax.jit(jax.vmap(fingerprint.fingerprint))(cells)
  assert len(np.unique(np.asarray(names), axis=0)) == 91


def test_both_encodings_decode_to_the_same_cell():
  direct, steps = nasbench101.nasbench101(), _space(7)
  actions = sampling.uniform_actions(jax.random.key(3), direct, 200)
  cells = jax.jit(jax.vmap(direct.decode))(actions)
  other = jax.jit(jax.vmap(lambda g: steps.decode(steps.encode(g))))(cells)
  for field, want in zip(other, cells, strict=True):
    np.testing.assert_array_equal(field, want)


@pytest.mark.parametrize('jit', [True, False])
def test_an_episode_by_hand(jit):
  """Input -> conv1x1 -> output; the max pool gets no edge and goes."""
  space = _space(4, 2)
  a01, a13, a03 = (_edge(4, u, v) for u, v in ((0, 1), (1, 3), (0, 3)))
  actions = jnp.array([2, 3, a01, a13])
  legal = jax.jit(space.legal) if jit else space.legal
  masks = [np.flatnonzero(legal(actions, t)).tolist() for t in range(4)]
  assert masks[0] == [1, 2, 3, a03], 'no stop, and no vertices 1 and 2 yet'
  assert masks[1][:3] == [1, 2, 3]
  assert not {0, 1, 2, 3} & set(masks[2]), 'no path yet, no room for vertices'
  assert masks[3] == sorted([a13, a03]), 'the last edge completes a path'
  cell = space.decode(actions)
  assert nasbench101.text_of(cell) == 'conv1x1 | 0-1 1-2'
  assert space.encode(cell).tolist() == [2, a01, a13, 0]


def test_legal_and_state_read_earlier_actions_only():
  space = _space(5)
  legal = jax.jit(space.legal)
  rng = np.random.default_rng(0)
  sampled = sampling.uniform_lengths(jax.random.key(4), space, 10)
  for actions in np.asarray(sampled):
    for t in range(space.num_steps):
      changed = actions.copy()
      changed[t:] = rng.integers(space.num_actions, size=len(actions) - t)
      np.testing.assert_array_equal(legal(actions, t), legal(changed, t))
      assert space.state(actions, t) == space.state(changed, t)


def test_sizes_and_states():
  """7 vertices: 5 nodes and 9 edges; stop, 3 operations, 21 pairs."""
  space = _space(7)
  assert (space.num_steps, space.num_actions) == (14, 25)
  assert space.num_states == 14 * 25
  assert _space(3).num_steps == 1 + 3, 'three vertices have three pairs'
  assert space.terminal
  actions = jnp.arange(14, dtype=jnp.int32)
  assert space.state(actions, 0) == 0
  assert space.state(actions, 3) == 3 * 25 + 2


def test_limits_out_of_range_are_refused():
  with pytest.raises(ValueError, match='space.max_vertices is 8'):
    _space(8)
  with pytest.raises(ValueError, match='space.max_edges is 0'):
    _space(7, 0)
