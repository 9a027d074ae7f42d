"""Whole searches in one program, where scores are a table.

The loop is that of `search.run`, with the same keys, so a searcher proposes the
same architectures; but propose, look up and update are one `lax.scan`, which is
mapped over seeds and hyper-parameters and spread over devices. What a search
did is a trace: the rows of the table that it asked for, in order.

Shapes: `N` rows of a table, `I` iterations of `B` proposals, `S` searches.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax import devices, search
from irlas_jax.types import Searcher


class Trace(NamedTuple):
  """What a search asked for, in order; leading axes are those of the keys."""

  rows: jax.Array  # [I * B] int32, of the table; N is what it does not have
  rewards: jax.Array  # [I * B] float32


def run(
  key: jax.Array,
  searcher: Searcher,
  locate: Callable,
  rewards: jax.Array,
  num_iterations: int,
  batch: int,
) -> Trace:
  """One whole search, to be jitted and mapped.

  Args:
    key: as that of `search.run`, and with the same effect.
    searcher: its functions may close over traced hyper-parameters.
    locate: actions [T] -> row [] int32, at most N.
    rewards: [N + 1] of each row, the last one of what is not in the table.
    num_iterations: I.
    batch: B.
  """
  key_init, key_loop = search.split_key(key)
  valid = jnp.ones(batch, bool)

  def step(state, iteration):
    key_propose, key_update = search.iteration_keys(key_loop, iteration)
    proposals, state = searcher.propose(key_propose, state, batch)
    rows = jax.vmap(locate)(proposals.actions)
    given = rewards[rows]
    state = searcher.update(key_update, state, proposals, given, valid)
    return state, Trace(rows, given)

  iterations = jnp.arange(num_iterations)
  _, trace = jax.lax.scan(step, searcher.init(key_init), iterations)
  return jax.tree.map(jnp.ravel, trace)


def program(
  make_searcher: Callable,
  locate: Callable,
  num_iterations: int,
  batch: int,
  population: int,
) -> Callable:
  """One compiled function for searches from many keys, with many settings.

  Args:
    make_searcher: (setting, a pytree of arrays) -> Searcher.
    locate, num_iterations, batch: as in `run`.
    population: searches a call, at most; they are mapped, and spread over the
      devices.

  Returns:
    (keys [S], settings with leading S, rewards [N + 1]) -> Trace with leading
    S, on the host; compiled at its first call only.
  """
  population += -population % devices.count()

  def one(item, rewards):
    key, setting = item
    searcher = make_searcher(setting)
    return run(key, searcher, locate, rewards, num_iterations, batch)

  compiled = devices.spread_together(one)

  def searches(keys, settings, rewards):
    count = len(keys)
    if count > population:
      raise ValueError(f'{count} searches: at most {population} a call.')
    # The surplus is the last search again, and dropped.
    index = jnp.minimum(jnp.arange(population), count - 1)
    items = jax.tree.map(lambda x: jnp.asarray(x)[index], (keys, settings))
    shared = devices.replicate(rewards)
    trace = devices.gather(compiled(devices.share(items), shared))
    return jax.tree.map(lambda x: x[:count], trace)

  return searches
