"""Q-learning on three steps and three actions, worked by hand.

The table's row is the step. Action 0 ends, action 1 is always legal before the
end, action 2 in the first two steps only.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.searchers import q_learning
from irlas_jax.types import Proposals, Space


def _legal(actions, t):
  ended = jnp.any((jnp.arange(3) < t) & (actions == 0))
  going = jnp.array([True, True, True]).at[2].set(t < 2)
  return jnp.where(ended, jnp.arange(3) == 0, going)


_SPACE = Space(
  num_steps=3,
  num_actions=3,
  num_states=3,
  legal=_legal,
  state=lambda actions, t: jnp.asarray(t, jnp.int32),
  decode=None,
  encode=None,
  operations=(),
  attributes=(),
  terminal=True,
)


def make(jit=True, epsilon=0.0, **kwargs):
  kwargs = {'step_size': 0.5, 'replay_size': 4, 'replay_updates': 0} | kwargs
  searcher = q_learning.q_learning(_SPACE, lambda count: epsilon, **kwargs)
  if not jit:
    return searcher
  return searcher._replace(
    update=jax.jit(searcher.update),
    propose=jax.jit(searcher.propose, static_argnums=2),
  )


def learn(searcher, episodes, rewards, valid=None, state=None):
  state = searcher.init(jax.random.key(0)) if state is None else state
  actions = jnp.array(episodes, jnp.int32)
  valid = jnp.ones(len(actions), bool) if valid is None else jnp.array(valid)
  rewards = jnp.array(rewards, jnp.float32)
  proposals = Proposals(actions, actions, ())
  return searcher.update(jax.random.key(1), state, proposals, rewards, valid)


def table(*entries):
  """A table of zeros with ((state, action), value) set."""
  values = np.zeros((3, 3))
  for place, value in entries:
    values[place] = value
  return values


@pytest.mark.parametrize('jit', [True, False])
@pytest.mark.parametrize(
  'shaping, discount, expected',
  [
    # 0.2 a step: 0.5 (0.2); 0.5 (0.2 + 0.1); 0.5 (0.2 + 0.15)
    ('spread', 1.0, [0.1, 0.15, 0.175]),
    # 0.2, 0.2, 0.6: 0.5 (0.6); 0.5 (0.2 + 0.3); 0.5 (0.2 + 0.25)
    ('added', 1.0, [0.3, 0.25, 0.225]),
    # 0, 0, 0.6: 0.5 (0.6); 0.5 (0.3); 0.5 (0.15)
    ('none', 1.0, [0.3, 0.15, 0.075]),
    # 0.5 (0.2); 0.5 (0.2 + 0.05); 0.5 (0.2 + 0.0625)
    ('spread', 0.5, [0.1, 0.125, 0.13125]),
  ],
)
def test_one_episode_updates_the_table_by_hand(
  jit, shaping, discount, expected
):
  """Actions 1, 2, 0 with reward 0.6, learnt from the last step back."""
  searcher = make(jit, shaping=shaping, discount=discount)
  state = learn(searcher, [[1, 2, 0]], [0.6])
  last, middle, first = expected
  np.testing.assert_allclose(
    state.values,
    table(((2, 0), last), ((1, 2), middle), ((0, 1), first)),
    rtol=1e-5,
  )


def test_steps_after_the_terminal_are_no_steps():
  """Actions 1, 0: a length of 2, so 0.3 a step, and row 2 stays as it was."""
  state = learn(make(), [[1, 0, 0]], [0.6])
  expected = table(((1, 0), 0.15), ((0, 1), 0.225))
  np.testing.assert_allclose(state.values, expected, rtol=1e-5)


def test_an_illegal_action_is_no_target_and_no_proposal():
  """Action 2 is worth 100 at the last step, where it is illegal."""
  searcher = make()
  state = searcher.init(jax.random.key(0))
  plain = learn(searcher, [[1, 1, 1]], [0.6], state=state)
  tempting = state._replace(values=state.values.at[2, 2].set(100.0))
  tempted = learn(searcher, [[1, 1, 1]], [0.6], state=tempting)
  np.testing.assert_array_equal(tempted.values.at[2, 2].set(0.0), plain.values)
  for epsilon in (0.0, 1.0):
    proposals, _ = make(epsilon=epsilon).propose(
      jax.random.key(1), tempting, 300
    )
    assert set(np.unique(proposals.actions[:, 2])) == {0, 1}


def test_greedy_takes_the_best_and_breaks_ties_at_random():
  """At the start 1 and 2 share the highest value; then 1 alone has it."""
  searcher = make()
  state = searcher.init(jax.random.key(0))
  values = jnp.array([[0.0, 3.0, 3.0], [1.0, 2.0, 0.0], [5.0, 4.0, 9.0]])
  state = state._replace(values=values)
  proposals, _ = searcher.propose(jax.random.key(1), state, 1000)
  counts = np.bincount(proposals.actions[:, 0], minlength=3)
  np.testing.assert_allclose(counts, [0, 500, 500], atol=60)
  np.testing.assert_array_equal(proposals.actions[:, 1:], [[1, 0]] * 1000)


def test_epsilon_is_the_share_of_random_steps():
  """With 0.6, one of three actions by chance: greedy in 0.4 + 0.6 / 3."""
  searcher = make(epsilon=0.6)
  state = searcher.init(jax.random.key(0))
  state = state._replace(values=state.values.at[0, 1].set(1.0))
  proposals, _ = searcher.propose(jax.random.key(1), state, 4000)
  shares = np.bincount(proposals.actions[:, 0], minlength=3) / 4000
  np.testing.assert_allclose(shares, [0.2, 0.6, 0.2], atol=0.03)


def test_new_episodes_come_first_and_then_the_replayed():
  """One episode and one replay of it: 0.5 r, then half of what is missing."""
  searcher = make(replay_updates=1)
  state = learn(searcher, [[0, 0, 0]], [0.8])
  np.testing.assert_allclose(state.values[0, 0], 0.4 + 0.5 * (0.8 - 0.4))


def test_replay_draws_from_all_of_the_memory_and_nothing_else():
  """Places never taken would teach that action 0 is worth nothing."""
  searcher = make(replay_updates=60, replay_size=64)
  episodes = [[1, 0, 0], [2, 0, 0], [0, 0, 0]]
  state = learn(searcher, episodes, [1.0, 1.0, 9.0], [True, True, False])
  values = np.asarray(state.values)
  # Each visited some 30 times: from 1/2 a step to a value of 1 at the start.
  np.testing.assert_allclose(values[0], [0, 1, 1], atol=1e-3)
  assert state.memory.pushed == 2
  np.testing.assert_array_equal(state.memory.actions[:2], episodes[:2])


def test_rows_that_are_not_valid_are_no_iteration():
  state = learn(make(), [[1, 0, 0]], [np.nan], [False])
  chex.assert_trees_all_equal(state, make().init(jax.random.key(0)))
  assert learn(make(), [[1, 0, 0]], [1.0]).iteration == 1


def test_values_become_the_best_reward_below(toy):
  """With a step size of 1, T passes over the whole space are exact."""
  searcher = q_learning.q_learning(
    toy.space,
    lambda count: 0.0,
    step_size=1.0,
    shaping='none',
    replay_size=1,
    replay_updates=0,
  )
  actions = jnp.asarray(toy.actions)
  args = Proposals(actions, actions, ()), jnp.asarray(toy.rewards)
  update, state = jax.jit(searcher.update), searcher.init(jax.random.key(0))
  for seed in range(4):
    valid = jnp.ones(len(actions), bool)
    state = update(jax.random.key(seed), state, *args, valid)
  for first in (1, 2, 3):
    below = toy.rewards[toy.actions[:, 0] == first]
    np.testing.assert_allclose(state.values[0, first], below.max())
  proposals, _ = searcher.propose(jax.random.key(0), state, 5)
  best = toy.actions[np.argmax(toy.rewards)]
  np.testing.assert_array_equal(proposals.actions, [best] * 5)


def test_hyper_parameters_may_be_traced():
  """A sweep over step sizes, discounts and starts is a vmap."""

  def run(step_size, discount, initial):
    searcher = make(
      False, step_size=step_size, discount=discount, initial=initial
    )
    return learn(searcher, [[1, 2, 0]], [0.6]).values

  rows = jnp.array([[0.5, 1.0, 0.0], [0.1, 0.9, 0.5]])
  swept = jax.jit(jax.vmap(run))(*rows.T)
  for row, values in zip(rows.tolist(), swept, strict=True):
    np.testing.assert_allclose(values, run(*row), rtol=1e-5)


def test_the_schedule_is_the_published_one():
  """95 iterations at 1.0, then 7 to 12 at every tenth below, 178 in all."""
  epsilon = jax.jit(jax.vmap(q_learning.block_qnn_epsilon()))
  values, counts = np.unique(epsilon(jnp.arange(178)), return_counts=True)
  np.testing.assert_allclose(values, np.arange(1, 11) / 10, rtol=1e-6)
  np.testing.assert_array_equal(counts, [12, 10, 10, 10, 10, 10, 7, 7, 7, 95])
  assert np.all(np.diff(epsilon(jnp.arange(500))) <= 0)


@pytest.mark.parametrize('scale', [0.1, 2.0])
def test_a_scaled_schedule_runs_through_the_whole(scale):
  epsilon = jax.vmap(q_learning.block_qnn_epsilon(scale))
  drawn = np.asarray(epsilon(jnp.arange(round(178 * scale))))
  np.testing.assert_allclose(drawn[[0, -1]], [1.0, 0.1])
  assert np.sum(drawn == 1.0) == np.ceil(95 * scale)


def test_an_unknown_shaping_is_refused():
  with pytest.raises(ValueError, match="no shaping 'shared'.*'added'"):
    make(shaping='shared')


def test_the_schedule_of_metaqnn_is_the_published_one():
  """1,500 models at 1.0, then 100 or 150 at every tenth, 2,700 in all."""
  epsilon = jax.jit(jax.vmap(q_learning.metaqnn_epsilon()))
  values, counts = np.unique(epsilon(jnp.arange(2700)), return_counts=True)
  np.testing.assert_allclose(values, np.arange(1, 11) / 10, rtol=1e-6)
  expected = [150, 150, 150, 150, 150, 150, 100, 100, 100, 1500]
  np.testing.assert_array_equal(counts, expected)
  half = jax.vmap(q_learning.metaqnn_epsilon(0.5))(jnp.arange(1350))
  assert np.sum(half == 1.0) == 750 and half[-1] == np.float32(0.1)


@pytest.mark.parametrize('jit', [True, False])
def test_a_repeat_is_learnt_from_and_not_stored_again(jit):
  """Three rows, two of them equal, and then one of these once more.

  A stored repeat would be replayed twice as often as the others.
  """
  searcher = make(jit, distinct=True)
  episodes = [[1, 0, 0], [2, 0, 0], [1, 0, 0]]
  state = learn(searcher, episodes, [0.8, 0.4, 0.8])
  assert state.memory.pushed == 2
  np.testing.assert_array_equal(state.memory.actions[:2], episodes[:2])
  again = learn(searcher, episodes[2:] + [[0, 0, 0]], [0.8, 0.2], state=state)
  assert again.memory.pushed == 3 and again.iteration == 2
  np.testing.assert_array_equal(again.memory.actions[2], [0, 0, 0])
  np.testing.assert_allclose(again.memory.rewards[:3], [0.8, 0.4, 0.2])
  plain = make(jit)
  state = learn(plain, episodes, [0.8, 0.4, 0.8])
  more = learn(plain, episodes[2:] + [[0, 0, 0]], [0.8, 0.2], state=state)
  np.testing.assert_array_equal(again.values, more.values)


def test_a_row_that_is_not_valid_makes_no_repeat():
  """It was not stored, so the next of the same actions is the first."""
  state = learn(
    make(distinct=True), [[1, 0, 0]] * 2, [np.nan, 0.8], [False, True]
  )
  assert state.memory.pushed == 1 and state.memory.rewards[0] == np.float32(0.8)


def test_places_never_taken_are_no_episodes():
  """An empty memory holds zeros, which are the actions of an episode too."""
  state = learn(make(distinct=True), [[0, 0, 0]], [0.8])
  assert state.memory.pushed == 1


def test_exploration_goes_by_different_episodes():
  """Two of three, in one iteration."""
  searcher = q_learning.q_learning(
    _SPACE, lambda count: count / 10, replay_updates=0, distinct=True
  )
  state = learn(searcher, [[1, 0, 0], [1, 0, 0], [2, 0, 0]], [0.0, 0.0, 0.0])
  proposals, _ = searcher.propose(jax.random.key(0), state, 3)
  np.testing.assert_allclose(proposals.info['exploration'], [0.2] * 3)


def test_metaqnn_updates_the_table_by_hand():
  """Step size 0.01, values from 50, the reward (in percent) at the end only.

  Actions 1, 2, 0 with 80 percent, from the last step back: 50 + 0.01 (80 - 50)
  = 50.3, then 50 + 0.01 (50.3 - 50) = 50.003, then 50.00003. Replayed once:
  50.3 + 0.01 (80 - 50.3) = 50.597, 50.003 + 0.01 (50.597 - 50.003) = 50.00894,
  50.00003 + 0.01 (50.00894 - 50.00003) = 50.00011910.
  """
  settings = {'step_size': 0.01, 'initial': 50.0, 'shaping': 'none'}
  expected = {0: [50.3, 50.003, 50.00003], 1: [50.597, 50.00894, 50.00011910]}
  for replay_updates, values in expected.items():
    searcher = make(distinct=True, replay_updates=replay_updates, **settings)
    state = learn(searcher, [[1, 2, 0]], [80.0])
    found = state.values[jnp.array([2, 1, 0]), jnp.array([0, 2, 1])]
    np.testing.assert_allclose(found, values, atol=1e-5)
    assert np.sum(state.values != 50.0) == 3
