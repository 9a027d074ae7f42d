"""The networks of NASNet as plain Flax Linen modules.

Zoph et al., "Learning transferable architectures for scalable image
recognition", CVPR 2018 (arXiv 1707.07012), sections 3 and A; details that the
paper leaves open as in the released NASNet-A, or where that has none, ours:
a convolution of 1 x k and k x 1 takes its stride in the first of the two, what
a block concatenates is brought back to the cell's width by a 1x1 convolution,
and both inputs of a cell always have their 1x1 convolution.

CIFAR: a 3x3 stem to three times the width, then stages of normal cells with a
reduction cell before each but the first. ImageNet: a 3x3 stem of stride 2 and
two reduction cells at a quarter and half of the width come before. A network
`N @ P` has N normal cells a stage and P channels before its classifier.

A cell reads the outputs of the two cells before it, x and `previous`. In a
reduction cell what reads these has stride 2.

Images are [N, H, W, C]; halved sides are rounded up.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from irlas_jax.networks import block, nasnet_plan
from irlas_jax.networks import drop_path as drop_paths
from irlas_jax.types import Graph

STEM_WIDTH = 32  # of the ImageNet stem's convolution
STEM_FACTOR = 3  # times the width, of the CIFAR stem's


def _conv(width, kernel, stride=1, dilation=1, groups=1, name=None):
  """A convolution of kernel (height, width) that pads alike on both sides."""
  pads = tuple((side // 2 * dilation,) * 2 for side in kernel)
  return nn.Conv(
    width,
    kernel,
    (stride, stride),
    padding=pads,
    kernel_dilation=dilation,
    feature_group_count=groups,
    use_bias=False,
    name=name,
  )


class Convolution(nn.Module):
  """ReLU, convolutions with these kernels, batch normalisation."""

  width: int
  kernels: tuple[tuple[int, int], ...]
  stride: int = 1
  dilation: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x, stride = nn.relu(x), self.stride
    for i, kernel in enumerate(self.kernels):
      name = f'conv{i}'
      x = _conv(self.width, kernel, stride, self.dilation, name=name)(x)
      stride = 1
    return block.batch_norm(train, 'bn')(x)


class SeparableConvolution(nn.Module):
  """Twice ReLU, depthwise and pointwise convolution, batch normalisation."""

  width: int
  kernel: int
  stride: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    kernel, stride = (self.kernel,) * 2, self.stride
    for i in range(2):
      channels, x = x.shape[-1], nn.relu(x)
      name = f'depthwise{i}'
      x = _conv(channels, kernel, stride, groups=channels, name=name)(x)
      x = _conv(self.width, (1, 1), name=f'pointwise{i}')(x)
      x = block.batch_norm(train, f'bn{i}')(x)
      stride = 1
    return x


class FactorizedReduction(nn.Module):
  """Halves an image without losing half its pixels' rows and columns.

  ReLU, two 1x1 convolutions of stride 2, one of them shifted by a pixel in
  both directions, concatenated; batch normalisation.
  """

  width: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x, half = nn.relu(x), self.width // 2
    shifted = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
    even = _conv(half, (1, 1), 2, name='even')(x)
    odd = _conv(self.width - half, (1, 1), 2, name='odd')(shifted)
    return block.batch_norm(train, 'bn')(jnp.concatenate([even, odd], axis=-1))


def _pool(kind, x, kernel, stride):
  window, pad = (kernel,) * 2, (kernel // 2,) * 2
  if kind == 'max':
    return nn.max_pool(x, window, (stride,) * 2, (pad, pad))
  return nn.avg_pool(
    x, window, (stride,) * 2, (pad, pad), count_include_pad=False
  )


def _square(size):
  return ((size, size),)


# (width, stride, name) -> module of an operation with weights.
_MODULES = {
  'conv_1x3_3x1': (Convolution, {'kernels': ((1, 3), (3, 1))}),
  'conv_1x7_7x1': (Convolution, {'kernels': ((1, 7), (7, 1))}),
  'dil_conv_3x3': (Convolution, {'kernels': _square(3), 'dilation': 2}),
  'conv_1x1': (Convolution, {'kernels': _square(1)}),
  'conv_3x3': (Convolution, {'kernels': _square(3)}),
  'sep_conv_3x3': (SeparableConvolution, {'kernel': 3}),
  'sep_conv_5x5': (SeparableConvolution, {'kernel': 5}),
  'sep_conv_7x7': (SeparableConvolution, {'kernel': 7}),
}
_POOLS = {
  'avg_pool_3x3': ('avg', 3),
  'max_pool_3x3': ('max', 3),
  'max_pool_5x5': ('max', 5),
  'max_pool_7x7': ('max', 7),
}


class Cell(nn.Module):
  """One cell: `previous` and x [N, H, W, C] to its output.

  With `rate`, the results of operations but identities are dropped so often.
  """

  plan: nasnet_plan.CellPlan
  width: int

  @nn.compact
  def __call__(
    self, previous: jax.Array, x: jax.Array, train: bool, rate=None
  ) -> jax.Array:
    states = [self._project(x, 'input', train)]
    if previous.shape[1:3] == x.shape[1:3]:
      states.append(self._project(previous, 'previous', train))
    else:
      reduction = FactorizedReduction(self.width, name='previous')
      states.append(reduction(previous, train))
    for b, (merge, operands) in enumerate(self.plan.blocks):
      results = [
        self._operate(operand, states, train, rate, f'block{b}_{side}')
        for operand, side in zip(operands, ('first', 'second'), strict=True)
      ]
      if merge == 'add':
        states.append(sum(results))
      else:
        joined = jnp.concatenate(results, axis=-1)
        conv = _conv(self.width, (1, 1), name=f'block{b}_concat')
        states.append(conv(joined))
    return jnp.concatenate(
      [self._output(states[i], i, train) for i in self.plan.outputs], axis=-1
    )

  def _project(self, x, name, train):
    return Convolution(self.width, _square(1), name=name)(x, train)

  def _operate(self, operand, states, train, rate, name):
    operation, x = operand.operation, states[operand.state]
    stride = 2 if self.plan.reduction and operand.state < 2 else 1
    if operation == 'identity' and stride == 1:
      return x
    if operation in _POOLS:
      x = _pool(*(_POOLS[operation][0], x, _POOLS[operation][1], stride))
    else:
      # An identity that halves the image is a 1x1 convolution.
      known = 'conv_1x1' if operation == 'identity' else operation
      make, fields = _MODULES[known]
      x = make(self.width, stride=stride, name=name, **fields)(x, train)
    if rate is None or operation == 'identity':
      return x
    return drop_paths.DropPath()(x, rate)

  def _output(self, x, state, train):
    if state < 2 and self.plan.reduction:
      return FactorizedReduction(self.width, name=f'output{state}')(x, train)
    return x


class NasnetNetwork(nn.Module):
  """A classifier made of two cells; the first fields are the architecture.

  The others matter in training only. With an auxiliary head (behind cell
  2n // 3 of n, as in DARTS) a call that trains returns both logits, and its
  variables have 'auxiliary' in addition. With `drop_path`, a call that trains
  needs a key for the collection of that name; see `drop_path.scheduled`.
  """

  normal: nasnet_plan.CellPlan
  reduction: nasnet_plan.CellPlan
  macro: block.Macro
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

  def _stem(self, images, train):
    if self.macro.imagenet:
      conv = nn.Conv(
        STEM_WIDTH, (3, 3), (2, 2), 'VALID', use_bias=False, name='stem'
      )
    else:
      width = STEM_FACTOR * self.macro.widths[0]
      conv = _conv(width, (3, 3), name='stem')
    return block.batch_norm(train, 'stem_bn')(conv(images))

  def _body(self, images, train, progress):
    """The last cell's output, and the auxiliary head's if it is at work."""
    extra, stack = None, list(nasnet_plan.places(self.macro))
    x = previous = self._stem(images, train)
    for index, place in enumerate(stack):
      rate = None
      if train and self.drop_path:
        rate = drop_paths.scheduled(self.drop_path, progress, index, len(stack))
      plan = self.reduction if place.reduction else self.normal
      cell = Cell(plan, place.width, name=place.name)
      previous, x = x, cell(previous, x, train, rate)
      if index == 2 * len(stack) // 3 and self._has_head(train):
        head = block.AuxiliaryHead(self.num_classes, name='auxiliary')
        extra = head(x, train)
    return x, extra

  def _has_head(self, train):
    return self.auxiliary and (train or self.is_initializing())


def network(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
) -> NasnetNetwork:
  """The network of one architecture [2, V] of the NASNet space.

  `operations` names the rows that Graph.ops points to.

  Raises:
    ValueError: if the graph is not of two cells.
  """
  return NasnetNetwork(
    *nasnet_plan.plans_of(graph, operations), macro, num_classes
  )
