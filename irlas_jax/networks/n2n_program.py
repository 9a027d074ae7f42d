"""The students of a teacher as a program to which the student is data.

The teacher's layers are the program's structure: images have their static
sizes, and weights their shapes. What a student is comes as masks: which layers
it keeps, how many of their channels, and how much of the middle of their
kernels. Channels that are not there are zero, so their weights have no
gradient. A layer that was removed passes on what it reads, without being
computed unless several students are trained side by side.

Shapes: `L` layers of the teacher, batch `N`, image sides `H`, `W`, channels `C`
before a layer and `D` after it, both the most that there may be.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.networks import block_ops, block_program, convolution, n2n
from irlas_jax.networks.n2n import Layer
from irlas_jax.types import Graph


class Slot(NamedTuple):
  """A layer of the teacher as the program has it; all static."""

  layer: Layer
  name: str  # of its weights
  sides: tuple[int, int]  # of what it reads and makes
  reads: int  # channels at most
  makes: int  # channels at most
  removable: bool
  first: int  # if a shortcut ends here, where it began; else -1
  stride: int  # of what that goes around, all together


class Wiring(NamedTuple):
  """A student as the program reads it."""

  kept: jax.Array  # [L] bool
  sizes: jax.Array  # [L] int32, filters or units
  kernels: jax.Array  # [L] int32
  ends: jax.Array  # [L] bool: a shortcut ends here
  reads: Sequence[jax.Array]  # L + 1 of [] int32: channels before, and at last


def slots(
  teacher: Sequence[Layer], image_size: int, channels: int
) -> tuple[Slot, ...]:
  """The program's layers for images [image_size, image_size, channels]."""
  found: list[Slot] = []
  side, width, first, stride = image_size, channels, 0, 1
  made = n2n.sides(teacher, image_size)
  for i, (layer, after) in enumerate(zip(teacher, made, strict=True)):
    if layer.skip_start:
      first, stride = i, 1
    stride *= max(layer.stride, 1)
    removable = i > 0 and layer.operation == 'conv' and layer.stride == 1
    makes = max(width if removable or not layer.size else 0, layer.size)
    begun = first if layer.skip_end else -1
    found.append(
      Slot(
        layer,
        f'layer{i}',
        (side, after),
        width,
        makes,
        removable,
        begun,
        stride,
      )
    )
    side, width = after, makes
  return tuple(found)


def wire(graph: Graph, plan: Sequence[Slot], channels: int) -> Wiring:
  """Reads a student (traced or not) into the places of its layers."""
  count = len(plan)
  real = jnp.asarray(graph.ops)[1:] >= 0
  attrs = jnp.asarray(graph.attrs)[1:]
  places = jnp.where(real, attrs[:, 5], count)
  rows = jnp.zeros((count, 6), jnp.int32).at[places].set(attrs, mode='drop')
  kept = jnp.zeros(count, bool).at[places].set(True, mode='drop')
  reads = [jnp.int32(channels)]
  for i, slot in enumerate(plan):
    makes = rows[i, 0] if slot.layer.size else reads[i]
    reads.append(jnp.where(kept[i], makes, reads[i]))
  return Wiring(kept, rows[:, 0], rows[:, 1], rows[:, 4] > 0, reads)


def fit(x: jax.Array, width: int) -> jax.Array:
  """[..., C] with more channels, which are 0, or without its last ones."""
  rest = max(width - x.shape[-1], 0)
  return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, rest)])[..., :width]


def first_row(kernel, largest: int):
  """Where a kernel begins in the largest one: both read the same pixels."""
  return (largest - 1) // 2 - (kernel - 1) // 2


def _middle(weights: jax.Array, kernel: jax.Array) -> jax.Array:
  """Weights [k, k, ...] with zeros around the middle kernel x kernel."""
  rows = jnp.arange(len(weights)) - first_row(kernel, len(weights))
  inside = (rows >= 0) & (rows < kernel)
  mask = (inside[:, None] & inside)[..., None, None]
  return jnp.where(mask, weights, 0)


def _convolve(x: jax.Array, weights: jax.Array, stride: int) -> jax.Array:
  """x [N, H, W, C] padded as `n2n.pads` says, weights [k, k, C, D]."""
  if len(weights) % 2 == 0:
    weights = jnp.pad(weights, ((1, 0), (1, 0), (0, 0), (0, 0)))
  even = x.shape[1] % 2 == 0 and x.shape[2] % 2 == 0
  if stride == 2 and len(weights) == 3 and even:
    return convolution.halve(x, weights)
  if stride > 1 and len(weights) == 1:
    return block_ops.convolve(x[:, ::stride, ::stride], weights)
  return block_ops.convolve(x, weights)[:, ::stride, ::stride]


