"""The layers of a chain as a program to which the chain is data.

Images stay in the top left corner of arrays of the largest size, and channels
are the first of the most that there are; all else is kept at zero. So a
convolution sees zeros around its image, and weights of channels that are not
there have no gradient.

A convolution of an image that has become small computes a corner only. The loop
over layers computes a layer again when it is differentiated, so that
its residuals are its inputs, and not those of every operation that it may be.

Shapes: `L` layers at most, batch `N`, `S` the largest side, `K` the largest
kernel, `C` the most filters.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block_ops, block_program
from irlas_jax.networks.metaqnn import Layer
from irlas_jax.types import Graph


class Limits(NamedTuple):
  """What the chains of a space have at most."""

  image_size: int  # S
  num_layers: int  # L, convolutions and pools
  dense_size: int  # side of what a fully connected layer reads
  choices: tuple[Layer, ...]  # what a layer may be

  def largest(self, operation: str, attribute: str) -> int:
    """The largest attribute of an operation's choices; 1 if there are none."""
    found = (x for x in self.choices if x.operation == operation)
    return max((getattr(x, attribute) for x in found), default=1)


class Wiring(NamedTuple):
  """A chain as the program reads it."""

  branch: jax.Array  # [L] int32, row of `branches`
  is_conv: jax.Array  # [L] bool
  sides: jax.Array  # [L + 1] int32, before the first layer and after each
  widths: jax.Array  # [L + 1] int32, likewise
  fan_in: jax.Array  # [L] int32, of each as a convolution
  units: (
    jax.Array
  )  # [2] int32, of fully connected layers; 0 where there is none
  averages: jax.Array  # [] bool, ends with global average pooling


class Window(NamedTuple):
  """What tells convolutions and pools apart."""

  operation: str
  kernel: int
  stride: int
  extent: int  # side of what is computed; the image is not larger


