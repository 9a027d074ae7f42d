"""What holds for every searcher, with and without jit.

Compiling is what takes the time here, so a searcher's search is run once, and
the tests read what it left.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irlas_jax.policies import free_logits, lstm
from irlas_jax.searchers import (
  evolution,
  local_search,
  ppo,
  q_learning,
  random_search,
  reinforce,
  tree_search,
)
from irlas_jax.types import Proposals, Searcher

_MAKE = {
  'random_search': random_search.random_search,
  'q_learning': lambda space: q_learning.q_learning(
    space,
    q_learning.block_qnn_epsilon(0.3),
    step_size=0.1,
    initial=0.5,
    replay_size=200,
    replay_updates=8,
  ),
  'reinforce': lambda space: reinforce.reinforce(
    free_logits.free_logits(space), optax.adam(0.03)
  ),
  'ppo': lambda space: ppo.ppo(
    lstm.lstm(space, hidden=8, layers=1),
    optax.adam(0.01),
    epochs=2,
    num_minibatches=3,
  ),
  'evolution': lambda space: evolution.regularized_evolution(
    space, population_size=24, sample_size=8
  ),
  'local_search': local_search.local_search,
  'tree_search': lambda space: tree_search.tree_search(space, num_nodes=512),
}
_SEEDS = 3
_BATCH = 16
_BUDGET = 60  # iterations; the space holds 155 sequences


class Subject(NamedTuple):
  """A searcher, and what `_SEEDS` searches with it came to."""

  name: str
  plain: Searcher
  jitted: Searcher
  states: Any  # after the search; leading _SEEDS
  proposals: Proposals  # leading [_SEEDS, _BUDGET, _BATCH]
  rewards: jax.Array  # [_SEEDS, _BUDGET, _BATCH]

  def last(self):
    """The first seed's final state, with its last batch and the rewards."""
    first = jax.tree.map(lambda x: x[0], self.states)
    batch = jax.tree.map(lambda x: x[0, -1], self.proposals)
    return first, batch, self.rewards[0, -1]


def iterate(searcher, toy, key, state):
  key_propose, key_update = jax.random.split(key)
  proposals, state = searcher.propose(key_propose, state, _BATCH)
  rewards = toy.reward_fn(proposals.actions)
  valid = jnp.ones(_BATCH, bool)
  state = searcher.update(key_update, state, proposals, rewards, valid)
  return state, (proposals, rewards)


def search(searcher, toy, key, num_iterations):
  """The final state, and all proposals and rewards."""
  key_init, key_loop = jax.random.split(key)
  keys = jax.random.split(key_loop, num_iterations)

  def step(state, key):
    return iterate(searcher, toy, key, state)

  return jax.lax.scan(step, searcher.init(key_init), keys)


@pytest.fixture(scope='module', params=sorted(_MAKE))
def subject(request, toy):
  plain = _MAKE[request.param](toy.space)
  jitted = plain._replace(
    propose=jax.jit(plain.propose, static_argnums=2),
    update=jax.jit(plain.update),
  )
  keys = jax.random.split(jax.random.key(0), _SEEDS)
  run = jax.jit(jax.vmap(lambda key: search(plain, toy, key, _BUDGET)))
  states, (proposals, rewards) = run(keys)
  return Subject(request.param, plain, jitted, states, proposals, rewards)


with_and_without_jit = pytest.mark.parametrize('form', ['jitted', 'plain'])


def assert_legal(actions, toy):
  for row in set(map(tuple, np.reshape(actions, (-1, 4)).tolist())):
    for t, action in enumerate(row):
      assert action in toy.legal(row[:t]), row


@with_and_without_jit
def test_a_step_keeps_shapes_and_proposes_by_its_key(form, subject, toy):
  """One propose and one update, from a state that has learnt.

  A state that changes its form would compile again, or break a scan.
  """
  searcher = getattr(subject, form)
  state, _, _ = subject.last()
  proposals, after = searcher.propose(jax.random.key(7), state, _BATCH)
  chex.assert_shape(proposals[:2], (_BATCH, toy.space.num_steps))
  chex.assert_type(proposals[:2], jnp.int32)
  chex.assert_tree_shape_prefix(proposals, (_BATCH,))
  assert_legal(proposals[:2], toy)
  same, _ = subject.jitted.propose(jax.random.key(7), state, _BATCH)
  chex.assert_trees_all_close(same, proposals, rtol=1e-5)
  rewards, valid = jnp.ones(_BATCH), jnp.ones(_BATCH, bool)
  after = searcher.update(jax.random.key(8), after, proposals, rewards, valid)
  chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


