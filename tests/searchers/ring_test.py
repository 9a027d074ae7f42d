"""A ring of three places, its contents written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.searchers import ring


def push(buffer, rewards, valid=None, jit=True):
  rewards = jnp.array(rewards, jnp.float32)
  actions = jnp.stack([rewards, -rewards], axis=1).astype(jnp.int32)
  valid = jnp.ones(len(rewards), bool) if valid is None else jnp.array(valid)
  return (jax.jit(ring.push) if jit else ring.push)(
    buffer, actions, rewards, valid
  )


@pytest.mark.parametrize('jit', [True, False])
def test_the_newest_take_the_place_of_the_oldest(jit):
  buffer = push(ring.empty(3, 2), [1, 2], jit=jit)
  assert ring.num_held(buffer) == 2
  buffer = push(buffer, [3, 4], jit=jit)
  assert ring.num_held(buffer) == 3
  np.testing.assert_array_equal(buffer.rewards, [4, 2, 3])
  np.testing.assert_array_equal(buffer.actions, [[4, -4], [2, -2], [3, -3]])


def test_rows_that_are_not_valid_take_no_place():
  """They leave no gap either, though their reward be NaN."""
  rewards, valid = [np.nan, 1, np.nan, 2], [False, True, False, True]
  buffer = push(ring.empty(3, 2), rewards, valid)
  np.testing.assert_array_equal(buffer.rewards, [1, 2, 0])
  assert buffer.pushed == 2


def test_a_batch_larger_than_the_ring_leaves_its_last_rows():
  """Else two rows would be written to one place in no given order."""
  valid = [True, True, True, True, False, True, True]
  buffer = push(push(ring.empty(3, 2), [9]), [1, 2, 3, 4, 5, 6, 7], valid)
  assert set(buffer.rewards.tolist()) == {4, 6, 7}
  buffer = push(buffer, [8])  # takes the place of the oldest, 4
  assert set(buffer.rewards.tolist()) == {6, 7, 8}


def test_a_ring_without_places_is_refused():
  with pytest.raises(ValueError, match='1 place or more'):
    ring.empty(0, 2)
