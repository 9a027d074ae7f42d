"""Parameters and multiply-adds of NAS-Bench-101 networks, from the graph.

Equal to a count over the traced network (networks.cost). Host arithmetic in
float64, exact below 2^53.
"""

import numpy as np

from irlas_jax.networks import block, nasbench101, nasbench201
from irlas_jax.networks.block_cost import Cost
from irlas_jax.types import Graph


def cost(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  image_shape: tuple[int, int, int],
  num_classes: int,
) -> Cost:
  """Cost of the networks of pruned graphs with any leading axes (host arrays).

  Raises:
    ValueError: if the macro is for ImageNet or a vertex is left without
      channels.
  """
  nasbench201.check_macro(macro)
  height, width, before = image_shape
  stem = 9 * before * macro.widths[0]
  parts: list[tuple] = [(stem + 2 * macro.widths[0], height * width * stem)]
  before = macro.widths[0]
  for stack, features in enumerate(macro.widths):
    if stack > 0:
      height, width = -(-height // 2), -(-width // 2)
    channels = nasbench101.vertex_channels(graph, features).astype(float)
    for _ in range(macro.blocks[stack]):
      parts.append(_cell(graph, operations, channels, before, height * width))
      before = features
  parts.append(((before + 1) * num_classes, before * num_classes))
  params, madds = zip(*parts, strict=True)
  return Cost(sum(params), sum(madds))


def _cell(graph, operations, channels, before, area) -> tuple:
  """One cell on `area` pixels of `before` channels; channels [..., V].

  Its convolutions keep a vertex's channels; a vertex that reads the input has a
  projection to them. Each has a batch normalisation.
  """
  ops = np.asarray(graph.ops)
  conv1 = ops == operations.index('conv1x1')
  conv3 = ops == operations.index('conv3x3')
  projected = np.asarray(graph.edges)[..., 0, :].astype(float)
  weights = (conv1 + 9 * conv3) * channels**2 + projected * before * channels
  norms = 2 * channels * (conv1 + conv3 + projected)
  return (weights + norms).sum(-1), area * weights.sum(-1)
