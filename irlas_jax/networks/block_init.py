"""Initial variables of the padded block networks.

Weights are drawn as Flax draws them (LeCun's normal, fan-in), where the fan-in
of a layer depends on the graph and is traced.
"""

import functools

import jax
import jax.numpy as jnp

from irlas_jax.networks import block, block_ops
from irlas_jax.types import Graph


def _draw(key, shape, fan_in):
  """LeCun's normal initialisation, as Flax draws it, with a traced fan-in."""
  deviation = jnp.sqrt(1.0 / fan_in) / 0.87962566103423978
  return jax.random.truncated_normal(key, -2, 2, shape) * deviation


def _norm(*shape):
  return {'scale': jnp.ones(shape), 'bias': jnp.zeros(shape)}


def _init_block(key, made, graph, width, enter_shape, enter_fan_in):
  """Parameters of one block; `enter_shape` is [V, D, C]."""
  key_enter, key_layers = jax.random.split(key)
  shapes = block_ops.kernel_shapes(made, width)
  area = jnp.maximum(graph.attrs[1:, 0], 1) ** 2
  fan_in = {
    'conv': area * width,
    'depthwise': area,
    'pointwise': jnp.full_like(area, width),
    'concat': jnp.full_like(area, 2 * width),
  }
  draw = jax.vmap(_draw, in_axes=(0, None, 0))
  kernels = {
    name: draw(
      jax.random.split(jax.random.fold_in(key_layers, i), len(area)),
      shape,
      fan_in[name],
    )
    for i, (name, shape) in enumerate(sorted(shapes.items()))
  }
  return {
    'enter': {
      'kernel': _draw(key_enter, enter_shape, enter_fan_in),
      'norm': _norm(width),
    },
    'layers': {'kernels': kernels, 'norm': _norm(len(area), width)},
  }


def init(
  made: tuple[block_ops.Branch, ...],
  macro: block.Macro,
  num_classes: int,
  channels: int,
  key: jax.Array,
  graph: Graph,
):
  """{'params', 'batch_stats'} of the padded network of one graph. Jittable."""
  keys = iter(jax.random.split(key, 2 + 2 * len(macro.widths)))
  num_nodes = graph.ops.shape[0]
  num_leaves = jnp.sum(graph.outputs > 0)
  stem_shape = (3, 3, channels, macro.widths[0])
  stem = {
    'kernel': _draw(next(keys), stem_shape, 9 * channels),
    'norm': _norm(macro.widths[0]),
  }
  stages = []
  slots, before = 1, macro.widths[0]
  fan_in: int | jax.Array = before
  for width, repeats in zip(macro.widths, macro.blocks, strict=True):
    make = functools.partial(_init_block, made=made, graph=graph, width=width)
    rest = functools.partial(
      make,
      enter_shape=(num_nodes, width, width),
      enter_fan_in=num_leaves * width,
    )
    first = make(
      next(keys), enter_shape=(slots, before, width), enter_fan_in=fan_in
    )
    stages.append({'first': first})
    rest_keys = jax.random.split(next(keys), repeats)[1:]
    if repeats > 1:
      stages[-1]['rest'] = jax.vmap(rest)(rest_keys)
    slots, fan_in, before = num_nodes, num_leaves * width, width
  head_shape = (num_nodes, macro.widths[-1], num_classes)
  head = {
    'kernel': _draw(next(keys), head_shape, fan_in),
    'bias': jnp.zeros(num_classes),
  }
  params = {'stem': stem, 'stages': stages, 'head': head}
  return {'params': params, 'batch_stats': _initial_stats(params)}


def _initial_stats(params):
  """Means 0 and variances 1 for every normalisation in the parameters."""
  if isinstance(params, list):
    return [_initial_stats(part) for part in params]
  if 'norm' in params:
    return _moments(params['norm'])
  return {
    name: _initial_stats(part)
    for name, part in params.items()
    if name != 'head'
  }


def _moments(norm):
  return jnp.zeros_like(norm['bias']), jnp.ones_like(norm['scale'])
