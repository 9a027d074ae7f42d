"""The recurrent cells of NAS-RL: a binary tree over the input and the state.

Zoph & Le, "Neural architecture search with reinforcement learning", ICLR 2017
(arXiv 1611.01578). The B leaves of a complete tree (8 in the paper, the base
number) have two matrices each and combine W x_t with W' h_{t-1}; the other
nodes combine what two nodes before them give, without weights. Each of the
2B - 1 nodes has a combiner and an activation. In a node of choice ("Cell
Inject") the memory c_{t-1} joins what the node gives, by a combiner and an
activation of its own. What the last node gives is h_t; c_t is what another node
of choice gives before its activation ("Cell Index").

The paper's count of the space, about 6 x 10^16, is 8^16 x 15^2: both choices
are of all nodes, and not of leaves only. That is a reconstruction.

A `Graph` has an `input` x_t, a `hidden` h_{t-1}, a `cell` c_{t-1}, and two
nodes, combiner and activation, for each node of the tree and the injection. A
combiner that reads `input` and `hidden` is a leaf's and has the matrices. The
output is h_t, the second output c_t.

As text, nodes in their order, leaves first, of which the paper's example is

  add tanh, elem_mult relu, elem_mult sigmoid; inject: add relu into 0; cell: 1

Shapes: `B` leaves, `N` = 2B - 1 nodes of the tree, `V` = 2N + 5 nodes of the
graph, `T` = 2N + 4 steps.
"""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.spaces import choices, genotypes
from irlas_jax.types import Graph, Space

SOURCES = ('input', 'hidden', 'cell')
COMBINERS = ('add', 'elem_mult')
ACTIVATIONS = ('identity', 'tanh', 'sigmoid', 'relu')
OPERATIONS = (*SOURCES, *COMBINERS, *ACTIVATIONS)
BASE = 8

_INPUT, _HIDDEN, _CELL = range(3)
_COMBINER, _ACTIVATION = len(SOURCES), len(SOURCES) + len(COMBINERS)
_TEXT = re.compile(r'(.+); inject: (.+) into (\d+); cell: (\d+)')


class Node(NamedTuple):
  """A node of the tree, or the injection."""

  combiner: str
  activation: str


class Cell(NamedTuple):
  """A cell in words; node B + k of the tree reads nodes 2k and 2k + 1."""

  nodes: tuple[Node, ...]  # [N], leaves first
  inject: Node  # how c_{t-1} joins
  into: int  # what which node gives
  memory: int  # the node whose value before its activation is c_t


def nas_rl_recurrent(base: int = BASE) -> Space:
  """Cells over `base` leaves, a power of two.

  The steps are combiner and activation of each node in turn, the same of the
  injection, the node that gives c_t, and the node that c_{t-1} joins.

  Raises:
    ValueError: for a tree that is not complete.
  """
  if base < 2 or base & (base - 1):
    raise ValueError(
      f'space.base is {base}: the tree is complete, so give a power of two, 2 '
      'or more.'
    )
  size = 2 * base - 1
  pair = [len(COMBINERS), len(ACTIVATIONS)]
  sizes = pair * (size + 1) + [size, size]
  return choices.independent(sizes, _decode, _encode, OPERATIONS, ())


def _places(size: int, into):
  """Graph nodes of the combiners [N + 1], last the injection's.

  The injection stands right behind the node that it is in.
  """
  index = jnp.arange(size)
  places = len(SOURCES) + 2 * index + 2 * (index > into)
  return jnp.append(places, len(SOURCES) + 2 + 2 * into)


def _decode(actions) -> Graph:
  """Actions [T] to a Graph [V]."""
  actions = jnp.asarray(actions, jnp.int32)
  pairs = actions[:-2].reshape(-1, 2)
  memory, into = actions[-2], actions[-1]
  size = len(pairs) - 1
  base, total = (size + 1) // 2, 2 * size + 5
  places = _places(size, into)
  tree, inject = places[:-1], places[-1]
  values = jnp.where(jnp.arange(size) == into, inject + 1, tree + 1)
  ops = jnp.arange(total, dtype=jnp.int32)  # sources; the others follow
  ops = ops.at[places].set(_COMBINER + pairs[:, 0])
  ops = ops.at[places + 1].set(_ACTIVATION + pairs[:, 1])
  edges = jnp.zeros((total, total), bool)
  edges = edges.at[places, places + 1].set(True)
  edges = edges.at[jnp.array([_INPUT, _HIDDEN])[:, None], tree[:base]].set(True)
  edges = edges.at[values[:-1], jnp.repeat(tree[base:], 2)].set(True)
  edges = edges.at[jnp.array([_CELL, tree[into] + 1]), inject].set(True)
  outputs = jnp.zeros(total, jnp.int8).at[values[-1]].set(1)
  outputs = outputs.at[tree[memory]].set(2)
  return Graph(ops, jnp.zeros((total, 0), jnp.int32), edges, outputs)


def _encode(graph: Graph):
  """The inverse of `_decode`."""
  ops, _, edges, outputs = map(jnp.asarray, graph)
  size = (len(ops) - 5) // 2
  into = (jnp.argmax(edges[_CELL]) - len(SOURCES) - 2) // 2
  places = _places(size, into)
  memory = jnp.argmax(places == jnp.argmax(outputs == 2))
  pairs = jnp.stack([ops[places] - _COMBINER, ops[places + 1] - _ACTIVATION], 1)
  ends = jnp.stack([memory, into])
  return jnp.concatenate([pairs.ravel(), ends], dtype=jnp.int32)


