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


def entropy(log_probs: jax.Array) -> jax.Array:
  """-sum_a p(a) log p(a) in nats: log-probabilities [..., A] -> [...]."""
  return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


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


def pick(u: jax.Array, weights: jax.Array) -> jax.Array:
  """An index [] int32, drawn in proportion to weights [A] (bool too).

  `u` [] is uniform in [0, 1), a float32 of `jax.random.uniform`: the index is
  where the sum of the weights passes that share. A weight of 0 is never
  picked, unless all are: then it is index 0.
  """
  chex.assert_rank([u, weights], [0, 1])
  total = jnp.cumsum(weights)
  return jnp.argmax(total > u * total[-1]).astype(jnp.int32)


def build_actions(
  draws: jax.Array, space: Space, choose: Callable
) -> jax.Array:
  """actions [T] int32: actions[t] = choose(draws[t], actions, t), in turn.

  All chance is in `draws` [T, ...], drawn at once, which is cheaper than a key
  a step. `choose` returns a legal action [] int32; it sees what it chose before
  t, and 0 from t on.
  """
  chex.assert_axis_dimension(draws, 0, space.num_steps)

  def step(actions, row):
    t, draw = row
    return actions.at[t].set(choose(draw, actions, t)), None

  rows = jnp.arange(space.num_steps), draws
  return jax.lax.scan(step, jnp.zeros(space.num_steps, jnp.int32), rows)[0]


def uniform_actions(key: jax.Array, space: Space, n: int) -> jax.Array:
  """actions [n, T] int32, uniform over the legal actions at every step."""

  def choose(u, actions, t):
    return pick(u, space.legal(actions, t))

  draws = jax.random.uniform(key, (n, space.num_steps))
  return jax.vmap(lambda row: build_actions(row, space, choose))(draws)


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
  """actions [n, T] int32 of the spaces `of_length` for lengths [n], uniform."""

  def build(draws, length):
    narrow = of_length(space, length)

    def choose(u, actions, t):
      return pick(u, narrow.legal(actions, t))

    return build_actions(draws, space, choose)

  draws = jax.random.uniform(key, (len(lengths), space.num_steps))
  return jax.vmap(build)(draws, lengths)


def of_length(space: Space, length: jax.Array | int) -> Space:
  """The space with the terminal after `length` [] steps, and not before.

  Where nothing but the terminal is legal an episode is shorter, and longer
  where it is not legal yet. The length may be traced.
  """

  def legal(actions, t):
    found = space.legal(actions, t)
    ends = jnp.arange(space.num_actions) == 0
    wanted = found & jnp.where(t < length, ~ends, ends)
    return jnp.where(wanted.any(), wanted, found)

  return space._replace(legal=legal)


def covering_actions(space: Space) -> jax.Array:
  """actions [n, T]: every action, and action 1 at every step.

  An action stands where it first is legal after ones. In the block space and
  NAS-Bench-201 (not in all there could be) the architectures have between them
  all operations that there are, at all fan-ins and numbers of leaves.
  """
  ones = jnp.ones(space.num_steps, jnp.int32)
  masks = legal_masks(space, ones)
  first, every = jnp.argmax(masks, axis=0), jnp.arange(space.num_actions)
  steps = jnp.arange(space.num_steps)
  where = jnp.concatenate([first, steps])[:, None]
  what = jnp.concatenate([every, ones])[:, None]
  rest = jnp.where(space.terminal & (steps > where), 0, 1)
  return jnp.where(steps == where, what, rest)
