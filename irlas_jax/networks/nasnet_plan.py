"""How the cells of a NASNet are read and stacked, whatever runs them.

An architecture is a graph [2, V], the normal and the reduction cell. Of a cell
node 0 is the input and the node `previous` the one before it; a merge (`add` or
`concat`) reads the two operations of its block, and each of these reads one
state: an input or an earlier block's merge.

Shapes: `B` blocks of a cell, `V` = 2 + 3B nodes.
"""

from collections.abc import Iterator
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block
from irlas_jax.types import Array, Graph

MERGES = ('add', 'concat')


class Reading(NamedTuple):
  """A cell as its blocks say it; states 0 and 1 are the cell's inputs."""

  rows: Array  # [B, 2] int32, of both operations of a block
  states: Array  # [B, 2] int32, the states that they read
  merges: Array  # [B] int32, rows of the combinations
  outputs: Array  # [B + 2] bool, the states that are concatenated


class Operand(NamedTuple):
  """One half of a block."""

  operation: str
  state: int


class Block(NamedTuple):
  """Two operations and how their results are combined: add or concat."""

  merge: str
  operands: tuple[Operand, Operand]


class CellPlan(NamedTuple):
  """A cell as a module's field; block b is state 2 + b."""

  blocks: tuple[Block, ...]
  outputs: tuple[int, ...]
  reduction: bool


class Place(NamedTuple):
  """A cell in the stack of a network."""

  name: str
  reduction: bool
  width: int


def read(graph: Graph, operations: tuple[str, ...]) -> Reading:
  """The blocks of one cell, in any numbering of its nodes; may be traced.

  Blocks are numbered as the cell's merges are.
  """
  chex.assert_rank([graph.ops, graph.edges, graph.outputs], [1, 2, 1])
  ops, edges = jnp.asarray(graph.ops), jnp.asarray(graph.edges, bool)
  merge_rows = np.array([operations.index(name) for name in MERGES])
  is_merge = jnp.isin(ops, merge_rows)
  merges = jnp.argsort(~is_merge)[: (len(ops) - 2) // 3]
  previous = jnp.argmax(ops == operations.index('previous'))
  inputs = jnp.stack([jnp.zeros_like(previous), previous])
  nodes_of_states = jnp.concatenate([inputs, merges])
  into = edges[:, merges]
  last = len(ops) - 1 - jnp.argmax(into[::-1], axis=0)
  halves = jnp.stack([jnp.argmax(into, axis=0), last], axis=1)  # [B, 2]
  sources = jnp.argmax(edges[:, halves], axis=0)
  states = jnp.argmax(sources[..., None] == nodes_of_states, axis=-1)
  outputs = jnp.asarray(graph.outputs)[nodes_of_states] > 0
  return Reading(ops[halves], states, ops[merges], outputs)


_read = jax.jit(read, static_argnums=1)


def plans_of(graph: Graph, operations) -> tuple[CellPlan, CellPlan]:
  """The normal and the reduction cell of an architecture [2, V].

  Raises:
    ValueError: if these are not the two cells of one architecture.
  """
  if np.shape(graph.ops)[:-1] != (2,):
    raise ValueError(
      f'Graph.ops has shape {np.shape(graph.ops)}; a NASNet has two cells, '
      'normal and reduction: give one architecture [2, V].'
    )
  return _plan(graph, operations, 0), _plan(graph, operations, 1)


def _plan(graph, operations, cell) -> CellPlan:
  fields = Graph(*(np.asarray(field)[cell] for field in graph))
  found = jax.device_get(_read(fields, operations))
  blocks = tuple(
    Block(
      operations[merge],
      (
        Operand(operations[rows[0]], int(states[0])),
        Operand(operations[rows[1]], int(states[1])),
      ),
    )
    for rows, states, merge in zip(*found[:3], strict=True)
  )
  outputs = tuple(np.flatnonzero(found.outputs).tolist())
  return CellPlan(blocks, outputs, cell == 1)


def places(macro: block.Macro) -> Iterator[Place]:
  """The cells of a network, from first to last."""
  first = macro.widths[0]
  if macro.imagenet:
    yield Place('stem_cell0', True, first // 4)
    yield Place('stem_cell1', True, first // 2)
  for stage, width in enumerate(macro.widths):
    if stage > 0:
      yield Place(f'stage{stage}_reduce', True, width)
    for i in range(macro.blocks[stage]):
      yield Place(f'stage{stage}_cell{i}', False, width)


def sized(
  graph: Graph, num_cells: int, penultimate: int, imagenet: bool
) -> block.Macro:
  """The macro-architecture `num_cells @ penultimate` of three stages.

  Raises:
    ValueError: if the normal cell cannot end in so many channels.
  """
  share = int(np.sum(np.asarray(graph.outputs)[0] > 0)) * 4
  width, rest = divmod(penultimate, share)
  if rest or not width:
    raise ValueError(
      f'{num_cells} @ {penultimate}: this normal cell concatenates '
      f'{share // 4} states at 4 times the first width; choose a multiple of '
      f'{share}.'
    )
  return block.cifar(width, 3, num_cells)._replace(imagenet=imagenet)


def name_of(graph: Graph, macro: block.Macro) -> str:
  """`N @ P`: normal cells of a stage, channels before the classifier."""
  leaves = int(np.sum(np.asarray(graph.outputs)[0] > 0))
  return f'{macro.blocks[-1]} @ {leaves * macro.widths[-1]}'
