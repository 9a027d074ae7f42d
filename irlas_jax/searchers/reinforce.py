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
  weight_clip: float | jax.Array = 1.0,
) -> Searcher:
  """Follows the gradient of the expected reward with the optimiser `tx`.

  The baseline b is an exponential moving average of the mean rewards of
  earlier batches (Zoph & Le, 2017, arXiv 1611.01578), corrected for its start
  at 0 as Adam's are, so that a poor first batch does not linger. Before the
  first batch there is none, so that batch teaches the baseline only. (With its
  own mean for it, the gradient of what it did not sample would be nothing but
  rounding, of which Adam makes whole steps.) Rows that are not valid count
  nowhere, and a batch without a valid row changes nothing.

  A proposal whose reward comes after other updates was sampled by parameters
  that are no more. It counts by its importance weight (`importance`), at most
  `weight_clip`; one sampled by the current parameters counts 1, exactly.
  `info` of the proposals is {'log_prob': [n, T], 'updates': [n] int32}, the
  log-probabilities when sampled and the updates before that.
  """

  def init(key):
    params = policy.init(key)
    zero = jnp.zeros((), jnp.int32)
    return ReinforceState(params, tx.init(params), jnp.zeros(()), zero)

  def propose(key, state, n):
    actions, log_prob = policy.sample(key, state.params, n)
    info = {'log_prob': log_prob, 'updates': jnp.full(n, state.updates)}
    return Proposals(actions, actions, info), state

  def update(key, state, proposals, rewards, valid):
    del key  # the gradient is that of the whole batch

    def learn():
      gains, average = advantages(state, rewards, valid, baseline_decay)
      grads = jax.grad(reinforce_loss)(
        state.params,
        policy,
        proposals,
        gains,
        valid,
        valid & (proposals.info['updates'] != state.updates),
        weight_clip,
        entropy_weight,
      )
      fitted = state.params, state.opt_state
      params, opt_state = descend(tx, grads, *fitted, state.updates)
      return ReinforceState(params, opt_state, average, state.updates + 1)

    return jax.lax.cond(jnp.any(valid), learn, lambda: state)

  return Searcher(init, propose, update)


def advantages(
  state: ReinforceState,
  rewards: jax.Array,
  valid: jax.Array,
  decay: float | jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """(R - b [n], the average of the rewards [] that the next b comes from).

  Before the first batch b is that batch's own mean. rewards [n], valid [n].
  """
  chex.assert_equal_shape([rewards, valid])
  mean = masked_mean(rewards, valid)
  weight = 1 - jnp.power(decay, state.updates)
  b = jnp.where(state.updates == 0, mean, state.average / weight)
  average = state.average + (1 - decay) * (mean - state.average)
  # Zero where not valid: there even a NaN must not reach the gradient.
  return jnp.where(valid, rewards - b, 0), average


def descend(
  tx: optax.GradientTransformation,
  grads: Any,
  params: Any,
  opt_state: optax.OptState,
  updates: jax.Array,
) -> tuple[Any, optax.OptState]:
  """A step of `tx`: (params, opt_state); along 0 before the first baseline."""
  grads = jax.tree.map(lambda g: jnp.where(updates == 0, 0, g), grads)
  steps, opt_state = tx.update(grads, opt_state, params)
  return optax.apply_updates(params, steps), opt_state


def reinforce_loss(
  params: Any,
  policy: Policy,
  proposals: Proposals,
  gains: jax.Array,
  valid: jax.Array,
  stale: jax.Array,
  weight_clip: float | jax.Array,
  entropy_weight: float | jax.Array,
) -> jax.Array:
  """-mean[w ((R - b) sum_t log pi(a_t) + entropy_weight sum_t H_t)]; [].

  Means are over the valid rows; w is `importance` where stale and 1 elsewhere,
  and has no gradient. gains R - b [n], valid [n] bool, stale [n] bool.
  """
  log_prob, entropy = policy.log_prob(params, proposals.actions)
  chex.assert_equal_shape([proposals.actions, log_prob, entropy])
  sampled = proposals.info['log_prob']
  weights = importance(log_prob, sampled, weight_clip)
  weights = jnp.where(stale, jax.lax.stop_gradient(weights), 1)
  gained = gains * jnp.sum(log_prob, axis=1)
  bonus = entropy_weight * jnp.sum(entropy, axis=1)
  return -masked_mean(weights * (gained + bonus), valid)


def importance(
  log_prob: jax.Array, sampled: jax.Array, clip: float | jax.Array
) -> jax.Array:
  """min(pi(actions) / mu(actions), clip) [n], mu being what sampled them.

  Of whole sequences, so that weighted means estimate those of pi without bias
  but for the clip, which bounds their variance (Ionides, 2008; V-trace's first
  clip, Espeholt et al., 2018, arXiv 1802.01561, is 1). log_prob and sampled
  [n, T] are the steps' log pi and log mu.
  """
  log_ratio = jnp.sum(log_prob - sampled, axis=1)
  return jnp.exp(jnp.minimum(log_ratio, jnp.log(clip)))


def masked_mean(values: jax.Array, valid: jax.Array) -> jax.Array:
  """Mean of values [n] where valid [n]; 0 if nothing is, whatever they hold."""
  total = jnp.sum(jnp.where(valid, values, 0))
  return total / jnp.maximum(jnp.sum(valid), 1)
