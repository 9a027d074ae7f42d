"""NAS-Bench-201's networks with all operations of an edge at once.

As in DARTS (Liu et al. 2019) an edge is a sum of its operations by weights, and
the macro-architecture is the benchmark's (Dong & Yang, ICLR 2020), see
`networks.nasbench201`. Normalisations are of the batch, without scale and
shift, which would take the place of the weights. Equal operations of the edges
that leave a node are one convolution.

`E` = 6 edges, `O` operations, images [N, H, W, C].
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import (
  block,
  block_ops,
  convolution,
  nasbench201,
  nasbench201_program,
)

EDGES = nasbench201_program.EDGES
_NODES = nasbench201_program.OUTPUT + 1
# Leading axes of a stage's kernels: cells and edges.
STACKED = {'nor_conv_1x1': 2, 'nor_conv_3x3': 2}


def normalised(x: jax.Array) -> jax.Array:
  """x [N, H, W, ...] with mean 0 and variance 1 over images and pixels."""
  mean = x.mean(axis=(0, 1, 2))
  variance = jnp.square(x - mean).mean(axis=(0, 1, 2))
  return (x - mean) * jax.lax.rsqrt(variance + block.BN_EPSILON)


def _kernels(module, name, *shape):
  """The kernels of all edges, [E, k, k, C, D] or [E, C, D]."""
  init = nn.initializers.lecun_normal(batch_axis=0)
  return module.param(name, init, shape)


class MixedCell(nn.Module):
  """[N, H, W, C] to the same shape; `weights` [E, O] of the operations."""

  operations: tuple[str, ...]

  @nn.compact
  def __call__(self, x: jax.Array, weights: jax.Array):
    width, count = x.shape[-1], len(EDGES)
    kernels = {
      'nor_conv_1x1': _kernels(self, 'nor_conv_1x1', count, width, width),
      'nor_conv_3x3': _kernels(self, 'nor_conv_3x3', count, 3, 3, width, width),
    }
    values: list = [x] + [None] * (_NODES - 1)
    for source in range(_NODES - 1):
      edges = [e for e, edge in enumerate(EDGES) if edge[0] == source]
      results = self._edges(values[source], kernels, edges, weights)
      for e, result in zip(edges, results, strict=True):
        before = values[EDGES[e][1]]
        values[EDGES[e][1]] = result if before is None else before + result
    return values[-1], None

  def _edges(self, x, kernels, edges, weights):
    """What leaves a node along each of its edges."""
    active, plain = nn.relu(x), nasbench201_program.PLAIN
    rows = np.array(edges)
    found = {
      name: plain[name](x) for name in self.operations if name in plain
    } | {
      name: normalised(_side_by_side(active, kernels[name][rows]))
      for name in self.operations
      if name in kernels
    }
    for i, e in enumerate(edges):
      yield sum(
        weights[e, o]
        * (found[name] if name in plain else found[name][..., i, :])
        for o, name in enumerate(self.operations)
        if name != 'none'  # adds nothing
      )


def _side_by_side(x, kernels):
  """T convolutions as one: kernels [T, ..., C, D] -> [N, H, W, T, D]."""
  count, width = kernels.shape[0], kernels.shape[-1]
  wide = jnp.moveaxis(kernels, 0, -2).reshape(*kernels.shape[1:-1], -1)
  convolve = convolution.pointwise if wide.ndim == 2 else block_ops.convolve
  return convolve(x, wide).reshape(*x.shape[:3], count, width)


class Reduction(nn.Module):
  """Halves the image: [N, H, W, C] to [N, H / 2, W / 2, width]."""

  width: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    init, before = nn.initializers.lecun_normal(), x.shape[-1]
    shape = (3, 3, before, self.width)
    first = self.param('conv1', init, shape)
    second = self.param('conv2', init, (*shape[:2], self.width, self.width))
    shortcut = self.param('shortcut', init, (before, self.width))
    y = normalised(convolution.halve(nn.relu(x), first))
    y = normalised(block_ops.convolve(nn.relu(y), second))
    count, height, width, _ = x.shape
    squares = x.reshape(count, height // 2, 2, width // 2, 2, before)
    return convolution.pointwise(squares.mean(axis=(2, 4)), shortcut) + y


class MixedNetwork(nn.Module):
  """A classifier made of one mixed cell; the weights of a stage's are stacked.

  Cells of a stage are one scan, so the depth costs no compile time.
  """

  operations: tuple[str, ...]
  macro: block.Macro
  num_classes: int

  @nn.compact
  def __call__(self, images: jax.Array, weights: jax.Array) -> jax.Array:
    """Logits [N, num_classes]; weights [E, O] are the same in all cells."""
    nasbench201.check_image(self.macro, images.shape[1:])
    init = nn.initializers.lecun_normal()
    shape = (3, 3, images.shape[-1], self.macro.widths[0])
    stem = self.param('stem', init, shape)
    x = normalised(block_ops.convolve(images, stem))
    stages = zip(self.macro.widths, self.macro.blocks, strict=True)
    for stage, (width, count) in enumerate(stages):
      if stage > 0:
        x = Reduction(width, name=f'stage{stage}_reduce')(x)
      cells = nn.scan(
        MixedCell,
        variable_axes={'params': 0},
        split_rngs={'params': True},
        in_axes=nn.broadcast,
        length=count,
      )(self.operations, name=f'stage{stage}_cells')
      x, _ = cells(x, weights)
    x = nn.relu(normalised(x)).mean(axis=(1, 2))
    return nn.Dense(self.num_classes, name='head')(x)
