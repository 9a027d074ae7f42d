"""The cells of NASNet: a normal and a reduction cell of B blocks each.

Zoph et al., "Learning transferable architectures for scalable image
recognition", CVPR 2018 (arXiv 1707.07012). A block picks two hidden states, an
operation for each, and whether the results are added or concatenated: five
choices, so 2 x 5B for an architecture. The hidden states of a cell are its two
inputs, 0 the output of the cell before and 1 that of the one before it
(previous), and 2 + b the result of block b. What is concatenated as the cell's
output are the states that nobody reads.

A `Graph` has a leading axis of two, normal and reduction. In either cell node 0
is state 0 and node 1, an operation `previous` without sources, state 1; of
block b node 2 + 3b is the first operation, 3 + 3b the second, 4 + 3b the
combination, state 2 + b. The attribute says which cell a node belongs to, which
counts of single nodes would not tell otherwise.

As text, an operation is followed by the state that it reads:

  normal: add(sep_conv_5x5 0, sep_conv_3x3 1) ...; reduction: ...

A cell may end in `-> 1 3 4`, the states that are concatenated, if they are
others than those that nobody reads; no sequence of actions says that.

Shapes: `B` blocks, `V` = 2 + 3B nodes, `T` = 10B steps.
"""

import itertools
import re

import jax.numpy as jnp
import numpy as np

from irlas_jax import graph as graphs
from irlas_jax.spaces import choices, genotypes
from irlas_jax.types import Graph, Space

INPUTS = ('input', 'previous')
BLOCK_OPERATIONS = (
  'identity',
  'conv_1x3_3x1',
  'conv_1x7_7x1',
  'dil_conv_3x3',
  'avg_pool_3x3',
  'max_pool_3x3',
  'max_pool_5x5',
  'max_pool_7x7',
  'conv_1x1',
  'conv_3x3',
  'sep_conv_3x3',
  'sep_conv_5x5',
  'sep_conv_7x7',
)
MERGES = ('add', 'concat')
OPERATIONS = (*INPUTS, *BLOCK_OPERATIONS, *MERGES)
ATTRIBUTES = ('reduction',)
CELLS = ('normal', 'reduction')
NUM_BLOCKS = 5

_FIRST, _MERGE = OPERATIONS.index('identity'), OPERATIONS.index('add')
_CELLS = re.compile(r'normal: (.+); reduction: (.+)')
_BLOCK = re.compile(r'(\w+)\((\w+) (\d+), (\w+) (\d+)\)')


def nasnet(num_blocks: int = NUM_BLOCKS) -> Space:
  """Pairs of cells of `num_blocks` blocks.

  The steps of a block are its first and its second hidden state, the operations
  on them, and the combination; the normal cell's blocks come first.

  Raises:
    ValueError: if there is no block.
  """
  if num_blocks < 1:
    raise ValueError(
      f'space.num_blocks is {num_blocks}: a cell has one block or more.'
    )
  number = len(BLOCK_OPERATIONS)
  sizes = [
    size
    for _, b in itertools.product(CELLS, range(num_blocks))
    for size in (2 + b, 2 + b, number, number, len(MERGES))
  ]
  return choices.independent(sizes, _decode, _encode, OPERATIONS, ATTRIBUTES)


def _places(num_blocks: int):
  """Nodes of the operations [2B], of the merges [B], of the states [B + 2]."""
  merges = 4 + 3 * np.arange(num_blocks)
  operations = (merges[:, None] - [2, 1]).ravel()
  return operations, merges, np.concatenate([[0, 1], merges])


def _decode(actions) -> Graph:
  """Actions [T] to a Graph [2, V]."""
  return _build(jnp, jnp.asarray(actions, jnp.int32))


