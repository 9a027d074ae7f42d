"""The networks of NAS-RL as plain Flax Linen modules.

Zoph & Le, ICLR 2017 (arXiv 1611.01578). A layer concatenates what it reads in
depth and is a convolution, batch normalisation and ReLU; 2x2 max pooling may
follow. Images that are concatenated get the size of the largest one by zeros:
the paper's third repair. The layers that nobody reads are concatenated likewise
and classified.

Ours, since the paper does not say it: zeros stand below and to the right;
kernels are centred, so that with a stride s a side of n becomes ceil(n / s), as
in pools; and what is classified is the mean over the image, of which zeros are
a part.

The macro-architecture has one stage of one block, all layers; its width
multiplies all filters, and is 1 in the paper. Images are [N, H, W, C].
"""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block, metaqnn
from irlas_jax.types import Graph


class Layer(NamedTuple):
  """A layer of an architecture."""

  kernel: tuple[int, int]  # height, width
  filters: int
  strides: tuple[int, int]
  pool: int  # side and stride of the pooling after it; 1 is none
  sources: tuple[int, ...]  # nodes that it reads; 0 is the image


def layers_of(graph: Graph) -> tuple[Layer, ...]:
  """The nodes of one graph after the image, in the graph's numbering."""
  count = int(np.sum(np.asarray(graph.ops) >= 0))
  edges, layers = np.asarray(graph.edges), []
  for v in range(1, count):
    height, width, filters, down, right, pool = np.asarray(
      graph.attrs[v]
    ).tolist()
    sources = tuple(np.flatnonzero(edges[:, v]).tolist())
    layers.append(Layer((height, width), filters, (down, right), pool, sources))
  return tuple(layers)


def classified(graph: Graph) -> tuple[int, ...]:
  """The nodes of one graph that are classified."""
  return tuple(np.flatnonzero(np.asarray(graph.outputs)).tolist())


def concatenate(images: Sequence[jax.Array]) -> jax.Array:
  """[N, h, w, c] each to [N, H, W, sum of c], zeros around the smaller ones."""
  height, width = (max(x.shape[axis] for x in images) for axis in (1, 2))

  def grow(x):
    rest = (0, height - x.shape[1]), (0, width - x.shape[2])
    return jnp.pad(x, ((0, 0), *rest, (0, 0)))

  return jnp.concatenate([grow(x) for x in images], axis=-1)


class NasRlNetwork(nn.Module):
  """A classifier; the first fields are the architecture."""

  layers: tuple[Layer, ...]
  outputs: tuple[int, ...]
  multiplier: int
  num_classes: int

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    nodes = [images]
    for i, layer in enumerate(self.layers, start=1):
      x = concatenate([nodes[v] for v in layer.sources])
      nodes.append(self._apply(layer, x, train, f'layer{i}'))
    x = concatenate([nodes[v] for v in self.outputs]).mean(axis=(1, 2))
    return nn.Dense(self.num_classes, name='head')(x)

  def _apply(self, layer, x, train, name):
    conv = nn.Conv(
      layer.filters * self.multiplier,
      layer.kernel,
      layer.strides,
      padding=tuple((side // 2, side // 2) for side in layer.kernel),
      use_bias=False,
      name=f'{name}_conv',
    )
    x = nn.relu(block.batch_norm(train, f'{name}_bn')(conv(x)))
    pool = (layer.pool, layer.pool)
    return nn.max_pool(x, pool, pool, 'SAME') if layer.pool > 1 else x


def network(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
) -> NasRlNetwork:
  """The network of one (unbatched) graph of the NAS-RL space.

  Raises:
    ValueError: if the macro has more than one stage or block.
  """
  del operations  # all layers are convolutions
  metaqnn.check_macro(macro)
  return NasRlNetwork(
    layers_of(graph), classified(graph), macro.widths[0], num_classes
  )
