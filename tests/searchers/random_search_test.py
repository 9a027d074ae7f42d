"""Random search against the probabilities of the enumerated space."""

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.policies import free_logits
from irlas_jax.searchers import random_search


def test_proposals_are_uniform_over_the_legal_at_every_step(toy):
  """As often as the product of 1 / (legal actions) over the steps says."""
  n = 20_000
  searcher = random_search.random_search(toy.space)
  proposals, _ = searcher.propose(jax.random.key(0), (), n)
  rows, counts = np.unique(proposals.actions, axis=0, return_counts=True)
  np.testing.assert_array_equal(rows, toy.actions)  # both in rising order
  expected = n * toy.chance
  np.testing.assert_array_less(np.abs(counts - expected), 5 * expected**0.5)


def test_it_is_the_policy_with_zero_logits(toy):
  policy = free_logits.free_logits(toy.space)
  params = policy.init(jax.random.key(0))
  log_prob, _ = policy.log_prob(params, jnp.asarray(toy.actions))
  np.testing.assert_allclose(
    jnp.exp(log_prob.sum(axis=1)), toy.chance, rtol=1e-5
  )
