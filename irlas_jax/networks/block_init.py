"""Initial variables of the padded block networks.

Weights are drawn as Flax draws them (LeCun's normal, fan-in), where the fan-in
of a layer depends on the graph and is traced.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block, block_ops
from irlas_jax.types import Graph

# Of a normal variable that is cut off at two deviations.
TRUNCATED_DEVIATION = 0.87962566103423978


class _Weight(NamedTuple):
  """A weight to be drawn."""

  shape: tuple[int, ...]
  fan_in: jax.Array | int  # broadcasts against the shape


def _draw(key, plan):
  """The plan with every `_Weight` drawn, all of them by one call.

  One call, because each takes long to compile.
  """
  parts, structure = jax.tree.flatten(
    plan, is_leaf=lambda part: isinstance(part, _Weight)
  )
  weights = [part for part in parts if isinstance(part, _Weight)]
  ends = np.cumsum([math.prod(weight.shape) for weight in weights])
  flat = jax.random.truncated_normal(key, -2, 2, (ends[-1],))
  pieces = iter(jnp.split(flat, ends[:-1]))

  def scaled(weight):
    deviation = jnp.sqrt(1.0 / weight.fan_in) / TRUNCATED_DEVIATION
    return next(pieces).reshape(weight.shape) * deviation

  drawn = [
    scaled(part) if isinstance(part, _Weight) else part for part in parts
  ]
  return jax.tree.unflatten(structure, drawn)


def _norm(*shape):
  return {'scale': jnp.ones(shape), 'bias': jnp.zeros(shape)}


def _plan_block(made, graph, repeats, width, enter):
  """One block; with `repeats` (n,) instead of (), n equal ones stacked."""
  area = jnp.maximum(graph.attrs[1:, 0], 1) ** 2
  num_layers = len(area)
  fan_in = {
    'conv': area * width,
    'depthwise': area,
    'pointwise': jnp.full_like(area, width),
    'concat': jnp.full_like(area, 2 * width),
  }
  kernels = {
    name: _Weight(
      (*repeats, num_layers, *shape),
      fan_in[name].reshape(num_layers, *(1 for _ in shape)),
    )
    for name, shape in block_ops.kernel_shapes(made, width).items()
  }
  kernel = _Weight((*repeats, *enter.shape), enter.fan_in)
  return {
    'enter': {'kernel': kernel, 'norm': _norm(*repeats, width)},
    'layers': {
      'kernels': kernels,
      'norm': _norm(*repeats, num_layers, width),
    },
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
  num_nodes = graph.ops.shape[0]
  num_leaves = jnp.sum(graph.outputs > 0)
  before = macro.widths[0]
  kernel = _Weight((3, 3, channels, before), 9 * channels)
  stem = {'kernel': kernel, 'norm': _norm(before)}
  stages, nodes, fan_in = [], 1, jnp.asarray(before)
  for width, repeats in zip(macro.widths, macro.blocks, strict=True):
    plan = functools.partial(_plan_block, made, graph, width=width)
    enter = _Weight((nodes, before, width), fan_in)
    stage = {'first': plan((), enter=enter)}
    nodes, before, fan_in = num_nodes, width, num_leaves * width
    if repeats > 1:
      enter = _Weight((nodes, width, width), fan_in)
      stage['rest'] = plan((repeats - 1,), enter=enter)
    stages.append(stage)
  head = {
    'kernel': _Weight((num_nodes, before, num_classes), fan_in),
    'bias': jnp.zeros(num_classes),
  }
  params = _draw(key, {'stem': stem, 'stages': stages, 'head': head})
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
