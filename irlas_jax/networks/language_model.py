"""Recurrent language models as Flax Linen modules, whatever their cell.

As Zaremba, Sutskever & Vinyals (arXiv 1409.2329) have them: words are embedded,
layers of a recurrent cell follow, dropout is on all that goes from layer to
layer and not from step to step, and weights start uniform.

Everything is time-major. What a layer reads of its input, for all steps, is one
matrix product before the loop over steps.

Shapes: `S` steps, batch `B`, `H` units of a layer, `L` layers, `N` words.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

# (units, initializer, name) -> module (carry, x [S, B, H]) -> (carry, the same)
Layer = Callable[[int, Callable, str], nn.Module]


class Sizes(NamedTuple):
  """Of a language model; the defaults are Zaremba's medium one."""

  units: int = 650  # of a layer, and of a word's embedding
  layers: int = 2
  dropout: float = 0.5  # share of units that are dropped between layers
  tied: bool = False  # whether the embedding is the softmax layer's matrix too
  init_scale: float = 0.05  # weights start uniform in plus or minus this


def check(sizes: Sizes) -> None:
  """Refuses sizes of which there is no model.

  Raises:
    ValueError: naming the field.
  """
  for name in ('units', 'layers'):
    if getattr(sizes, name) < 1:
      raise ValueError(f'network.{name} is {getattr(sizes, name)}: at least 1.')
  if not 0 <= sizes.dropout < 1:
    raise ValueError(
      f'network.dropout is {sizes.dropout}: at least 0, below 1.'
    )
  if not sizes.init_scale > 0:
    raise ValueError(
      f'network.init_scale is {sizes.init_scale}: weights that all start at 0 '
      'stay alike; give a number above 0.'
    )


def start(sizes: Sizes, batch: int, dtype: Any = jnp.float32):
  """What is remembered before the first step: ([B, H], [B, H]) a layer."""
  zeros = jnp.zeros((batch, sizes.units), dtype)
  return ((zeros, zeros),) * sizes.layers


def symmetric_uniform(scale: float) -> Callable:
  """An initializer: uniform in [-scale, scale]."""

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -scale, scale)

  return init


class Lstm(nn.Module):
  """A layer of LSTM cells (Zaremba's, without peepholes)."""

  units: int
  init: Callable

  @nn.compact
  def __call__(self, carry, x):
    gates = 4 * self.units
    read = nn.Dense(gates, kernel_init=self.init, name='input')(x)
    kernel = self.param('hidden', self.init, (self.units, gates))

    def step(carry, read):
      h, c = carry
      i, f, o, g = jnp.split(read + h @ kernel, 4, axis=-1)
      c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
      h = jax.nn.sigmoid(o) * jnp.tanh(c)
      return (h, c), h

    return jax.lax.scan(step, carry, read)


def lstm(units: int, init: Callable, name: str) -> nn.Module:
  """The `Layer` of LSTM cells."""
  return Lstm(units, init, name=name)


class LanguageModel(nn.Module):
  """(tokens [S, B] int32, carry, train) -> (logits [S, B, N], carry).

  With dropout, a call that trains needs a key for the collection `dropout`.
  """

  layer: Layer
  sizes: Sizes
  num_words: int

  @nn.compact
  def __call__(self, tokens: jax.Array, carry, train: bool):
    units, num_layers, dropout, tied, scale = self.sizes
    init = symmetric_uniform(scale)
    embed = nn.Embed(
      self.num_words, units, embedding_init=init, name='embedding'
    )
    drop = nn.Dropout(dropout, deterministic=not train)
    x, kept = drop(embed(tokens)), []
    for i in range(num_layers):
      layer: Any = self.layer(units, init, f'layer{i + 1}')
      after, x = layer(carry[i], x)
      kept.append(after)
      x = drop(x)
    if tied:
      bias = self.param('bias', nn.initializers.zeros, (self.num_words,))
      return embed.attend(x) + bias, tuple(kept)
    head = nn.Dense(self.num_words, kernel_init=init, name='head')
    return head(x), tuple(kept)
