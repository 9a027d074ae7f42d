"""Architectures that differ from another by one choice.

Shapes: `T` steps of a space, `A` actions a step, `n` architectures.
"""

import jax
import jax.numpy as jnp

from irlas_jax.policies import sampling
from irlas_jax.types import Space


def substitute(
  draws: jax.Array,
  space: Space,
  parent: jax.Array,
  site: jax.Array,
  action: jax.Array,
) -> jax.Array:
  """The legal actions `parent` [T] with `action` [] at step `site` [].

  `action` has to be legal there. Later actions stay as they are where they are
  still legal, and are drawn uniformly from the legal ones, by `draws` [T],
  where they are not.
  """
  wanted = parent.at[site].set(action)

  def choose(u, actions, t):
    legal = space.legal(actions, t)
    return jnp.where(legal[wanted[t]], wanted[t], sampling.pick(u, legal))

  return sampling.build_actions(draws, space, choose)


def mutate(key: jax.Array, space: Space, parents: jax.Array) -> jax.Array:
  """A legal neighbour of each of the legal `parents`, [n, T] -> [n, T].

  One step, uniform among those with a choice, gets another legal action,
  uniform too. So a child differs from its parent unless the space offers no
  choice at all.
  """
  key_site, key_action, key_build = jax.random.split(key, 3)
  num = len(parents)

  def neighbour(u_site, u_action, draws, parent):
    masks = sampling.legal_masks(space, parent)
    site = sampling.pick(u_site, jnp.sum(masks, axis=1) > 1)
    other = masks[site] & (jnp.arange(space.num_actions) != parent[site])
    action = jnp.where(
      jnp.any(other), sampling.pick(u_action, other), parent[site]
    )
    return substitute(draws, space, parent, site, action)

  return jax.vmap(neighbour)(
    jax.random.uniform(key_site, (num,)),
    jax.random.uniform(key_action, (num,)),
    jax.random.uniform(key_build, parents.shape),
    parents,
  )
