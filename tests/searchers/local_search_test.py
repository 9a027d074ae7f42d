"""Local search, followed step by step against its definition."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.searchers import local_search
from irlas_jax.types import Proposals

STEPS = 400


class Step(NamedTuple):
  """One iteration of the loop, and the states around it."""

  before: local_search.Climb
  proposals: Proposals
  rewards: jax.Array  # [n]
  after: local_search.Climb


def _run(toy, n, num_steps, seed):
  searcher = local_search.local_search(toy.space)

  def step(state, key):
    key_propose, key_update = jax.random.split(key)
    proposals, between = searcher.propose(key_propose, state, n)
    rewards = toy.reward_fn(proposals.actions)
    valid = jnp.ones(n, bool)
    after = searcher.update(key_update, between, proposals, rewards, valid)
    return after, Step(state, proposals, rewards, after)

  keys = jax.random.split(jax.random.key(seed), num_steps)
  state = searcher.init(jax.random.key(0))
  steps = jax.jit(lambda keys: jax.lax.scan(step, state, keys)[1])(keys)
  host = jax.device_get(steps)
  return [jax.tree.map(lambda x, i=i: x[i], host) for i in range(num_steps)]


@pytest.fixture(name='steps', scope='module')
def fixture_steps(toy):
  """One proposal at a time."""
  return _run(toy, 1, STEPS, seed=0)


@pytest.fixture(name='wide', scope='module')
def fixture_wide(toy):
  """More proposals at a time than there are (site, action) pairs at all."""
  return _run(toy, 24, 40, seed=1)


def _climbs(steps):
  """The steps with the same current architecture, a list each."""
  found, climb = [], []
  for step in steps:
    climb.append(step)
    moved = not np.array_equal(step.before.current, step.after.current)
    if moved or step.after.restart != step.before.restart:
      found.append(climb)
      climb = []
  return found


def _neighbours(toy, actions):
  """Every (site, action) that differs and is legal there."""
  return {
    (t, other)
    for t, action in enumerate(actions.tolist())
    for other in toy.legal(tuple(actions[:t].tolist())) - {action}
  }


def _change(current, child):
  """Where a child first differs, and what it has there."""
  site = int(np.flatnonzero(current != child)[0])
  return site, int(child[site])


def test_every_neighbour_is_proposed_once_before_anything_is_decided(
  toy, steps
):
  """White et al. evaluate them all; skipping or repeating one is not theirs."""
  climbs = [c for c in _climbs(steps) if not c[0].before.restart]
  assert len(climbs) > 20
  for climb in climbs:
    current = climb[0].before.current
    changes = [_change(current, s.proposals.actions[0]) for s in climb]
    assert len(changes) == len(set(changes))
    assert set(changes) == _neighbours(toy, current)
    for s in climb:
      np.testing.assert_array_equal(s.proposals.parents[0], current)
      assert s.proposals.info['neighbour'].all()


def test_a_climb_goes_to_its_best_neighbour_or_ends_at_an_optimum(toy, steps):
  """Only upwards; where none is better the search starts again at random."""
  moves, ends = 0, 0
  for climb in _climbs(steps):
    before, after = climb[0].before, climb[-1].after
    if before.restart:
      continue
    rewards = np.concatenate([step.rewards for step in climb])
    top = climb[int(np.argmax(rewards))].proposals.actions[0]
    if rewards.max() > before.value:
      moves += 1
      np.testing.assert_array_equal(after.current, top)
      assert after.value == rewards.max() and not after.restart
    else:
      ends += 1
      assert after.restart
  assert moves > 10 and ends > 5


def test_a_restart_is_a_random_architecture_whatever_its_reward(steps):
  restarts = [step for step in steps if step.before.restart]
  assert len(restarts) > 5
  for step in restarts:
    np.testing.assert_array_equal(
      step.proposals.parents, step.proposals.actions
    )
    assert not step.proposals.info['neighbour'].any()
    np.testing.assert_array_equal(step.after.current, step.proposals.actions[0])
    assert step.after.value == step.rewards[0] and not step.after.restart
  starts = {tuple(step.after.current.tolist()) for step in restarts}
  assert len(starts) > len(restarts) / 2


def test_neighbours_come_in_random_order(toy, steps):
  """A fixed order would decide ties and short budgets by the numbering."""
  first = [
    _change(climb[0].before.current, climb[0].proposals.actions[0])[0]
    for climb in _climbs(steps)
    if not climb[0].before.restart
  ]
  assert len(set(first)) >= 3


def test_the_value_is_that_of_the_current_architecture(toy, steps, wide):
  for step in [*steps, *wide]:
    if not step.after.restart:
      expected = toy.reward_fn(step.after.current)
      np.testing.assert_allclose(step.after.value, expected)


def test_a_large_batch_holds_every_neighbour_once_and_random_ones(toy, wide):
  """Surplus proposals are random and lead nowhere, however good they are."""
  tempted = 0
  for step in wide:
    if step.before.restart:
      top = int(np.argmax(step.rewards))
      np.testing.assert_array_equal(
        step.after.current, step.proposals.actions[top]
      )
      assert step.after.value == step.rewards.max()
      continue
    near = step.proposals.info['neighbour']
    actions = step.proposals.actions
    changes = [_change(step.before.current, child) for child in actions[near]]
    assert len(changes) == len(set(changes))
    assert set(changes) == _neighbours(toy, step.before.current)
    np.testing.assert_array_equal(step.proposals.parents[~near], actions[~near])
    best = step.rewards[near].max()
    tempted += step.rewards[~near].max() > max(best, step.before.value)
    assert step.after.restart == (best <= step.before.value)
    if not step.after.restart:
      assert step.after.value == best
  assert tempted > 0, 'no surplus proposal was better: nothing was tested'


def test_all_proposals_are_legal(toy, steps, wide):
  for step in [*steps, *wide]:
    for row in step.proposals.actions.tolist():
      assert all(row[t] in toy.legal(tuple(row[:t])) for t in range(4))


def test_the_best_of_the_space_is_found(toy, wide):
  """Every search restarts until it is; 155 architectures, 960 proposals."""
  assert max(step.rewards.max() for step in wide) == 1


@pytest.mark.parametrize('restart', (True, False))
def test_what_is_not_valid_is_never_gone_to(toy, wide, restart):
  """A reward that is not in yet may hold anything."""
  state = next(s.before for s in wide if bool(s.before.restart) == restart)
  searcher = local_search.local_search(toy.space)
  propose = jax.jit(searcher.propose, static_argnums=2)
  proposals, between = propose(jax.random.key(5), state, 24)
  rewards = np.asarray(toy.reward_fn(proposals.actions))
  counts = restart | np.asarray(proposals.info['neighbour'])
  best = int(np.argmax(np.where(counts, rewards, -1)))
  valid = np.arange(24) != best
  lie = np.where(valid, rewards, 1e9)
  update = jax.jit(searcher.update)
  after = update(jax.random.key(6), between, proposals, lie, valid)
  rest = rewards[valid & counts].max()
  if rest > state.value:
    np.testing.assert_allclose(after.value, rest)
  else:
    assert after.restart


def test_a_batch_without_a_valid_row_is_no_start(toy):
  """It must not begin at an architecture that nobody scored."""
  searcher = local_search.local_search(toy.space)
  state = searcher.init(jax.random.key(0))
  actions = jnp.asarray(toy.actions[:2])
  info = {'neighbour': jnp.zeros(2, bool)}
  after = jax.jit(searcher.update)(
    jax.random.key(1),
    state,
    Proposals(actions, actions, info),
    jnp.array([5.0, jnp.nan]),
    jnp.zeros(2, bool),
  )
  for found, expected in zip(after, state, strict=True):
    np.testing.assert_array_equal(found, expected)
