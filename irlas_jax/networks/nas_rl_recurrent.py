"""NAS-RL's recurrent cells as layers of a language model.

Zoph & Le, ICLR 2017 (arXiv 1611.01578). A plain layer has the cell in its
fields and reads as its equations do; a padded one has it as data, so that one
program trains all cells of a space. A complete tree has its 2B matrices
whatever its nodes do: both have the same parameters, and nothing is padded but
operations, of which all are computed and one is chosen. The matrices have no
biases, as in the paper's equations.

Shapes: `B` leaves, `N` = 2B - 1 nodes of the tree, `H` units, `S` steps; `b`
sequences in a batch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks.block_cost import Cost
from irlas_jax.networks.language_model import LanguageModel, Sizes
from irlas_jax.types import Array, Graph

COMBINERS = {'add': jnp.add, 'elem_mult': jnp.multiply}
ACTIVATIONS = {
  'identity': lambda x: x,
  'tanh': jnp.tanh,
  'sigmoid': jax.nn.sigmoid,
  'relu': jax.nn.relu,
}


class Wiring(NamedTuple):
  """A cell as indices: node B + k reads nodes 2k and 2k + 1.

  Rows of `COMBINERS` and `ACTIVATIONS`; the last is the injection's.
  """

  combiners: Array  # [N + 1] int32
  activations: Array  # [N + 1] int32
  into: Array  # [] int32, the node that c_{t-1} joins
  memory: Array  # [] int32, the node that gives c_t


class Networks(NamedTuple):
  """The language models of a space's cells."""

  padded: Callable  # (Sizes, num_words) -> (Graph, traced or not) -> module
  plain: Callable  # (Graph, Sizes, num_words) -> module
  cost: Callable  # (Graph, Sizes, num_words) -> Cost of one token


def networks(operations: tuple[str, ...]) -> Networks:
  """Those of graphs whose `ops` point to `operations`; in any numbering."""
  read = jax.jit(functools.partial(wire, operations=operations))

  def padded(sizes: Sizes, num_words: int) -> Callable:
    def module(graph: Graph) -> LanguageModel:
      layer = functools.partial(_layer, padded_cell, read(graph))
      return LanguageModel(layer, sizes, num_words)

    return module

  def plain(graph: Graph, sizes: Sizes, num_words: int) -> LanguageModel:
    found = jax.device_get(read(graph))
    fixed = Wiring(*(_as_tuple(field) for field in found))
    layer = functools.partial(_layer, plain_cell, fixed)
    return LanguageModel(layer, sizes, num_words)

  return Networks(padded, plain, cost)


def _layer(cell, wiring: Wiring, units: int, init: Callable, name: str):
  return TreeLayer(cell, wiring, units, init, name=name)


def _as_tuple(field: np.ndarray):
  """Numbers that a module may have as a field."""
  values = field.tolist()
  return tuple(values) if isinstance(values, list) else values


def wire(graph: Graph, operations: tuple[str, ...]) -> Wiring:
  """Reads a cell, traced or not, in any numbering of its nodes.

  From the last node of the tree down to the leaves; of two children the one
  with the lower number is the first.
  """
  ops, edges = jnp.asarray(graph.ops), jnp.asarray(graph.edges, bool)
  outputs = jnp.asarray(graph.outputs)
  base = (len(ops) - 3) // 4
  inject = jnp.argmax(edges[jnp.argmax(ops == operations.index('cell'))])
  only = jnp.argmax(edges, axis=0)  # what an activation reads
  last = len(ops) - 1 - jnp.argmax(edges[::-1], axis=0)
  is_activation = ops >= operations.index('identity')
  joined = jnp.argmax(edges[:, inject] & is_activation)
  levels: list[jax.Array] = []
  level = jnp.argmax(outputs == 1)[None]
  while len(level) <= base:
    # Where the memory joins, what it joins is the tree's.
    level = jnp.where(only[level] == inject, joined, level)
    levels.insert(0, level)
    combiner = only[level]
    level = jnp.stack([only[combiner], last[combiner]], axis=1).ravel()
  nodes = jnp.concatenate(levels)
  after = jnp.argmax(edges[inject])
  every = jnp.append(nodes, after)
  return Wiring(
    ops[only[every]] - operations.index('add'),
    ops[every] - operations.index('identity'),
    jnp.argmax(nodes == joined),
    jnp.argmax(only[nodes] == jnp.argmax(outputs == 2)),
  )


