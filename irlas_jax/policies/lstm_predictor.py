"""What an architecture will score, from its code: a recurrent network.

A reconstruction of the predictor of Faster Block-QNN (Zhong et al., 2018, arXiv
1808.05584), of which is known that it is an LSTM over the code of each layer;
its sizes and how it is fitted are ours.

Shapes: `T` steps of a space, `A` actions a step, `M` architectures remembered,
`n` architectures asked for, `H` hidden units.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from irlas_jax.types import Predictor

_LEAST_DEVIATION = 1e-6


class Reader(nn.Module):
  """Actions [T] -> a number []."""

  num_actions: int
  hidden: int

  @nn.compact
  def __call__(self, actions):
    x = nn.Embed(self.num_actions, self.hidden)(actions)
    x = nn.RNN(nn.OptimizedLSTMCell(self.hidden))(x)
    return nn.Dense(1)(x[-1])[0]


class Fitted(NamedTuple):
  """Weights, and how rewards were standardised for them."""

  params: Any
  optimizer: Any
  mean: jax.Array  # []
  deviation: jax.Array  # []


def lstm_predictor(
  num_actions: int,
  *,
  hidden: int = 64,
  learning_rate: float = 3e-3,
  steps: int = 200,
  batch_size: int = 64,
) -> Predictor:
  """Predicts by an LSTM that is trained on from where it was.

  Args:
    num_actions: A.
    hidden: H, also the size of an action's embedding.
    learning_rate: of Adam, for the mean squared error of standardised rewards.
    steps: of a fit, each on `batch_size` architectures drawn from all.
    batch_size: see `steps`.
  """
  reader = Reader(num_actions, hidden)
  tx = optax.adam(learning_rate)

  def read(params, actions):
    return jax.vmap(lambda row: reader.apply({'params': params}, row))(actions)

  def init(key, actions):
    params = reader.init(key, actions)['params']
    return Fitted(params, tx.init(params), jnp.float32(0), jnp.float32(1))

  def fit(key, fitted, actions, rewards, held):
    mean = jnp.mean(rewards, where=held)
    deviation = jnp.std(rewards, where=held) + _LEAST_DEVIATION
    targets = (rewards - mean) / deviation
    rows = jax.random.randint(key, (steps, batch_size), 0, held.sum())

    def loss_fn(params, chosen):
      error = read(params, actions[chosen]) - targets[chosen]
      return jnp.mean(error**2)

    def step(carry, chosen):
      params, optimizer = carry
      gradients = jax.grad(loss_fn)(params, chosen)
      updates, optimizer = tx.update(gradients, optimizer)
      return (optax.apply_updates(params, updates), optimizer), None

    start = fitted.params, fitted.optimizer
    (params, optimizer), _ = jax.lax.scan(step, start, rows)
    return Fitted(params, optimizer, mean, deviation)

  def predict(fitted, actions):
    return fitted.mean + fitted.deviation * read(fitted.params, actions)

  return Predictor(init, fit, predict)