@with_and_without_jit
def test_rows_that_are_not_valid_teach_nothing(form, subject):
  """The state is as if they were absent, though their reward be NaN."""
  update = getattr(subject, form).update
  state, batch, rewards = subject.last()
  valid = np.arange(_BATCH) % 3 == 1
  spoilt = jnp.where(valid, rewards, jnp.nan)
  key = jax.random.key(1)
  masked = update(key, state, batch, spoilt, jnp.asarray(valid))
  only = jax.tree.map(lambda x: x[valid], batch)
  all_five = jnp.ones(valid.sum(), bool)
  absent = update(key, state, only, rewards[valid], all_five)
  chex.assert_trees_all_close(masked, absent, rtol=1e-5, atol=1e-6)
  if subject.name != 'random_search':  # which learns from nothing
    with pytest.raises(AssertionError):
      chex.assert_trees_all_close(masked, state, rtol=1e-5, atol=1e-6)


@with_and_without_jit
def test_a_batch_without_a_valid_row_changes_nothing(form, subject):
  """Not even an optimiser's moments or a schedule's count."""
  state, batch, rewards = subject.last()
  nothing = jnp.full_like(rewards, jnp.nan), jnp.zeros(_BATCH, bool)
  update = getattr(subject, form).update
  after = update(jax.random.key(1), state, batch, *nothing)
  chex.assert_trees_all_equal(after, state)


def test_everything_ever_proposed_is_legal(subject, toy):
  """Checked against the rules in plain Python; parents too."""
  assert_legal(subject.proposals.actions, toy)
  assert_legal(subject.proposals.parents, toy)


def test_a_loop_compiles_once_and_equals_its_row_of_a_vmap(subject, toy):
  """A weak type or a shape that drifts would compile a second time."""
  key = jax.random.split(jax.random.key(0), _SEEDS)[1]
  key_init, key_loop = jax.random.split(key)
  searcher, compiled = subject.jitted, None
  state = searcher.init(key_init)
  types = jax.tree.map(jax.typeof, state)
  for i, key in enumerate(jax.random.split(key_loop, _BUDGET)[:5]):
    state, (proposals, _) = iterate(searcher, toy, key, state)
    row = jax.tree.map(lambda x, i=i: x[1, i], subject.proposals)
    chex.assert_trees_all_close(proposals, row, rtol=1e-5, atol=1e-6)
    sizes = searcher.propose._cache_size(), searcher.update._cache_size()
    compiled = compiled or sizes
    assert sizes == compiled
    assert jax.tree.map(jax.typeof, state) == types


def test_other_keys_give_other_proposals(subject):
  """Seeds that all make the same search would be no repetition."""
  first, second = np.asarray(subject.proposals.actions)[:2]
  assert np.mean(first != second) > 0.1


def test_no_key_is_used_twice(subject, toy):
  run = jax.jit(lambda key: search(subject.plain, toy, key, 2))
  with jax.debug_key_reuse(True):
    run.trace(jax.random.key(0))


def test_finds_the_optimum_of_an_enumerable_space(subject, toy):
  """Within 60 iterations of 16, for each of three seeds."""
  optimum = toy.actions[np.argmax(toy.rewards)]
  for actions, rewards in zip(
    np.asarray(subject.proposals.actions),
    np.asarray(subject.rewards),
    strict=True,
  ):
    best = np.unravel_index(np.argmax(rewards), rewards.shape)
    np.testing.assert_array_equal(actions[best], optimum)


def test_learning_pays(subject, toy):
  """The last 320 proposals beat random ones, for each of three seeds."""
  random = np.vdot(toy.chance, toy.rewards)
  late = np.asarray(subject.rewards)[:, -20:].mean(axis=(1, 2))
  if subject.name == 'random_search':
    np.testing.assert_allclose(late, random, atol=0.05)
  elif subject.name == 'local_search':
    parents = np.asarray(subject.proposals.parents)
    climbed = jax.vmap(toy.reward_fn)(parents.reshape(_SEEDS, -1, 4))
    # It starts again and again, so what pays is where it stands.
    assert np.all(climbed.mean(axis=1) > random + 0.05)
  else:
    assert np.all(late > random + 0.05)
