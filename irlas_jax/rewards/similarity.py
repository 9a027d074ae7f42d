"""Reward weights in closed form: what a learner has to beat.

Neither is the paper's.
"""

import chex
import jax.numpy as jnp

from irlas_jax.rewards.features import normalise
from irlas_jax.rewards.policy_class import Learner, Solution


def cosine() -> Learner:
  """w = mu_E / ||mu_E||: learns nothing.

  On counts of length 1 its score is the cosine similarity to the expert.
  """
  return _closed_form(lambda mu_expert, policies: mu_expert)


def mean_difference() -> Learner:
  """w = (mu_E - E mu) / ||mu_E - E mu||, E over the random policy.

  Abbeel & Ng's first step, and the limit of `max_entropy` as its strength
  grows; 0 where the two are equal.
  """
  return _closed_form(lambda mu_expert, policies: mu_expert - policies.mean)


def _closed_form(direction) -> Learner:
  def learn(mu_expert, policies):
    chex.assert_equal_shape([mu_expert, policies.mean])
    found = direction(mu_expert, policies)
    length = jnp.linalg.norm(found)[None]
    return Solution(normalise(found), length, jnp.zeros((), jnp.int32))

  return learn
