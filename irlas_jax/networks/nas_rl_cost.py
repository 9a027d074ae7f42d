"""Parameters and multiply-adds of NAS-RL's networks, counted from the graph.

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
    ValueError: if the macro has more than one stage or block.
  """
  del operations  # all layers are convolutions
  metaqnn.check_macro(macro)
  attrs = np.asarray(graph.attrs).astype(float)
  edges, outputs = np.asarray(graph.edges), np.asarray(graph.outputs) > 0
  filters = attrs[..., 2] * macro.widths[0]
  filters[..., 0] = image_shape[-1]
  sides = np.zeros((*filters.shape, 2))  # of every node's image
  sides[..., 0, :] = image_shape[:2]
  params, madds = np.zeros(filters.shape[:-1]), np.zeros(filters.shape[:-1])
  for v in range(1, filters.shape[-1]):  # in turn: sizes follow from sizes
    read, row = edges[..., v], attrs[..., v, :]
    width = np.sum(filters * read, axis=-1)
    most = np.max(sides * read[..., None], axis=-2)
    after = np.ceil(most / np.maximum(row[..., 3:5], 1))
    weights = row[..., 0] * row[..., 1] * width * filters[..., v]
    params += weights + 2 * filters[..., v]  # and a normalisation's
    madds += weights * np.prod(after, axis=-1)
    sides[..., v, :] = np.ceil(after / np.maximum(row[..., 5:], 1))
  weights = np.sum(filters * outputs, axis=-1) * num_classes
  return Cost(params + weights + num_classes, madds + weights)
