"""Block networks as plain Flax Linen modules: what is retrained and exported.

A network repeats one block (a cell of the block space). Every block first
projects its input to its width by ReLU, 1x1 convolution and batch
normalisation; its output is the concatenation of the layers that nobody reads,
as in Block-QNN and IRLAS. Two macro-architectures:

  CIFAR     3x3 stem; stages of N blocks, the width doubling from stage to
            stage; 2x2 max pooling between stages.
  ImageNet  3x3 stem of stride 2; before each stage a 1x1 convolution to its
            width (not before the first) and a 3x3 convolution of stride 2.

For the full training a network may drop paths and have an auxiliary head, both
in training only (NASNet: Zoph et al., 2018, and DARTS: Liu et al., 2019). Paths
of a block end where something merges them: an add, a concat or the block's end
if several layers are unread. What may be dropped there is a convolution or a
pooling, not the block's input, an identity or what was merged before, so that a
chain of layers is never cut.

Images are [N, H, W, C]. Every layer of a block has the width of its stage.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import drop_path as drop_paths
from irlas_jax.types import Graph

BN_MOMENTUM = 0.9
BN_EPSILON = 1e-5
_MERGES = ('add', 'concat')
_DROPPED = ('conv', 'sep_conv', 'max_pool', 'avg_pool')


class Layer(NamedTuple):
  """A node of a block: what it computes and which nodes it reads."""

  operation: str
  kernel: int
  preds: tuple[int, ...]


class Macro(NamedTuple):
  """How blocks become a network; one entry of the tuples a stage."""

  widths: tuple[int, ...] = (16, 32)
  blocks: tuple[int, ...] = (1, 1)
  imagenet: bool = False


def cifar(width: int, num_stages: int, blocks_per_stage: int) -> Macro:
  """The CIFAR macro-architecture: width doubles from stage to stage."""
  widths = tuple(width * 2**stage for stage in range(num_stages))
  return Macro(widths, (blocks_per_stage,) * num_stages)


def layers_of(graph: Graph, operations) -> tuple[Layer, ...]:
  """The nodes of a graph after its input, in the graph's numbering."""
  count = int(np.sum(np.asarray(graph.ops) >= 0))
  edges = np.asarray(graph.edges)
  return tuple(
    Layer(
      operations[int(graph.ops[v])],
      int(graph.attrs[v, 0]),
      tuple(np.flatnonzero(edges[:, v]).tolist()),
    )
    for v in range(1, count)
  )


def leaves_of(layers) -> tuple[int, ...]:
  """The nodes (layer i is node i, the input node 0) that no layer reads."""
  read = {pred for layer in layers for pred in layer.preds}
  return tuple(v for v in range(len(layers) + 1) if v not in read)


def batch_norm(train: bool, name: str | None = None) -> nn.BatchNorm:
  """Batch normalisation as every network of the library has it."""
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=BN_MOMENTUM,
    epsilon=BN_EPSILON,
    name=name,
  )


def _conv(width, kernel, stride=1, groups=1, name=None):
  pad = kernel // 2
  return nn.Conv(
    width,
    (kernel, kernel),
    (stride, stride),
    padding=((pad, pad), (pad, pad)),
    feature_group_count=groups,
    use_bias=False,
    name=name,
  )


class ReluConvBN(nn.Module):
  """ReLU, convolution, batch normalisation ("pre-activation conv cell")."""

  width: int
  kernel: int
  stride: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = _conv(self.width, self.kernel, self.stride, name='conv')(nn.relu(x))
    return batch_norm(train, 'bn')(x)


class ReluSepConvBN(nn.Module):
  """ReLU, depthwise and pointwise convolution, batch normalisation."""

  width: int
  kernel: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    channels = x.shape[-1]
    x = nn.relu(x)
    x = _conv(channels, self.kernel, groups=channels, name='depthwise')(x)
    x = _conv(self.width, 1, name='pointwise')(x)
    return batch_norm(train, 'bn')(x)


def max_pool(x: jax.Array, kernel: int) -> jax.Array:
  """Maximum over kernel x kernel windows, stride 1, same size."""
  return nn.max_pool(x, (kernel, kernel), padding='SAME')


def avg_pool(x: jax.Array, kernel: int) -> jax.Array:
  """Mean over kernel x kernel windows, stride 1; padding does not count."""
  return nn.avg_pool(
    x, (kernel, kernel), padding='SAME', count_include_pad=False
  )