class _Tree(NamedTuple):
  """A node with all that is below it."""

  node: Node
  inject: Node | None  # where c_{t-1} joins
  is_memory: bool
  children: tuple  # of `_Tree`


def cell_of(graph: Graph) -> Cell:
  """The cell of a graph in any numbering; siblings keep their order in it."""
  ops, _, edges, outputs = map(np.asarray, graph)

  def sources(v: int) -> list[int]:
    return np.flatnonzero(edges[:, v]).tolist()

  def node(activation: int) -> Node:
    (combiner,) = sources(activation)
    return Node(OPERATIONS[ops[combiner]], OPERATIONS[ops[activation]])

  def tree(value: int) -> _Tree:
    inject, own, (combiner,) = None, value, sources(value)
    read = [v for v in sources(combiner) if ops[v] != _CELL]
    if len(read) < len(sources(combiner)):
      inject, (own,) = node(value), read
      (combiner,) = sources(own)
    below = sources(combiner)
    leaf = any(ops[v] == _INPUT for v in below)
    children = () if leaf else tuple(map(tree, below))
    return _Tree(node(own), inject, bool(outputs[combiner] == 2), children)

  return _flattened(tree(int(np.argmax(outputs == 1))))


def _flattened(root: _Tree) -> Cell:
  """The cell of a tree: levels in order, from the leaves up."""
  levels = [[root]]
  while levels[0][0].children:
    levels.insert(0, [child for one in levels[0] for child in one.children])
  nodes = [one for level in levels for one in level]
  into = next(i for i, one in enumerate(nodes) if one.inject)
  inject = nodes[into].inject
  assert inject is not None
  memory = next(i for i, one in enumerate(nodes) if one.is_memory)
  return Cell(tuple(one.node for one in nodes), inject, into, memory)


def text_of(graph: Graph) -> str:
  """The text of a cell, from a graph in any numbering."""
  cell = cell_of(graph)
  nodes = ', '.join(' '.join(node) for node in cell.nodes)
  inject = f'{" ".join(cell.inject)} into {cell.into}'
  return f'{nodes}; inject: {inject}; cell: {cell.memory}'


def parse(text: str, base: int = BASE) -> Graph:
  """The graph of such a text, as NumPy arrays.

  Raises:
    GenotypeError: naming the node that is wrong, or their number.
  """
  match = _TEXT.fullmatch(text.strip())
  size = 2 * base - 1
  if not match:
    raise genotypes.GenotypeError(
      f'{text!r} is no recurrent cell, which is written like add tanh, '
      'elem_mult relu, elem_mult sigmoid; inject: add relu into 0; cell: 1.'
    )
  words, inject, into, memory = match.groups()
  nodes = [word.strip() for word in words.split(',')]
  if len(nodes) != size:
    raise genotypes.GenotypeError(
      f'{text!r} has {len(nodes)} nodes: a tree of space.base={base} leaves '
      f'has {size}.'
    )
  pairs = [_pair(f'{text!r}: node {i}', word) for i, word in enumerate(nodes)]
  pairs.append(_pair(f'{text!r}: the injection', inject))
  for name, index in (('inject', into), ('cell', memory)):
    if int(index) >= size:
      raise genotypes.GenotypeError(
        f'{text!r}: {name} names node {index}; there are 0 to {size - 1}.'
      )
  actions = [*np.ravel(pairs).tolist(), int(memory), int(into)]
  return jax.device_get(jax.jit(_decode)(np.array(actions, np.int32)))


def _pair(place: str, words: str) -> tuple[int, int]:
  """The two actions of a node."""
  found = words.split()
  if len(found) != 2:
    raise genotypes.GenotypeError(
      f'{place}, {words!r}, is no combiner and activation, such as add tanh.'
    )
  for name, table in zip(found, (COMBINERS, ACTIVATIONS), strict=True):
    if name not in table:
      raise genotypes.GenotypeError(
        f'{place}: there is no {name!r}; choose one of {", ".join(table)}.'
      )
  return COMBINERS.index(found[0]), ACTIVATIONS.index(found[1])


def equations(graph: Graph) -> list[str]:
  """What a cell computes, in the paper's words: one equation a line.

  x is x_t, h and c are of the step before, * is element by element, and ai'
  is ai with the memory in it.
  """
  cell = cell_of(graph)
  base = (len(cell.nodes) + 1) // 2
  lines, sums = [], []

  def value(i: int) -> str:
    return f"a{i}'" if i == cell.into else f'a{i}'

  for i, (combiner, activation) in enumerate(cell.nodes):
    pair = [f'W{2 * i + 1} x', f'W{2 * i + 2} h']
    if i >= base:
      pair = [value(2 * (i - base)), value(2 * (i - base) + 1)]
    sums.append(_combined(combiner, *pair))
    lines.append(f'a{i} = {_activated(activation, sums[-1])}')
    if i == cell.into:
      joined = _combined(cell.inject.combiner, f'a{i}', 'c')
      lines.append(f"a{i}' = {_activated(cell.inject.activation, joined)}")
  last = value(len(cell.nodes) - 1)
  return [*lines, f'h_t = {last}', f'c_t = {sums[cell.memory]}']


def _combined(combiner: str, one: str, other: str) -> str:
  if combiner == 'add':
    return f'{one} + {other}'
  pair = (f'({word})' if ' ' in word else word for word in (one, other))
  return ' * '.join(pair)


def _activated(activation: str, text: str) -> str:
  return text if activation == 'identity' else f'{activation}({text})'
