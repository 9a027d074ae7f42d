"""Reward weights as the one minimum of a strictly convex loss.

Abbeel & Ng's weights vanish as the match becomes perfect; these do not: an
L2 penalty keeps the answer unique, and says how far the expert is generalised.
None of the learners is the paper's.

Shapes: `D` features, `I` iterations.
"""

import math

import chex
import jax
import jax.numpy as jnp
import optax

from irlas_jax.rewards.policy_class import (
  EXACT,
  Learner,
  PolicyClass,
  Solution,
)


def max_entropy(
  *,
  strength: float | jax.Array = 0.03,
  num_iterations: int = 30,
  tolerance: float | jax.Array = 1e-3,
) -> Learner:
  """Maximum entropy: the expert's likelihood under p(tau) ~ exp(w.mu(tau)).

    min_w  log Z(w) - w.mu_E + strength / 2 ||w||^2,   log Z = log E exp(w.mu)

  Ziebart et al., "Maximum entropy inverse reinforcement learning", 2008, with a
  Gaussian prior on w, by L-BFGS. At the minimum, strength w = mu_E - E_w mu. A
  large strength leaves `similarity.mean_difference`, a small one weighs most
  what tells the expert from the architectures that are most like it.

  Args:
    strength: of the penalty, above 0; may be traced.
    num_iterations: at most, each of one or more evaluations of log Z.
    tolerance: stops once the gradient is shorter than this share of its length
      at w = 0.

  Raises:
    ValueError: for no iterations, or no strength.
  """
  return _penalised(lambda lag: lag, strength, num_iterations, tolerance)


def contrastive(
  *,
  strength: float | jax.Array = 0.03,
  num_negatives: int = 64,
  num_iterations: int = 30,
  tolerance: float | jax.Array = 1e-3,
) -> Learner:
  """Contrast: the expert told from random architectures beside it.

    min_w  log(1 + K Z(w) / exp(w.mu_E)) + strength / 2 ||w||^2

  The loss of picking the expert among K random ones (van den Oord et al.,
  "Representation learning with contrastive predictive coding", 2018), with the
  mean over the policy class, Z(w) = E exp(w.mu), in place of a draw of K. Once
  the expert is told apart nothing pulls any further; as K grows this becomes
  `max_entropy`.

  Args:
    strength, num_iterations, tolerance: as for `max_entropy`.
    num_negatives: K.

  Raises:
    ValueError: for no iterations, no strength, or no negatives.
  """
  if num_negatives < 1:
    raise ValueError(f'num_negatives is {num_negatives}; give at least 1.')
  shift = math.log(num_negatives)
  return _penalised(
    lambda lag: jax.nn.softplus(lag + shift),
    strength,
    num_iterations,
    tolerance,
  )


def structured_margin(
  *,
  strength: float | jax.Array = 0.1,
  cost: float | jax.Array = 1.0,
  num_iterations: int = 100,
) -> Learner:
  """Structured margin: ahead of everything, the further the more unlike it is.

    min_w  max_mu [w.mu + l(mu)] - w.mu_E + strength / 2 ||w||^2,
    l(mu) = cost (1 - mu.mu_E / ||mu_E||^2)

  Ratliff et al., "Maximum margin planning", 2006; the loss l, linear in mu so
  that a best response finds its maximum, is ours. By Frank-Wolfe on the dual
  with exact steps: `apprenticeship.projection` is the case of cost 0. The trace
  is the least gap between loss and dual so far.

  Raises:
    ValueError: for no iterations, or no strength.
  """
  _check(strength, num_iterations)

  def learn(mu_expert: jax.Array, policies: PolicyClass) -> Solution:
    chex.assert_equal_shape([mu_expert, policies.mean])
    length = jnp.dot(mu_expert, mu_expert, precision=EXACT)
    unit = cost * mu_expert / jnp.where(length > 0, length, 1.0)

    def step(mean, _):
      weights = (mu_expert - mean) / strength
      towards = policies.best_response(weights - unit) - mean
      gap = jnp.dot(towards, weights - unit, precision=EXACT)
      square = jnp.dot(towards, towards, precision=EXACT)
      share = strength * gap / jnp.where(square > 0, square, 1.0)
      return mean + jnp.clip(share, 0.0, 1.0) * towards, jnp.maximum(gap, 0.0)

    mean, gaps = jax.lax.scan(step, policies.mean, length=num_iterations)
    return Solution(
      (mu_expert - mean) / strength,
      jax.lax.cummin(gaps),
      jnp.asarray(num_iterations, jnp.int32),
    )

  return learn


def _penalised(link, strength, num_iterations, tolerance) -> Learner:
  """min_w link(log Z(w) - w.mu_E) + strength / 2 ||w||^2; link is convex."""
  _check(strength, num_iterations)

  def learn(mu_expert: jax.Array, policies: PolicyClass) -> Solution:
    chex.assert_equal_shape([mu_expert, policies.mean])

    def loss(weights):
      ahead = jnp.dot(weights, mu_expert, precision=EXACT)
      penalty = jnp.dot(weights, weights, precision=EXACT) * strength / 2
      return link(policies.log_partition(weights) - ahead) + penalty

    threshold = tolerance * jnp.linalg.norm(mu_expert - policies.mean)
    return _minimise(loss, mu_expert.shape, num_iterations, threshold)

  return learn


def _check(strength, num_iterations):
  """What is traced is not looked at."""
  if num_iterations < 1:
    raise ValueError(f'num_iterations is {num_iterations}; give at least 1.')
  if not isinstance(strength, jax.core.Tracer) and strength <= 0:
    raise ValueError(f'strength is {strength}; give a number above 0.')


def _minimise(loss, shape, num_iterations, threshold) -> Solution:
  """L-BFGS from 0 until the gradient is at most `threshold` long."""
  tx = optax.lbfgs()
  value_and_grad = optax.value_and_grad_from_state(loss)

  def unfinished(carry):
    _, _, gradient, _, count = carry
    return (count < num_iterations) & (jnp.linalg.norm(gradient) > threshold)

  def step(carry):
    weights, state, gradient, trace, count = carry
    value = optax.tree.get(state, 'value')
    updates, state = tx.update(
      gradient, state, weights, value=value, grad=gradient, value_fn=loss
    )
    weights = optax.apply_updates(weights, updates)
    value, gradient = value_and_grad(weights, state=state)
    trace = jnp.where(jnp.arange(num_iterations) >= count, value, trace)
    return weights, state, gradient, trace, count + 1

  weights = jnp.zeros(shape)
  value, gradient = jax.value_and_grad(loss)(weights)
  state = optax.tree.set(tx.init(weights), value=value, grad=gradient)
  trace = jnp.full(num_iterations, value)
  start = weights, state, gradient, trace, jnp.zeros((), jnp.int32)
  weights, _, _, trace, count = jax.lax.while_loop(unfinished, step, start)
  return Solution(weights, trace, count)
