"""Weights of layers from the states of the nodes that they belong to.

One two-layer network decodes all nodes: its hidden layer is shared, and its
outputs are the arrays that a node may need, at their largest; narrower layers
read a part of them, and what is wider than `MOST_CHANNELS` repeats them (as
GHN-2, Knyazev et al., 2021, arXiv 2110.13100).

Shapes: `H` numbers a state.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from irlas_jax.networks import graph_propagation

Shape = tuple[int, ...]
MOST_CHANNELS = 64  # that an output of the decoder has
_EPSILON = 1e-6


class Decode(NamedTuple):
  """Arrays of layers from states [..., H]; `name` says which output."""

  # (name, states, shape, fan_in, gain) -> [..., *shape]
  kernel: Callable
  bias: Callable  # (name, states, size) -> [..., size]
  norm: Callable  # (name, states, width) -> {'scale', 'bias'}, [..., width]


class Decoder(NamedTuple):
  """The network that decodes."""

  init: Callable  # (key, {output: its largest shape}) -> params
  decode: Callable  # (params, {output: its largest shape}) -> Decode


def decode_by(raw: Callable, normalise: bool) -> Decode:
  """What an output becomes.

  With `normalise`, GHN-2's: a kernel p is p sqrt(gain / fan_in), so that a
  layer's outputs are as large as its inputs whatever their number; the scale of
  a normalisation is 2 sigmoid(p / 2), a bias tanh(p / 5). Without, a kernel is
  p, a scale 1 + p and a bias p.

  Args:
    raw: (name, states [..., H], shape) -> [..., *shape].
    normalise: whether.
  """

  def kernel(name, states, shape, fan_in, gain):
    found = raw(name, states, shape)
    if not normalise:
      return found
    fan_in = jnp.asarray(fan_in)
    fan_in = fan_in.reshape(*fan_in.shape, *(1 for _ in shape))
    return found * jnp.sqrt(gain / fan_in)

  def bias(name, states, size):
    found = raw(f'{name} bias', states, (size,))
    return jnp.tanh(0.2 * found) if normalise else found

  def norm(name, states, width):
    scale = raw(f'{name} scale', states, (width,))
    scale = 2 * jax.nn.sigmoid(0.5 * scale) if normalise else 1 + scale
    return {'scale': scale, 'bias': bias(name, states, width)}

  return Decode(kernel, bias, norm)


def largest(use: Callable[[Decode], object]) -> dict[str, Shape]:
  """The largest shape of every output that `use` reads; nothing is computed."""
  found: dict[str, Shape] = {}

  def raw(name, states, shape):
    known = found.get(name, (0,) * len(shape))
    chex.assert_equal(len(known), len(shape))
    found[name] = tuple(map(max, known, shape))
    return jnp.zeros((*states.shape[:-1], *shape))

  jax.eval_shape(lambda: (use(decode_by(raw, True)), None)[1])
  return {name: _limited(name, shape) for name, shape in found.items()}


def _limited(name: str, shape: Shape) -> Shape:
  """No more than the most channels; but no two classes may be the same."""
  if name.startswith('head'):
    return (*(min(size, MOST_CHANNELS) for size in shape[:-1]), shape[-1])
  return tuple(min(size, MOST_CHANNELS) for size in shape)


def fit(found: jax.Array, shape: Shape) -> jax.Array:
  """Its last axes cut or repeated to `shape`."""
  lead = found.ndim - len(shape)
  sizes = found.shape[lead:]
  times = [
    -(-wanted // size) for wanted, size in zip(shape, sizes, strict=True)
  ]
  if max(times, default=1) > 1:
    found = jnp.tile(found, (*(1 for _ in range(lead)), *times))
  return found[(..., *(slice(wanted) for wanted in shape))]


def decoder(
  hidden: int, width: int, layer_norm: bool, normalise: bool
) -> Decoder:
  """Two layers, ReLU between them.

  Args:
    hidden: H.
    width: hidden units.
    layer_norm: whether states are normalised before, as GHN-2's.
    normalise: whether weights are, see `decode_by`.
  """

  def init(key, outputs):
    names = sorted(outputs)
    key_hidden, *keys = jax.random.split(key, len(names) + 1)
    # The variance of He et al.: outputs vary as much as normalised states.
    kernel = nn.initializers.he_normal()(key_hidden, (hidden, width))
    params = {
      'hidden': {'kernel': kernel, 'bias': jnp.zeros(width)},
      'outputs': {
        name: graph_propagation.init_dense(
          key_output, width, math.prod(outputs[name])
        )
        for name, key_output in zip(names, keys, strict=True)
      },
    }
    if layer_norm:
      scale = {'scale': jnp.ones(hidden), 'bias': jnp.zeros(hidden)}
      params['norm'] = scale
    return params

  def decode(params, outputs):
    def raw(name, states, shape):
      if layer_norm:
        states = _layer_norm(params['norm'], states)
      x = jax.nn.relu(graph_propagation.dense(params['hidden'], states))
      found = graph_propagation.dense(params['outputs'][name], x)
      found = found.reshape(*states.shape[:-1], *outputs[name])
      return fit(found, shape)

    return decode_by(raw, normalise)

  return Decoder(init, decode)


def _layer_norm(params, x):
  mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
  z = (x - mean) * jax.lax.rsqrt(variance + _EPSILON)
  return z * params['scale'] + params['bias']