class Block(nn.Module):
  """One block: [N, H, W, C] to [N, H, W, width * number of leaves].

  `drop_path` [] is the probability of each path; None drops nothing.
  """

  layers: tuple[Layer, ...]
  width: int

  @nn.compact
  def __call__(
    self, x: jax.Array, train: bool, drop_path: jax.Array | None = None
  ) -> jax.Array:
    outputs = [ReluConvBN(self.width, 1, name='enter')(x, train)]
    for i, layer in enumerate(self.layers, start=1):
      rate = drop_path if layer.operation in _MERGES else None
      inputs = self._read(outputs, layer.preds, rate)
      outputs.append(self._apply(layer, inputs, train, f'layer{i}'))
    leaves = leaves_of(self.layers)
    rate = drop_path if len(leaves) > 1 else None
    return jnp.concatenate(self._read(outputs, leaves, rate), -1)

  def _read(self, outputs, nodes, rate):
    """The outputs of nodes, each dropped with probability `rate` if it may."""

    def read(v):
      if rate is None or v == 0 or self.layers[v - 1].operation not in _DROPPED:
        return outputs[v]
      return drop_paths.DropPath()(outputs[v], rate)

    return [read(v) for v in nodes]

  def _apply(self, layer, inputs, train, name):
    match layer.operation:
      case 'conv':
        conv = ReluConvBN(self.width, layer.kernel, name=name)
        return conv(inputs[0], train)
      case 'sep_conv':
        sep_conv = ReluSepConvBN(self.width, layer.kernel, name=name)
        return sep_conv(inputs[0], train)
      case 'max_pool':
        return max_pool(inputs[0], layer.kernel)
      case 'avg_pool':
        return avg_pool(inputs[0], layer.kernel)
      case 'identity':
        return inputs[0]
      case 'add':
        return inputs[0] + inputs[1]
      case 'concat':
        joined = jnp.concatenate(inputs, axis=-1)
        return _conv(self.width, 1, name=name)(joined)
    raise ValueError(f'No block layer for the operation {layer.operation!r}.')


class AuxiliaryHead(nn.Module):
  """A second classifier half-way, for its gradient: [N, H, W, C] to [N, K].

  As in NASNet: 5x5 average pooling of stride 3 (here only of maps that it fits
  into), 1x1 convolution to 128 channels, convolution of the whole map to 768.
  """

  num_classes: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = nn.relu(x)
    if min(x.shape[1:3]) >= 5:
      x = nn.avg_pool(x, (5, 5), (3, 3))
    x = nn.relu(batch_norm(train, 'bn1')(_conv(128, 1, name='conv1')(x)))
    whole = nn.Conv(
      768, x.shape[1:3], padding='VALID', use_bias=False, name='conv2'
    )
    x = nn.relu(batch_norm(train, 'bn2')(whole(x)))
    return nn.Dense(self.num_classes, name='head')(x.mean(axis=(1, 2)))


class BlockNetwork(nn.Module):
  """A classifier made of one block; the first fields are the architecture.

  The others matter in training only. With an auxiliary head (behind block
  2n // 3 of n, as in DARTS) a call that trains returns both logits, and its
  variables have 'auxiliary' in addition. With `drop_path`, a call that trains
  needs a key for the collection of that name; see `drop_path.scheduled`.
  """

  layers: tuple[Layer, ...]
  macro: Macro
  num_classes: int
  auxiliary: bool = False
  drop_path: float = 0.0

  @nn.compact
  def __call__(
    self,
    images: jax.Array,
    train: bool,
    progress: jax.Array | float = 1.0,
  ) -> jax.Array | tuple[jax.Array, jax.Array]:
    x, extra = self._body(images, train, progress)
    x = nn.relu(x).mean(axis=(1, 2))
    logits = nn.Dense(self.num_classes, name='head')(x)
    return (logits, extra) if self.auxiliary and train else logits

  def _body(self, images, train, progress):
    """The last block's output, and the auxiliary head's if it is at work."""
    macro = self.macro
    extra, index, count = None, 0, sum(macro.blocks)
    stride = 2 if macro.imagenet else 1
    x = _conv(macro.widths[0], 3, stride, name='stem')(images)
    x = batch_norm(train, 'stem_bn')(x)
    for stage, width in enumerate(macro.widths):
      if macro.imagenet:
        if stage > 0:
          x = ReluConvBN(width, 1, name=f'stage{stage}_widen')(x, train)
        x = ReluConvBN(width, 3, 2, name=f'stage{stage}_reduce')(x, train)
      elif stage > 0:
        x = nn.max_pool(x, (2, 2), (2, 2))
      for i in range(macro.blocks[stage]):
        rate = None
        if train and self.drop_path:
          rate = drop_paths.scheduled(self.drop_path, progress, index, count)
        block = Block(self.layers, width, name=f'stage{stage}_block{i}')
        x = block(x, train, rate)
        if index == 2 * count // 3 and self._has_head(train):
          head = AuxiliaryHead(self.num_classes, name='auxiliary')
          extra = head(x, train)
        index += 1
    return x, extra

  def _has_head(self, train):
    return self.auxiliary and (train or self.is_initializing())


def network(graph: Graph, operations, macro: Macro, num_classes: int):
  """The network of one (unbatched) graph of the block space."""
  return BlockNetwork(layers_of(graph, operations), macro, num_classes)
