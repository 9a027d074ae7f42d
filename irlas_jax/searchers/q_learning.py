"""Tabular Q-learning with experience replay and shaped rewards.

As in MetaQNN (Baker et al., 2017, arXiv 1611.02167) and Block-QNN (Zhong et
al., 2018, arXiv 1708.05552), whose settings are the defaults.

Shapes: `T` steps of a space, `A` actions a step, `S` rows of the value table,
`n` proposals; `L` is an episode's length, up to its last choice
(`policies/sampling.py`).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.policies import sampling
from irlas_jax.searchers import ring
from irlas_jax.types import Proposals, Searcher, Space

# (r_T, L) -> (reward of each step before the last, reward of the last step).
SHAPINGS = {
  'spread': lambda reward, length: (reward / length, reward / length),
  'added': lambda reward, length: (reward / length, reward),
  'none': lambda reward, length: (jnp.zeros_like(reward), reward),
}

# Exploration of the papers: epsilon, and how long it lasts.
_EPSILONS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
_ITERATIONS = (95, 7, 7, 7, 10, 10, 10, 10, 10, 12)  # Block-QNN
_MODELS = (1500, 100, 100, 100, 150, 150, 150, 150, 150, 150)  # MetaQNN


class QState(NamedTuple):
  """Action values, and the episodes that they are learnt from."""

  values: jax.Array  # [S, A] float32
  memory: ring.Ring  # the last `replay_size` episodes
  iteration: jax.Array  # [] int32, updates that had a valid row


class Steps(NamedTuple):
  """An episode as the value table sees it."""

  states: jax.Array  # [T] int32, row of the table
  actions: jax.Array  # [T] int32
  legal: jax.Array  # [T, A] bool


def block_qnn_epsilon(scale: float | jax.Array = 1.0) -> Callable:
  """Block-QNN's schedule: iterations [] -> epsilon [] float32.

  1.0 for 95 iterations, then down by 0.1 every 7 to 12 of them, to 0.1 from
  iteration 166 on; 178 in all. `scale` multiplies every duration, so that a
  search of 178 * scale iterations runs through the whole schedule.
  """
  return _steps_down(_ITERATIONS, scale)


def metaqnn_epsilon(scale: float | jax.Array = 1.0) -> Callable:
  """MetaQNN's schedule: different models so far [] -> epsilon [] float32.

  1.0 for 1,500 models, then down by 0.1 every 100 to 150 of them, to 0.1 from
  2,550 on; 2,700 in all. `scale` multiplies every duration. For a searcher that
  counts them, `q_learning` with `distinct`.
  """
  return _steps_down(_MODELS, scale)


def _steps_down(durations, scale) -> Callable:
  ends = np.cumsum(durations[:-1]) * scale

  def epsilon_fn(count):
    return jnp.array(_EPSILONS)[jnp.sum(count >= ends)]

  return epsilon_fn


def linear_epsilon(
  iterations: float | jax.Array, final: float | jax.Array = 0.1
) -> Callable:
  """iterations [] -> epsilon [] float32, down by as much every iteration.

  From 1 to `final` at iteration `iterations` times 1 - `final`, and there it
  stays. For budgets too small for a published schedule; ours.
  """

  def epsilon_fn(iteration):
    return jnp.maximum(1.0 - iteration / iterations, final)

  return epsilon_fn


def q_learning(
  space: Space,
  epsilon_fn: Callable,
  *,
  step_size: float | jax.Array = 0.01,
  discount: float | jax.Array = 1.0,
  initial: float | jax.Array = 0.0,
  shaping: str = 'spread',
  replay_size: int = 16_384,
  replay_updates: int = 64,
  distinct: bool = False,
) -> Searcher:
  """Epsilon-greedy proposals from a table that replayed episodes improve.

  An update is one iteration. It learns from every new episode once, in the
  order of the rows, stores them, and then learns from `replay_updates` episodes
  drawn uniformly with replacement from the memory, the new ones included.
  Rows that are not valid are neither learnt from nor stored, and an update
  without a valid row is no iteration: it changes nothing.

  With `distinct` the memory is MetaQNN's dictionary: an episode that it holds
  is learnt from again but not stored again, so that each counts once in what is
  replayed. Exploration then goes by the number of different episodes that were
  stored so far, not by iterations. It is counted and not approximated, as long
  as `replay_size` is as large as that number: what was forgotten counts again.

  With r_T the reward of an episode of length L, `shaping` gives its steps:
    'spread': r_T / L each, so that the return is r_T;
    'added': r_T / L before the last step and r_T at it. The return is then
      r_T (2L - 1) / L, so of two episodes with equal rewards above 0 the longer
      one is preferred;
    'none': 0 before the last step and r_T at it.

  Args:
    space: its `state` names the rows of the table.
    epsilon_fn: iterations (with `distinct` different episodes) [] int32 ->
      probability, at each step, of an action drawn uniformly from the legal
      ones. May close over traced values.
    step_size: share of the error that one visit corrects; may be traced.
    discount: of the next step's value; may be traced.
    initial: value of what was never visited; may be traced.
    shaping: one of the above.
    replay_size: episodes remembered; the oldest make room.
    replay_updates: episodes replayed in an update.
    distinct: store an episode once, and count them for `epsilon_fn`.

  Raises:
    ValueError: if `shaping` is none of the above.
  """
  if shaping not in SHAPINGS:
    raise ValueError(
      f'q_learning has no shaping {shaping!r}: use one of {sorted(SHAPINGS)}.'
    )

  def init(key):
    del key  # the table starts at `initial`
    values = jnp.full((space.num_states, space.num_actions), initial, 'float32')
    memory = ring.empty(replay_size, space.num_steps)
    return QState(values, memory, jnp.zeros((), jnp.int32))

  def propose(key, state, n):
    count = state.memory.pushed if distinct else state.iteration
    epsilon = jnp.asarray(epsilon_fn(count), jnp.float32)
    choose = functools.partial(epsilon_greedy, space, state.values, epsilon)
    build = jax.vmap(lambda rows: sampling.build_actions(rows, space, choose))
    actions = build(jax.random.uniform(key, (n, space.num_steps, 2)))
    info = {'exploration': jnp.full(n, epsilon)}
    return Proposals(actions, actions, info), state

  def steps_of(actions, reward, valid):
    masks = sampling.legal_masks(space, actions)
    states = jax.vmap(space.state, (None, 0))(actions, jnp.arange(len(actions)))
    length = jnp.where(valid, sampling.episode_length(masks), 0)
    rewards = SHAPINGS[shaping](reward, jnp.maximum(length, 1))
    return Steps(states, actions, masks), length, rewards

  def learn(values, episode):
    steps, length, rewards = episode
    return backup(values, steps, length, rewards, step_size, discount), None

  def update(key, state, proposals, rewards, valid):
    chex.assert_shape([rewards, valid], (len(proposals.actions),))

    def iterate():
      new = (proposals.actions, rewards.astype(jnp.float32), valid)
      stored = valid
      if distinct:
        stored = valid & ring.unseen(state.memory, proposals.actions, valid)
      memory = ring.push(state.memory, *new[:2], stored)
      rows = jax.random.randint(
        key, (replay_updates,), 0, ring.num_held(memory)
      )
      old = (
        memory.actions[rows],
        memory.rewards[rows],
        jnp.ones_like(rows, bool),
      )
      both = jax.tree.map(lambda *x: jnp.concatenate(x), new, old)
      # All at once: what is legal costs more than what is then learnt from it.
      episodes = jax.vmap(steps_of)(*both)
      values = jax.lax.scan(learn, state.values, episodes)[0]
      return QState(values, memory, state.iteration + 1)

    return jax.lax.cond(jnp.any(valid), iterate, lambda: state)

  return Searcher(init, propose, update)


def epsilon_greedy(
  space: Space,
  values: jax.Array,
  epsilon: jax.Array,
  draws: jax.Array,
  actions: jax.Array,
  t: jax.Array,
) -> jax.Array:
  """The action [] int32 at step t after actions[:t], by the values [S, A].

  With probability `epsilon` any legal action, otherwise one of the legal
  actions of highest value; uniform in both cases. draws [2] are uniform in
  [0, 1): whether to explore, and which action.
  """
  legal = space.legal(actions, t)
  row = values[space.state(actions, t)]
  greedy = legal & (row == best_legal(row, legal))
  explore = draws[0] < epsilon
  return sampling.pick(draws[1], jnp.where(explore, legal, greedy))


def best_legal(row: jax.Array, legal: jax.Array) -> jax.Array:
  """max over legal a of row[a]: [A], [A] bool -> []."""
  return jnp.max(row, where=legal, initial=-jnp.inf)


def backup(
  values: jax.Array,
  steps: Steps,
  length: jax.Array,
  rewards: tuple[jax.Array, jax.Array],
  step_size: float | jax.Array,
  discount: float | jax.Array,
) -> jax.Array:
  """Q(s_t, a_t) += step_size (target_t - Q(s_t, a_t)), t = L - 1 down to 0.

  target_{L-1} = r_{L-1}, and before it
  target_t = r_t + discount max over legal a of Q(s_{t+1}, a),
  which sees what the step after t has just changed. Steps from L = `length` []
  on change nothing. values [S, A]; rewards: ([] of each step before the last,
  [] of the last). Returns the new values.
  """
  before_last, last = rewards

  def step(carry, row):
    values, best_next = carry
    t, (state, action, legal) = row
    bootstrapped = before_last + discount * best_next
    target = jnp.where(t == length - 1, last, bootstrapped)
    change = step_size * (target - values[state, action])
    change = jnp.where(t < length, change, 0)
    values = values.at[state, action].add(change)
    return (values, best_legal(values[state], legal)), None

  rows = (jnp.arange(len(steps.actions)), steps)
  carry = (values, jnp.zeros((), values.dtype))
  return jax.lax.scan(step, carry, rows, reverse=True)[0][0]
