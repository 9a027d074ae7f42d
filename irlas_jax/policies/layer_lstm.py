"""A recurrent policy that reads the layers it changes, and its own choices.

N2N's policy of layer shrinkage (Ashok et al., ICLR 2018, arXiv 1709.06030): an
autoregressive LSTM over the layers of a teacher, several choices a layer.

Shapes: `T` steps of a space, `A` actions a step, `L` layers, `F` numbers of
each, `K` = T / L steps a layer, `H` hidden units.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.policies import lstm, sampling
from irlas_jax.types import Policy, Space


class Controller(nn.Module):
  """One step: (memory, token [], x [F + K]) -> (memory, logits [A])."""

  num_actions: int  # A
  hidden: int  # H
  init_scale: float

  @nn.compact
  def __call__(self, memory, token, x):
    init = lstm.symmetric_uniform(self.init_scale)
    read = nn.Dense(self.hidden, kernel_init=init, name='layer')(x)
    embed = nn.Embed(self.num_actions + 1, self.hidden, embedding_init=init)
    memory, h = lstm.run_cells(memory, read + embed(token), init)
    return memory, nn.Dense(self.num_actions, kernel_init=init)(h)


def steps_per_layer(space: Space, name: str) -> int:
  """K of a space that changes a given network.

  Raises:
    ValueError: if there is no table of its layers.
  """
  if not len(space.layers):
    raise ValueError(
      f'searcher.policy.name is {name}, and this space changes no given '
      'network, whose layers it could read: choose lstm.'
    )
  return space.num_steps // len(space.layers)


def layer_lstm(
  space: Space,
  *,
  hidden: int = 30,
  layers: int = 2,
  init_scale: float = 0.18,
) -> Policy:
  """pi(a | prefix, layers): at a step the LSTM reads its layer, which of its
  choices this is, and the last choice.

  No parameter depends on T or L, so those of a small teacher run on a large
  one.

  Args:
    space: with a table of `layers`.
    hidden: units of a cell; 30 in the paper.
    layers: cells above each other; 2 in the paper.
    init_scale: weights start uniform in [-init_scale, init_scale], biases at 0;
      about 1 / sqrt(30), as is usual where the paper's code comes from.

  Raises:
    ValueError: for a space without layers, or a size out of range.
  """
  lstm.check(hidden, layers, init_scale, 1.0, 0.0)
  per_layer = steps_per_layer(space, 'layer_lstm')
  module = Controller(space.num_actions, hidden, init_scale)
  apply: Callable = module.apply
  memory = lstm.start(hidden, layers)
  rows = np.repeat(np.array(space.layers, np.float32), per_layer, axis=0)
  fields = np.tile(np.eye(per_layer, dtype=np.float32), (len(space.layers), 1))
  inputs = np.concatenate([rows, fields], axis=1)  # [T, F + K]

  def init(key):
    token = jnp.int32(space.num_actions)
    return module.init(key, memory, token, inputs[0])['params']

  def unroll(params, row, choose):
    def step(carry, now):
      memory, token, actions = carry
      t, x, given = now
      memory, z = apply({'params': params}, memory, token, x)
      log_probs = sampling.masked_log_softmax(z, space.legal(actions, t))
      action = choose(given, log_probs).astype(jnp.int32)
      told = action, log_probs[action], sampling.entropy(log_probs)
      return (memory, action, actions.at[t].set(action)), told

    nothing = jnp.zeros(space.num_steps, jnp.int32)
    start = memory, jnp.int32(space.num_actions), nothing
    steps = jnp.arange(space.num_steps), jnp.asarray(inputs), row
    return jax.lax.scan(step, start, steps)[1]

  return lstm.by_unrolling(space, init, unroll)
