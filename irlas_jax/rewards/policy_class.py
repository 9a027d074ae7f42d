"""What learners of reward weights see of the policies, and what they return.

A policy class is a set of policies with feature expectations mu [D]. A learner
is given an expert's mu_E and such a class and finds the weights w of a reward
w.mu under which the expert is ahead: `learner(mu_expert, policies) ->
Solution`, pure, to be jitted and vmapped as one likes.

Shapes: `D` features, `N` sampled architectures, `I` iterations.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

# Of products that decide argmaxes or have to agree for isomorphic graphs: no
# TensorFloat.
EXACT = jax.lax.Precision.HIGHEST


class PolicyClass(NamedTuple):
  """Policies, known by three functions of reward weights w [D]."""

  mean: jax.Array  # [D] of the policy that knows no reward, at random
  best_response: Callable  # w -> mu [D] of a policy that maximises w.mu
  log_partition: Callable  # w -> [] log of the mean of exp(w.mu), 0 at w = 0


class Solution(NamedTuple):
  """What a learner found."""

  weights: jax.Array  # [D]
  trace: jax.Array  # [I] what the learner lowers; constant after its stop
  iterations: jax.Array  # [] int32, how many it used


# (mu_expert [D], policies) -> Solution; several experts are given by their
# mean, which is all that a reward linear in mu can be asked to match.
Learner = Callable[[jax.Array, PolicyClass], Solution]


def pool(counts: jax.Array) -> PolicyClass:
  """The class of distributions over N sampled architectures, counts [N, D].

  A linear reward is maximal at one of them: the best response is the counts of
  argmax_n w.mu_n. The partition function is the sampled one, log (1 / N) sum_n
  exp(w.mu_n). Both are exact if the pool is the whole space. Ours, in place of
  dynamic programming over layers (`layer_program`), which is not exact for
  features that read edges.
  """
  chex.assert_rank(counts, 2)

  def best_response(weights):
    return counts[jnp.argmax(jnp.dot(counts, weights, precision=EXACT))]

  def log_partition(weights):
    values = jnp.dot(counts, weights, precision=EXACT)
    # Less log N afterwards, what is small would be lost in rounding.
    return jax.nn.logsumexp(values, b=1 / len(counts))

  return PolicyClass(counts.mean(0), best_response, log_partition)


def expectation(policies: PolicyClass, weights: jax.Array) -> jax.Array:
  """E mu under p ~ exp(w.mu), [D]: the gradient of the log-partition."""
  return jax.grad(policies.log_partition)(weights)