def _build(xp, actions) -> Graph:
  """The graph of actions [T], by `jax.numpy` or, on the host, by `numpy`."""
  blocks = actions.reshape(len(CELLS), -1, 5)
  operations, merges, states = _places(blocks.shape[1])
  size = 2 + 3 * len(merges)
  rows = blocks[..., 2:] + np.array([_FIRST, _FIRST, _MERGE])
  inputs = np.array([[0, 1]] * len(CELLS))
  ops = xp.concatenate([inputs, rows.reshape(len(CELLS), -1)], axis=1)
  read = xp.asarray(states)[blocks[..., :2]]
  nothing = xp.full_like(read[..., :1], -1)
  read = xp.concatenate([read, nothing], axis=-1).reshape(len(CELLS), -1)
  read = xp.concatenate([np.full_like(inputs, -1), read], axis=1)
  skeleton = np.zeros((size, size), bool)
  skeleton[operations, np.repeat(merges, 2)] = True
  edges = (np.arange(size)[:, None] == read[:, None]) | skeleton
  cell = xp.full_like(ops, 1) * np.arange(len(CELLS))[:, None]
  return Graph(
    ops.astype(np.int32),
    cell[..., None].astype(np.int32),
    edges,
    (~edges.any(-1)).astype(np.int8),
  )


def _encode(graph: Graph):
  """The inverse of `_decode`."""
  num_blocks = (graph.ops.shape[-1] - 2) // 3
  operations, merges, states = _places(num_blocks)
  ops = jnp.asarray(graph.ops, jnp.int32)
  sources = jnp.argmax(jnp.asarray(graph.edges)[:, :, operations], axis=1)
  read = jnp.searchsorted(jnp.asarray(states), sources)
  pairs = (2, num_blocks, 2)
  return jnp.concatenate(
    [
      read.reshape(pairs),
      (ops[:, operations] - _FIRST).reshape(pairs),
      (ops[:, merges] - _MERGE)[..., None],
    ],
    axis=-1,
    dtype=jnp.int32,
  ).ravel()


def flat(graph: Graph) -> Graph:
  """Both cells as one Graph [2V + 2], unconnected; each ends in a `concat`.

  That is what a cell's output is, and it reads what the cell's output is made
  of; the role `output` is its.
  """
  ops, attrs, edges, outputs = map(jnp.asarray, graph)
  num_cells, size = ops.shape
  last = (outputs > 0)[..., None]
  edges = jnp.pad(
    jnp.concatenate([edges, last], axis=2), ((0, 0), (0, 1), (0, 0))
  )
  total = num_cells * (size + 1)
  apart = jnp.eye(num_cells, dtype=bool)[:, None, :, None]
  ops = jnp.pad(ops, ((0, 0), (0, 1)), constant_values=len(OPERATIONS) - 1)
  attrs = jnp.concatenate([attrs, attrs[:, -1:]], axis=1)
  roles = jnp.broadcast_to(jnp.arange(size + 1) == size, ops.shape)
  return Graph(
    ops.ravel(),
    attrs.reshape(total, -1),
    (edges[:, :, None] & apart).reshape(total, total),
    roles.ravel().astype(jnp.int8),
  )


def unflat(graph: Graph) -> Graph:
  """The architecture [2, V] of its `flat` form."""
  cells = (len(CELLS), -1)
  ops, attrs, edges, _ = map(jnp.asarray, graph)
  size = len(ops) // len(CELLS)
  index = jnp.arange(len(CELLS))
  edges = edges.reshape(2, size, 2, size)[index, :, index]
  return Graph(
    ops.reshape(cells)[:, :-1],
    attrs.reshape(*cells, len(ATTRIBUTES))[:, :-1],
    edges[:, :-1, :-1],
    edges[:, :-1, -1].astype(jnp.int8),
  )


def text_of(graph: Graph) -> str:
  """The text of an architecture [2, V], in any numbering of its nodes."""
  return '; '.join(
    f'{name}: {_cell_text(cell)}'
    for name, cell in zip(CELLS, graphs.cells(graph), strict=True)
  )


