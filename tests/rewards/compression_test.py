"""N2N's reward by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import types
from irlas_jax.rewards import compression


def _scores(accuracy, params, failure=0, index=0):
  rows = np.broadcast_arrays(accuracy, params, failure, index)
  accuracy, params, failure, index = map(jnp.asarray, rows)
  nothing = jnp.full(len(params), jnp.nan)
  return types.Scores(
    accuracy=accuracy,
    loss=nothing,
    params=params,
    madds=nothing,
    latency=nothing,
    seconds=nothing,
    epochs=nothing,
    curve=nothing[:, None],
    index=index,
    failure=failure,
  )


@pytest.mark.parametrize('jit', (True, False))
def test_by_hand(jit):
  """A tenth of the parameters: C = 0.9, C (2 - C) = 0.99. Half: 0.75."""
  reward = compression.n2n_reward(1000.0, 0.8)
  reward = jax.jit(reward) if jit else reward
  found = reward(_scores([0.8, 0.4, 0.8], [100.0, 500.0, 100.0]), None)
  np.testing.assert_allclose(found, [0.99, 0.75 / 2, 0.99], rtol=1e-6)


def test_what_is_no_student_gets_minus_one():
  """No smaller than the teacher, or diverged."""
  scores = _scores(
    [0.8, 0.9, 0.8, np.nan], [1000.0, 1200.0, 100.0, 100.0], [0, 0, 1, 0]
  )
  found = compression.n2n_reward(1000.0, 0.8)(scores, None)
  np.testing.assert_array_equal(found, -1)


def test_a_violated_constraint_costs_more_and_more():
  """In epoch 0 nothing, in 5 of 10 with e = 1/16, from 10 on all."""
  reward = compression.n2n_reward(
    1000.0, 0.8, max_params=200, min_accuracy=0.5, epoch_size=2, patience=10
  )
  scores = _scores(0.8, [500.0] * 4, index=[0, 1, 10, 21])
  e = 1 / 16
  expected = [0.75, 0.75, e - 1 + e * 0.75, -1]
  np.testing.assert_allclose(reward(scores, None), expected, rtol=1e-6)
  met = _scores([0.5, 0.4], 100.0, index=21)
  expected = [0.99 * 0.5 / 0.8, -1]
  np.testing.assert_allclose(reward(met, None), expected, rtol=1e-6)


def test_a_teacher_of_nothing_is_refused():
  with pytest.raises(ValueError, match='reward.teacher_accuracy 0.0'):
    compression.n2n_reward(1000.0, 0.0)
