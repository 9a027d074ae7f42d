"""What the layers of a NASNet cell may be, as branches of one program.

An operation of the space is one or two layers: separable convolutions are
applied twice, and 1 x k and k x 1 are convolutions of their own. In the normal
cell and behind the inputs of a reduction cell a layer is one of `INNER`; what
reads an input of a reduction cell is one of `ENTRIES`, of stride 2.

Each layer has the same weights, which a branch reads a part of: `dense`
[9, C, C], one matrix a tap, and `depthwise` [7, 7, C]. As in block_ops, nothing
here is a `lax.conv`; a branch maps (kernels, x, y) to [N, H, W, C], where y is
read by the merges only.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

TAPS = 9  # matrices that are kept for a layer
LARGEST = 7  # side of the depthwise kernel that is kept


class Branch(NamedTuple):
  """What a layer may be."""

  name: str
  taps: int  # matrices that it reads
  kernel: int  # side of its depthwise kernel; 0 if it has none
  normalised: bool  # batch normalisation follows
  apply: Callable  # (kernels, x, y) -> [N, H, W, C]


def shifts(
  x: jax.Array,
  kernel: tuple[int, int],
  stride: int = 1,
  dilation: int = 1,
  fill: float = 0.0,
) -> list[jax.Array]:
  """What each tap of a kernel sees of x, row by row, padded with `fill`."""
  rows, columns = ((side // 2) * dilation for side in kernel)
  height, width = x.shape[1:3]
  pads = ((0, 0), (rows, rows), (columns, columns), (0, 0))
  x = jnp.pad(x, pads, constant_values=fill)
  return [
    x[:, i : i + height : stride, j : j + width : stride]
    for i in range(0, kernel[0] * dilation, dilation)
    for j in range(0, kernel[1] * dilation, dilation)
  ]


def middle(kernel: int) -> slice:
  """Where a depthwise kernel lies, in both directions, in the one kept."""
  first = (LARGEST - kernel) // 2
  return slice(first, first + kernel)


def factorized(weights: jax.Array, x: jax.Array) -> jax.Array:
  """Stride 2 without losing pixels: weights [D, C], x [N, H, W, D].

  The first half of the outputs is of the even pixels, the second of the odd.
  """
  half = weights.shape[-1] // 2
  odd = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1::2, 1::2]
  even = x[:, ::2, ::2]
  return jnp.concatenate(
    [even @ weights[:, :half], odd @ weights[:, half:]], axis=-1
  )


def _conv(name, kernel, dilation=1, *, stride, relu=True, normalised=True):
  taps = kernel[0] * kernel[1]

  def apply(kernels, x, y):
    del y
    x = jax.nn.relu(x) if relu else x
    seen = jnp.concatenate(shifts(x, kernel, stride, dilation), axis=-1)
    weights = kernels['dense'][:taps]
    return seen @ weights.reshape(-1, weights.shape[-1])

  return Branch(name, taps, 0, normalised, apply)


def _sep_conv(name, kernel, *, stride):
  def apply(kernels, x, y):
    del y
    span = middle(kernel)
    rows = kernels['depthwise'][span, span].reshape(kernel**2, -1)
    seen = shifts(jax.nn.relu(x), (kernel, kernel), stride)
    x = sum(shift * row for shift, row in zip(seen, rows, strict=True))
    return x @ kernels['dense'][0]

  return Branch(name, 1, kernel, True, apply)


def _greatest(values):
  best, *others = values
  for other in others:  # a tie keeps the earlier, gradients included
    best = jnp.where(other > best, other, best)
  return best


def _max_pool(name, kernel, *, stride):
  def apply(kernels, x, y):
    del kernels, y
    # Rows first: of equal pixels the first in reading order stays the first.
    shift = functools.partial(shifts, fill=-jnp.inf)
    x = _greatest(shift(x, (1, kernel)))[:, :, ::stride]
    return _greatest(shift(x, (kernel, 1)))[:, ::stride]

  return Branch(name, 1, 0, False, apply)


def _avg_pool(name, kernel, *, stride):
  def apply(kernels, x, y):
    del kernels, y
    ones = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
    window = (kernel, kernel)
    return sum(shifts(x, window, stride)) / sum(shifts(ones, window, stride))

  return Branch(name, 1, 0, False, apply)


def _add(kernels, x, y):
  del kernels
  return x + y


def _concat(kernels, x, y):
  return x @ kernels['dense'][0] + y @ kernels['dense'][1]


def _factorized(kernels, x, y):
  del y
  return factorized(kernels['dense'][0], jax.nn.relu(x))


def _first_layers(stride: int) -> tuple[Branch, ...]:
  """What an operation may begin with."""
  conv = functools.partial(_conv, stride=stride)
  return (
    conv('conv_1x3', (1, 3), normalised=False),
    conv('conv_1x7', (1, 7), normalised=False),
    conv('dil_conv_3x3', (3, 3), 2),
    _avg_pool('avg_pool_3x3', 3, stride=stride),
    _max_pool('max_pool_3x3', 3, stride=stride),
    _max_pool('max_pool_5x5', 5, stride=stride),
    _max_pool('max_pool_7x7', 7, stride=stride),
    conv('conv_1x1', (1, 1)),
    conv('conv_3x3', (3, 3)),
    _sep_conv('sep_conv_3x3', 3, stride=stride),
    _sep_conv('sep_conv_5x5', 5, stride=stride),
    _sep_conv('sep_conv_7x7', 7, stride=stride),
  )


INNER = (
  *_first_layers(1),
  _conv('conv_3x1', (3, 1), stride=1, relu=False),
  _conv('conv_7x1', (7, 1), stride=1, relu=False),
  Branch('add', 1, 0, False, _add),
  Branch('concat', 2, 0, False, _concat),
)
ENTRIES = (*_first_layers(2), Branch('factorized', 1, 0, True, _factorized))

# Operations of two layers; others have one, called as they are.
TWO_LAYERS = {
  'conv_1x3_3x1': ('conv_1x3', 'conv_3x1'),
  'conv_1x7_7x1': ('conv_1x7', 'conv_7x1'),
  'sep_conv_3x3': ('sep_conv_3x3',) * 2,
  'sep_conv_5x5': ('sep_conv_5x5',) * 2,
  'sep_conv_7x7': ('sep_conv_7x7',) * 2,
}


def layers_of(operation: str, entry: bool = False) -> tuple[str, ...]:
  """The names of an operation's layers; `entry`: the first has stride 2."""
  if operation == 'identity':
    return ('conv_1x1',) if entry else ()
  return TWO_LAYERS.get(operation, (operation,))


def find(branches: tuple[Branch, ...], name: str) -> int:
  """The index of the branch of that name."""
  return [branch.name for branch in branches].index(name)
