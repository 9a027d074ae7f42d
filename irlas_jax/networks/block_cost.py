"""Parameters and multiply-adds of block networks, counted from the graph.

Equal to a count over the traced network (networks.cost): nominal, padding
counted, as papers do. Host arithmetic in float64, exact below 2^53.
"""

import functools
from typing import NamedTuple

import numpy as np

from irlas_jax.networks import block
from irlas_jax.types import Graph


class Cost(NamedTuple):
  """Of one image and one forward pass; leading axes are the graph's."""

  params: np.ndarray
  madds: np.ndarray


def cost(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  image_shape: tuple[int, int, int],
  num_classes: int,
) -> Cost:
  """Cost of the networks of graphs with any leading axes (host arrays)."""
  leaves = np.sum(np.asarray(graph.outputs) > 0, axis=-1).astype(float)
  height, width, channels = image_shape
  halve = _strided if macro.imagenet else _pooled
  if macro.imagenet:
    height, width = _strided(height), _strided(width)
  before = np.full_like(leaves, macro.widths[0])
  parts = [_conv(3, channels, before, height * width)]
  for stage, features in enumerate(macro.widths):
    if macro.imagenet and stage > 0:
      parts.append(_conv(1, before, features, height * width))
      before = features
    if macro.imagenet or stage > 0:
      height, width = halve(height), halve(width)
    if macro.imagenet:
      parts.append(_conv(3, before, features, height * width))
    layers = _layers(graph, operations, features, height * width)
    for _ in range(macro.blocks[stage]):
      parts += [_conv(1, before, features, height * width), layers]
      before = leaves * features
  parts.append(Cost((before + 1) * num_classes, before * num_classes))
  return functools.reduce(_plus, parts)


def _plus(a: Cost, b: Cost) -> Cost:
  return Cost(a.params + b.params, a.madds + b.madds)


def _strided(side):
  """Output side of a 3x3 convolution of stride 2 that pads by 1."""
  return (side - 1) // 2 + 1


def _pooled(side):
  """Output side of 2x2 pooling."""
  return side // 2


def _conv(kernel, features_in, features, area) -> Cost:
  """A convolution without bias and its batch normalisation."""
  weights = kernel**2 * features_in * features
  return Cost(weights + 2 * features, area * weights)


def _layers(graph, operations, features, area) -> Cost:
  """The layers of one block at `features` channels on `area` pixels."""
  ops = np.asarray(graph.ops)[..., 1:]
  kernels = np.asarray(graph.attrs)[..., 1:, 0].astype(float)
  names = np.array([*operations, ''])[ops]  # padding, row -1, has no name
  weights = np.select(
    [names == 'conv', names == 'sep_conv', names == 'concat'],
    [
      kernels**2 * features**2,
      kernels**2 * features + features**2,
      np.full_like(kernels, 2 * features**2),
    ],
  )
  norms = np.isin(names, ('conv', 'sep_conv')) * 2 * features
  return Cost((weights + norms).sum(-1), area * weights.sum(-1))
