"""Many trainings on one device: a queue of jobs before a number of slots.

A slot advances its job, from evaluation to evaluation, until the job is over;
then the next job of the queue takes the slot, inside one compiled program. So
children that stop early make room at once, and nothing is compiled for it.

Shapes: `Q` jobs in the queue, `S` slots.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Job(NamedTuple):
  """What is done with an item of the queue; pure functions."""

  begin: Callable  # (item, shared) -> state
  advance: Callable  # (item, state, shared) -> state
  goes_on: Callable  # (state, shared) -> [] bool; a new state goes on
  result: Callable  # state -> result


def work(job: Job, slots: int) -> Callable:
  """(items with leading Q, live [Q] bool, shared) -> results with leading Q.

  Items that are not `live` have to stand last; their results mean nothing. One
  slot takes one job after another, with branches that are branches; several
  advance together by `vmap`, which turns them into selections.
  """
  return _in_turn(job) if slots == 1 else _side_by_side(job, slots)


def _in_turn(job: Job) -> Callable:
  def run(items, live, shared):
    def one(pair):
      item, is_live = pair
      state = jax.lax.while_loop(
        lambda state: is_live & job.goes_on(state, shared),
        lambda state: job.advance(item, state, shared),
        job.begin(item, shared),
      )
      return job.result(state)

    return jax.lax.map(one, (items, live))

  return run


class _Hall(NamedTuple):
  place: jax.Array  # [S] int32, which of the queue a slot has; Q: none
  taken: jax.Array  # [] int32, how many of the queue have been in a slot
  states: Any  # leading S
  results: Any  # leading Q


def _side_by_side(job: Job, slots: int) -> Callable:
  def run(items, live, shared):
    size, ends = len(live), jnp.sum(live)
    advance = jax.vmap(job.advance, in_axes=(0, 0, None))
    goes_on = jax.vmap(job.goes_on, in_axes=(0, None))

    def at(place):
      return jax.tree.map(lambda x: x[jnp.minimum(place, size - 1)], items)

    def begin(place):
      return jax.vmap(job.begin, in_axes=(0, None))(at(place), shared)

    def body(hall: _Hall) -> _Hall:
      states = advance(at(hall.place), hall.states, shared)
      over = (hall.place < size) & ~goes_on(states, shared)
      where = jnp.where(over, hall.place, size)  # beyond the end is dropped
      results = jax.tree.map(
        lambda whole, new: whole.at[where].set(new, mode='drop'),
        hall.results,
        jax.vmap(job.result)(states),
      )
      following = hall.taken + jnp.cumsum(over) - 1
      following = jnp.where(following < ends, following, size)
      place = jnp.where(over, following, hall.place)
      starts = over & (place < size)
      states = jax.lax.cond(
        starts.any(),
        lambda states: _choose(starts, begin(place), states),
        lambda states: states,
        states,
      )
      return _Hall(place, hall.taken + over.sum(), states, results)

    place = jnp.arange(slots)
    hall = _Hall(
      jnp.where(place < ends, place, size),
      jnp.int32(slots),
      begin(place),
      _zeros(job, items, shared),
    )
    return jax.lax.while_loop(
      lambda hall: (hall.place < size).any(), body, hall
    ).results

  return run


def _zeros(job: Job, items, shared):
  """Zeros in the shape of the results, with leading Q."""
  like = jax.eval_shape(
    jax.vmap(lambda item: job.result(job.begin(item, shared))), items
  )
  return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)


def _choose(condition, new, old):
  """`new` where condition [S], else `old`; leading S."""

  def pick(new, old):
    wide = condition.reshape(-1, *[1] * (new.ndim - 1))
    return jnp.where(wide, new, old)

  return jax.tree.map(pick, new, old)
