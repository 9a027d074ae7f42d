"""Initial variables of the padded block networks."""

import functools

import jax
import jax.numpy as jnp

from irlas_jax.networks import block, block_ops, padded_weights
from irlas_jax.types import Graph


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
    name: padded_weights.Weight(
      (*repeats, num_layers, *shape),
      fan_in[name].reshape(num_layers, *(1 for _ in shape)),
    )
    for name, shape in block_ops.kernel_shapes(made, width).items()
  }
  kernel = padded_weights.Weight((*repeats, *enter.shape), enter.fan_in)
  return {
    'enter': {'kernel': kernel, 'norm': padded_weights.norm(*repeats, width)},
    'layers': {
      'kernels': kernels,
      'norm': padded_weights.norm(*repeats, num_layers, width),
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
  kernel = padded_weights.Weight((3, 3, channels, before), 9 * channels)
  stem = {'kernel': kernel, 'norm': padded_weights.norm(before)}
  stages, nodes, fan_in = [], 1, jnp.asarray(before)
  for width, repeats in zip(macro.widths, macro.blocks, strict=True):
    plan = functools.partial(_plan_block, made, graph, width=width)
    enter = padded_weights.Weight((nodes, before, width), fan_in)
    stage = {'first': plan((), enter=enter)}
    nodes, before, fan_in = num_nodes, width, num_leaves * width
    if repeats > 1:
      enter = padded_weights.Weight((nodes, width, width), fan_in)
      stage['rest'] = plan((repeats - 1,), enter=enter)
    stages.append(stage)
  head = {
    'kernel': padded_weights.Weight((num_nodes, before, num_classes), fan_in),
    'bias': jnp.zeros(num_classes),
  }
  params = padded_weights.draw(
    key, {'stem': stem, 'stages': stages, 'head': head}
  )
  return {'params': params, 'batch_stats': padded_weights.initial_stats(params)}
