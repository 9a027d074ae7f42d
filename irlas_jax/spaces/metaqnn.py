"""The chains of MetaQNN: one layer a step, whose output the next one reads.

Baker et al., "Designing neural network architectures using reinforcement
learning" (MetaQNN), ICLR 2017 (arXiv 1611.02167). Layers are convolutions of
stride 1, max pools, fully connected layers and global average pooling; a chain
ends with global average pooling or with none, and a softmax layer follows.
Convolutions keep the size of the representation (its side, in pixels), pools
take whole windows only: those two are remembered, not read.

The rules: the first layer is a convolution; no pool reads a pool; a window is
at most as large as what it reads (in the authors' code it is smaller); fully
connected layers, two at most, are the last ones, read a representation that is
not in the largest bin, and grow no larger; nothing follows global average
pooling. That a chain has one layer at least is ours.

Actions, in this order: the end (the softmax layer), convolutions, pools, fully
connected layers, global average pooling.

Shapes: `T` steps, one more than layers so that global average pooling may come
after them all; `A` actions; `V` = T + 1 nodes, node 0 being the image.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.spaces import genotypes
from irlas_jax.types import Array, Graph, Space

OPERATIONS = (
  'input',
  'conv',  # convolution, batch normalisation, ReLU
  'max_pool',
  'fully_connected',  # dense, ReLU
  'global_avg_pool',
)
ATTRIBUTES = ('size', 'kernel', 'stride')  # size: filters or units, else 0

_TOKEN = re.compile(r'C\(\d+,\d+\)|P\(\d+,\d+\)|FC\(\d+\)|GAP|SM')


class Layer(NamedTuple):
  """A layer: its operation and attributes, 0 where it has none."""

  operation: str
  size: int = 0
  kernel: int = 0
  stride: int = 0


class Sizes(NamedTuple):
  """What layers may be; the defaults are those of the paper for CIFAR-10."""

  image_size: int = 32  # pixels a side
  num_layers: int = 18  # at most, global average pooling not counted
  filters: Sequence[int] = (64, 128, 256, 512)  # of a convolution
  kernels: Sequence[int] = (1, 3, 5)  # of a convolution
  pools: Sequence[tuple[int, int]] = ((5, 3), (3, 2), (2, 2))  # kernel, stride
  units: Sequence[int] = (512, 256, 128)  # of a fully connected layer
  bins: Sequence[int] = (8, 4)  # least representation of each bin but the last


PAPER = Sizes()


def layers(sizes: Sizes) -> tuple[Layer, ...]:
  """The layers behind actions 1, 2, ... of the space."""
  return (
    *(Layer('conv', n, k, 1) for n in sizes.filters for k in sizes.kernels),
    *(Layer('max_pool', 0, k, s) for k, s in sizes.pools),
    *(Layer('fully_connected', n) for n in sizes.units),
    Layer('global_avg_pool'),
  )


def pooled(size: Array, kernel: int, stride: int) -> Array:
  """The side of what a pool makes of a side: as many as whole windows fit."""
  return (size - kernel) // stride + 1


def dense_size(sizes: Sizes) -> int:
  """The largest side that a fully connected layer reads."""
  largest = sizes.bins[0] - 1 if sizes.bins else sizes.image_size
  return min(largest, sizes.image_size)


def metaqnn(sizes: Sizes = PAPER) -> Space:
  """Chains of 1 to `sizes.num_layers` layers.

  A value table tells apart the step, the layer before it (its parameters, and
  whether a fully connected layer is the second one) and the bin of the
  representation, as MetaQNN's does.

  Raises:
    ValueError: if a size is below 1, or there are no layers of a kind but
      pools and fully connected layers.
  """
  _check(sizes)
  table = layers(sizes)
  num_steps, num_actions = sizes.num_layers + 1, len(table) + 1
  rows = np.array([_row(layer) for layer in table], np.int32)
  rows = np.concatenate([[(-1, 0, 0, 0)], rows]).astype(np.int32)  # [A, 1 + F]
  follows = _follows(table, sizes)  # [K, R + 1, A]
  after = _after(table, sizes)  # [A, R + 1]
  num_kinds, num_bins = len(follows), len(sizes.bins) + 1
  bins = np.sum(
    np.arange(sizes.image_size + 1)[:, None] < np.asarray(sizes.bins), axis=1
  )
  is_end = np.array([True, *(x.operation == 'global_avg_pool' for x in table)])
  units = np.array([False, *(x.operation == 'fully_connected' for x in table)])

  def position(actions, t):
    """What the layer before step t is [], and the representation there []."""
    before = jnp.arange(num_steps) < t

    def shrink(size, row):
      action, counts = row
      return jnp.where(counts, jnp.asarray(after)[action, size], size), None

    size = jnp.int32(sizes.image_size)
    size, _ = jax.lax.scan(shrink, size, (jnp.asarray(actions), before))
    last = jnp.where(t > 0, actions[t - 1], 0)
    second = jnp.asarray(units)[last] & jnp.asarray(units)[actions[t - 2]]
    rank = jnp.cumsum(units) - 1  # of a fully connected layer among them
    kind = jnp.where(second & (t > 1), num_actions + rank[last], last)
    return jnp.where(t > 0, kind, num_kinds - 1), size

  def legal(actions, t):
    kind, size = position(actions, t)
    allowed = jnp.asarray(follows)[kind, size]
    return allowed & (jnp.asarray(is_end) | (t < sizes.num_layers))

  def state(actions, t):
    kind, size = position(actions, t)
    row = (t * num_kinds + kind) * num_bins + jnp.asarray(bins)[size]
    return row.astype(jnp.int32)

  def decode(actions):
    return _decode(jnp.asarray(actions, jnp.int32), jnp.asarray(rows))

  def encode(graph):
    nodes = jnp.concatenate([graph.ops[:, None], graph.attrs], axis=1)[1:]
    same = (nodes[:, None] == jnp.asarray(rows)).all(-1)
    return jnp.argmax(same, axis=1).astype(jnp.int32)

  return Space(
    num_steps,
    num_actions,
    num_steps * num_kinds * num_bins,
    legal,
    state,
    decode,
    encode,
    OPERATIONS,
    ATTRIBUTES,
    terminal=True,
  )


def _check(sizes: Sizes) -> None:
  numbers = {
    'image_size': [sizes.image_size],
    'num_layers': [sizes.num_layers],
    'filters': sizes.filters,
    'kernels': sizes.kernels,
    'pools': [number for pool in sizes.pools for number in pool],
    'units': sizes.units,
    'bins': sizes.bins,
  }
  for name, values in numbers.items():
    if any(value < 1 for value in values):
      raise ValueError(f'space.{name} is {getattr(sizes, name)}: at least 1.')
  if not sizes.filters or min(sizes.kernels, default=0) != 1:
    raise ValueError(
      f'space.filters is {sizes.filters} and space.kernels {sizes.kernels}: '
      'give one number of filters or more, and kernels with 1 among them, '
      'which fits any representation.'
    )
  if any(kernel % 2 == 0 for kernel in sizes.kernels):
    raise ValueError(
      f'space.kernels is {sizes.kernels}: an even kernel has no centre; give '
      'odd ones.'
    )
  if list(sizes.bins) != sorted(set(sizes.bins), reverse=True):
    raise ValueError(f'space.bins is {sizes.bins}: from the largest down.')
  if len(set(layers(sizes))) < len(layers(sizes)):
    raise ValueError('space: a size or a pool is given twice.')


def _row(layer: Layer) -> tuple[int, ...]:
  """A layer as a node: operation and attributes."""
  return (OPERATIONS.index(layer.operation), *layer[1:])


def _after(table, sizes: Sizes) -> np.ndarray:
  """The representation after each action, by that before it: [A, R + 1]."""
  size = np.arange(sizes.image_size + 1)
  after = np.tile(size, (len(table) + 1, 1))
  for action, layer in enumerate(table, start=1):
    if layer.operation == 'max_pool':
      after[action] = pooled(size, layer.kernel, layer.stride)
    elif layer.operation != 'conv':
      after[action] = 1
  return np.clip(after, 1, None).astype(np.int32)


def _follows(table, sizes: Sizes) -> np.ndarray:
  """What may follow, by the layer before and the representation: [K, R+1, A].

  The K layers before: the actions, 0 being the end; each fully connected layer
  as the second one; last of all the image.
  """
  units = [layer for layer in table if layer.operation == 'fully_connected']
  before = [None, *table, *units, Layer('input')]
  second = len(table)  # of these the later ones but the image
  follows = np.zeros((len(before), sizes.image_size + 1, len(table) + 1), bool)
  for kind, last in enumerate(before):
    is_second = second < kind < len(before) - 1
    follows[kind, :, 0] = last is None or last.operation != 'input'
    if last is None or is_second:
      continue
    for action, layer in enumerate(table, start=1):
      for size in range(1, sizes.image_size + 1):
        follows[kind, size, action] = _fits(last, layer, size, sizes)
  return follows


def _fits(last: Layer, layer: Layer, size: int, sizes: Sizes) -> bool:
  """Whether a layer may follow another (not the second fully connected)."""
  chain = last.operation in ('input', 'conv', 'max_pool')
  match layer.operation:
    case 'conv':
      return chain and layer.kernel <= size
    case 'max_pool':
      return last.operation == 'conv' and layer.kernel <= size
    case 'fully_connected':
      if last.operation == 'fully_connected':
        return layer.size <= last.size
      small = size <= dense_size(sizes)
      return last.operation in ('conv', 'max_pool') and small
  return last.operation in ('conv', 'max_pool')


def _decode(actions, rows):
  """Actions [T] to a chain of T + 1 nodes."""
  nodes = jnp.concatenate(
    [jnp.zeros((1, rows.shape[1]), jnp.int32), rows[actions]]
  )
  ops, order = nodes[:, 0], jnp.arange(len(nodes))
  real = ops >= 0
  edges = (order[:, None] + 1 == order) & real
  outputs = real & (order == jnp.sum(real) - 1)
  return Graph(ops, nodes[:, 1:], edges, outputs.astype(jnp.int8))


def text_of(graph: Graph) -> str:
  """A chain in the paper's words, as C(64,3) P(2,2) FC(128) SM.

  C has filters and kernel, P kernel and stride, FC units. The last word is GAP,
  global average pooling, or SM, none; both end with a softmax layer.
  """
  words = []
  for op, attrs in zip(graph.ops, graph.attrs, strict=True):
    size, kernel, stride = np.asarray(attrs).tolist()
    match OPERATIONS[int(op)] if op >= 0 else '':
      case 'conv':
        words.append(f'C({size},{kernel})')
      case 'max_pool':
        words.append(f'P({kernel},{stride})')
      case 'fully_connected':
        words.append(f'FC({size})')
      case 'global_avg_pool':
        words.append('GAP')
  return ' '.join(words if words[-1:] == ['GAP'] else [*words, 'SM'])


def parse(text: str, sizes: Sizes = PAPER) -> Graph:
  """The graph of such a text, as NumPy arrays.

  Raises:
    GenotypeError: naming the layer that is no layer or not allowed there.
  """
  words = text.split()
  table = [_word(layer) for layer in layers(sizes)]
  end = words[-1:] == ['SM']
  if not end and words[-1:] != ['GAP']:
    raise genotypes.GenotypeError(
      f'{text!r} is no chain: write layers as C(64,3) P(2,2) FC(128), and SM '
      'or GAP as the last word.'
    )
  names = words[:-1] if end else words
  for i, word in enumerate(names, start=1):
    if word not in table:
      kind = 'no layer of this space' if _TOKEN.fullmatch(word) else 'no layer'
      raise genotypes.GenotypeError(
        f'{text!r}: layer {i}, {word!r}, is {kind}; choose from '
        f'{", ".join(table)}, and end with GAP or SM.'
      )
  return _build(text, [table.index(word) + 1 for word in names], sizes)


def _word(layer: Layer) -> str:
  """A layer as its text has it."""
  match layer.operation:
    case 'conv':
      return f'C({layer.size},{layer.kernel})'
    case 'max_pool':
      return f'P({layer.kernel},{layer.stride})'
    case 'fully_connected':
      return f'FC({layer.size})'
  return 'GAP'


def _build(text: str, chosen: list[int], sizes: Sizes) -> Graph:
  """The graph of actions, each checked."""
  space = metaqnn(sizes)
  actions = np.zeros(space.num_steps, np.int32)
  if len(chosen) > space.num_steps:
    raise genotypes.GenotypeError(
      f'{text!r} has {len(chosen)} layers: at most {sizes.num_layers}, and '
      'global average pooling.'
    )
  actions[: len(chosen)] = chosen
  masks = jax.vmap(space.legal, (None, 0))(
    jnp.asarray(actions), jnp.arange(space.num_steps)
  )
  fits = np.asarray(masks)[np.arange(space.num_steps), actions]
  if not fits.all():
    i = int(np.argmin(fits))
    words = [*text.split(), 'SM']
    raise genotypes.GenotypeError(
      f'{text!r}: layer {i + 1}, {words[i]!r}, may not stand there: its window '
      'has to fit the representation, and the order the rules of '
      'spaces/metaqnn.py.'
    )
  return jax.device_get(space.decode(actions))
