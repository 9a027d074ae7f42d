"""A ring of scored action sequences: the newest replace the oldest.

Shapes: `M` places of the ring, `T` steps of a space, `n` rows pushed at once.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Ring(NamedTuple):
  """The last `M` sequences pushed, and their rewards."""

  actions: jax.Array  # [M, T] int32
  rewards: jax.Array  # [M] float32
  pushed: jax.Array  # [] int32, sequences ever pushed; the next goes to mod M


def empty(size: int, num_steps: int) -> Ring:
  """A ring of `size` places with nothing in it."""
  if size < 1:
    raise ValueError(f'A ring needs 1 place or more, not {size}: raise it.')
  return Ring(
    actions=jnp.zeros((size, num_steps), jnp.int32),
    rewards=jnp.zeros(size, jnp.float32),
    pushed=jnp.zeros((), jnp.int32),
  )


def num_held(ring: Ring) -> jax.Array:
  """How many places are taken, the first ones: [] int32, at most M."""
  return jnp.minimum(ring.pushed, len(ring.rewards))


def push(
  ring: Ring, actions: jax.Array, rewards: jax.Array, valid: jax.Array
) -> Ring:
  """Adds the valid rows in their order; other rows take no place.

  actions [n, T], rewards [n], valid [n] bool. Of more than M valid rows the
  last M stay.
  """
  size = len(ring.rewards)
  chex.assert_shape(actions, (len(valid), ring.actions.shape[1]))
  chex.assert_shape([rewards, valid], (len(valid),))
  rank = jnp.cumsum(valid, dtype=jnp.int32)  # 1 for the first valid row
  total = jnp.sum(valid, dtype=jnp.int32)
  stays = valid & (rank > total - size)
  # Rows that do not stay point past the end, where writes are dropped.
  place = jnp.where(stays, (ring.pushed + rank - 1) % size, size)
  return Ring(
    actions=ring.actions.at[place].set(actions, mode='drop'),
    rewards=ring.rewards.at[place].set(rewards, mode='drop'),
    pushed=ring.pushed + total,
  )


def unseen(ring: Ring, actions: jax.Array, valid: jax.Array) -> jax.Array:
  """[n] bool, actions [n, T] that the ring does not hold.

  Nor does an earlier valid row, so that of several equal ones the first is new.
  """
  places = jnp.arange(len(ring.rewards))
  held = _equal(actions, ring.actions) & (places < num_held(ring))
  order = jnp.arange(len(actions))
  earlier = _equal(actions, actions) & valid & (order < order[:, None])
  return ~held.any(1) & ~earlier.any(1)


def _equal(one: jax.Array, other: jax.Array) -> jax.Array:
  """Which rows are equal: [n, T], [m, T] -> [n, m] bool."""
  return (one[:, None] == other).all(-1)
