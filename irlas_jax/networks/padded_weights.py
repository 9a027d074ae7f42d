"""The weights of padded programs: how they are drawn, and carried over.

Weights are drawn as Flax draws them (LeCun's normal, fan-in), where the fan-in
of a layer depends on the graph and is traced.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Of a normal variable that is cut off at two deviations.
TRUNCATED_DEVIATION = 0.87962566103423978


class Weight(NamedTuple):
  """A weight to be drawn."""

  shape: tuple[int, ...]
  fan_in: jax.Array | int  # broadcasts against the shape


def draw(key: jax.Array, plan):
  """The plan with every `Weight` drawn, all of them by one call.

  One call, because each takes long to compile.
  """
  parts, structure = jax.tree.flatten(
    plan, is_leaf=lambda part: isinstance(part, Weight)
  )
  weights = [part for part in parts if isinstance(part, Weight)]
  ends = np.cumsum([math.prod(weight.shape) for weight in weights])
  flat = jax.random.truncated_normal(key, -2, 2, (ends[-1],))
  pieces = iter(jnp.split(flat, ends[:-1]))

  def scaled(weight):
    deviation = jnp.sqrt(1.0 / weight.fan_in) / TRUNCATED_DEVIATION
    return next(pieces).reshape(weight.shape) * deviation

  drawn = [scaled(part) if isinstance(part, Weight) else part for part in parts]
  return jax.tree.unflatten(structure, drawn)


def norm(*shape: int):
  """The parameters of a normalisation, [..., C]."""
  return {'scale': jnp.ones(shape), 'bias': jnp.zeros(shape)}


def initial_stats(params):
  """Means 0 and variances 1 for every `norm` in the parameters but the head."""
  if isinstance(params, list):
    return [initial_stats(part) for part in params]
  if 'norm' in params:
    found = params['norm']
    return jnp.zeros_like(found['bias']), jnp.ones_like(found['scale'])
  return {
    name: initial_stats(part) for name, part in params.items() if name != 'head'
  }


def from_flax(variables, read: Callable, template):
  """Padded variables holding Flax ones; weights that are not read are zero.

  Args:
    variables: of the Flax network.
    read: padded variables -> Flax variables, moving numbers only.
    template: padded arrays or shape structs: structure, shapes and dtypes.
  """
  leaves, structure = jax.tree.flatten(template)
  ends = np.cumsum([leaf.size for leaf in leaves])
  starts = [0, *ends[:-1]]
  places = [
    np.arange(start, end).reshape(leaf.shape)
    for start, end, leaf in zip(starts, ends, leaves, strict=True)
  ]
  flat = np.zeros(ends[-1])

  def put(place, value):
    flat[place] = value

  jax.tree.map(put, read(jax.tree.unflatten(structure, places)), variables)
  pieces = zip(np.split(flat, ends[:-1]), leaves, strict=True)
  return jax.tree.unflatten(
    structure,
    [piece.reshape(leaf.shape).astype(leaf.dtype) for piece, leaf in pieces],
  )
