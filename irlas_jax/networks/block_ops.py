"""The layers of a block as branches of one program.

Written so that XLA keeps its fast paths inside conditionals and loops: on CPU a
convolution is `networks.convolution`'s, elsewhere one matrix product over
gathered shifts; a pool is a fold over shifts. Inputs are [N, H, W, C]; each
branch maps (kernels, x, y) to [N, H, W, C], where `kernels` holds the weights
of one padded layer and y is read by the merges only.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.networks import convolution

REACH = 2  # kernels are stored with the largest, 5 x 5


class Branch(NamedTuple):
  """What a layer may be: its name in the space, kernel and function."""

  operation: str
  kernel: int
  apply: Callable  # (kernels, x, y) -> [N, H, W, C]


def shifts(x: jax.Array, kernel: int, fill: float) -> list[jax.Array]:
  """The kernel^2 translations of x, row by row, padded with `fill`."""
  pad = kernel // 2
  height, width = x.shape[1:3]
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=fill)
  return [
    x[:, i : i + height, j : j + width]
    for i in range(kernel)
    for j in range(kernel)
  ]


def centre(weights: jax.Array, kernel: int) -> jax.Array:
  """The middle kernel x kernel of weights [5, 5, ...]."""
  first = REACH - kernel // 2
  return weights[first : first + kernel, first : first + kernel]


def convolve(x: jax.Array, weights: jax.Array) -> jax.Array:
  """Stride 1, same size: x [N, H, W, C], weights [k, k, C, D]."""
  kernel = weights.shape[0]
  if kernel == 1:
    return convolution.pointwise(x, weights[0, 0])
  if jax.default_backend() == 'cpu':
    return convolution.convolve(x, weights, (kernel // 2, kernel // 2))
  return multiply(shifts(x, kernel, 0.0), weights)


def multiply(moved: list[jax.Array], weights: jax.Array) -> jax.Array:
  """One matrix product of k^2 shifts [N, H, W, C] and weights [k, k, C, D]."""
  patches = jnp.concatenate(moved, axis=-1)
  return patches @ weights.reshape(-1, weights.shape[-1])


def depthwise(x: jax.Array, weights: jax.Array) -> jax.Array:
  """One kernel a channel: x [N, H, W, C], weights [k, k, C]."""
  flat = weights.reshape(-1, weights.shape[-1])
  moved = shifts(x, weights.shape[0], 0.0)
  return sum(shift * row for shift, row in zip(moved, flat, strict=True))


def _conv(kernel):
  def apply(kernels, x, y):
    del y
    return convolve(jax.nn.relu(x), centre(kernels['conv'], kernel))

  return apply


def _sep_conv(kernel):
  def apply(kernels, x, y):
    del y
    x = depthwise(jax.nn.relu(x), centre(kernels['depthwise'], kernel))
    return convolution.pointwise(x, kernels['pointwise'])

  return apply


def _max_pool(kernel):
  def apply(kernels, x, y):
    del kernels, y
    best, *others = shifts(x, kernel, -jnp.inf)
    for other in others:  # a tie keeps the earlier, gradients included
      best = jnp.where(other > best, other, best)
    return best

  return apply


def _avg_pool(kernel):
  def apply(kernels, x, y):
    del kernels, y
    count = sum(shifts(jnp.ones((1, *x.shape[1:3], 1), x.dtype), kernel, 0.0))
    return sum(shifts(x, kernel, 0.0)) / count

  return apply


def _identity(kernels, x, y):
  del kernels, y
  return x


def _add(kernels, x, y):
  del kernels
  return x + y


def _concat(kernels, x, y):
  first, second = kernels['concat']
  return convolution.pointwise(x, first) + convolution.pointwise(y, second)


NORMALISED = ('conv', 'sep_conv')  # batch normalisation follows these
_FACTORIES = {
  'conv': _conv,
  'sep_conv': _sep_conv,
  'max_pool': _max_pool,
  'avg_pool': _avg_pool,
  'identity': lambda kernel: _identity,
  'add': lambda kernel: _add,
  'concat': lambda kernel: _concat,
}


def branches(choices) -> tuple[Branch, ...]:
  """A branch for each (operation, kernel) pair, in the same order."""
  return tuple(Branch(op, k, _FACTORIES[op](k)) for op, k in choices)


def kernel_shapes(made: tuple[Branch, ...], width: int) -> dict:
  """Shapes of one layer's weights that the branches can read."""
  shapes: dict[str, dict[str, tuple[int, ...]]] = {
    'conv': {'conv': (5, 5, width, width)},
    'sep_conv': {
      'depthwise': (5, 5, width),
      'pointwise': (width, width),
    },
    'concat': {'concat': (2, width, width)},
  }
  present = {branch.operation for branch in made}
  return {
    name: shape
    for operation, group in shapes.items()
    if operation in present
    for name, shape in group.items()
  }
