"""The sampled policy class: by hand, and against sums in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.rewards import policy_class

POOL = jnp.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 2.0]])


def random_pool(seed, size=40, num_features=6):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(size, num_features)).astype(np.float32)


@pytest.mark.parametrize('jit', (True, False))
@pytest.mark.parametrize(
  'weights, expected', (([1, 1], 0), ([1, 3], 2), ([0, -1], 0), ([-1, 1], 2))
)
def test_best_response_is_the_best_of_the_pool(jit, weights, expected):
  """Values 2, 1, 1; then 2, 3, 5; 0, -1, -2; and -2, 1, 3."""
  response = policy_class.pool(POOL).best_response
  response = jax.jit(response) if jit else response
  np.testing.assert_array_equal(
    response(jnp.array(weights, jnp.float32)), POOL[expected]
  )


@pytest.mark.parametrize('jit', (True, False))
def test_without_a_reward_every_architecture_is_as_likely(jit):
  """A sum in place of the mean would add log N to a learner's loss."""
  policies = policy_class.pool(POOL)

  def run():
    value = policies.log_partition(jnp.zeros(2))
    return value, policy_class.expectation(policies, jnp.zeros(2))

  value, mean = (jax.jit(run) if jit else run)()
  np.testing.assert_allclose(value, 0, atol=1e-6)
  np.testing.assert_allclose(mean, [1 / 3, 1], rtol=1e-6)
  np.testing.assert_allclose(policies.mean, [1 / 3, 1], rtol=1e-6)


def test_partition_and_expectation_by_hand():
  """Odds 4 : 1 : 1 / 2 of w = (log 2, 0)."""
  policies = policy_class.pool(POOL)
  weights = jnp.log(jnp.array([2.0, 1.0]))
  value = policies.log_partition(weights)
  np.testing.assert_allclose(value, np.log(5.5 / 3), rtol=1e-6)
  found = policy_class.expectation(policies, weights)
  np.testing.assert_allclose(found, [7.5 / 5.5, 2 / 5.5], rtol=1e-6)


def test_partition_and_expectation_are_sums_over_the_pool():
  counts = random_pool(0)
  policies = policy_class.pool(jnp.array(counts))
  for seed in range(5):
    weights = 3 * random_pool(seed, 1)[0]
    odds = np.exp(counts.astype(np.float64) @ weights)
    value = policies.log_partition(weights)
    np.testing.assert_allclose(value, np.log(odds.mean()), atol=1e-5)
    found = policy_class.expectation(policies, weights)
    np.testing.assert_allclose(found, odds @ counts / odds.sum(), atol=1e-5)


def test_large_weights_leave_the_best_response():
  """exp(1e4) is infinite in single precision."""
  policies = policy_class.pool(jnp.array(random_pool(1)))
  weights = 1e4 * random_pool(2, 1)[0]
  best = policies.best_response(weights)
  found = policy_class.expectation(policies, weights)
  np.testing.assert_allclose(found, best, atol=1e-5)
  value = policies.log_partition(weights)
  np.testing.assert_allclose(value, weights @ best - np.log(40), rtol=1e-5)


def test_counts_of_one_architecture_are_refused():
  """[D] would be read as D architectures of one feature."""
  with pytest.raises(AssertionError):
    policy_class.pool(POOL[0])
