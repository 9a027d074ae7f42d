"""A queue of jobs before slots, on a job whose results are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.evaluators import slots

# A job counts from 0 up to the item's limit, and adds the shared step.
LIMITS = np.array([3, 1, 5, 2, 2, 4, 1], np.int32)


def _count():
  def begin(limit, step):
    del step
    return {'limit': limit, 'rounds': jnp.int32(0), 'sum': jnp.float32(0)}

  def advance(limit, state, step):
    del limit
    rounds = state['rounds'] + 1
    return state | {'rounds': rounds, 'sum': state['sum'] + step}

  def goes_on(state, step):
    del step
    return state['rounds'] < state['limit']

  return slots.Job(begin, advance, goes_on, lambda s: (s['rounds'], s['sum']))


@pytest.mark.parametrize('number', [1, 2, 3, 7])
def test_every_job_is_done_by_whatever_number_of_slots(number):
  """A job would be lost, done twice, or answered at another's place."""
  live = np.ones(len(LIMITS), bool)
  run = jax.jit(slots.work(_count(), number))
  rounds, sums = run(LIMITS, live, jnp.float32(0.5))
  np.testing.assert_array_equal(rounds, LIMITS)
  np.testing.assert_array_equal(sums, LIMITS / 2)


@pytest.mark.parametrize('number', [1, 3])
@pytest.mark.parametrize('count', [1, 2, 5])
def test_what_is_not_live_is_not_waited_for(number, count):
  """A call with few children would last as long as a full one."""
  limits = np.where(np.arange(7) < count, LIMITS, 1_000_000_000)
  run = jax.jit(slots.work(_count(), number))
  rounds, _ = run(limits, np.arange(7) < count, jnp.float32(1))
  np.testing.assert_array_equal(rounds[:count], LIMITS[:count])


@pytest.mark.parametrize('number', [2, 3])
def test_a_slot_is_taken_again_at_once(number):
  """Slots would stand empty until the longest job of a wave is over."""
  run = slots.work(_count(), number)
  loops = [
    equation
    for equation in jax.make_jaxpr(run)(
      LIMITS, np.ones(7, bool), jnp.float32(1)
    ).eqns
    if equation.primitive.name == 'while'
  ]
  assert len(loops) == 1  # not one a wave
  rounds_needed = _rounds(LIMITS, number)
  waves = sum(max(LIMITS[i : i + number]) for i in range(0, 7, number))
  assert rounds_needed < waves
  assert _observed(run) == rounds_needed


def _rounds(limits, number):
  """Rounds of a queue that is worked off without a pause."""
  free = [0] * number
  for limit in limits:
    slot = free.index(min(free))
    free[slot] += limit
  return max(free)


def _observed(run):
  """How often the body of the loop runs."""
  count = []
  original = jax.lax.while_loop

  def counting(condition, body, state):
    while condition(state):
      count.append(1)
      state = body(state)
    return state

  jax.lax.while_loop = counting
  try:
    run(jnp.asarray(LIMITS), jnp.ones(7, bool), jnp.float32(1))
  finally:
    jax.lax.while_loop = original
  return len(count)


def test_keys_may_stand_in_an_item_and_a_state():
  """Trainings have keys, which are no plain arrays."""

  def begin(key, shared):
    del shared
    return key, jnp.int32(0)

  def advance(item, state, shared):
    del item, shared
    return jax.random.fold_in(state[0], 1), state[1] + 1

  job = slots.Job(
    begin, advance, lambda s, _: s[1] < 2, lambda s: jax.random.uniform(s[0])
  )
  keys = jax.random.split(jax.random.key(0), 5)
  alone, together = (
    jax.jit(slots.work(job, number))(keys, np.ones(5, bool), ())
    for number in (1, 2)
  )
  np.testing.assert_array_equal(alone, together)
  assert len(set(alone.tolist())) == 5