def extents(limits: Limits) -> tuple[int, ...]:
  """What convolutions may have to compute: a quarter, a half, or all of S."""
  size = limits.image_size
  return tuple(sorted({-(-size // 4), -(-size // 2), size}))


def branches(limits: Limits) -> tuple[Window, ...]:
  """What a layer of the loop may be; the first is none."""
  found = {
    Window(layer.operation, layer.kernel, layer.stride, extent)
    for layer in limits.choices
    if layer.kernel <= limits.image_size
    for extent in _extents_of(layer.operation, limits)
  }
  return (Window('none', 1, 1, limits.image_size), *sorted(found))


def _extents_of(operation: str, limits: Limits) -> tuple[int, ...]:
  """A pool costs little and computes all; others are not in the loop."""
  whole = {'conv': extents(limits), 'max_pool': (limits.image_size,)}
  return whole.get(operation, ())


def wire(
  graph: Graph,
  operations: tuple[str, ...],
  limits: Limits,
  channels: int,
  multiplier: int,
) -> Wiring:
  """Reads a chain (traced or not); node v > 0 is its layer v."""
  ops = jnp.asarray(graph.ops)[1:]
  size, kernel, stride = jnp.asarray(graph.attrs)[1:].T
  is_conv, is_pool, is_dense, averages = (
    ops == operations.index(name)
    for name in ('conv', 'max_pool', 'fully_connected', 'global_avg_pool')
  )
  every = _Loop(ops, is_conv, is_pool, size * multiplier, kernel, stride)
  loop = _Loop(*(x[: limits.num_layers] for x in every))
  sides, widths = _sizes(loop, limits, channels)
  order = jnp.cumsum(is_dense) * is_dense  # 1 and 2 where there is one
  units = every.size * (order == jnp.array([[1], [2]]))
  return Wiring(
    _branch(loop, sides[:-1], operations, limits),
    loop.is_conv,
    sides,
    widths,
    jnp.where(loop.is_conv, loop.kernel**2 * widths[:-1], 1),
    units.sum(1),
    averages.any(),
  )


class _Loop(NamedTuple):
  """The layers of the loop, [L] each; sizes are multiplied."""

  ops: jax.Array
  is_conv: jax.Array
  is_pool: jax.Array
  size: jax.Array
  kernel: jax.Array
  stride: jax.Array


def _branch(loop: _Loop, sides, operations, limits: Limits) -> jax.Array:
  """Row of `branches` [L], for images of `sides` [L]."""
  table = [(operations.index(x[0]), *x[1:]) for x in branches(limits)[1:]]
  sizes = jnp.asarray(extents(limits))
  extent = sizes[jnp.sum(sides[:, None] > sizes[:-1], axis=1)]
  extent = jnp.where(loop.is_conv, extent, limits.image_size)
  ours = jnp.stack([loop.ops, loop.kernel, loop.stride, extent], axis=1)
  same = (ours[:, None] == np.array(table)).all(-1)
  return jnp.where(same.any(1), jnp.argmax(same, axis=1) + 1, 0)


def _sizes(loop: _Loop, limits: Limits, channels: int):
  """Sides and widths [L + 1] before the first layer and after each."""

  def step(carry, row):
    side, width = carry
    pooled = (side - row.kernel) // jnp.maximum(row.stride, 1) + 1
    after = (
      jnp.where(row.is_pool, pooled, side),
      jnp.where(row.is_conv, row.size, width),
    )
    return after, after

  start = jnp.int32(limits.image_size), jnp.int32(channels)
  _, after = jax.lax.scan(step, start, loop)
  return tuple(
    jnp.concatenate([first[None], rest])
    for first, rest in zip(start, after, strict=True)
  )


def only(x: jax.Array, side: jax.Array, width: jax.Array) -> jax.Array:
  """x [N, S, S, C] where there are an image and channels, elsewhere 0."""
  inside = jnp.arange(x.shape[1]) < side
  there = jnp.arange(x.shape[-1]) < width
  mask = inside[:, None, None] & inside[:, None] & there
  return jnp.where(mask, x, 0)


def span(kernel: int, largest: int) -> slice:
  """Where a kernel lies, in both directions, in one of the largest size."""
  first = (largest - kernel) // 2
  return slice(first, first + kernel)


def _function(window: Window, weights: jax.Array, x: jax.Array) -> jax.Array:
  """A layer before its normalisation: [N, S, S, C] to the same."""
  if window.operation == 'none':
    return x
  if window.operation == 'conv':
    cut, inside = span(window.kernel, len(weights)), slice(window.extent)
    return _grow(block_ops.convolve(x[:, inside, inside], weights[cut, cut]), x)
  return _max_pool(x, window.kernel, window.stride)


def _max_pool(x, kernel, stride):
  """Maxima of whole windows, in the top left corner of x's shape."""
  number = (x.shape[1] - kernel) // stride + 1
  reach = stride * (number - 1) + 1
  best, *others = (
    x[:, i : i + reach : stride, j : j + reach : stride]
    for i in range(kernel)
    for j in range(kernel)
  )
  for other in others:  # a tie keeps the earlier, gradients included
    best = jnp.where(other > best, other, best)
  return _grow(best, x)


def _grow(corner, x):
  """The top left corner of an image of x's size, which is 0 elsewhere."""
  rest = x.shape[1] - corner.shape[1]
  return jnp.pad(corner, ((0, 0), (0, rest), (0, rest), (0, 0)))


def _moments(z, side):
  """Mean and variance [C] over the image of z [N, S, S, C], 0 elsewhere."""
  wide = z.astype(jnp.promote_types(z.dtype, jnp.float32))
  count = z.shape[0] * side**2
  mean, square = (jnp.sum(x, (0, 1, 2)) / count for x in (wide, wide**2))
  return mean, jnp.maximum(square - mean**2, 0.0)


def run_layers(
  windows: Sequence[Window], layers, x: jax.Array, wiring: Wiring, running
):
  """All convolutions and pools, in order.

  layers: `kernel` [L, K, K, C, C] and `norm` of [L, C]; running: statistics 2 x
  [L, C], None for those of the batch. Returns [N, S, S, C] and the statistics
  used.
  """
  functions = [functools.partial(_function, window) for window in windows]

  def step(x, row):
    layer, branch, is_conv, side, width, stats = row
    z = jax.lax.switch(branch, functions, layer['kernel'], x)
    z = only(z, side, width)
    given = _moments(z, side) if stats is None else stats
    y, used = block_program.batch_norm(layer['norm'], z, given, is_conv)
    return only(jnp.where(is_conv, jax.nn.relu(y), y), side, width), used

  rows = (
    *(layers, wiring.branch, wiring.is_conv),
    *(wiring.sides[1:], wiring.widths[1:], running),
  )
  return jax.lax.scan(jax.checkpoint(step, prevent_cse=False), x, rows)