def _cell_text(cell: Graph) -> str:
  """Blocks are numbered as their merges are."""
  inputs = [int(np.argmax(cell.ops == row)) for row in range(len(INPUTS))]
  merges = np.flatnonzero(cell.ops >= _MERGE).tolist()
  states = inputs + merges

  def operation(node):
    (source,) = np.flatnonzero(cell.edges[:, node]).tolist()
    return f'{OPERATIONS[cell.ops[node]]} {states.index(source)}'

  words = []
  for merge in merges:
    halves = map(operation, np.flatnonzero(cell.edges[:, merge]))
    words.append(f'{OPERATIONS[cell.ops[merge]]}({", ".join(halves)})')
  joined = cell.outputs[states] > 0
  if (joined != ~cell.edges[states].any(1)).any():
    words.append(f'-> {" ".join(map(str, np.flatnonzero(joined)))}')
  return ' '.join(words)


def parse(text: str, num_blocks: int | None = None) -> Graph:
  """The graph [2, V] of such a text, as NumPy arrays.

  Raises:
    GenotypeError: naming the cell and the block that is wrong, or for another
      number of blocks than `num_blocks`.
  """
  match = _CELLS.fullmatch(text.strip())
  if not match:
    example = text_of(_build(np, np.zeros(10, int)))
    raise genotypes.GenotypeError(
      f'{text!r} is no pair of NASNet cells, which is written like {example}.'
    )
  bodies = [body.partition(' -> ') for body in match.groups()]
  cells = [
    _parse_blocks(name, body)
    for name, (body, _, _) in zip(CELLS, bodies, strict=True)
  ]
  lengths = {len(cell) for cell in cells} | {num_blocks or len(cells[0])}
  if len(lengths) > 1:
    wanted = f', and space.num_blocks is {num_blocks}' if num_blocks else ''
    raise genotypes.GenotypeError(
      f'The cells have {len(cells[0])} and {len(cells[1])} blocks{wanted}: '
      'give both as many.'
    )
  graph = _build(np, np.array(cells).ravel())
  outputs = np.array(graph.outputs)
  for cell, (_, arrow, states) in enumerate(bodies):
    if arrow:
      outputs[cell] = _parse_outputs(CELLS[cell], states, outputs[cell])
  return graph._replace(outputs=outputs)


def _parse_blocks(cell: str, body: str) -> list[list[int]]:
  """Five actions a block."""
  return [
    _parse_block(f'{cell} cell, block {b + 1}', word, 2 + b)
    for b, word in enumerate(re.split(r'(?<=\))\s+', body.strip()))
  ]


def _parse_block(place: str, word: str, num_states: int) -> list[int]:
  match = _BLOCK.fullmatch(word)
  if not match:
    raise genotypes.GenotypeError(
      f'{place}: {word!r} is no block, which is written like '
      'add(sep_conv_5x5 0, identity 1).'
    )
  merge, first, state_1, second, state_2 = match.groups()
  for name, table in (
    (merge, MERGES),
    (first, BLOCK_OPERATIONS),
    (second, BLOCK_OPERATIONS),
  ):
    if name not in table:
      raise genotypes.GenotypeError(
        f'{place}: there is no {name!r}; choose one of {", ".join(table)}.'
      )
  states = [int(state_1), int(state_2)]
  if max(states) >= num_states:
    raise genotypes.GenotypeError(
      f'{place} reads state {max(states)}: choose one of 0 to '
      f'{num_states - 1}, the inputs and the blocks before it.'
    )
  rows = map(BLOCK_OPERATIONS.index, (first, second))
  return [*states, *rows, MERGES.index(merge)]


def _parse_outputs(cell: str, text: str, unread: np.ndarray) -> np.ndarray:
  """Roles [V] of a cell whose concatenation is given."""
  _, _, states = _places((len(unread) - 2) // 3)
  words = text.split()
  least = np.flatnonzero(unread[states])
  if not all(word.isdecimal() and int(word) < len(states) for word in words):
    raise genotypes.GenotypeError(
      f'{cell} cell: it concatenates {text!r}; give numbers of states, 0 to '
      f'{len(states) - 1}.'
    )
  chosen = sorted({int(word) for word in words})
  if not set(least) <= set(chosen):
    raise genotypes.GenotypeError(
      f'{cell} cell: it concatenates {text!r}, so a state that nobody reads is '
      f'lost; add all of {" ".join(map(str, least))}.'
    )
  outputs = np.zeros_like(unread)
  outputs[states[chosen]] = 1
  return outputs
