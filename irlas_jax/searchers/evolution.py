"""Regularized evolution (Real et al., 2019, arXiv 1802.01548, algorithm 1).

Shapes: `T` steps of a space, `A` actions a step, `n` proposals.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from irlas_jax.policies import sampling
from irlas_jax.searchers import neighbours, ring
from irlas_jax.types import Proposals, Searcher, Space


def regularized_evolution(
  space: Space,
  *,
  population_size: int = 100,
  sample_size: int = 25,
  start: Sequence[int] = (),
) -> Searcher:
  """Tournament selection, one mutation a child, and death by age.

  The population is the last `population_size` valid proposals. Until it is
  full, proposals are random (their own parents); then each is a mutation of
  the best of `sample_size` members drawn with replacement. All proposals of a
  batch come from the population as it stands. The defaults are the paper's
  controlled comparison, P = 100 and S = 25.

  With the actions `start` [T] of an architecture the first batch begins with
  it, and its mutations take the place of random proposals; ours.

  Raises:
    ValueError: if `population_size` or `sample_size` is below 1, or `start` is
      not one action a step.
  """
  if start and len(start) != space.num_steps:
    raise ValueError(
      f'regularized_evolution starts from {len(start)} actions: give '
      f'{space.num_steps}, one a step, or none.'
    )
  if min(population_size, sample_size) < 1:
    raise ValueError(
      'regularized_evolution needs population_size and sample_size of 1 or '
      f'more, not {population_size} and {sample_size}: raise them.'
    )

  def init(key):
    del key  # the population starts empty
    return ring.empty(population_size, space.num_steps)

  def first_proposals(key, state, n):
    if not start:
      return sampling.uniform_actions(key, space, n)
    origin = jnp.asarray(start, jnp.int32)
    near = neighbours.mutate(key, space, jnp.tile(origin, (n, 1)))
    begins = (jnp.arange(n) == 0) & (state.pushed == 0)
    return jnp.where(begins[:, None], origin, near)

  def propose(key, state, n):
    key_random, key_parents, key_mutate = jax.random.split(key, 3)
    random = first_proposals(key_random, state, n)
    winners = tournament(key_parents, state.rewards, sample_size, n)
    parents = state.actions[winners]
    children = neighbours.mutate(key_mutate, space, parents)
    full = ring.num_held(state) == population_size
    actions = jnp.where(full, children, random)
    return Proposals(actions, jnp.where(full, parents, random), ()), state

  def update(key, state, proposals, rewards, valid):
    del key  # ageing leaves nothing to chance
    return ring.push(state, proposals.actions, rewards, valid)

  return Searcher(init, propose, update)


def tournament(
  key: jax.Array, rewards: jax.Array, sample_size: int, n: int
) -> jax.Array:
  """Winners [n] int32 of `n` tournaments among the rewards [M].

  Each is the best of `sample_size` members drawn uniformly with replacement.
  """
  drawn = jax.random.randint(key, (n, sample_size), 0, len(rewards))
  best = jnp.argmax(rewards[drawn], axis=1)
  return jnp.take_along_axis(drawn, best[:, None], axis=1)[:, 0]
