"""Drawing legal actions step by step: what all samplers have in common.

Shapes: `T` steps of a space, `A` actions a step.

Where an episode ends: with its last choice, the last step at which more than
one action is legal. That needs no knowledge of the space. After a terminal
only action 0 is legal, so a terminal that was chosen is the episode's last
step; a terminal that was forced (no room left) is no choice and lies outside;
in a space without a terminal an episode has T steps, or fewer if its last
steps are forced. Forced steps before the last choice belong to the episode.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from irlas_jax.types import Space

# Finite, so that 0 * log 0 and its gradient are 0; its exponential is 0.
_LOG_ZERO = -1e9


def masked_log_softmax(logits: jax.Array, legal: jax.Array) -> jax.Array:
  """log_softmax over the legal actions, about -1e9 on others; all [..., A]."""
  chex.assert_equal_shape([logits, legal])
  return jax.nn.log_softmax(jnp.where(legal, logits, _LOG_ZERO))


def legal_masks(space: Space, actions: jax.Array) -> jax.Array:
  """What was legal at every step: actions [T] -> [T, A] bool."""
  chex.assert_shape(actions, (space.num_steps,))
  steps = jnp.arange(space.num_steps)
  return jax.vmap(space.legal, in_axes=(None, 0))(actions, steps)


def episode_length(masks: jax.Array) -> jax.Array:
  """Steps up to and including the last choice: masks [T, A] -> [] int32.

  0 if nothing could be chosen anywhere.
  """
  chex.assert_rank(masks, 2)
  choice = jnp.sum(masks, axis=-1) > 1
  ends = jnp.arange(1, len(masks) + 1, dtype=jnp.int32)
  return jnp.max(jnp.where(choice, ends, 0))


def choose_uniformly(key: jax.Array, allowed: jax.Array) -> jax.Array:
  """One of the allowed actions, each as likely: [A] bool -> [] int32.

  At least one must be allowed; the result is 0 otherwise.
  """
  chex.assert_rank(allowed, 1)
  count = jnp.cumsum(allowed)
  rank = jax.random.uniform(key) * count[-1]  # below count[-1], rounded too
  return jnp.argmax(count > rank).astype(jnp.int32)


def build_actions(key: jax.Array, space: Space, choose: Callable) -> jax.Array:
  """actions [T] int32 where actions[t] = choose(key_t, actions, t), in turn.

  `choose` returns a legal action [] int32; it sees what it chose before t, and
  0 from t on.
  """

  # The key is carried, not scanned over: the checker of key reuse takes the
  # transposition of scanned keys under vmap for a second use.
  def step(carry, t):
    key, actions = carry
    key, key_choose = jax.random.split(key)
    action = choose(key_choose, actions, t)
    return (key, actions.at[t].set(action)), None

  carry = key, jnp.zeros(space.num_steps, jnp.int32)
  return jax.lax.scan(step, carry, jnp.arange(space.num_steps))[0][1]


def uniform_actions(key: jax.Array, space: Space, n: int) -> jax.Array:
  """actions [n, T] int32, uniform over the legal actions at every step."""

  def choose(key, actions, t):
    return choose_uniformly(key, space.legal(actions, t))

  keys = jax.random.split(key, n)
  return jax.vmap(lambda key: build_actions(key, space, choose))(keys)


def uniform_lengths(key: jax.Array, space: Space, n: int) -> jax.Array:
  """actions [n, T] int32, lengths 1 ... T alike and uniform given the length.

  In a space with a terminal, `uniform_actions` are nearly all as long as they
  can be; in one without, this is the same.
  """
  if not space.terminal:
    return uniform_actions(key, space, n)
  key_length, key_actions = jax.random.split(key)
  lengths = jax.random.randint(key_length, (n,), 1, space.num_steps + 1)
  return actions_of_lengths(key_actions, space, lengths)


def actions_of_lengths(
  key: jax.Array, space: Space, lengths: jax.Array
) -> jax.Array:
  """actions [n, T] int32 with the terminal after `lengths` [n] steps.

  Every other action is uniform over the legal ones. Where nothing but the
  terminal is legal an episode is shorter, and longer where it is not legal yet.
  """

  def build(key, length):
    def choose(key, actions, t):
      legal = space.legal(actions, t)
      ends = jnp.arange(space.num_actions) == 0
      wanted = legal & jnp.where(t < length, ~ends, ends)
      return choose_uniformly(key, jnp.where(wanted.any(), wanted, legal))

    return build_actions(key, space, choose)

  return jax.vmap(build)(jax.random.split(key, len(lengths)), lengths)
