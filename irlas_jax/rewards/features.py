"""phi: what the mirror stimuli function sees of an architecture's topology.

Features are read from the graph itself, so they do not depend on how its nodes
happen to be numbered: isomorphic graphs have the same counts. The published
paper does not give its features; these are ours.

Shapes: `V` nodes, `F` attributes, `L` labels of one resolution, `D` features.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.rewards.policy_class import EXACT
from irlas_jax.types import Graph

ANY = -1  # in a pattern: whatever the attribute is


class Labels(NamedTuple):
  """One resolution: what a node may be called, coarse or fine.

  A pattern is (row of the operation table, attribute, ...), where `ANY` stands
  for every value. A node that no pattern fits has no label and counts nothing.
  """

  names: tuple[str, ...]  # [L]
  patterns: tuple[tuple[tuple[int, ...], ...], ...]  # [L], those of each label


class Shares(NamedTuple):
  """What each node and each edge adds to w.mu; they add up to it."""

  nodes: jax.Array  # [V + 1], the last one where several outputs are joined
  edges: jax.Array  # [V + 1, V + 1]


class Features(NamedTuple):
  """phi, summed over an architecture."""

  names: tuple[str, ...]  # [D]
  counts: Callable  # Graph -> mu [D]
  shares: Callable  # (Graph, w [D]) -> Shares


class _View(NamedTuple):
  """What tables count: weights already hold the discount."""

  nodes: jax.Array  # [V] weight of a node
  edges: jax.Array  # [V, V] weight of u in what v reads
  fan_out: jax.Array  # [V] int
  fan_in: jax.Array  # [V] int
  depth: jax.Array  # [V] int


class _Table(NamedTuple):
  names: Callable  # names of labels [L] -> names of entries, as `ravel` orders
  count: Callable  # (_View, label [V, L]) -> entries


def labels(groups: Mapping[str, Iterable[tuple[int, ...]]]) -> Labels:
  """A resolution from each label's patterns, all of which are as long."""
  found = tuple(tuple(patterns) for patterns in groups.values())
  if len({len(pattern) for pattern in itertools.chain(*found)}) != 1:
    raise ValueError(
      'labels: patterns have different lengths, or there are none; give every '
      'pattern an operation and one number for each attribute.'
    )
  return Labels(tuple(groups), found)


def topology(
  resolutions: Sequence[Labels],
  tables: Sequence[str],
  *,
  join: int = -1,
  discount: float | jax.Array = 0.9,
  normalised: bool = True,
) -> Features:
  """Counts of what nodes are called and of how they hang together.

    mu(G) = sum_v discount^(d(v) - 1) phi(v)

  over all nodes v but inputs (operation 0), d(v) being the length of the
  longest path from an input to v. That is apprenticeship learning's mu(tau) =
  sum_t gamma^t phi(s_t) with depth in place of the step number, which depends
  on the numbering. phi(v) counts, at every resolution,

    nodes    the label of v
    fan_out  the label of v by how many nodes read it: 0, 1, 2 or more
    fan_in   the label of v by how many nodes it reads: 1, or more (a merge)
    depths   the label of v by d(v): 1, 2, 3 or more
    reads    for every u that v reads, the labels of u and v
    spans    for every u that v reads, the label of v by d(v) - d(u)

  Args:
    resolutions: how nodes are called; several, from coarse to fine, let weights
      generalise as far as they can and tell apart what they must.
    tables: names from the list above.
    join: row of the operation that several outputs amount to, such as their
      concatenation, which then is a node like any other; -1 for none.
    discount: in (0, 1]; may be traced.
    normalised: scale mu to length 1. Ours, not the paper's: raw counts grow
      with the number of nodes, so a score that is linear in them mostly
      measures length.

  Raises:
    ValueError: for no table, one that does not exist, no resolution, or (from
      `counts`) attributes that do not fit the patterns.
  """
  if not (resolutions and tables):
    raise ValueError(
      'topology: without resolutions or without tables there are no features; '
      'give one of each at least.'
    )
  for name in tables:
    if name not in TABLES:
      raise ValueError(
        f'features.tables has {name!r}: choose from {", ".join(TABLES)}.'
      )
  chosen = [(one, TABLES[name]) for one in resolutions for name in tables]

  def tally(graph, node_shares, edge_shares):
    view = _view(graph, discount, node_shares, edge_shares)
    label = {id(one): labelled(graph, one) for one in resolutions}
    return jnp.concatenate(
      [table.count(view, label[id(one)]).ravel() for one, table in chosen]
    )

  def plain(graph):
    size = len(graph.ops)
    return tally(graph, jnp.ones(size), jnp.ones((size, size)))

  def counts(graph):
    mu = plain(_joined(graph, join))
    return normalise(mu) if normalised else mu

  def shares(graph, weights):
    graph = _joined(graph, join)
    length = jnp.linalg.norm(plain(graph)) if normalised else 1.0
    length = jnp.where(length > 0, length, 1.0)  # what counts nothing adds 0

    def value(nodes, edges):
      return jnp.dot(weights, tally(graph, nodes, edges), precision=EXACT)

    # Counts are linear in the shares, so a gradient is a contribution.
    size = len(graph.ops)
    ones = jnp.ones(size), jnp.ones((size, size))
    return Shares(*(x / length for x in jax.grad(value, argnums=(0, 1))(*ones)))

  names = itertools.chain.from_iterable(
    table.names(one.names) for one, table in chosen
  )
  return Features(tuple(names), counts, shares)


