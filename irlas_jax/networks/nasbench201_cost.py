"""Parameters and multiply-adds of NAS-Bench-201 networks, from the graph.

Equal to a count over the traced network (networks.cost), what does not reach
the output included, as in the benchmark. Host arithmetic in float64, exact
below 2^53.
"""

import numpy as np

from irlas_jax.networks import block, nasbench201
from irlas_jax.networks.block_cost import Cost
from irlas_jax.types import Graph


def cost(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  image_shape: tuple[int, int, int],
  num_classes: int,
) -> Cost:
  """Cost of the networks of graphs with any leading axes (host arrays).

  Raises:
    ValueError: if the macro is for ImageNet or images [H, W, C] do not halve
      between its stages.
  """
  nasbench201.check_macro(macro)
  nasbench201.check_image(macro, image_shape)
  conv1 = _number(graph, operations, 'nor_conv_1x1')
  conv3 = _number(graph, operations, 'nor_conv_3x3')
  height, width, before = image_shape
  area = height * width
  parts = [_conv(3, before, macro.widths[0], area)]
  for stage, features in enumerate(macro.widths):
    if stage > 0:
      area //= 4
      parts += _reduction(macro.widths[stage - 1], features, area)
    for number, kernel in ((conv1, 1), (conv3, 3)):
      params, madds = _conv(kernel, features, features, area)
      times = number * macro.blocks[stage]
      parts.append((times * params, times * madds))
  last = macro.widths[-1]
  parts.append((2 * last + (last + 1) * num_classes, last * num_classes))
  params, madds = zip(*parts, strict=True)
  return Cost(sum(params), sum(madds))


def _number(graph, operations, name) -> np.ndarray:
  """How many nodes of each graph have an operation."""
  return np.sum(np.asarray(graph.ops) == operations.index(name), -1, float)


def _conv(kernel, features_in, features, area) -> tuple:
  """A convolution without bias and its batch normalisation."""
  weights = kernel**2 * features_in * features
  return weights + 2 * features, area * weights


def _reduction(features_in, features, area) -> list[tuple]:
  """The residual block before a stage; its 1x1 has no normalisation."""
  shortcut = features_in * features
  return [
    _conv(3, features_in, features, area),
    _conv(3, features, features, area),
    (shortcut, area * shortcut),
  ]
