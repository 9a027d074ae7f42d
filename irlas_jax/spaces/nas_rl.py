"""The convolutional networks of NAS-RL: layers with skips at anchor points.

Zoph & Le, "Neural architecture search with reinforcement learning", ICLR 2017
(arXiv 1611.01578). A layer is a convolution, of a height, a width and a number
of filters, and of strides if those are searched too. Then comes its anchor
point: of every earlier layer, whether it is read; several are concatenated in
depth. Of the paper's three repairs two are made here, since they are edges and
outputs of the graph: a layer that reads none reads the image, and the layers
that nobody reads are what is classified. The third, zeros around smaller
images, is the network's (networks/nas_rl.py).

A chosen action is above 0, in the order of the sizes; of a skip, 1 is no and 2
is yes. Action 0 is the end and stands where a second or later layer would
begin. In the paper the depth is no choice but grows with the search; see
searchers/growing.py.

Shapes: `L` layers at most, `F` sizes of a layer, `T` = L F + L (L - 1) / 2
steps, `A` actions, `V` = L + 1 nodes, node 0 being the image.
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
  'concat',  # of what is classified; no node, but what several outputs are
)
ATTRIBUTES = (
  'height',
  'width',
  'filters',
  'stride_height',
  'stride_width',
  'pool',  # side and stride of the max pool that follows; 1 is none
)
NO, YES = 1, 2  # of a skip

_LAYER = re.compile(
  r'C\((\d+),(\d+),(\d+)\)(?: S\((\d+),(\d+)\))?( P\(2\))?'
  r' from (\d+(?: \d+)*)'
)


class Sizes(NamedTuple):
  """What layers may be; the defaults are those of the paper for CIFAR-10."""

  num_layers: int = 20  # at most
  heights: Sequence[int] = (1, 3, 5, 7)
  widths: Sequence[int] = (1, 3, 5, 7)
  filters: Sequence[int] = (24, 36, 48, 64)
  strides: Sequence[int] = (1,)  # of both directions; searched if several
  pooled_layers: Sequence[int] = ()  # from 1 on: 2x2 max pooling follows


PAPER = Sizes()


class _Layout(NamedTuple):
  """Which step is what; T stands for none."""

  sizes: np.ndarray  # [L, F]
  skips: np.ndarray  # [L, L], [i, j]: whether layer i reads layer j < i
  num_steps: int  # T


def fields(sizes: Sizes) -> dict[str, tuple[int, ...]]:
  """The choices of a layer, by attribute, in the order of its steps."""
  found = {'height': sizes.heights, 'width': sizes.widths}
  if len(sizes.strides) > 1:
    found |= {'stride_height': sizes.strides, 'stride_width': sizes.strides}
  found |= {'filters': sizes.filters}
  return {name: tuple(values) for name, values in found.items()}


def num_steps(num_layers: Array | int, sizes: Sizes):
  """Steps of so many layers, which may be traced."""
  count = len(fields(sizes))
  return num_layers * count + num_layers * (num_layers - 1) // 2


def nas_rl(sizes: Sizes = PAPER) -> Space:
  """Networks of 1 to `sizes.num_layers` layers.

  A value table tells apart the step and the action before it.

  Raises:
    ValueError: if a size is below 1, even (of a kernel), missing or twice, or a
      pool follows no layer.
  """
  _check(sizes)
  layout, choices = _layout(sizes), fields(sizes)
  most = max(2, *(len(values) for values in choices.values()))
  values = np.zeros((len(choices), most + 1), np.int32)  # [F, A]
  for row, found in zip(values, choices.values(), strict=True):
    row[1 : 1 + len(found)] = found
  masks = _masks(layout, values)
  columns = np.array([ATTRIBUTES.index(name) for name in choices])
  fixed = _fixed(sizes)  # [L, attributes]
  before = _before(layout)
  size = most + 1

  def legal(actions, t):
    ended = (t > 0) & (actions[jnp.asarray(before)[t]] == 0)
    return jnp.where(ended, jnp.arange(size) == 0, jnp.asarray(masks)[t])

  def state(actions, t):
    last = jnp.where(t > 0, actions[jnp.maximum(t - 1, 0)], 0)
    return (t * size + last).astype(jnp.int32)

  def decode(actions):
    padded = jnp.append(jnp.asarray(actions, jnp.int32), 0)
    chosen = padded[layout.sizes]  # [L, F]
    real = jnp.cumprod(chosen[:, 0] > 0).astype(bool)
    found = jnp.asarray(values)[jnp.arange(len(values)), chosen]
    attrs = jnp.asarray(fixed).at[:, columns].set(found)
    skips = (padded[layout.skips] == YES) & real[:, None]
    return _graph(real, attrs, skips)

  def encode(graph):
    attrs = jnp.asarray(graph.attrs)[1:, columns]
    real = jnp.asarray(graph.ops)[1:] >= 0
    same = attrs[:, :, None] == values[:, 1:]  # [L, F, A - 1]
    chosen = jnp.where(real[:, None], jnp.argmax(same, axis=-1) + 1, 0)
    read = jnp.asarray(graph.edges)[1:, 1:].T
    skips = jnp.where(real[:, None], jnp.where(read, YES, NO), 0)
    actions = jnp.zeros(layout.num_steps, jnp.int32)
    actions = actions.at[layout.sizes].set(chosen.astype(jnp.int32))
    return actions.at[layout.skips].set(skips.astype(jnp.int32), mode='drop')

  return Space(
    layout.num_steps,
    size,
    layout.num_steps * size,
    legal,
    state,
    decode,
    encode,
    OPERATIONS,
    ATTRIBUTES,
    terminal=True,
    anchors=tuple((layout.sizes[:, -1] + 1).tolist()),
  )


def _layout(sizes: Sizes) -> _Layout:
  count, layers = len(fields(sizes)), np.arange(sizes.num_layers)
  total = num_steps(sizes.num_layers, sizes)
  starts = num_steps(layers, sizes)[:, None]
  skips = np.where(
    layers < layers[:, None], starts + count + layers, total
  ).astype(np.int32)
  return _Layout(starts + np.arange(count), skips, total)


def _masks(layout: _Layout, values: np.ndarray) -> np.ndarray:
  """What is legal before the end: [T, A] bool."""
  masks = np.zeros((layout.num_steps, values.shape[1]), bool)
  masks[:, [NO, YES]] = True  # of skips; the others follow
  masks[layout.sizes] = values > 0
  masks[layout.sizes[1:, 0], 0] = True
  return masks


def _before(layout: _Layout) -> np.ndarray:
  """The step [T] before t whose action is 0 if and only if it has ended by t.

  Within a layer its first: skips, chosen together, do not tell of each other.
  """
  firsts, steps = layout.sizes[:, 0], np.arange(layout.num_steps)
  begun = firsts[np.searchsorted(firsts, steps, side='right') - 1]
  return np.where(begun == steps, np.maximum(steps - 1, 0), begun)


def _fixed(sizes: Sizes) -> np.ndarray:
  """The attributes of every layer that are no choice: [L, attributes]."""
  attrs = np.ones((sizes.num_layers, len(ATTRIBUTES)), np.int32)
  attrs[:, 3:5] = sizes.strides[0]
  attrs[np.array(sizes.pooled_layers, int) - 1, 5] = 2
  return attrs


def _graph(real, attrs, skips) -> Graph:
  """Layers [L] and who reads whom [L, L] as nodes, repaired."""
  image = real & ~skips.any(axis=1)  # without an input: the image
  unread = real & ~skips.any(axis=0)  # without a reader: classified
  edges = jnp.zeros((len(real) + 1,) * 2, bool)
  edges = edges.at[1:, 1:].set(skips.T).at[0, 1:].set(image)
  ops = jnp.append(0, jnp.where(real, OPERATIONS.index('conv'), -1))
  attrs = jnp.pad(jnp.where(real[:, None], attrs, 0), ((1, 0), (0, 0)))
  outputs = jnp.append(False, unread)
  return Graph(
    ops.astype(jnp.int32),
    attrs.astype(jnp.int32),
    edges,
    outputs.astype(jnp.int8),
  )


def _check(sizes: Sizes) -> None:
  if sizes.num_layers < 1:
    raise ValueError(f'space.num_layers is {sizes.num_layers}: at least 1.')
  for name in ('heights', 'widths', 'filters', 'strides'):
    values = tuple(getattr(sizes, name))
    if not values or min(values) < 1 or len(set(values)) < len(values):
      raise ValueError(
        f'space.{name} is {values}: give one or more, at least 1, none twice.'
      )
  for name in ('heights', 'widths'):
    if any(value % 2 == 0 for value in getattr(sizes, name)):
      raise ValueError(
        f'space.{name} is {getattr(sizes, name)}: an even kernel has no '
        'centre; give odd ones.'
      )
  pooled = tuple(sizes.pooled_layers)
  if any(not 1 <= layer <= sizes.num_layers for layer in pooled):
    raise ValueError(
      f'space.pooled_layers is {pooled}: layers are 1 to {sizes.num_layers}.'
    )


def text_of(graph: Graph) -> str:
  """Layers as C(3,5,24) S(1,2) P(2) from 1 2, with semicolons between.

  C has height, width and filters; S the strides, if not (1,1); P stands where
  2x2 max pooling follows; then come the layers that are read, from 1 on, or 0,
  the image.
  """
  words = []
  for v in range(1, int(np.sum(np.asarray(graph.ops) >= 0))):
    height, width, filters, *strides, pool = np.asarray(graph.attrs)[v].tolist()
    sources = np.flatnonzero(np.asarray(graph.edges)[:, v])
    word = f'C({height},{width},{filters})'
    word += f' S({strides[0]},{strides[1]})' if strides != [1, 1] else ''
    word += ' P(2)' if pool > 1 else ''
    words.append(f'{word} from {" ".join(map(str, sources))}')
  return '; '.join(words)


def parse(text: str, sizes: Sizes = PAPER) -> Graph:
  """The graph of such a text, as NumPy arrays.

  Raises:
    GenotypeError: naming the layer that is none of this space, and why.
  """
  parts = [part.strip() for part in text.split(';')]
  if len(parts) > sizes.num_layers:
    raise genotypes.GenotypeError(
      f'{text!r} has {len(parts)} layers: at most {sizes.num_layers}.'
    )
  attrs = np.ones((sizes.num_layers, len(ATTRIBUTES)), np.int32)
  skips = np.zeros((sizes.num_layers,) * 2, bool)
  for i, part in enumerate(parts, start=1):
    wrong = _read(part, i, sizes, attrs[i - 1], skips[i - 1])
    if wrong:
      raise genotypes.GenotypeError(f'{text!r}: layer {i}, {part!r}, {wrong}')
  real = np.arange(sizes.num_layers) < len(parts)
  return jax.device_get(_graph(jnp.asarray(real), attrs, jnp.asarray(skips)))


def _read(part: str, i: int, sizes: Sizes, attrs, skips) -> str:
  """Fills in the rows of layer i, from 1 on; what is wrong with it, or ''."""
  found = _LAYER.fullmatch(part)
  if not found:
    return 'is no layer; write one as C(3,3,24) from 0.'
  height, width, filters, down, right, pool, sources = found.groups()
  attrs[:5] = [int(x or 1) for x in (height, width, filters, down, right)]
  attrs[5] = 2 if pool else 1
  names = ('heights', 'widths', 'filters', 'strides', 'strides')
  for name, value in zip(names, attrs, strict=False):
    choices = tuple(getattr(sizes, name))
    if value not in choices:
      return f'has {value}, and space.{name} is {choices}.'
  if (i in sizes.pooled_layers) != bool(pool):
    pools = tuple(sizes.pooled_layers)
    return f'is to have P(2) if and only if it is one of {pools}.'
  read = [int(source) for source in sources.split()]
  if read != [0] and not set(read) <= set(range(1, i)):
    return 'reads what is not before it: earlier layers from 1 on, or 0 alone.'
  skips[[source - 1 for source in read if source]] = True
  return ''