def _only(x: jax.Array, width: jax.Array) -> jax.Array:
  """x [..., C] with zeros from channel `width` on."""
  return jnp.where(jnp.arange(x.shape[-1]) < width, x, 0)


def normalised(weights, x, stride: int, width, running, train: bool):
  """Convolution and normalisation: ([N, H, W, D], statistics used)."""
  z = _convolve(x, weights['kernel'], stride)
  given = None if train else running
  y, used = block_program.batch_norm(weights['norm'], z, given, True)
  return _only(y, width), used


def _pool(x: jax.Array, layer: Layer, side: int) -> jax.Array:
  """Whole windows, of which `side` fit in each direction."""
  reach = layer.stride * (side - 1) + 1
  views = [
    x[:, i : i + reach : layer.stride, j : j + reach : layer.stride]
    for i in range(layer.kernel)
    for j in range(layer.kernel)
  ]
  if layer.operation == 'avg_pool':
    return sum(views[1:], views[0]) / len(views)
  best, *others = views
  for other in others:  # a tie keeps the earlier, gradients included
    best = jnp.where(other > best, other, best)
  return best


def _dense(weights, x, width):
  """Fully connected, ReLU: [N, H, W, C] to [N, 1, 1, D]."""
  kernel = weights['kernel'].reshape(-1, weights['kernel'].shape[-1])
  y = jax.nn.relu(x.reshape(len(x), -1) @ kernel + weights['bias'])
  return _only(y, width)[:, None, None]


def _layer(slot: Slot, i: int, params, running, wiring: Wiring, x, train):
  """One layer: ([N, H, W, D], statistics used, None without any)."""
  layer = slot.layer
  match layer.operation:
    case 'conv':
      pass
    case 'fully_connected':
      return _dense(params[slot.name], x, wiring.sizes[i]), None
    case 'global_avg_pool':
      return x.mean(axis=(1, 2), keepdims=True), None
    case _:
      return _pool(x, layer, slot.sides[1]), None
  weights, stats = params[slot.name], running[slot.name]

  def run(x):
    kernel = _middle(weights['kernel'], wiring.kernels[i])
    y, used = normalised(
      weights | {'kernel': kernel},
      x,
      layer.stride,
      wiring.sizes[i],
      stats,
      train,
    )
    y = jnp.where(wiring.ends[i], y, jax.nn.relu(y))
    return fit(y, slot.makes), used

  if not slot.removable:
    return run(x)
  return jax.lax.cond(
    wiring.kept[i], run, lambda x: (fit(x, slot.makes), stats), x
  )


def shortcut_name(i: int) -> str:
  """Of the weights of a shortcut that ends after layer i of the teacher."""
  return f'shortcut{i}'


def projects(plan, i: int, wiring: Wiring) -> jax.Array:
  """[] bool, whether the shortcut that ends after layer i changes shapes."""
  slot = plan[i]
  begins = plan[slot.first]
  resized = begins.sides[0] != slot.sides[1]
  return (wiring.reads[slot.first] != wiring.reads[i + 1]) | resized


def _join(plan, i, params, running, wiring: Wiring, entry, x, train):
  """relu(x + shortcut of `entry`), or x if all it goes around was removed."""
  name, slot = shortcut_name(i), plan[i]
  weights, stats, width = params[name], running[name], wiring.reads[i + 1]

  def project(entry):
    return normalised(weights, entry, slot.stride, width, stats, train)

  def same(entry):
    return fit(entry[:, : x.shape[1], : x.shape[2]], x.shape[-1]), stats

  is_there = wiring.kept[slot.first : i + 1].any()
  added, used = jax.lax.cond(
    is_there & projects(plan, i, wiring), project, same, entry
  )
  return jnp.where(is_there, jax.nn.relu(x + added), x), used


def run_layers(plan, params, running, wiring: Wiring, x, train: bool):
  """All layers in order: ([N, H, W, D], statistics used by name)."""
  used, entries = {}, {}
  for i, slot in enumerate(plan):
    if slot.layer.skip_start:
      entries[i] = x
    x, stats = _layer(slot, i, params, running, wiring, x, train)
    if stats is not None:
      used[slot.name] = stats
    if slot.first >= 0:
      x, stats = _join(
        plan, i, params, running, wiring, entries[slot.first], x, train
      )
      used[shortcut_name(i)] = stats
  return x, used
