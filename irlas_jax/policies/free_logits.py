"""A policy of free logits: every step has its own, whatever came before it.

Shapes: `T` steps of a space, `A` actions a step, `n` action sequences.
"""

import chex
import jax
import jax.numpy as jnp

from irlas_jax.policies import sampling
from irlas_jax.types import Policy, Space


def free_logits(space: Space) -> Policy:
  """pi(a | prefix, t) = softmax of params[t] over the actions legal there.

  The parameters are logits [T, A] float32, at first 0: uniform over the legal
  actions. Illegal actions have probability 0 and no gradient, and a forced
  step has log-probability and entropy 0.
  """
  steps = jnp.arange(space.num_steps)

  def log_probs(params, actions, t):
    return sampling.masked_log_softmax(params[t], space.legal(actions, t))

  def init(key):
    del key  # the logits start at zero
    return jnp.zeros((space.num_steps, space.num_actions))

  def sample(key, params, n):
    def choose(u, actions, t):
      return sampling.pick(u, jnp.exp(log_probs(params, actions, t)))

    draws = jax.random.uniform(key, (n, space.num_steps))
    build = jax.vmap(lambda row: sampling.build_actions(row, space, choose))
    actions = build(draws)
    return actions, log_prob(params, actions)[0]

  def log_prob(params, actions):
    chex.assert_shape(actions, (None, space.num_steps))
    over_steps = jax.vmap(log_probs, in_axes=(None, None, 0))
    over_batch = jax.vmap(over_steps, in_axes=(None, 0, None))
    all_log_probs = over_batch(params, actions, steps)  # [n, T, A]
    chosen = jnp.take_along_axis(all_log_probs, actions[..., None], axis=-1)
    return chosen[..., 0], sampling.entropy(all_log_probs)

  return Policy(init, sample, log_prob)
