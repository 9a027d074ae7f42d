"""NAS-RL's layers as a program to which the architecture is data.

Images stay in the top left corner of arrays of the largest size, and channels
are the first of the most that there are; all else is kept at zero. So smaller
images that are concatenated have zeros around them, a convolution sees zeros
around its image, and weights of channels that are not there have no gradient. A
convolution of a concatenation is the sum of one for each source; a stride takes
pixels of the convolution without one.

Loops run over the layers and sources that there are. Such loops have no
automatic reverse, so that over layers is differentiated by hand: every node's
image, and every layer's before normalisation, is all that it keeps.

Shapes: `L` layers at most, `V` = L + 1 nodes, `P` = L (L + 1) / 2 pairs of a
layer and a node before it, batch `N`, image sides `H`, `W`, largest kernel `I`,
`J`, most channels `C`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block_program
from irlas_jax.networks.block_program import Leaves, at, put
from irlas_jax.types import Graph


class Limits(NamedTuple):
  """What the architectures of a space have at most."""

  num_layers: int  # L
  kernels: tuple[tuple[int, int], ...]  # heights and widths that a layer may be
  filters: int
  strided: bool  # whether a stride may be above 1
  pooled: bool  # whether pooling may follow a layer

  @property
  def largest(self) -> tuple[int, int]:
    """I and J."""
    heights, widths = zip(*self.kernels, strict=True)
    return max(heights), max(widths)


class Wiring(NamedTuple):
  """An architecture as the program reads it; sides are (height, width)."""

  num_layers: jax.Array  # [] int32
  branch: jax.Array  # [L] int32, row of `Limits.kernels`
  sources: Leaves  # nodes that each layer reads: [L, V], [L]
  strides: jax.Array  # [L, 2] int32
  pools: jax.Array  # [L] int32
  inner: jax.Array  # [L, 2] int32, sides of a layer's image before pooling
  sides: jax.Array  # [V, 2] int32, of every node's image
  widths: jax.Array  # [V] int32, channels of every node
  fan_in: jax.Array  # [L] int32
  leaves: Leaves  # nodes that are classified


def first_pair(layer):
  """The first of the pairs of a layer, from 0 on; a number or an array."""
  return layer * (layer + 1) // 2


def wire(
  graph: Graph,
  limits: Limits,
  image_shape: tuple[int, ...],
  multiplier: int,
) -> Wiring:
  """Reads a graph (traced or not); node v > 0 is its layer v - 1.

  image_shape is [H, W, channels].
  """
  attrs = jnp.asarray(graph.attrs)[1:]
  edges, outputs = jnp.asarray(graph.edges), jnp.asarray(graph.outputs)
  kernels, filters = attrs[:, :2], attrs[:, 2] * multiplier
  strides, pools = jnp.maximum(attrs[:, 3:5], 1), jnp.maximum(attrs[:, 5], 1)
  widths = jnp.append(image_shape[-1], filters)
  reads = edges[:, 1:].T  # [L, V]
  same = (kernels[:, None] == np.array(limits.kernels)).all(-1)
  inner, sides = _sides(reads, strides, pools, image_shape[:2])
  return Wiring(
    jnp.sum(jnp.asarray(graph.ops) > 0),
    jnp.argmax(same, axis=1),
    Leaves(jnp.argsort(~reads, axis=1), jnp.sum(reads, axis=1)),
    strides,
    pools,
    inner,
    sides,
    widths,
    jnp.prod(kernels, axis=1) * jnp.sum(reads * widths, axis=1),
    Leaves(jnp.argsort(outputs == 0), jnp.sum(outputs > 0)),
  )


def _sides(reads, strides, pools, image_sides):
  """Sides of each layer's image before pooling [L, 2], of nodes [V, 2]."""

  def step(sides, row):
    t, read, stride, pool = row
    most = jnp.max(jnp.where(read[:, None], sides, 0), axis=0)
    inner = -(-most // stride)
    return sides.at[t + 1].set(-(-inner // pool)), inner

  start = jnp.zeros((len(reads) + 1, 2), jnp.int32)
  start = start.at[0].set(jnp.array(image_sides, jnp.int32))
  rows = jnp.arange(len(reads)), reads, strides, pools
  sides, inner = jax.lax.scan(step, start, rows)
  return inner, sides


def only(x: jax.Array, sides: jax.Array, width: jax.Array) -> jax.Array:
  """x [N, H, W, C] where there are an image and channels, elsewhere 0."""
  rows, columns = (jnp.arange(x.shape[a]) < sides[a - 1] for a in (1, 2))
  there = jnp.arange(x.shape[-1]) < width
  return jnp.where(rows[:, None, None] & columns[:, None] & there, x, 0)


def span(kernel: int, largest: int) -> slice:
  """Where a kernel lies, in one direction, in one of the largest size."""
  first = (largest - kernel) // 2
  return slice(first, first + kernel)


def convolve(kernel: tuple[int, int], weights, x):
  """Stride 1, same size: weights [I, J, C, D], x [N, H, W, C].

  One matrix product for each row of the kernel.
  """
  (height, width), (rows, columns) = kernel, x.shape[1:3]
  weights = weights[span(height, len(weights)), span(width, weights.shape[1])]
  pads = (height // 2,) * 2, (width // 2,) * 2
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  moved = [x[:, :, j : j + columns] for j in range(width)]
  wide = jnp.concatenate(moved, axis=-1)
  flat = weights.reshape(height, -1, weights.shape[-1])
  return sum(wide[:, i : i + rows] @ flat[i] for i in range(height))


def _pull(kernel, weights, x, d_z):
  """The gradient of `convolve`: of the weights, of x."""
  convolved = functools.partial(convolve, kernel)
  return jax.vjp(convolved, weights, x)[1](d_z)


def _thin(limits: Limits, z, strides):
  """Every so many rows and columns of z, moved to the top left corner."""
  if not limits.strided:
    return z
  for axis in (1, 2):
    last = z.shape[axis] - 1
    chosen = jnp.minimum(jnp.arange(last + 1) * strides[axis - 1], last)
    z = jnp.take(z, chosen, axis=axis)
  return z


def _pool(limits: Limits, x, pool):
  """2x2 max pooling of x, which is not negative, where `pool` is 2."""
  if not limits.pooled:
    return x
  pads = [(0, 0), *((0, side % 2) for side in x.shape[1:3]), (0, 0)]
  even = jnp.pad(x, pads)
  best = even[:, ::2, ::2]
  for i, j in ((0, 1), (1, 0), (1, 1)):
    best = jnp.maximum(best, even[:, i::2, j::2])
  rest = [(0, n - m) for n, m in zip(x.shape, best.shape, strict=True)]
  return jnp.where(pool > 1, jnp.pad(best, rest), x)


def _moments(z, sides):
  """Mean and variance [C] over the image of z [N, H, W, C], 0 elsewhere."""
  wide = z.astype(jnp.promote_types(z.dtype, jnp.float32))
  count = z.shape[0] * jnp.maximum(jnp.prod(sides), 1)
  mean, square = (jnp.sum(x, (0, 1, 2)) / count for x in (wide, wide**2))
  return mean, jnp.maximum(square - mean**2, 0.0)


def _finish(limits: Limits, wiring: Wiring, t, norm, z, given):
  """From before the normalisation to a layer's image, and statistics used."""
  used = _moments(z, wiring.inner[t]) if given is None else given
  y, _ = block_program.batch_norm(norm, z, used, True)
  y = only(jax.nn.relu(y), wiring.inner[t], wiring.widths[t + 1])
  return _pool(limits, y, wiring.pools[t]), used


def _before(limits: Limits, wiring: Wiring, t, z):
  """From a convolution of stride 1 to what is normalised; linear."""
  thin = _thin(limits, z, wiring.strides[t])
  return only(thin, wiring.inner[t], wiring.widths[t + 1])


def run_layers(limits: Limits, layers, image, wiring: Wiring, running):
  """All layers in order; padding costs nothing.

  layers: `kernel` [P, I, J, C, C] and `norm` of [L, C]; image [N, H, W, C];
  running: statistics 2 x [L, C], None for those of the batch.

  Returns every node's image [V, N, H, W, C], every layer's before normalisation
  [L, N, H, W, C], and the statistics used, 2 x [L, C].
  """
  branches = [functools.partial(convolve, kernel) for kernel in limits.kernels]

  def convolved(t, nodes):
    def add(i, total):
      v = wiring.sources.nodes[t, i]
      weights = at(layers['kernel'], first_pair(t) + v)
      return total + jax.lax.switch(
        wiring.branch[t], branches, weights, at(nodes, v)
      )

    return jax.lax.fori_loop(
      0, wiring.sources.number[t], add, jnp.zeros_like(image)
    )

  def step(t, carry):
    nodes, before, stats = carry
    z = _before(limits, wiring, t, convolved(t, nodes))
    given = None if running is None else at(running, t)
    out, used = _finish(limits, wiring, t, at(layers['norm'], t), z, given)
    return nodes.at[t + 1].set(out), before.at[t].set(z), put(stats, t, used)

  blank = jnp.zeros((limits.num_layers, *image.shape), image.dtype)
  nodes = jnp.concatenate([image[None], blank])
  carry = nodes, blank, block_program.no_stats(layers)
  return jax.lax.fori_loop(0, wiring.num_layers, step, carry)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def train_layers(limits: Limits, layers, image, wiring: Wiring):
  """`run_layers` with batch statistics: (nodes, statistics)."""
  nodes, _, stats = run_layers(limits, layers, image, wiring, None)
  return nodes, stats


def _train_layers_fwd(limits, layers, image, wiring):
  nodes, before, stats = run_layers(limits, layers, image, wiring, None)
  return (nodes, stats), (layers, nodes, before, wiring)


def _train_layers_bwd(limits, residuals, cotangents):
  layers, nodes, before, wiring = residuals
  branches = [functools.partial(_pull, kernel) for kernel in limits.kernels]

  def pull_norm(t, d_out):
    """Gradients of the normalisation, and of the convolution of stride 1."""
    _, pull = jax.vjp(
      lambda norm, z: _finish(limits, wiring, t, norm, z, None)[0],
      at(layers['norm'], t),
      at(before, t),
    )
    d_norm, d_z = pull(d_out)
    thinned = functools.partial(_before, limits, wiring, t)
    return d_norm, *jax.vjp(thinned, jnp.zeros_like(d_z))[1](d_z)

  def step(i, carry):
    t = wiring.num_layers - 1 - i
    d_norm, d_z = pull_norm(t, at(carry[0], t + 1))

    def pull_source(k, carry):
      d_nodes, d_kernel = carry
      v = wiring.sources.nodes[t, k]
      pair = first_pair(t) + v
      d_weights, d_x = jax.lax.switch(
        wiring.branch[t],
        branches,
        at(layers['kernel'], pair),
        at(nodes, v),
        d_z,
      )
      return d_nodes.at[v].add(d_x), d_kernel.at[pair].set(d_weights)

    d_nodes, d_kernel = jax.lax.fori_loop(
      0, wiring.sources.number[t], pull_source, (carry[0], carry[1])
    )
    return d_nodes, d_kernel, put(carry[2], t, d_norm)

  zeros = jax.tree.map(jnp.zeros_like, layers)
  d_nodes, d_kernel, d_norm = jax.lax.fori_loop(
    0,
    wiring.num_layers,
    step,
    (cotangents[0], zeros['kernel'], zeros['norm']),
  )
  return {'kernel': d_kernel, 'norm': d_norm}, d_nodes[0], None


train_layers.defvjp(_train_layers_fwd, _train_layers_bwd)
