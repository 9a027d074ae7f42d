"""One cell of NAS-Bench-101 as a program to which the cell is data.

Every vertex has the cell's full width; a mask leaves the channels that it has.
So padding costs what the widest cell costs, but the numbers are the plain
network's: what is masked is zero, and so are its gradients.

Each operation is differentiated by hand: its input and its value before
normalisation are all that its gradient needs, so that the branches of
`lax.switch` write no residuals.

Shapes: `S` = 5 vertices between input and output, batch `N`, image sides `H`,
`W`, width `C`, `D` the width before the cell.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block_ops, block_program, convolution
from irlas_jax.types import Graph

LARGEST = 3  # all kernels are stored with this size
CONVOLUTIONS = {'conv1x1': 1, 'conv3x3': 3}
PLAIN = ('none', 'maxpool3x3')
BRANCHES = (*PLAIN, *CONVOLUTIONS)  # of a vertex; none: there is no vertex


class Wiring(NamedTuple):
  """A cell as the program reads it; slot s is vertex s + 1."""

  branches: jax.Array  # [S] int32, of BRANCHES
  reads: jax.Array  # [S, S] bool, slot s is read by slot t
  projected: jax.Array  # [S + 1] bool, reads the input; the output is last
  joined: jax.Array  # [S] bool, read by the output


def wire(graph: Graph, operations: tuple[str, ...]) -> Wiring:
  """Reads a pruned Graph (traced or not) of V = S + 2 nodes or fewer."""
  table = np.zeros(len(operations) + 1, np.int32)  # the last row is padding
  for branch, name in enumerate(BRANCHES):
    if name in operations:
      table[operations.index(name)] = branch
  edges = jnp.asarray(graph.edges, bool)
  output = jnp.argmax(jnp.asarray(graph.outputs))
  between = slice(1, -1)
  is_between = jnp.arange(len(edges))[between] < output
  return Wiring(
    jnp.asarray(table)[jnp.asarray(graph.ops)[between]],
    edges[between, between] & is_between,
    jnp.append(edges[0, between] & is_between, edges[0, output]),
    edges[between, output],
  )


def channels_of(wiring: Wiring, width: int) -> jax.Array:
  """Channels [S] of the slots of a cell of `width`: see vertex_channels."""
  joined = wiring.joined
  share, rest = jnp.divmod(width, jnp.maximum(joined.sum(), 1))
  split = share + (jnp.cumsum(joined) <= rest)
  channels = jnp.where(joined, split, 0)
  for slot in reversed(range(len(channels))):  # readers come later
    widest = jnp.where(wiring.reads[slot], channels, 0).max()
    follow = jnp.where(joined[slot], 0, widest)
    channels = channels.at[slot].max(follow)
  return channels


def middle(kernel_size: int) -> slice:
  """Where a kernel lies, in both directions, in one of the largest size."""
  first = (LARGEST - kernel_size) // 2
  return slice(first, first + kernel_size)


def _convolve(size, kernel, x):
  if kernel.ndim == 2:  # of a projection
    return convolution.pointwise(x, kernel)
  return block_ops.convolve(x, kernel[middle(size), middle(size)])


def _normalise(norm, z, stats):
  z, stats = block_program.batch_norm(norm, z, stats, True)
  return jax.nn.relu(z), stats


def conv_bn_relu(part, x, stats, size=1):
  """Convolution, normalisation, ReLU: output, z, statistics used."""
  z = _convolve(size, part['kernel'], x)
  out, stats = _normalise(part['norm'], z, stats)
  return out, z, stats


def _conv_gradient(part, x, z, d_out, size=1):
  _, pull = jax.vjp(lambda n, z: _normalise(n, z, None)[0], part['norm'], z)
  d_norm, d_z = pull(d_out)
  convolve = functools.partial(_convolve, size)
  d_kernel, d_x = jax.vjp(convolve, part['kernel'], x)[1](d_z)
  return {'kernel': d_kernel, 'norm': d_norm}, d_x


def _no_output(part, x):
  shape = (*x.shape[:3], part['norm']['bias'].shape[0])
  return jnp.zeros(shape, x.dtype)


def _max_pool(part, x):
  del part
  best, *others = block_ops.shifts(x, 3, -jnp.inf)
  for other in others:  # a tie keeps the earlier, gradients included
    best = jnp.where(other > best, other, best)
  return best


def _plain(apply):
  """A branch without weights, and its gradient."""

  def forward(part, x, stats):
    if stats is None:
      precision = jnp.promote_types(x.dtype, jnp.float32)
      stats = (jnp.zeros_like(part['norm']['bias'], precision),) * 2
    out = apply(part, x)
    return out, jnp.zeros_like(out), stats

  def gradient(part, x, z, d_out):
    del z
    (d_x,) = jax.vjp(functools.partial(apply, part), x)[1](d_out)
    return jax.tree.map(jnp.zeros_like, part), d_x

  return forward, gradient


def _conv(size):
  return (
    functools.partial(conv_bn_relu, size=size),
    functools.partial(_conv_gradient, size=size),
  )


_PROJECT = tuple(zip(_plain(_no_output), _conv(1), strict=True))
_VERTEX = tuple(
  zip(
    _plain(_no_output),
    _plain(_max_pool),
    *(_conv(size) for size in CONVOLUTIONS.values()),
    strict=True,
  )
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _train(branches, part, x, branch):
  """One of the branches with the batch's statistics: output, statistics."""
  out, _, stats = jax.lax.switch(branch, branches[0], part, x, None)
  return out, stats