def _base(wiring: Wiring) -> int:
  return len(wiring.combiners) // 2


class TreeLayer(nn.Module):
  """(carry (h, c), x [S, b, H]) -> (carry, h of all steps [S, b, H]).

  `cell` is `plain_cell` or `padded_cell`.
  """

  cell: Callable
  wiring: Wiring
  units: int
  init: Callable

  @nn.compact
  def __call__(self, carry, x):
    width = _base(self.wiring) * self.units
    dense = functools.partial(nn.Dense, use_bias=False, kernel_init=self.init)
    read = dense(width, name='input')(x)
    kernel = self.param('hidden', self.init, (self.units, width))

    def step(carry, read):
      h, c = carry
      leaves = self._split(read), self._split(h @ kernel)
      h, c = self.cell(self.wiring, *leaves, c)
      return (h, c), h

    return jax.lax.scan(step, carry, read)

  def _split(self, x):
    """What each leaf reads: [b, B * H] to [b, B, H]."""
    return x.reshape(*x.shape[:-1], -1, self.units)


def plain_cell(wiring: Wiring, one, other, c) -> tuple[Any, Any]:
  """(h_t, c_t) [b, H] from W x_t, W' h_{t-1} [b, B, H] and c_{t-1} [b, H].

  The wiring is tuples of numbers; node by node, as the equations read.
  """
  combiners, activations = list(COMBINERS.values()), list(ACTIVATIONS.values())
  base = _base(wiring)
  pairs = [(one[:, i], other[:, i]) for i in range(base)]
  sums: list[Any] = []
  values: list[Any] = []
  *nodes, inject = zip(wiring.combiners, wiring.activations, strict=True)
  for i, (combiner, activation) in enumerate(nodes):
    k = 2 * (i - base)
    pair = pairs[i] if i < base else values[k : k + 2]
    sums.append(combiners[combiner](*pair))
    value = activations[activation](sums[-1])
    if i == wiring.into:
      value = activations[inject[1]](combiners[inject[0]](value, c))
    values.append(value)
  return values[-1], sums[wiring.memory]


def padded_cell(wiring: Wiring, one, other, c) -> tuple[Any, Any]:
  """The same; the wiring may be traced.

  All nodes of a level are computed at once, each by all operations.
  """
  first, size = 0, _base(wiring)
  memory = jnp.zeros_like(c)
  while size:
    here = slice(first, first + size)
    index = jnp.arange(first, first + size)[:, None]
    sums = _combine(wiring.combiners[here, None], one, other)
    memory += jnp.where(index == wiring.memory, sums, 0).sum(1)
    values = _activate(wiring.activations[here, None], sums)
    is_into = index == wiring.into
    joined = jnp.where(is_into, values, 0).sum(1)
    joined = _combine(wiring.combiners[-1], joined, c)
    joined = _activate(wiring.activations[-1], joined)
    values = jnp.where(is_into, joined[:, None], values)
    one, other = values[:, ::2], values[:, 1::2]
    first, size = first + size, size // 2
  return values[:, -1], memory


def _combine(row, one, other):
  """One of `COMBINERS` by its row, which broadcasts against the values."""
  return jnp.where(row == 0, one + other, one * other)


def _activate(row, x):
  """One of `ACTIVATIONS` by its row, likewise."""
  every = [activation(x) for activation in ACTIVATIONS.values()]
  found = every[0]
  for i, value in enumerate(every[1:], start=1):
    found = jnp.where(row == i, value, found)
  return found


def cost(graph: Graph, sizes: Sizes, num_words: int) -> Cost:
  """Of cells with any leading axes (host arrays): parameters, and of a token.

  All cells of a space cost the same. An embedding is looked up and counts no
  multiply-adds, nor do products element by element; see `networks.cost`.
  """
  ops = np.asarray(graph.ops)
  base = (ops.shape[-1] - 3) // 4
  matrices = sizes.layers * 2 * base * sizes.units**2
  words = float(num_words * sizes.units)
  params = matrices + words * (1 if sizes.tied else 2) + num_words
  blank = np.ones(ops.shape[:-1])
  return Cost(params * blank, (matrices + words) * blank)
