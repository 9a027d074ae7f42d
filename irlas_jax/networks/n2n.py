"""Teachers and students of N2N as plain Flax Linen modules.

Ashok et al., ICLR 2018 (arXiv 1709.06030). Chains of layers, parts of which
shortcuts go around, as for CIFAR: convolution, batch normalisation, ReLU, where
the last convolution that a shortcut goes around has its ReLU after the sum. A
shortcut is the identity where both ends have the same shape, else a 1x1
convolution with the strides of what it goes around, and normalisation. Last
comes a dense layer.

Convolutions are padded by (k - 1) // 2 zeros before an image and k // 2 behind
it, so that what they make depends on their strides only. Pools take whole
windows. Images are [N, H, W, C] with H = W. The layers are the whole network:
the macro-architecture has one stage of one block, of width 1.
"""

from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from irlas_jax.networks import block, metaqnn
from irlas_jax.types import Graph


class Layer(NamedTuple):
  """A layer; numbers are 0 where they have no meaning."""

  operation: str
  size: int  # filters or units
  kernel: int
  stride: int
  skip_start: bool  # the first, or the last, that a shortcut goes round
  skip_end: bool
  place: int  # among the layers of the teacher, from 0 on


def layers_of(graph: Graph, operations: tuple[str, ...]) -> tuple[Layer, ...]:
  """The layers of one graph, each of which reads the one before."""
  count = int(np.sum(np.asarray(graph.ops) >= 0))
  attrs = np.asarray(graph.attrs).tolist()

  def layer(v):
    size, kernel, stride, start, end, place = attrs[v]
    name, ends = operations[int(graph.ops[v])], (bool(start), bool(end))
    return Layer(name, size, kernel, stride, *ends, place)

  return tuple(layer(v) for v in range(1, count))


def check_macro(macro: block.Macro) -> None:
  """Raises ValueError if the macro-architecture is not the layers alone."""
  metaqnn.check_macro(macro)
  if macro.widths != (1,):
    raise ValueError(
      f'network.width is {macro.widths[0]}: layers have the sizes of their '
      'text; set it to 1.'
    )


def pads(kernel: int) -> tuple[int, int]:
  """Zeros before and behind an image, in both directions."""
  return (kernel - 1) // 2, kernel // 2


def sides(layers, side: int) -> Iterator[int]:
  """The side of what each layer makes of an image of this side.

  Raises:
    ValueError: if a pool's window is larger than what it reads.
  """
  for i, layer in enumerate(layers, start=1):
    match layer.operation:
      case 'conv':
        side = -(-side // layer.stride)
      case 'max_pool' | 'avg_pool':
        if layer.kernel > side:
          raise ValueError(
            f'Layer {i} pools windows of {layer.kernel} pixels a side, and '
            f'reads {side}: images are too small for this network.'
          )
        side = (side - layer.kernel) // layer.stride + 1
      case _:
        side = 1
    yield side


class N2nNetwork(nn.Module):
  """A classifier that is a chain with shortcuts."""

  layers: tuple[Layer, ...]
  num_classes: int

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    metaqnn.check_image(images.shape[1:])
    tuple(sides(self.layers, images.shape[1]))  # do they fit?
    x, entry, stride = images, images, 1
    for i, layer in enumerate(self.layers, start=1):
      if layer.skip_start:
        entry, stride = x, 1
      stride *= max(layer.stride, 1)
      x = self._apply(layer, x, train, f'layer{i}')
      if layer.skip_end:
        x = nn.relu(x + self._shortcut(entry, x, stride, train, f'layer{i}'))
    return nn.Dense(self.num_classes, name='head')(x.reshape(x.shape[0], -1))

  def _apply(self, layer, x, train, name):
    window, stride = (layer.kernel,) * 2, (layer.stride,) * 2
    match layer.operation:
      case 'conv':
        conv = nn.Conv(
          layer.size,
          window,
          stride,
          padding=(pads(layer.kernel),) * 2,
          use_bias=False,
          name=f'{name}_conv',
        )
        y = block.batch_norm(train, f'{name}_bn')(conv(x))
        return y if layer.skip_end else nn.relu(y)
      case 'max_pool':
        return nn.max_pool(x, window, stride)
      case 'avg_pool':
        return nn.avg_pool(x, window, stride)
      case 'global_avg_pool':
        return x.mean(axis=(1, 2), keepdims=True)
      case 'fully_connected':
        dense = nn.Dense(layer.size, name=name)
        return nn.relu(dense(x.reshape(x.shape[0], 1, 1, -1)))
    raise ValueError(f'No N2N layer for the operation {layer.operation!r}.')

  def _shortcut(self, entry, x, stride, train, name):
    if entry.shape == x.shape:
      return entry
    conv = nn.Conv(
      x.shape[-1],
      (1, 1),
      (stride, stride),
      padding='VALID',
      use_bias=False,
      name=f'{name}_shortcut_conv',
    )
    return block.batch_norm(train, f'{name}_shortcut_bn')(conv(entry))


def network(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
) -> N2nNetwork:
  """The network of one (unbatched) student or teacher.

  Raises:
    ValueError: for another macro-architecture; when called, if images are not
      square or too small.
  """
  check_macro(macro)
  return N2nNetwork(layers_of(graph, operations), num_classes)
