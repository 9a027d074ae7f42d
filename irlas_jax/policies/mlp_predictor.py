"""What an architecture will score, from its choices: AlphaX's Meta-DNN.

A multilayer perceptron, as in AlphaX (Wang et al., 2019, arXiv 1805.07440): the
published one has layers of 512, 2048, 2048 and 512 units, is fitted to mean
squared errors by Adam with a step of 2e-4, and reads a cell's matrix and codes
of its operations. Here it reads the actions, one-hot, so it is for every space;
its output is linear and of standardised rewards, so it is for every scale,
where the published one is a sigmoid; and it is smaller by default.

Shapes: `T` steps of a space, `A` actions a step, `M` architectures remembered,
`n` architectures asked for.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from irlas_jax.types import Predictor

_LEAST_DEVIATION = 1e-6


class Reader(nn.Module):
  """Actions [n, T] -> a number each, [n]."""

  num_actions: int
  sizes: Sequence[int]

  @nn.compact
  def __call__(self, actions):
    x = jax.nn.one_hot(actions, self.num_actions)
    x = x.reshape(len(actions), -1)
    for size in self.sizes:
      x = nn.relu(nn.Dense(size)(x))
    return nn.Dense(1)(x)[:, 0]


class Fitted(NamedTuple):
  """Weights, and how rewards were standardised for them."""

  params: Any
  optimizer: Any
  mean: jax.Array  # []
  deviation: jax.Array  # []


def mlp_predictor(
  num_actions: int,
  *,
  sizes: Sequence[int] = (64, 64),
  learning_rate: float = 1e-3,
  epochs: int = 20,
  batch_size: int = 128,
) -> Predictor:
  """Predicts by a perceptron that is trained on from where it was.

  Args:
    num_actions: A.
    sizes: units of its hidden layers.
    learning_rate: of Adam, for the mean squared error of standardised rewards.
    epochs: of a fit, each of as many batches as hold what is held.
    batch_size: architectures of a step, drawn from all with replacement.

  Raises:
    ValueError: for a number below 1.
  """
  if min(*sizes, epochs, batch_size, 1) < 1:
    raise ValueError(
      f'mlp_predictor has sizes={tuple(sizes)}, epochs={epochs} and '
      f'batch_size={batch_size}: at least 1 of each.'
    )
  reader = Reader(num_actions, tuple(sizes))
  tx = optax.adam(learning_rate)

  def read(params, actions):
    return reader.apply({'params': params}, actions)

  def init(key, actions):
    params = reader.init(key, actions[None])['params']
    return Fitted(params, tx.init(params), jnp.float32(0), jnp.float32(1))

  def fit(key, fitted, actions, rewards, held):
    count = held.sum()
    mean = jnp.mean(rewards, where=held)
    deviation = jnp.std(rewards, where=held) + _LEAST_DEVIATION
    targets = (rewards - mean) / deviation

    def loss_fn(params, chosen):
      error = read(params, actions[chosen]) - targets[chosen]
      return jnp.mean(error**2)

    def step(i, carry):
      params, optimizer = carry
      key_rows = jax.random.fold_in(key, i)
      chosen = jax.random.randint(key_rows, (batch_size,), 0, count)
      gradients = jax.grad(loss_fn)(params, chosen)
      updates, optimizer = tx.update(gradients, optimizer)
      return optax.apply_updates(params, updates), optimizer

    start = fitted.params, fitted.optimizer
    # As many as there are batches now, not as there may once be.
    num_steps = epochs * -(-count // batch_size)
    params, optimizer = jax.lax.fori_loop(0, num_steps, step, start)
    return Fitted(params, optimizer, mean, deviation)

  def predict(fitted, actions):
    return fitted.mean + fitted.deviation * read(fitted.params, actions)

  return Predictor(init, fit, predict)
