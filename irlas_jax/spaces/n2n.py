"""Students of a teacher network: which layers stay, and how much of them.

Ashok et al., "N2N learning: network to network compression via policy gradient
reinforcement learning", ICLR 2018 (arXiv 1709.06030). Two stages, two spaces:
`removal` decides of every layer whether it stays, `shrinkage` what share of a
layer's kernel and filters does. The second one's teacher is what the first one
found.

Rules of the paper: the first layer, the last one, dense and average pooling
layers and what has a stride are not removed; shares are one of eleven, 1/2 five
times among them; 10 filters and a kernel of 1 are the least; inside of networks
with shortcuts only the filters of a block's first convolution shrink. (As many
as there are if they are fewer than 10.)

Ours: max pools stay, and strides and padding are not searched, because in the
one program that trains all students images have static sizes. What fully
connected layers are shrunk to is a share of their units. Of equal neighbours in
one chain or block the first ones stay, so that students which are the same
network are one architecture.

Shapes: `L` layers of the teacher, `T` = L or 2 L steps, `A` actions, `V` =
L + 1 nodes, node 0 being the image.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.spaces import genotypes, layer_table
from irlas_jax.spaces.layer_table import OPERATIONS, Layer, Layers
from irlas_jax.types import Graph, Space

ATTRIBUTES = (
  'size',  # filters or units
  'kernel',
  'stride',
  'skip_start',  # 1: a shortcut begins before this layer
  'skip_end',  # 1: it ends after this layer
  'layer',  # of the teacher, from 0 on
)
STAGES = ('removal', 'shrinkage')
PERCENTS = (25, 50, 50, 50, 50, 50, 60, 70, 80, 90, 100)
REMOVE, KEEP = 0, 1
_ALL = len(PERCENTS) - 1  # the action that keeps a field as it is


class _Table(NamedTuple):
  """A teacher as arrays."""

  ops: np.ndarray  # [L]
  sizes: np.ndarray  # [L, 3] size, kernel and stride
  block: np.ndarray  # [L] which shortcut goes around it; -1: none


def n2n(teacher: tuple[Layer, ...], stage: str) -> Space:
  """The students of one stage. A value table tells step and last action apart.

  `layers` of the space, what a policy reads of the teacher, has the operation
  (one-hot), kernel, stride, size and both ends of shortcuts, on scales of about
  1. Padding follows from the kernel and is left out.

  Raises:
    ValueError: for another stage, or a teacher that has lost layers.
  """
  if stage not in STAGES or None in teacher:
    raise ValueError(
      f'stage is {stage!r}: choose one of {", ".join(STAGES)}, and a teacher '
      'without removed layers.'
    )
  table = _table(teacher)
  make = _removal if stage == 'removal' else _shrinkage
  masks, kept_fn, encode = make(teacher, table)
  num_steps, num_actions = masks.shape

  def legal(actions, t):
    del actions
    return jnp.asarray(masks)[t]

  def state(actions, t):
    last = jnp.where(t > 0, actions[jnp.maximum(t - 1, 0)], 0)
    return (t * num_actions + last).astype(jnp.int32)

  def decode(actions):
    return _graph(table, *kept_fn(jnp.asarray(actions, jnp.int32)))

  return Space(
    num_steps,
    num_actions,
    num_steps * num_actions,
    legal,
    state,
    decode,
    encode,
    OPERATIONS,
    ATTRIBUTES,
    terminal=False,
    layers=_seen(teacher),
  )


def removable(teacher: tuple[Layer, ...]) -> np.ndarray:
  """Which layers may be removed: [L] bool."""
  return np.array(
    [
      i > 0 and layer.operation == 'conv' and layer.stride == 1
      for i, layer in enumerate(teacher)
    ]
  )


def _removal(teacher, table: _Table):
  """Legal actions [T, 2], actions -> (sizes, kept), Graph -> actions."""
  free = removable(teacher)
  rows = np.column_stack([table.ops, table.sizes, table.block, free])
  same = np.append(False, (rows[1:] == rows[:-1]).all(1) & free[1:])
  run = np.cumsum(~same)  # equal neighbours share a number
  rank = np.arange(len(run)) - np.searchsorted(run, run)

  def kept_fn(actions):
    kept = (actions == KEEP).astype(jnp.int32)
    of_run = jnp.zeros(len(run) + 1, jnp.int32).at[run].add(kept)
    return jnp.asarray(table.sizes), rank < of_run[run]

  def encode(graph):
    return _placed(graph, jnp.ones_like(graph.ops), len(teacher))

  return np.column_stack([free, np.ones_like(free)]), kept_fn, encode


def _shrinkage(teacher, table: _Table):
  """Legal actions [T, 11], actions -> (sizes, kept), Graph -> actions."""
  values = np.array([_values(x, teacher) for x in teacher], np.int32)
  changes = (values != values[..., -1:]).any(-1, keepdims=True)
  masks = changes | (np.arange(len(PERCENTS)) == _ALL)  # [L, 2, 11]
  fields = np.arange(2)

  def kept_fn(actions):
    chosen = actions.reshape(-1, 2)
    places = np.arange(len(values))[:, None]
    found = jnp.asarray(values)[places, fields, chosen]
    sizes = jnp.asarray(table.sizes).at[:, :2].set(found[:, ::-1])
    return sizes, jnp.ones(len(values), bool)

  def encode(graph):
    found = jnp.asarray(graph.attrs)[1:, 1::-1]  # kernel, size
    same = (values == found[..., None]) & masks
    return jnp.argmax(same, axis=-1).ravel().astype(jnp.int32)

  return masks.reshape(-1, len(PERCENTS)), kept_fn, encode


def _values(layer: Layer, teacher) -> list[list[int]]:
  """What each action makes of the kernel and the size of a layer: [2, 11]."""
  if any(other.skip_end for other in teacher):
    free = (False, layer.skip_start and not layer.skip_end)
  else:
    free = (True, True)
  numbers = ((layer.kernel, 1), (layer.size, layer_table.MIN_SIZE))
  inert = layer.operation not in ('conv', 'fully_connected')
  return [
    [
      layer_table.shrunk(number, percent, least)
      if is_free and not inert
      else number
      for percent in PERCENTS
    ]
    for is_free, (number, least) in zip(free, numbers, strict=True)
  ]


def _table(teacher: Layers) -> _Table:
  ops, sizes, block, inside, blocks = [], [], [], False, -1
  for layer in teacher:
    assert layer is not None
    blocks += layer.skip_start
    inside |= layer.skip_start
    ops.append(OPERATIONS.index(layer.operation))
    sizes.append(layer[1:4])
    block.append(blocks if inside else -1)
    inside &= not layer.skip_end
  return _Table(*(np.array(x, np.int32) for x in (ops, sizes, block)))


def _seen(teacher) -> tuple[tuple[float, ...], ...]:
  """F numbers of each of L layers, see `n2n`."""
  table = _table(teacher)
  kinds = np.eye(len(OPERATIONS))[table.ops][:, 1:]
  size, kernel, stride = table.sizes.T
  ends = [(layer.skip_start, layer.skip_end) for layer in teacher]
  numbers = [kernel / 5, stride / 2, np.log2(1 + size) / 10]
  rows = np.column_stack([kinds, *numbers, ends]).tolist()
  return tuple(map(tuple, rows))


def _placed(graph: Graph, values, count: int):
  """values [V] of nodes at their layers of the teacher: [L] int32, else 0."""
  real = jnp.asarray(graph.ops)[1:] >= 0
  places = jnp.where(real, jnp.asarray(graph.attrs)[1:, -1], count)
  nothing = jnp.zeros(count, jnp.int32)
  return nothing.at[places].set(jnp.asarray(values)[1:], mode='drop')


def _graph(table: _Table, sizes, kept) -> Graph:
  """The student with these sizes [L, 3] and of these layers [L]."""
  count = len(table.ops)
  same = (table.block[:, None] == table.block) & (table.block >= 0)
  earlier = np.tri(count, k=-1, dtype=bool)
  inside = kept & (table.block >= 0)
  start = inside & ~(same & earlier & kept).any(1)
  end = inside & ~(same & earlier.T & kept).any(1)
  columns = [start, end, jnp.arange(count)]
  rows = jnp.concatenate([sizes, jnp.stack(columns, axis=1)], axis=1)
  order = jnp.argsort(~kept, stable=True)
  real = jnp.arange(count) < jnp.sum(kept)
  ops = jnp.append(0, jnp.where(real, jnp.asarray(table.ops)[order], -1))
  attrs = jnp.pad(jnp.where(real[:, None], rows[order], 0), ((1, 0), (0, 0)))
  node = jnp.arange(count + 1)
  chain = (node[:, None] + 1 == node) & (ops >= 0)
  begun = jax.lax.cummax(jnp.where(attrs[:, 3] > 0, node, 0))
  shortcuts = (node[:, None] + 1 == begun) & (attrs[:, 4] > 0)
  return Graph(
    ops.astype(jnp.int32),
    attrs.astype(jnp.int32),
    chain | shortcuts,
    (node == jnp.sum(kept)).astype(jnp.int8),
  )


def text_of(graph: Graph) -> str:
  """A student as `layer_table` has it, '-' for a layer that was removed."""
  layers: list[Layer | None] = [None] * (len(graph.ops) - 1)
  for op, attrs in zip(graph.ops[1:], graph.attrs[1:], strict=True):
    if op >= 0:
      size, kernel, stride, start, end, place = np.asarray(attrs).tolist()
      name, ends = OPERATIONS[int(op)], (bool(start), bool(end))
      layers[place] = Layer(name, size, kernel, stride, *ends)
  return layer_table.text_of(layers)


def parse(text: str, teacher: tuple[Layer, ...]) -> Graph:
  """The graph of any student of this teacher, as NumPy arrays.

  More than what the spaces reach: any sizes that are not above the teacher's.

  Raises:
    GenotypeError: naming the layer that the teacher does not have like that.
  """
  layers = layer_table.read(text)
  if len(layers) != len(teacher):
    raise genotypes.GenotypeError(
      f'{text!r} has {len(layers)} layers, and its teacher '
      f'{len(teacher)}, {layer_table.text_of(teacher)}: write - in place of a '
      'layer that was removed.'
    )
  table, free = _table(teacher), removable(teacher)
  for i, (layer, own) in enumerate(zip(layers, teacher, strict=True)):
    wrong = _wrong(layer, own, bool(free[i]))
    if wrong:
      raise genotypes.GenotypeError(
        f'{text!r}: layer {i + 1} {wrong}, and is '
        f'{layer_table.text_of([own])} in the teacher.'
      )
  sizes = [
    (layer or own)[1:4] for layer, own in zip(layers, teacher, strict=True)
  ]
  kept = np.array([layer is not None for layer in layers])
  graph = jax.device_get(_graph(table, jnp.asarray(sizes), jnp.asarray(kept)))
  if text_of(graph) != layer_table.text_of(layers):
    raise genotypes.GenotypeError(
      f'{text!r}: brackets stand elsewhere than in the teacher, '
      f'{layer_table.text_of(teacher)}.'
    )
  return graph


def _wrong(layer: Layer | None, own: Layer, is_free: bool) -> str:
  """What of a layer cannot come from the teacher's, or ''."""
  if layer is None:
    return '' if is_free else 'is removed, which it may not be'
  if (layer.operation, layer.stride) != (own.operation, own.stride):
    return 'is another one'
  if layer.size > own.size or layer.kernel > own.kernel:
    return 'is larger'
  pool = layer.operation in ('max_pool', 'avg_pool')
  return 'pools other windows' if pool and layer != own else ''


def listed(space: Space, students: Graph) -> Space:
  """One step, which chooses among so many students (graphs with leading n)."""
  count = len(students.ops)

  def decode(actions):
    return jax.tree.map(lambda x: jnp.asarray(x)[actions[0]], students)

  return space._replace(
    num_steps=1,
    num_actions=count,
    num_states=1,
    legal=lambda actions, t: jnp.ones(count, bool),
    state=lambda actions, t: jnp.int32(0),
    decode=decode,
    layers=(),
  )
