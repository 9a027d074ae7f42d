"""The networks of MetaQNN as plain Flax Linen modules: chains of layers.

Baker et al., ICLR 2017 (arXiv 1611.02167). A convolution has stride 1, keeps
the size of the image and is followed by batch normalisation and ReLU; a pool
takes whole windows; fully connected layers, followed by ReLU, read the whole
image; then comes a dense layer.

Two things are not the paper's. Its chains have no batch normalisation. And it
drops units in all trainings, after every second layer, the i-th of n times with
probability i / 2n; ours do so in the full training only, if they are asked to,
since the padded program does not.

The macro-architecture has one stage of one block, the chain; its width
multiplies all filters and units, and is 1 in the paper. Images are
[N, H, W, C] with H = W.
"""

from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from irlas_jax.networks import block
from irlas_jax.types import Graph


class Layer(NamedTuple):
  """A layer: its operation and attributes, 0 where it has none."""

  operation: str
  size: int  # filters or units
  kernel: int
  stride: int


class Place(NamedTuple):
  """A layer and what it reads: the image's side and channels."""

  layer: Layer
  side: int
  width: int


def layers_of(graph: Graph, operations: tuple[str, ...]) -> tuple[Layer, ...]:
  """The layers of one graph, each of which reads the one before."""
  count = int(np.sum(np.asarray(graph.ops) >= 0))
  attrs = np.asarray(graph.attrs).tolist()
  return tuple(
    Layer(operations[int(graph.ops[v])], *attrs[v]) for v in range(1, count)
  )


def check_macro(macro: block.Macro):
  """Raises ValueError if the macro-architecture is not a single chain."""
  if macro.imagenet or len(macro.widths) > 1 or macro.blocks[0] > 1:
    raise ValueError(
      'The layers are the whole network: set network.num_stages=1 and '
      'network.blocks_per_stage=1; network.width multiplies its filters.'
    )


def check_image(image_shape: tuple[int, ...]):
  """Raises ValueError if an image [H, W, C] is not square."""
  if image_shape[0] != image_shape[1]:
    raise ValueError(
      f'Images of {image_shape[0]} x {image_shape[1]}: chains are for square '
      'ones; set data.image_size.'
    )


def places(
  layers: tuple[Layer, ...], side: int, width: int, multiplier: int
) -> Iterator[Place]:
  """Each layer with what it reads, and last the dense layer ('head').

  Raises:
    ValueError: if a pool's window is larger than what it reads.
  """
  for i, layer in enumerate(layers, start=1):
    yield Place(layer, side, width)
    match layer.operation:
      case 'conv':
        width = layer.size * multiplier
      case 'max_pool':
        if layer.kernel > side:
          raise ValueError(
            f'Layer {i} pools windows of {layer.kernel} pixels a side, and '
            f'reads {side}: images are too small for this chain.'
          )
        side = (side - layer.kernel) // layer.stride + 1
      case 'fully_connected':
        side, width = 1, layer.size * multiplier
      case 'global_avg_pool':
        side = 1
  yield Place(Layer('head', 0, 0, 0), side, width)


class MetaQnnNetwork(nn.Module):
  """A classifier that is a chain; the first fields are the architecture.

  With `drop_path` d, a call that trains needs a key for the collection of that
  name, and drops units after every second layer, the i-th of n times with
  probability d i / n; the paper's d is 0.5.
  """

  layers: tuple[Layer, ...]
  multiplier: int
  num_classes: int
  drop_path: float = 0.0

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    train: bool,
    progress: jax.Array | float = 1.0,
  ) -> jax.Array:
    del progress  # the probabilities stay as they are
    check_image(images.shape[1:])
    _, _, side, width = images.shape
    tuple(places(self.layers, side, width, self.multiplier))  # do they fit?
    x = images
    for i, layer in enumerate(self.layers, start=1):
      x = self._apply(layer, x, train, f'layer{i}')
      if train and self.drop_path and i % 2 == 0:
        rate = self.drop_path * (i // 2) / (len(self.layers) // 2)
        x = nn.Dropout(rate, rng_collection='drop_path')(x, False)
    return nn.Dense(self.num_classes, name='head')(x.reshape(x.shape[0], -1))

  def _apply(self, layer, x, train, name):
    kernel, stride = (layer.kernel,) * 2, (layer.stride,) * 2
    match layer.operation:
      case 'conv':
        width = layer.size * self.multiplier
        conv = nn.Conv(width, kernel, use_bias=False, name=f'{name}_conv')
        return nn.relu(block.batch_norm(train, f'{name}_bn')(conv(x)))
      case 'max_pool':
        return nn.max_pool(x, kernel, stride)
      case 'fully_connected':
        dense = nn.Dense(layer.size * self.multiplier, name=name)
        return nn.relu(dense(x.reshape(x.shape[0], 1, 1, -1)))
      case 'global_avg_pool':
        return x.mean(axis=(1, 2), keepdims=True)
    raise ValueError(f'No MetaQNN layer for the operation {layer.operation!r}.')


def network(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
) -> MetaQnnNetwork:
  """The network of one (unbatched) graph of the MetaQNN space.

  Raises:
    ValueError: if the macro has more than one stage or block; when called, if
      images are not square or too small.
  """
  check_macro(macro)
  layers = layers_of(graph, operations)
  return MetaQnnNetwork(layers, macro.widths[0], num_classes)
