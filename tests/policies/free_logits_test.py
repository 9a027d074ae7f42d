"""Free logits on a space of seven sequences, worked by hand.

Two steps and actions 0 to 2; 0 ends. The first step allows 1 and 2 only; after
1 everything is legal, after 2 only 0 and 1.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.policies import free_logits
from irlas_jax.types import Space

_SEQUENCES = np.array([[1, 0], [1, 1], [1, 2], [2, 0], [2, 1]], np.int32)
_PARAMS = jnp.log(jnp.array([[7.0, 3.0, 1.0], [2.0, 1.0, 5.0]]))
# First 3/4 and 1/4; then of (2, 1, 5) / 8 after 1, of (2, 1) / 3 after 2.
_STEP_PROBS = [
  [3 / 4, 2 / 8],
  [3 / 4, 1 / 8],
  [3 / 4, 5 / 8],
  [1 / 4, 2 / 3],
  [1 / 4, 1 / 3],
]


def _legal(actions, t):
  first = jnp.array([False, True, True])
  second = jnp.array([True, True, False]).at[2].set(actions[0] == 1)
  return jnp.where(t == 0, first, second)


_SPACE = Space(2, 3, 2, _legal, lambda actions, t: t, None, None, (), (), False)

with_and_without_jit = pytest.mark.parametrize('jit', [True, False])


def policy(jit):
  plain = free_logits.free_logits(_SPACE)
  if not jit:
    return plain
  return plain._replace(
    sample=jax.jit(plain.sample, static_argnums=2),
    log_prob=jax.jit(plain.log_prob),
  )


@with_and_without_jit
def test_log_prob_is_that_of_a_softmax_over_the_legal(jit):
  log_prob, entropy = policy(jit).log_prob(_PARAMS, _SEQUENCES)
  np.testing.assert_allclose(jnp.exp(log_prob), _STEP_PROBS, rtol=1e-5)
  np.testing.assert_allclose(jnp.exp(log_prob.sum(axis=1)).sum(), 1, rtol=1e-5)
  p = np.array([2, 1]) / 3
  np.testing.assert_allclose(entropy[3:, 1], -(p * np.log(p)).sum(), rtol=1e-5)


@with_and_without_jit
def test_samples_come_as_often_as_log_prob_says(jit):
  """So often, and with that log-probability; nothing illegal among them."""
  n = 4000
  actions, log_prob = policy(jit).sample(jax.random.key(0), _PARAMS, n)
  chex.assert_type(actions, jnp.int32)
  chex.assert_trees_all_close(
    log_prob, policy(jit).log_prob(_PARAMS, actions)[0], rtol=1e-6
  )
  counts = [
    (np.asarray(actions) == row).all(axis=1).sum() for row in _SEQUENCES
  ]
  assert sum(counts) == n
  np.testing.assert_allclose(
    np.array(counts) / n, np.prod(_STEP_PROBS, axis=1), atol=0.03
  )


def test_the_gradient_is_one_hot_minus_probability():
  """And 0 for the illegal, with no NaN from an entropy of p log p at p = 0."""

  def total(params):
    log_prob, _ = policy(False).log_prob(params, _SEQUENCES[3:4])
    return log_prob.sum()

  expected = [[0, -3 / 4, 3 / 4], [1 / 3, -1 / 3, 0]]
  np.testing.assert_allclose(jax.grad(total)(_PARAMS), expected, atol=1e-6)

  def total_entropy(params):
    return policy(False).log_prob(params, _SEQUENCES)[1].sum()

  chex.assert_tree_all_finite(jax.grad(total_entropy)(_PARAMS))


def test_parameters_start_uniform():
  params = policy(False).init(jax.random.key(0))
  chex.assert_trees_all_equal(params, jnp.zeros((2, 3)))
  log_prob, entropy = policy(False).log_prob(params, _SEQUENCES[:1])
  np.testing.assert_allclose(jnp.exp(log_prob), [[1 / 2, 1 / 3]], rtol=1e-6)
  np.testing.assert_allclose(entropy, np.log([[2, 3]]), rtol=1e-6)


def test_a_forced_step_has_no_log_probability_and_no_entropy():
  space = _SPACE._replace(legal=lambda actions, t: jnp.arange(3) == 1)
  forced = free_logits.free_logits(space)
  chex.assert_trees_all_equal(
    forced.log_prob(_PARAMS, jnp.ones((1, 2), jnp.int32)),
    (jnp.zeros((1, 2)), jnp.zeros((1, 2))),
  )


def test_no_key_is_used_twice():
  sample = jax.jit(lambda key: policy(False).sample(key, _PARAMS, 3))
  with jax.debug_key_reuse(True):
    sample.trace(jax.random.key(0))
