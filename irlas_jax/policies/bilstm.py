"""A recurrent policy that reads all layers before it chooses for any of them.

N2N's policy of layer removal (Ashok et al., ICLR 2018, arXiv 1709.06030): a
bidirectional LSTM over the layers of a teacher. Given the layers its choices
are independent of each other.

Shapes: `T` steps of a space, `A` actions a step, `L` layers, `F` numbers of
each, `K` = T / L steps a layer, `H` hidden units.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from irlas_jax.policies import layer_lstm, lstm, sampling
from irlas_jax.types import Policy, Space


class Reader(nn.Module):
  """Layers [L, F] -> logits of their choices [L, K A]."""

  size: int  # K A
  hidden: int  # H of each direction
  layers: int
  init_scale: float

  @nn.compact
  def __call__(self, x):
    init = lstm.symmetric_uniform(self.init_scale)

    def direction():
      return nn.RNN(
        nn.OptimizedLSTMCell(
          self.hidden, kernel_init=init, recurrent_kernel_init=init
        )
      )

    x = x[None]
    for _ in range(self.layers):
      x = nn.Bidirectional(direction(), direction())(x)
    return nn.Dense(self.size, kernel_init=init)(x[0])


def bilstm(
  space: Space,
  *,
  hidden: int = 30,
  layers: int = 2,
  init_scale: float = 0.18,
) -> Policy:
  """pi(a_t | layers) = softmax of the reader's logits over the legal actions.

  No parameter depends on T or L, so those of a small teacher run on a large
  one. The arguments are those of `layer_lstm`; `hidden` is of each direction.

  Raises:
    ValueError: for a space without layers, or a size out of range.
  """
  lstm.check(hidden, layers, init_scale, 1.0, 0.0)
  per_layer = layer_lstm.steps_per_layer(space, 'bilstm')
  size = per_layer * space.num_actions
  module = Reader(size, hidden, layers, init_scale)
  table = jnp.array(space.layers, jnp.float32)
  apply: Callable = module.apply

  def init(key):
    return module.init(key, table)['params']

  def unroll(params, row, choose):
    logits = apply({'params': params}, table)
    logits = logits.reshape(space.num_steps, space.num_actions)

    def step(actions, now):
      t, z, given = now
      log_probs = sampling.masked_log_softmax(z, space.legal(actions, t))
      action = choose(given, log_probs).astype(jnp.int32)
      told = action, log_probs[action], sampling.entropy(log_probs)
      return actions.at[t].set(action), told

    nothing = jnp.zeros(space.num_steps, jnp.int32)
    steps = jnp.arange(space.num_steps), logits, row
    return jax.lax.scan(step, nothing, steps)[1]

  return lstm.by_unrolling(space, init, unroll)
