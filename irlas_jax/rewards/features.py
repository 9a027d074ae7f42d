"""phi: what the mirror stimuli function sees of an architecture's topology.

Features are read from the graph itself, so they do not depend on how its nodes
happen to be numbered: isomorphic graphs have the same counts. The published
paper does not give its features; these are ours.

Shapes: `V` nodes, `F` attributes, `O` operations, `A` values of an attribute
that are told apart, `D` features.
"""

import itertools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from irlas_jax.types import Graph

FAN_OUTS = ('0', '1', '2', '3+')  # how many nodes read this one
SPANS = ('1', '2', '3+')  # depth of the reader less depth of what it reads

# Counts decide argmaxes and must agree for isomorphic graphs: no TensorFloat.
_EXACT = jax.lax.Precision.HIGHEST


def feature_counts(
  graph: Graph,
  num_operations: int,
  attribute_values: Sequence[Sequence[int] | jax.Array],
  discount: float | jax.Array,
) -> jax.Array:
  """Discounted feature counts of one architecture, mu [D].

  mu(G) = sum_v discount^(d(v) - 1) phi(v), over all real nodes v but inputs
  (operation 0); d(v) is the length of the longest path from an input to v. This
  is apprenticeship learning's mu(tau) = sum_t gamma^t phi(s_t) with depth in
  place of the step number, which depends on the numbering. phi(v) counts

  - the *kind* of v: its operation with an attribute, a one-hot an attribute;
  - the operation of v with its fan-out, and with whether v merges, that is
    reads two nodes or more;
  - for every u that v reads: the kind of u with the kind of v, an attribute at
    a time, and the operation of v with the depth span d(v) - d(u).

  Args:
    graph: an architecture without leading axes; padding counts nothing.
    num_operations: O, rows of the space's operation table; row 0 is the input.
    attribute_values: for each column of `graph.attrs`, the values told apart;
      any other value counts nothing where that attribute is asked.
    discount: in (0, 1]; may be traced.

  Returns:
    mu [D] float32; `feature_names` says what each entry is.

  Raises:
    ValueError: `attribute_values` does not have one entry a column.
  """
  chex.assert_rank([graph.ops, graph.attrs, graph.edges], [1, 2, 2])
  if graph.attrs.shape[1] != len(attribute_values):
    raise ValueError(
      f'feature_counts: the graph has {graph.attrs.shape[1]} attributes but '
      f'attribute_values has {len(attribute_values)} entries; give one tuple '
      'of values for each column of Graph.attrs.'
    )
  real = graph.ops >= 0
  edges = graph.edges & real[:, None] & real[None, :]
  depth = depths(edges)
  weight = jnp.where(graph.ops > 0, discount ** jnp.maximum(depth - 1, 0), 0.0)
  operation = jax.nn.one_hot(graph.ops, num_operations)
  kinds = _kinds(operation, graph.attrs, attribute_values)
  tables = (
    *(jnp.dot(weight, kind, precision=_EXACT) for kind in kinds),
    *_shape_tables(operation, edges, weight),
    *(_read_table(kind, edges, weight) for kind in kinds),
    _span_table(operation, edges, weight, depth),
  )
  return jnp.concatenate([table.ravel() for table in tables])


def feature_names(
  operations: Sequence[str],
  attributes: Sequence[str],
  attribute_values: Sequence[Sequence[int]],
) -> tuple[str, ...]:
  """Names of the D features of `feature_counts`, in its order."""
  kinds = [
    [f'{o} {name}={a}' for o, a in itertools.product(operations, values)]
    for name, values in zip(attributes, attribute_values, strict=True)
  ] or [list(operations)]
  shapes = [f'{o} fan-out {f}' for o in operations for f in FAN_OUTS]
  merges = [f'{o} merges' for o in operations]
  reads = [f'{u} -> {v}' for k in kinds for u, v in itertools.product(k, k)]
  spans = [f'{o} span {s}' for o in operations for s in SPANS]
  return (*itertools.chain(*kinds), *shapes, *merges, *reads, *spans)


def normalise(mu: jax.Array) -> jax.Array:
  """mu / ||mu||_2 along the last axis; a zero vector stays zero.

  Ours, not the paper's: raw counts grow with the number of nodes, so a score
  that is linear in them mostly measures length.
  """
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


def _kinds(operation, attrs, attribute_values):
  """One-hot of (operation, attribute): [V, O * A] for each attribute."""
  if not attribute_values:
    return (operation,)
  columns = zip(attrs.T, attribute_values, strict=True)
  told = (column[:, None] == jnp.asarray(values) for column, values in columns)
  pairs = (operation[:, :, None] * value[:, None, :] for value in told)
  return tuple(pair.reshape(operation.shape[0], -1) for pair in pairs)


def _shape_tables(operation, edges, weight):
  """Operation by fan-out [O, 4] and operation of merges [O]."""
  fan_out = jnp.minimum(edges.sum(1), len(FAN_OUTS) - 1)
  merges = edges.sum(0) >= 2
  weighted = operation * weight[:, None]
  by_fan_out = jnp.dot(
    weighted.T, jax.nn.one_hot(fan_out, len(FAN_OUTS)), precision=_EXACT
  )
  return by_fan_out, jnp.dot(merges, weighted, precision=_EXACT)


def _read_table(kind, edges, weight):
  """Kind of what is read by kind of the reader, [K, K]."""
  reads = jnp.dot(edges * weight, kind, precision=_EXACT)
  return jnp.dot(kind.T, reads, precision=_EXACT)


def _span_table(operation, edges, weight, depth):
  """Operation of the reader by depth span of the edge, [O, 3]."""
  span = jnp.clip(depth[None, :] - depth[:, None], 1, len(SPANS)) - 1
  reads = jnp.where(edges[..., None], jax.nn.one_hot(span, len(SPANS)), 0.0)
  return jnp.dot(
    (operation * weight[:, None]).T, reads.sum(0), precision=_EXACT
  )