def normalise(mu: jax.Array) -> jax.Array:
  """mu / ||mu||_2 along the last axis; a zero vector stays zero."""
  length = jnp.linalg.norm(mu, axis=-1, keepdims=True)
  return mu / jnp.where(length > 0, length, 1.0)


def depths(edges: jax.Array) -> jax.Array:
  """d(v) = max_{u -> v} d(u) + 1, 0 if v reads nothing. [V, V] -> [V] int32.

  One pass over the nodes, which stand in topological order.
  """

  def step(depth, node):
    v, reads = node
    longest = jnp.max(jnp.where(reads, depth + 1, 0))
    return depth.at[v].set(longest), None

  nodes = jnp.arange(edges.shape[0])
  return jax.lax.scan(step, jnp.zeros_like(nodes), (nodes, edges.T))[0]


def _joined(graph: Graph, join: int) -> Graph:
  """The graph [V + 1] whose last node reads all outputs, if there are two."""
  chex.assert_rank([graph.ops, graph.attrs, graph.edges], [1, 2, 2])
  outputs = (jnp.asarray(graph.outputs) == 1) & (graph.ops >= 0)
  several = (outputs.sum() > 1) & (join >= 0)
  last = jnp.append(outputs & several, False)
  return Graph(
    jnp.append(graph.ops, jnp.where(several, join, -1)),
    jnp.pad(graph.attrs, ((0, 1), (0, 0))),
    jnp.pad(graph.edges, ((0, 1), (0, 1))).at[:, -1].set(last),
    jnp.append(jnp.where(several, 0, graph.outputs), several),
  )


def _view(graph, discount, node_shares, edge_shares) -> _View:
  real = graph.ops >= 0
  edges = graph.edges & real[:, None] & real[None, :]
  depth = depths(edges)
  weight = jnp.where(graph.ops > 0, discount ** jnp.maximum(depth - 1, 0), 0.0)
  return _View(
    weight * node_shares,
    edges * weight * edge_shares,
    edges.sum(1),
    edges.sum(0),
    depth,
  )


def labelled(graph: Graph, resolution: Labels) -> jax.Array:
  """Which label each node has: [V, L] of 0 and 1.

  Raises:
    ValueError: the graph's attributes do not fit the patterns.
  """
  owner = np.repeat(
    np.arange(len(resolution.names)), [len(p) for p in resolution.patterns]
  )
  patterns = np.array(list(itertools.chain(*resolution.patterns)), np.int32)
  node = jnp.concatenate([graph.ops[:, None], graph.attrs], axis=1)
  if patterns.shape[1] != node.shape[1]:
    raise ValueError(
      f'labelled: a node has an operation and {node.shape[1] - 1} attributes; '
      'give every pattern of a label as many numbers.'
    )
  fits = (node[:, None, :] == patterns) | (patterns == ANY)
  found = fits.all(-1).astype(jnp.float32)
  return jnp.minimum(found @ np.eye(len(resolution.names))[owner], 1.0)


def _by_class(name, values, classes):
  """A table of nodes by an integer of theirs, clipped to the classes."""
  first, *_, last = map(int, classes)

  def count(view, label):
    place = jnp.clip(getattr(view, values), first, last) - first
    told = jax.nn.one_hot(place, len(classes)) * view.nodes[:, None]
    return jnp.dot(label.T, told, precision=EXACT)

  return _Table(_crossed(name, classes), count)


def _crossed(name, classes):
  """Names of labels by classes, the last of which is open."""
  told = [f'{name} {c}' for c in classes[:-1]] + [f'{name} {classes[-1]}+']
  return lambda own: [' '.join(x) for x in itertools.product(own, told)]


def _nodes(view, label):
  return jnp.dot(view.nodes, label, precision=EXACT)


def _reads(view, label):
  reads = jnp.dot(view.edges, label, precision=EXACT)
  return jnp.dot(label.T, reads, precision=EXACT)


def _spans(view, label):
  span = jnp.clip(view.depth - view.depth[:, None], 1, 3)
  told = (span[..., None] == jnp.arange(1, 4)) * view.edges[..., None]
  return jnp.dot(label.T, told.sum(0), precision=EXACT)


TABLES = {
  'nodes': _Table(list, _nodes),
  'fan_out': _by_class('fan-out', 'fan_out', '012'),
  'fan_in': _by_class('fan-in', 'fan_in', '12'),
  'depths': _by_class('depth', 'depth', '123'),
  'reads': _Table(
    lambda own: [f'{u} -> {v}' for u, v in itertools.product(own, own)], _reads
  ),
  'spans': _Table(_crossed('span', '123'), _spans),
}
