"""Moving averages of the weights that a training passes through.

Polyak averaging with exponential forgetting. What is averaged are parameters
and batch statistics alike: the mean of the statistics that belong to the
weights of the last steps is close to the statistics of their mean, and costs
no further pass over the data.
"""

import jax
import jax.numpy as jnp


def decay_at(decay: float, count: jax.Array) -> jax.Array:
  """min(decay, (1 + count) / (10 + count)) after `count` [] earlier updates.

  While few steps are done the average forgets faster, so that the initial
  weights leave it soon: what is left of them falls like count^-9.
  """
  return jnp.minimum(decay, (1 + count) / (10 + count))


def update(average, variables, decay: float, count: jax.Array):
  """decay_t * average + (1 - decay_t) * variables, leaf by leaf.

  `average` is a pytree like `variables`, at first these themselves.
  """
  now = decay_at(decay, count)
  return jax.tree.map(
    lambda mean, leaf: (now * mean + (1 - now) * leaf).astype(leaf.dtype),
    average,
    variables,
  )
