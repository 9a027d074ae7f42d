"""The networks of NAS-Bench-101 as plain Flax Linen modules.

Ying et al., "NAS-Bench-101", ICML 2019 (arXiv 1902.09635), section 2; details
as in the authors' code. A network is a 3x3 stem; stacks of equal cells, with
2x2 max pooling before each but the first; mean over the image, and a dense
layer. The benchmark's own is `block.cifar(128, 3, 3)`: three cells of width
128, then of 256, then of 512.

In a cell a vertex adds what it reads and applies its operation: the vertices in
between truncated to its width, the cell's input through a 1x1 projection. The
output concatenates the vertices in between that it reads and adds the projected
input if it reads that too. All convolutions are Conv-BN-ReLU without bias. The
one departure: running statistics decay by the library's 0.9, not by 0.997.

Images are [N, H, W, C].
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block, nasbench201
from irlas_jax.networks.nasbench201 import Node
from irlas_jax.types import Graph


def vertex_channels(graph: Graph, width: int) -> np.ndarray:
  """Channels [..., V] of the vertices of cells of `width`; 0: input, padding.

  The output's channels are split evenly among the vertices in between that it
  reads, the first ones having one more where the split leaves a rest. Any other
  vertex has as many as the widest of its readers.

  Raises:
    ValueError: if a vertex is left without channels.
  """
  chex.assert_equal_shape_prefix(graph, np.ndim(graph.ops))
  edges = np.asarray(graph.edges)
  is_output = np.asarray(graph.outputs) > 0
  to_output = np.any(edges & is_output[..., None, :], axis=-1)
  to_output[..., 0] = False  # the input is added, not concatenated
  fan_in = to_output.sum(-1, keepdims=True)
  share, rest = np.divmod(width, np.maximum(fan_in, 1))
  split = share + (np.cumsum(to_output, axis=-1) <= rest)
  channels = np.where(to_output, split, 0) + width * is_output
  between = edges & ~is_output[..., None, :]
  for v in range(edges.shape[-1] - 2, 0, -1):  # readers come later
    widest = np.where(between[..., v, :], channels, 0).max(-1)
    follow = np.where(to_output[..., v], 0, widest)
    channels[..., v] = np.maximum(channels[..., v], follow)
  _check_channels(np.asarray(graph.ops), channels, width)
  return channels


def _check_channels(ops, channels, width):
  wanting = (ops >= 0) & (channels == 0)
  wanting[..., 0] = False
  bad = np.argwhere(wanting)
  if len(bad):
    *cell, vertex = bad[0].tolist()
    place = f'vertex {vertex}' + (f' of cell {tuple(cell)}' if cell else '')
    raise ValueError(
      f'{place} gets no channels: prune what does not reach the output, and '
      f'make the width, {width}, at least the vertices that the output reads.'
    )


class ConvBNRelu(nn.Module):
  """Convolution, batch normalisation, ReLU."""

  width: int
  kernel: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    kernel = (self.kernel, self.kernel)
    x = nn.Conv(self.width, kernel, use_bias=False, name='conv')(x)
    return nn.relu(block.batch_norm(train, 'bn')(x))


class Cell(nn.Module):
  """One cell: [N, H, W, C] to [N, H, W, channels of the output]."""

  nodes: tuple[Node, ...]  # the last is the output
  channels: tuple[int, ...]  # of each node

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    values = [x]
    for v, (node, width) in enumerate(
      zip(self.nodes, self.channels, strict=True), start=1
    ):
      inputs = [values[pred] for pred in node.preds if pred > 0]
      projected = []
      if 0 in node.preds:
        project = ConvBNRelu(width, 1, name=f'project{v}')
        projected = [project(x, train)]
      if node.operation == 'output':
        inputs = [jnp.concatenate(inputs, axis=-1)] if inputs else []
      added = sum(y[..., :width] for y in inputs + projected)
      values.append(self._apply(node.operation, added, width, train, v))
    return values[-1]

  def _apply(self, operation, x, width, train, v):
    match operation:
      case 'conv3x3' | 'conv1x1':
        kernel = int(operation[-1])
        return ConvBNRelu(width, kernel, name=f'vertex{v}')(x, train)
      case 'maxpool3x3':
        return block.max_pool(x, 3)
      case 'output':
        return x
    raise ValueError(f'No NAS-Bench-101 layer for the operation {operation!r}.')


class NasBench101Network(nn.Module):
  """A classifier made of one cell; fields are the architecture."""

  nodes: tuple[Node, ...]
  channels: tuple[tuple[int, ...], ...]  # of each stack, of each node
  macro: block.Macro
  num_classes: int

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    macro = self.macro
    x = ConvBNRelu(macro.widths[0], 3, name='stem')(images, train)
    for stack, channels in enumerate(self.channels):
      if stack > 0:
        x = nn.max_pool(x, (2, 2), (2, 2), padding='SAME')
      for i in range(macro.blocks[stack]):
        x = Cell(self.nodes, channels, name=f'stack{stack}_cell{i}')(x, train)
    return nn.Dense(self.num_classes, name='head')(x.mean(axis=(1, 2)))


def network(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
) -> NasBench101Network:
  """The network of one (unbatched) pruned graph of the NAS-Bench-101 space.

  `operations` names the rows that Graph.ops points to.

  Raises:
    ValueError: if the graph's last node is not its output, a vertex is left
      without channels, or the macro is for ImageNet.
  """
  nasbench201.check_macro(macro)
  nodes = nasbench201.nodes_of(graph, operations)
  channels = tuple(
    tuple(vertex_channels(graph, width)[1 : len(nodes) + 1].tolist())
    for width in macro.widths
  )
  return NasBench101Network(nodes, channels, macro, num_classes)
