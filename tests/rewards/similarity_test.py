"""The closed forms, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.rewards import policy_class, similarity

EXPERT = jnp.array([3.0, 4.0])
POLICIES = policy_class.pool(jnp.array([[6.0, 1.0], [6.0, -1.0]]))


@pytest.mark.parametrize('jit', (True, False))
@pytest.mark.parametrize(
  'learner, expected, length',
  (
    (similarity.cosine, [0.6, 0.8], 5),
    (similarity.mean_difference, [-0.6, 0.8], 5),
  ),
)
def test_weights_point_at_the_expert(jit, learner, expected, length):
  """From 0, or from the mean policy, (6, 0)."""

  def learn():
    return learner()(EXPERT, POLICIES)

  solution = (jax.jit(learn) if jit else learn)()
  np.testing.assert_allclose(solution.weights, expected, rtol=1e-6)
  np.testing.assert_allclose(solution.trace, [length], rtol=1e-6)
  assert solution.iterations == 0


def test_cosine_looks_at_no_policy():
  """It is the baseline that learns nothing."""
  other = policy_class.pool(jnp.array([[0.0, 9.0]]))
  np.testing.assert_array_equal(
    similarity.cosine()(EXPERT, POLICIES).weights,
    similarity.cosine()(EXPERT, other).weights,
  )


@pytest.mark.parametrize(
  'learner, expert',
  (
    (similarity.cosine, [0.0, 0.0]),
    (similarity.mean_difference, [6.0, 0.0]),
  ),
)
def test_no_direction_gives_no_weights(learner, expert):
  """A direction of length 0 must not become NaN."""
  solution = learner()(jnp.array(expert), POLICIES)
  np.testing.assert_array_equal(solution.weights, 0)
  np.testing.assert_array_equal(solution.trace, 0)


def test_an_expert_of_other_features_is_refused():
  """Broadcasting would make weights of both."""
  with pytest.raises(AssertionError):
    similarity.mean_difference()(EXPERT[:1], POLICIES)
