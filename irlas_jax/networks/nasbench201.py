"""The networks of NAS-Bench-201 as plain Flax Linen modules.

Dong & Yang, "NAS-Bench-201", ICLR 2020 (arXiv 2001.00326), section 2; details
as in the authors' code. A network is a 3x3 stem with batch normalisation;
stages of equal cells; before each stage but the first a residual block of
stride 2 (two ReLU-Conv-BN 3x3; 2x2 average pooling and a 1x1 convolution beside
them); batch normalisation, ReLU, mean over the image, and a dense layer. The
benchmark's own is `block.cifar(16, 3, 5)`: widths 16, 32, 64, five cells each.

A cell keeps width and size. Its operations are nodes of the graph: a `sum` adds
the nodes that it reads, and every other operation reads one node.

Images are [N, H, W, C].
"""

from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block
from irlas_jax.types import Graph


class Node(NamedTuple):
  """A node of a cell: what it computes and which nodes it reads."""

  operation: str
  preds: tuple[int, ...]


def nodes_of(graph: Graph, operations: tuple[str, ...]) -> tuple[Node, ...]:
  """The nodes after the input of one graph, in its numbering.

  Raises:
    ValueError: if the output is not the last of them.
  """
  chex.assert_rank([graph.ops, graph.edges, graph.outputs], [1, 2, 1])
  ops, edges = np.asarray(graph.ops), np.asarray(graph.edges)
  count = int(np.sum(ops >= 0))
  outputs = np.flatnonzero(graph.outputs).tolist()
  if outputs != [count - 1]:
    raise ValueError(
      f'Graph.outputs marks the nodes {outputs}; a cell has one output, its '
      f'last node, {count - 1}.'
    )
  return tuple(
    Node(operations[ops[v]], tuple(np.flatnonzero(edges[:, v]).tolist()))
    for v in range(1, count)
  )


def check_macro(macro: block.Macro):
  """Raises ValueError if the macro-architecture is none of a benchmark's."""
  if macro.imagenet:
    raise ValueError(
      'Networks of NAS-Bench cells have the CIFAR macro-architecture: make '
      'macro with imagenet=False, as block.cifar does.'
    )


def check_image(macro: block.Macro, image_shape: tuple[int, ...]):
  """Raises ValueError if an image [H, W, C] does not halve between stages.

  The two branches of the residual blocks round odd sides differently.
  """
  step = 2 ** (len(macro.widths) - 1)
  if any(side % step for side in image_shape[:2]):
    raise ValueError(
      f'Images of {image_shape[0]} x {image_shape[1]} do not halve before each '
      f'of {len(macro.widths) - 1} stages: make both sides multiples of {step}.'
    )


class ResidualReduction(nn.Module):
  """Halves the image: [N, H, W, C] to [N, H / 2, W / 2, width]."""

  width: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    y = block.ReluConvBN(self.width, 3, 2, name='conv1')(x, train)
    y = block.ReluConvBN(self.width, 3, name='conv2')(y, train)
    x = nn.avg_pool(x, (2, 2), (2, 2))
    return nn.Conv(self.width, (1, 1), use_bias=False, name='shortcut')(x) + y


class Cell(nn.Module):
  """One cell: [N, H, W, C] to the same shape."""

  nodes: tuple[Node, ...]

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    values = [x]
    for v, node in enumerate(self.nodes, start=1):
      inputs = [values[pred] for pred in node.preds]
      values.append(self._apply(node.operation, x, inputs, train, f'node{v}'))
    return values[-1]

  def _apply(self, operation, x, inputs, train, name):
    match operation:
      case 'none':
        return 0 * x  # XLA would fold what is made of a constant, for minutes
      case 'skip_connect':
        return inputs[0]
      case 'nor_conv_1x1' | 'nor_conv_3x3':
        kernel = int(operation[-1])
        conv = block.ReluConvBN(x.shape[-1], kernel, name=name)
        return conv(inputs[0], train)
      case 'avg_pool_3x3':
        return block.avg_pool(inputs[0], 3)
      case 'sum':
        return sum(inputs, start=jnp.zeros_like(x))
    raise ValueError(f'No NAS-Bench-201 layer for the operation {operation!r}.')


class NasBench201Network(nn.Module):
  """A classifier made of one cell; fields are the architecture."""

  nodes: tuple[Node, ...]
  macro: block.Macro
  num_classes: int

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    macro = self.macro
    check_image(macro, images.shape[1:])
    x = nn.Conv(macro.widths[0], (3, 3), use_bias=False, name='stem')(images)
    x = block.batch_norm(train, 'stem_bn')(x)
    for stage, width in enumerate(macro.widths):
      if stage > 0:
        x = ResidualReduction(width, name=f'stage{stage}_reduce')(x, train)
      for i in range(macro.blocks[stage]):
        x = Cell(self.nodes, name=f'stage{stage}_cell{i}')(x, train)
    x = nn.relu(block.batch_norm(train, 'head_bn')(x)).mean(axis=(1, 2))
    return nn.Dense(self.num_classes, name='head')(x)


def network(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
) -> NasBench201Network:
  """The network of one (unbatched) graph of the NAS-Bench-201 space.

  Any graph of the space's operations will do, e.g. one without what does not
  reach the output. `operations` names the rows that Graph.ops points to.

  Raises:
    ValueError: if the graph's last node is not its output, or the macro is for
      ImageNet; when called, if the images do not halve between the stages.
  """
  check_macro(macro)
  return NasBench201Network(nodes_of(graph, operations), macro, num_classes)
