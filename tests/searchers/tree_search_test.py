"""Tree search as a searcher: what it proposes, and what a node is worth."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.policies import mlp_predictor, sampling
from irlas_jax.searchers import tree_search
from irlas_jax.spaces import choices
from irlas_jax.types import Predictor

SPACE = choices.choices((3, 1, 2, 3))  # 18 sequences
SEEDS = 50


def _reward(actions):
  """The sum of three worths and of a pair: [n, T] -> [n]."""
  worth = jnp.array([[0, 5, 1], [0, 0, 0], [2, 0, 0], [0, 1, 3]])
  pair = 2.0 * ((actions[:, 0] == 1) & (actions[:, 3] == 2))
  return worth[jnp.arange(4), actions].sum(1) + pair


def _search(searcher, key, iterations, n=1):
  """The last state, and proposals with leading [iterations, n]."""
  key_init, key_loop = jax.random.split(key)

  def step(state, key):
    key_propose, key_update = jax.random.split(key)
    proposals, state = searcher.propose(key_propose, state, n)
    rewards = _reward(proposals.actions)
    valid = jnp.ones(n, bool)
    state = searcher.update(key_update, state, proposals, rewards, valid)
    return state, proposals

  keys = jax.random.split(key_loop, iterations)
  return jax.lax.scan(step, searcher.init(key_init), keys)


def _jitted(searcher):
  return searcher._replace(
    propose=jax.jit(searcher.propose, static_argnums=2),
    update=jax.jit(searcher.update),
  )


def _known(value=3.0):
  """A predictor that says `value` of everything once it is fitted."""
  return Predictor(
    lambda key, actions: jnp.float32(0),
    lambda key, params, actions, rewards, held: params + value,
    lambda params, actions: jnp.full(len(actions), params),
  )


@pytest.mark.parametrize('n', [1, 6])
def test_a_space_is_exhausted_before_anything_is_proposed_again(n):
  """In any batches, for each of three seeds of a vmap."""
  searcher = tree_search.tree_search(SPACE, num_nodes=64)
  run = jax.jit(jax.vmap(lambda key: _search(searcher, key, 24 // n, n)))
  state, proposals = run(jax.random.split(jax.random.key(0), 3))
  for rows in np.asarray(proposals.actions).reshape(3, 24, 4):
    assert len(np.unique(rows[:18], axis=0)) == 18
    assert len(np.unique(rows, axis=0)) == 18  # and then it goes on
  assert np.asarray(state.tree.exhausted)[:, 0].all()
  assert (state.tree.visits[:, 0] == 24).all()
  assert not state.tree.pending.any()


def test_a_batch_spreads_by_virtual_losses():
  """One child of the root for each of three, and as many for each of six."""
  searcher = _jitted(tree_search.tree_search(SPACE, num_nodes=64))
  state = searcher.init(jax.random.key(0))
  proposals, state = searcher.propose(jax.random.key(1), state, 6)
  first = np.asarray(proposals.actions[:, 0])
  assert sorted(first[:3]) == [0, 1, 2]
  assert np.bincount(first).tolist() == [2, 2, 2]
  # Those that get no result stay in flight.
  valid = jnp.arange(6) < 2
  rewards = jnp.where(valid, 1.0, jnp.nan)
  after = searcher.update(jax.random.key(2), state, proposals, rewards, valid)
  assert (after.tree.visits[0], after.tree.pending[0]) == (2, 4)
  assert after.tree.values[0] == 2


def test_the_same_key_makes_the_same_search_with_and_without_jit():
  searcher = tree_search.tree_search(SPACE, num_nodes=64)
  key = jax.random.key(3)
  _, whole = jax.jit(lambda key: _search(searcher, key, 2))(key)
  key_init, key_loop = jax.random.split(key)
  state, found = searcher.init(key_init), []
  for one in jax.random.split(key_loop, 2):
    key_propose, key_update = jax.random.split(one)
    proposals, state = searcher.propose(key_propose, state, 1)
    rewards, valid = _reward(proposals.actions), jnp.ones(1, bool)
    state = searcher.update(key_update, state, proposals, rewards, valid)
    found.append(proposals.actions[0])
  np.testing.assert_array_equal(found, whole.actions[:, 0])


def test_it_beats_random_search_in_a_structured_table():
  """After 50 of 1,024 evaluations, over 50 seeds; every seed on its own."""
  sizes = (4, 4, 4, 4, 4)
  space = choices.choices(sizes)
  worth = 0.5 ** jnp.arange(5)
  searcher = tree_search.tree_search(space, exploration=0.3, num_nodes=300)

  def search(key):
    def step(state, key):
      proposals, state = searcher.propose(key, state, 1)
      rewards = proposals.actions @ worth
      valid = jnp.ones(1, bool)
      state = searcher.update(key, state, proposals, rewards, valid)
      return state, rewards[0]

    return jax.lax.scan(step, searcher.init(key), jax.random.split(key, 50))[1]

  keys = jax.random.split(jax.random.key(4), SEEDS)
  ours = np.asarray(jax.jit(jax.vmap(search))(keys))
  random = sampling.uniform_actions(jax.random.key(5), space, 50 * SEEDS)
  theirs = np.asarray(random @ worth).reshape(SEEDS, 50)
  assert len(np.unique(ours[:, -1])) > 5
  assert ours[:, 25:].mean() > theirs.mean() + 0.5  # deviation 1.29
  assert ours.max(1).mean() > theirs.max(1).mean() + 0.1


def test_half_of_a_new_node_is_what_a_predictor_says_of_rollouts():
  """Until it was fitted a node is worth its reward."""
  searcher = tree_search.tree_search(
    SPACE,
    num_nodes=64,
    predictor=_known(),
    memory_size=4,
    refit_every=2,
    rollouts=50,
  )
  _, propose, update = _jitted(searcher)
  valid = jnp.ones(1, bool)
  state, predicted, shares = searcher.init(jax.random.key(0)), [], []
  for i in range(3):
    proposals, state = propose(jax.random.key(i), state, 1)
    before = state.tree.values[0]
    state = update(jax.random.key(i), state, proposals, jnp.ones(1), valid)
    predicted.append(float(proposals.info['predicted'][0]))
    shares.append(float(proposals.info['share'][0]))
  assert np.isnan(predicted[:2]).all() and predicted[2] == 3.0
  # The proposal is one of six sequences below its node; others are told by 3.
  assert shares[:2] == [0.0, 0.0] and 0.3 < shares[2] < 0.5
  gained = float(state.tree.values[0] - before)
  assert gained == pytest.approx(1 + 2 * shares[2], rel=1e-5)


def test_a_whole_sequence_is_worth_its_reward():
  """Rollouts from a leaf are the proposal, which needs no prediction."""
  space = choices.choices((3,))
  searcher = tree_search.tree_search(
    space, num_nodes=8, predictor=_known(), memory_size=4, refit_every=1
  )
  init, propose, update = _jitted(searcher)
  state, valid = init(jax.random.key(0)), jnp.ones(1, bool)
  for i in range(2):
    proposals, state = propose(jax.random.key(i), state, 1)
    state = update(jax.random.key(i), state, proposals, jnp.ones(1), valid)
  assert proposals.info['predicted'] == 3.0
  assert state.tree.values[0] == 2.0


def test_rollouts_keep_what_led_to_their_node():
  draws = jax.random.uniform(jax.random.key(0), (200, 4))
  found = tree_search.roll_out(
    draws, SPACE, jnp.array([2, 0, 1, 2]), jnp.int32(1)
  )
  assert np.unique(found, axis=0).tolist() == [
    [2, 0, i, j] for i in range(2) for j in range(3)
  ]


def test_a_perceptron_is_fitted_as_results_arrive():
  """In one program for two seeds; rows that are not valid are not learnt."""
  perceptron = mlp_predictor.mlp_predictor(3, sizes=(16,), learning_rate=0.03)
  searcher = tree_search.tree_search(
    SPACE, num_nodes=64, predictor=perceptron, memory_size=32, refit_every=6
  )
  run = jax.jit(jax.vmap(lambda key: _search(searcher, key, 6, 3)))
  state, proposals = run(jax.random.split(jax.random.key(6), 2))
  assert state.memory.pushed.tolist() == [18, 18]
  one, last = jax.tree.map(lambda x: x[0], (state, proposals))
  actions = last.actions.reshape(18, 4)
  said = jax.jit(perceptron.predict)(one.predictor, actions)
  assert abs(said - _reward(actions)).mean() < 1.0  # deviation 2.7
  last = jax.tree.map(lambda x: x[-1], last)
  nothing = jnp.full(3, jnp.nan), jnp.zeros(3, bool)
  after = jax.jit(searcher.update)(jax.random.key(8), one, last, *nothing)
  chex.assert_trees_all_equal(after, one)


@pytest.mark.parametrize(
  'fields, word',
  [
    ({'num_nodes': 0}, 'num_nodes'),
    ({'rollouts': 0}, 'rollouts'),
    ({'refit_every': 0}, 'refit_every'),
    ({'predictor': _known(), 'memory_size': 99}, 'memory_size'),
  ],
)
def test_numbers_out_of_range_are_refused(fields, word):
  with pytest.raises(ValueError, match=word):
    tree_search.tree_search(SPACE, **fields)
