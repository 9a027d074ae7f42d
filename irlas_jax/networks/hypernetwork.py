"""A graph hypernetwork: from an architecture to the weights of its network.

Zhang et al., "Graph HyperNetworks for neural architecture search", ICLR 2019
(arXiv 1810.05749), and GHN-2 (Knyazev et al., 2021, arXiv 2110.13100). What it
makes are the parameters of a space's padded program, which have one shape for
all architectures: so one compiled function makes and runs the networks of any.

A network is a stem, stages of equal blocks, and a head. One graph network with
one set of parameters runs over the blocks one after another; each is told the
mean state of the nodes of the one before it, and where it stands (which also
says its width). Stem, head, and what is between two stages are blocks of one
node. What weights a node has is a `Layout`'s affair.

Shapes: `V` nodes of a block, `H` numbers a state, `S` stages, `n` blocks of
one, `B` blocks in all with those of one node, `F` features of a node.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block, graph_propagation, weight_decoder
from irlas_jax.types import Graph

_KINDS = ('block', 'stem', 'reduction', 'head')


class Nodes(NamedTuple):
  """A block as the hypernetwork sees it, in topological order."""

  features: jax.Array  # [V, F] float32
  edges: jax.Array  # [V, V] bool, [u, v] if v reads u
  live: jax.Array  # [V] bool, whether it counts


class States(NamedTuple):
  """What is known of each part of a network."""

  stem: jax.Array  # [H]
  reductions: jax.Array  # [S - 1, H], of what is between two stages
  blocks: tuple[jax.Array, ...]  # S times [n, V, H]
  head: jax.Array  # [H]


class Layout(NamedTuple):
  """What weights the networks of a space have, and of which nodes they are."""

  read: Callable  # Graph -> Nodes
  assemble: Callable  # (Decode, States, Graph) -> params of the padded program


class Sizes(NamedTuple):
  """Hyper-parameters; the defaults are GHN-2's with GHN's five passes.

  GHN itself is `virtual_edges` 0, without `layer_norm` and `normalise`.
  """

  hidden: int = 32  # H
  decoder: int = 64  # hidden units of the decoder
  passes: int = 5  # forward and backward
  virtual_edges: int = 50  # the farthest that they go; 0: there are none
  layer_norm: bool = True  # of states before they are decoded
  normalise: bool = True  # weights by their fan-in


class HyperNetwork(NamedTuple):
  """Its functions; a batch of architectures by `jax.vmap`."""

  init: Callable  # (key, Graph) -> params; of the graph the shapes
  states: Callable  # (params, Graph) -> States
  generate: Callable  # (params, Graph) -> params of the padded program


def check(sizes: Sizes) -> None:
  """Refuses sizes that make no network.

  Raises:
    ValueError: naming the config field.
  """
  for name in ('hidden', 'decoder', 'passes'):
    if getattr(sizes, name) < 1:
      raise ValueError(
        f'evaluator.{name} is {getattr(sizes, name)}: at least 1.'
      )
  if sizes.virtual_edges < 0:
    raise ValueError(
      f'evaluator.virtual_edges is {sizes.virtual_edges}: the farthest that '
      'they go, or 0 for none.'
    )


def hypernetwork(
  layout: Layout, macro: block.Macro, sizes: Sizes
) -> HyperNetwork:
  """The hypernetwork of a space's networks.

  Raises:
    ValueError: for sizes that make no network.
  """
  check(sizes)
  spread = graph_propagation.propagation(
    sizes.hidden, sizes.passes, sizes.virtual_edges
  )
  decoder = weight_decoder.decoder(
    sizes.hidden, sizes.decoder, sizes.layer_norm, sizes.normalise
  )
  units = _units(macro)
  hidden = sizes.hidden

  def outputs(graph):
    like = _blank_states(graph, macro, hidden)
    return weight_decoder.largest(
      lambda decode: layout.assemble(decode, like, graph)
    )

  def init(key, graph: Graph):
    key_nodes, key_places, key_spread, key_decoder = jax.random.split(key, 4)
    num_features = layout.read(graph).features.shape[1]
    return {
      'nodes': _init_table(key_nodes, num_features, hidden),
      'places': _init_table(key_places, units.places.shape[1], hidden),
      'spread': spread.init(key_spread),
      'decoder': decoder.init(key_decoder, outputs(graph)),
    }

  def states(params, graph: Graph) -> States:
    nodes = layout.read(graph)
    embedded = nodes.features @ params['nodes']['kernel']
    edges = nodes.edges & nodes.live[:, None] & nodes.live
    weights = spread.weigh(edges)

    def visit(before, unit):
      whole, place = unit
      live = jnp.where(whole, nodes.live, jnp.arange(len(embedded)) == 0)
      start = jnp.where(whole, embedded, 0.0) + place
      found = spread.run(params['spread'], start, weights, live, before)
      return jnp.mean(found, axis=0, where=live[:, None]), found

    at = jnp.asarray(units.places) @ params['places']['kernel']
    _, found = jax.lax.scan(visit, jnp.zeros(hidden), (units.kinds == 0, at))
    blocks = found[np.flatnonzero(units.kinds == 0)]
    stem, reductions, head = (
      found[np.flatnonzero(units.kinds == kind), 0] for kind in (1, 2, 3)
    )
    ends = np.cumsum(macro.blocks)[:-1]
    return States(stem[0], reductions, tuple(jnp.split(blocks, ends)), head[0])

  def generate(params, graph: Graph):
    decode = decoder.decode(params['decoder'], outputs(graph))
    return layout.assemble(decode, states(params, graph), graph)

  return HyperNetwork(init, states, generate)


def _init_table(key, rows: int, hidden: int) -> dict[str, jax.Array]:
  return {'kernel': 0.5 * jax.random.normal(key, (rows, hidden))}


class _Units(NamedTuple):
  """The parts of a network, in order."""

  kinds: np.ndarray  # [B] int, of `_KINDS`
  places: np.ndarray  # [B, 4 + S + 1]: kind, stage, share of the stage before


def _units(macro: block.Macro) -> _Units:
  found: list[tuple[str, int, float]] = [('stem', 0, 0.0)]
  for stage, number in enumerate(macro.blocks):
    if stage:
      found.append(('reduction', stage, 0.0))
    found += [('block', stage, i / number) for i in range(number)]
  found.append(('head', len(macro.blocks) - 1, 1.0))
  kinds = np.array([_KINDS.index(kind) for kind, _, _ in found])
  stages = np.array([stage for _, stage, _ in found])
  shares = np.array([[share] for _, _, share in found])
  is_kind = kinds[:, None] == np.arange(len(_KINDS))
  is_stage = stages[:, None] == np.arange(len(macro.blocks))
  places = np.concatenate([is_kind, is_stage, shares], axis=1)
  return _Units(kinds, places.astype(np.float32))


def _blank_states(graph: Graph, macro: block.Macro, hidden: int) -> States:
  return States(
    jnp.zeros(hidden),
    jnp.zeros((len(macro.blocks) - 1, hidden)),
    tuple(jnp.zeros((n, len(graph.ops), hidden)) for n in macro.blocks),
    jnp.zeros(hidden),
  )