def _train_fwd(branches, part, x, branch):
  out, z, stats = jax.lax.switch(branch, branches[0], part, x, None)
  return (out, stats), (part, x, z, branch)


def _train_bwd(branches, residuals, cotangents):
  part, x, z, branch = residuals
  d_part, d_x = jax.lax.switch(branch, branches[1], part, x, z, cotangents[0])
  return d_part, d_x, None


_train.defvjp(_train_fwd, _train_bwd)


def _apply(branches, part, x, branch, stats):
  if stats is None:
    return _train(branches, part, x, branch)
  out, _, stats = jax.lax.switch(branch, branches[0], part, x, stats)
  return out, stats


def _at(tree, s):
  return jax.tree.map(lambda x: x[s], tree)


def _stack(trees):
  return jax.tree.map(lambda *rows: jnp.stack(rows), *trees)


def run_cell(cell, x, wiring: Wiring, running):
  """One cell: x [N, H, W, D] -> [N, H, W, C] and the statistics used.

  `cell` has the parts `project` (kernels [S + 1, D, C]) and `vertex` (kernels
  [S, 3, 3, C, C]), each with a norm; `running` None means training.
  """
  width = cell['vertex']['kernel'].shape[-1]
  channels = channels_of(wiring, width)
  masks = jnp.arange(width) < channels[:, None]
  offsets = jnp.cumsum(jnp.where(wiring.joined, channels, 0)) - channels
  running = running or {'project': None, 'vertex': None}

  def project(s):
    branch = wiring.projected[s].astype(jnp.int32)
    part, stats = _at((cell['project'], running['project']), s)
    return _apply(_PROJECT, part, x, branch, stats)

  values: list[jax.Array] = []
  project_stats, vertex_stats = [], []
  number = len(channels)
  for s in range(number):
    total, used = project(s)
    project_stats.append(used)
    for earlier, value in enumerate(values):
      total += jnp.where(wiring.reads[earlier, s], value, 0)
    total = jnp.where(masks[s], total, 0)
    part, stats = _at((cell['vertex'], running['vertex']), s)
    value, used = _apply(_VERTEX, part, total, wiring.branches[s], stats)
    vertex_stats.append(used)
    values.append(jnp.where(masks[s], value, 0))
  out, used = project(number)
  project_stats.append(used)
  for s, value in enumerate(values):
    moved = jnp.roll(value, offsets[s], axis=-1)
    out += jnp.where(wiring.joined[s], moved, 0)
  stats = {'project': _stack(project_stats), 'vertex': _stack(vertex_stats)}
  return out, stats
