"""Local search: the best of all neighbours, until none is better.

White et al., "Exploring the loss landscape in neural architecture search", UAI
2021 (arXiv 2005.02960), who find it hard to beat on small benchmarks.

Shapes: `T` steps of a space, `A` actions a step, `n` proposals.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.policies import sampling
from irlas_jax.searchers import neighbours
from irlas_jax.types import Proposals, Searcher, Space


class Climb(NamedTuple):
  """Where a search stands, and what it knows of the neighbourhood."""

  current: jax.Array  # [T] int32
  value: jax.Array  # [] float32, its reward
  tried: jax.Array  # [T, A] bool, neighbours that were proposed
  best: jax.Array  # [T] int32, the best neighbour so far
  best_value: jax.Array  # [] float32, -inf if there is none
  restart: jax.Array  # [] bool: the next proposals are random


def local_search(space: Space) -> Searcher:
  """Proposes every neighbour of the current architecture, in random order.

  A neighbour differs by one choice (`neighbours.substitute`). When all were
  proposed, the best one becomes the current architecture if it is better;
  otherwise this is a local optimum, and the search starts again from a random
  architecture, the best of the next batch. Proposals of a batch that exceed the
  neighbours left are random and lead nowhere.
  """

  def init(key):
    del key  # the first proposals are random
    nothing = jnp.zeros(space.num_steps, jnp.int32)
    never = jnp.float32(-jnp.inf)
    tried = jnp.ones((space.num_steps, space.num_actions), bool)
    return Climb(nothing, never, tried, nothing, never, jnp.bool_(True))

  def propose(key, state, n):
    key_random, key_order, key_build = jax.random.split(key, 3)
    random = sampling.uniform_actions(key_random, space, n)
    order = jax.random.uniform(key_order, state.tried.shape)
    order = jnp.where(state.tried, -1.0, order).ravel()
    order, places = jax.lax.top_k(order, min(n, order.size))
    missing = n - len(places)
    near = jnp.pad(order >= 0, (0, missing))  # none are, before a restart
    sites, actions = jnp.divmod(
      jnp.pad(places, (0, missing)), state.tried.shape[1]
    )
    draws = jax.random.uniform(key_build, random.shape)
    children = jax.vmap(
      lambda draw, site, action: neighbours.substitute(
        draw, space, state.current, site, action
      )
    )(draws, sites, actions)
    tried = state.tried.at[sites, actions].set(True)
    proposals = Proposals(
      jnp.where(near[:, None], children, random),
      jnp.where(near[:, None], state.current, random),
      {'neighbour': near},
    )
    return proposals, state._replace(tried=tried)

  def begin(actions, value):
    """The state at an architecture none of whose neighbours is known."""
    choices = sampling.legal_masks(space, actions)
    own = jnp.arange(space.num_actions) == actions[:, None]
    never = jnp.float32(-jnp.inf)
    return Climb(
      actions, value, ~choices | own, actions, never, jnp.bool_(False)
    )

  def update(key, state, proposals, rewards, valid):
    del key  # nothing is left to chance
    counts = valid & (proposals.info['neighbour'] | state.restart)
    rewards = jnp.where(counts, rewards, -jnp.inf)
    top = jnp.argmax(rewards)
    better = rewards[top] > state.best_value
    best = jnp.where(better, proposals.actions[top], state.best)
    best_value = jnp.where(better, rewards[top], state.best_value)
    state = state._replace(best=best, best_value=best_value)
    all_tried = jnp.all(state.tried)
    moves = all_tried & (best_value > state.value)
    stuck = all_tried & ~moves
    fresh = init(None)
    return jax.tree.map(
      lambda new, again, old: jnp.where(
        moves, new, jnp.where(stuck, again, old)
      ),
      begin(best, best_value),
      fresh,
      state,
    )

  return Searcher(init, propose, update)
