"""Parameters and multiply-adds of N2N's students, counted from the graph.

Equal to a count over the traced network (networks.cost). Host arithmetic in
float64, exact below 2^53.
"""

import numpy as np

from irlas_jax.networks import block, metaqnn, n2n
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
    ValueError: for another macro-architecture than one of width 1, or images
      [H, W, C] that are not square.
  """
  n2n.check_macro(macro)
  metaqnn.check_image(image_shape)
  ops, attrs = np.asarray(graph.ops), np.asarray(graph.attrs)
  side = np.full(ops.shape[:-1], float(image_shape[0]))
  width = np.full_like(side, image_shape[-1])
  params, madds = np.zeros_like(side), np.zeros_like(side)
  entry = side, width  # of the shortcut that was begun last
  row = operations.index
  for v in range(1, ops.shape[-1]):  # in turn: sizes follow from sizes
    op = ops[..., v]
    numbers = np.moveaxis(attrs[..., v, :].astype(float), -1, 0)
    size, kernel, stride, start, end, _ = numbers
    entry = (
      np.where(start > 0, side, entry[0]),
      np.where(start > 0, width, entry[1]),
    )
    is_conv, is_dense = op == row('conv'), op == row('fully_connected')
    area = np.where(is_conv, kernel**2, side**2)
    weights = np.where(is_conv | is_dense, area * width * size, 0.0)
    side = _side(op, side, kernel, np.maximum(stride, 1), row)
    width = np.where(is_conv | is_dense, size, width)
    projects = (end > 0) & ((entry[0] != side) | (entry[1] != width))
    shortcut = projects * entry[1] * width
    # Scale and shift of a normalisation, or the bias of a dense layer.
    params += weights + size * (2 * is_conv + is_dense)
    params += shortcut + projects * 2 * width
    madds += (weights + shortcut) * side**2
  weights = side**2 * width * num_classes
  return Cost(params + weights + num_classes, madds + weights)


def _side(op, side, kernel, stride, row):
  """The side of what a layer makes."""
  is_pool = (op == row('max_pool')) | (op == row('avg_pool'))
  flat = (op == row('global_avg_pool')) | (op == row('fully_connected'))
  side = np.where(op == row('conv'), np.ceil(side / stride), side)
  side = np.where(is_pool, (side - kernel) // stride + 1, side)
  return np.where(flat, 1.0, side)
