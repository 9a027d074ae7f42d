"""Searches whose architectures grow as the search goes on, by any searcher.

Zoph & Le, 2017 (arXiv 1611.01578) start with 6 layers and add 2 after every
1,600 samples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.policies import sampling
from irlas_jax.types import Searcher, Space


class GrowingState(NamedTuple):
  """A searcher's state, and how far it has grown."""

  inner: Any  # of the searcher
  rewards: jax.Array  # [] int32, how many so far


def growing(
  make: Callable[[Space], Searcher], space: Space, length_fn: Callable
) -> Searcher:
  """A searcher of the space `sampling.of_length` for the length of its time.

  Shapes do not change, since the space stays padded to its T steps, and nothing
  is compiled again. A policy that proposed by a former length knows those
  proposals as illegal, so stale ones teach it next to nothing.

  Args:
    make: (Space) -> Searcher, for spaces that may be traced.
    space: one with a terminal.
    length_fn: number of rewards so far [] -> steps before the terminal [].

  Raises:
    ValueError: for a space without a terminal, which has one length.
  """
  if not space.terminal:
    raise ValueError(
      "The config has 'growth', and all architectures of this space have as "
      'many steps: leave it out.'
    )

  def at(rewards):
    return make(sampling.of_length(space, length_fn(rewards)))

  def init(key):
    rewards = jnp.int32(0)
    return GrowingState(at(rewards).init(key), rewards)

  def propose(key, state, n):
    proposals, inner = at(state.rewards).propose(key, state.inner, n)
    return proposals, GrowingState(inner, state.rewards)

  def update(key, state, proposals, rewards, valid):
    inner = at(state.rewards).update(
      key, state.inner, proposals, rewards, valid
    )
    following = state.rewards + jnp.sum(valid, dtype=jnp.int32)
    return GrowingState(inner, following)

  return Searcher(init, propose, update)


def staircase(start: int, step: int, every: int) -> Callable:
  """count -> start + step for every so many counted.

  Raises:
    ValueError: for a start or a number of counts below 1, or a negative step.
  """
  if min(start, every) < 1 or step < 0:
    raise ValueError(
      f'growth has start={start}, step={step} and every={every}: the first and '
      'the last are at least 1, the other 0 or more.'
    )
  return lambda count: start + step * (count // every)
