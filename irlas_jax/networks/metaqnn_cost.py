"""Parameters and multiply-adds of MetaQNN's chains, counted from the graph.

Equal to a count over the traced network (networks.cost). Host arithmetic in
float64, exact below 2^53.
"""

import numpy as np

from irlas_jax.networks import block, metaqnn
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
    ValueError: if the macro is no single chain or images [H, W, C] are not
      square.
  """
  metaqnn.check_macro(macro)
  metaqnn.check_image(image_shape)
  ops, attrs = np.asarray(graph.ops), np.asarray(graph.attrs)
  side = np.full(ops.shape[:-1], float(image_shape[0]))
  width = np.full_like(side, image_shape[-1])
  params, madds = np.zeros_like(side), np.zeros_like(side)
  row = operations.index
  for v in range(1, ops.shape[-1]):  # in turn: sizes follow from sizes
    op = ops[..., v]
    size, kernel, stride = np.moveaxis(attrs[..., v, :].astype(float), -1, 0)
    size *= macro.widths[0]
    is_conv, is_dense = op == row('conv'), op == row('fully_connected')
    area = np.where(is_conv, kernel**2, side**2)
    weights = np.where(is_conv | is_dense, area * width * size, 0.0)
    # Scale and shift of a normalisation, or the bias of a dense layer.
    params += weights + size * (2 * is_conv + is_dense)
    madds += weights * np.where(is_conv, side**2, 1)
    width = np.where(is_conv | is_dense, size, width)
    pooled = (side - kernel) // np.maximum(stride, 1) + 1
    side = np.where(op == row('max_pool'), pooled, side)
    side = np.where(is_dense | (op == row('global_avg_pool')), 1, side)
  weights = side**2 * width * num_classes
  return Cost(params + weights + num_classes, madds + weights)
