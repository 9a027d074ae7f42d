"""REINFORCE (Williams, 1992) with a moving baseline, for any policy.

Shapes: `T` steps of a space, `n` proposals.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from irlas_jax.types import Policy, Proposals, Searcher


class ReinforceState(NamedTuple):
  """A policy's parameters and what it takes to improve them."""

  params: Any  # of the policy
  opt_state: optax.OptState
  average: jax.Array  # [] float32, of the rewards so far, from 0 on
  updates: jax.Array  # [] int32, updates that had a valid row


def reinforce(
  policy: Policy,
  tx: optax.GradientTransformation,
  *,
  baseline_decay: float | jax.Array = 0.95,
  entropy_weight: float | jax.Array = 0.0,
) -> Searcher:
  """Follows the gradient of the expected reward with the optimiser `tx`.

  The baseline b is an exponential moving average of the mean rewards of
  earlier batches (Zoph & Le, 2017, arXiv 1611.01578), corrected for its start
  at 0 as Adam's are, so that a poor first batch does not linger. Before the
  first batch there is none, so that batch teaches the baseline only. (With its
  own mean for it, the gradient of what it did not sample would be nothing but
  rounding, of which Adam makes whole steps.) Rows that are not valid count
  nowhere, and a batch without a valid row changes nothing. `info` of the
  proposals is {'log_prob': [n, T]}, the log-probabilities when sampled.
  """

  def init(key):
    params = policy.init(key)
    zero = jnp.zeros((), jnp.int32)
    return ReinforceState(params, tx.init(params), jnp.zeros(()), zero)

  def propose(key, state, n):
    actions, log_prob = policy.sample(key, state.params, n)
    return Proposals(actions, actions, {'log_prob': log_prob}), state

  def update(key, state, proposals, rewards, valid):
    del key  # the gradient is that of the whole batch
    actions = proposals.actions
    chex.assert_shape([rewards, valid], (len(actions),))

    def learn():
      mean = masked_mean(rewards, valid)
      weight = 1 - jnp.power(baseline_decay, state.updates)
      first = state.updates == 0
      b = jnp.where(first, mean, state.average / weight)
      # Zero where not valid: there even a NaN must not reach the gradient.
      advantages = jnp.where(valid, rewards - b, 0)
      grads = jax.grad(reinforce_loss)(
        state.params, policy, actions, advantages, valid, entropy_weight
      )
      grads = jax.tree.map(lambda g: jnp.where(first, 0, g), grads)
      steps, opt_state = tx.update(grads, state.opt_state, state.params)
      params = optax.apply_updates(state.params, steps)
      average = state.average + (1 - baseline_decay) * (mean - state.average)
      return ReinforceState(params, opt_state, average, state.updates + 1)

    return jax.lax.cond(jnp.any(valid), learn, lambda: state)

  return Searcher(init, propose, update)


def reinforce_loss(
  params: Any,
  policy: Policy,
  actions: jax.Array,
  advantages: jax.Array,
  valid: jax.Array,
  entropy_weight: float | jax.Array,
) -> jax.Array:
  """-mean[(R - b) sum_t log pi(a_t)] - entropy_weight mean[sum_t H_t]; [].

  Means are over the valid rows. actions [n, T], advantages R - b [n], valid
  [n] bool.
  """
  log_prob, entropy = policy.log_prob(params, actions)
  chex.assert_equal_shape([actions, log_prob, entropy])
  gain = advantages * jnp.sum(log_prob, axis=1)
  bonus = entropy_weight * jnp.sum(entropy, axis=1)
  return -masked_mean(gain + bonus, valid)


def masked_mean(values: jax.Array, valid: jax.Array) -> jax.Array:
  """Mean of values [n] where valid [n]; 0 if nothing is, whatever they hold."""
  total = jnp.sum(jnp.where(valid, values, 0))
  return total / jnp.maximum(jnp.sum(valid), 1)
