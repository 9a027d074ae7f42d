"""Dropping the nodes of a graph that no information flows through.

Shapes: `V` nodes, at most 32. Everything here takes one unbatched graph and is
traced; `jax.vmap` takes more.
"""

import chex
import jax
import jax.numpy as jnp

from irlas_jax.types import Graph

MAX_NODES = 32  # a set of nodes is the bits of one word


def _to_bits(nodes: jax.Array) -> jax.Array:
  """Sets of nodes [..., V] bool as words [...] uint32."""
  bits = jnp.uint32(1) << jnp.arange(nodes.shape[-1], dtype=jnp.uint32)
  return jnp.sum(jnp.where(nodes, bits, 0), axis=-1, dtype=jnp.uint32)


def reachable(edges: jax.Array, start: jax.Array) -> jax.Array:
  """Nodes that a path leads to: edges [V, V], start [V] -> [V] bool.

  `start` itself counts as reached.

  Raises:
    ValueError: for more than 32 nodes.
  """
  chex.assert_shape(edges, (len(start), len(start)))
  if len(start) > MAX_NODES:
    raise ValueError(
      f'A graph of {len(start)} nodes: reachability takes at most {MAX_NODES}.'
    )
  nodes = jnp.arange(len(start), dtype=jnp.uint32)
  sources = _to_bits(edges.T)

  def visit(reached, node_and_sources):  # once each, in topological order
    node, read = node_and_sources
    return reached | (((read & reached) != 0).astype(jnp.uint32) << node), None

  reached, _ = jax.lax.scan(
    visit, _to_bits(start), (nodes, sources), unroll=True
  )
  return (reached >> nodes) & 1 == 1


def reaching(edges: jax.Array, goal: jax.Array) -> jax.Array:
  """Nodes that a path leads from to `goal`: [V, V], [V] -> [V] bool."""
  return reachable(edges.T[::-1, ::-1], goal[::-1])[::-1]


def prune(graph: Graph, removed: tuple[int, ...] = ()) -> Graph:
  """Keeps what lies on a path from the input to an output, and compacts it.

  First nodes whose operation is a row in `removed` lose their edges; then all
  nodes are dropped that are not on a path from node 0 to a node with a role.
  Node 0 and the nodes with a role always stay, without edges where no path
  goes through them: if there is no path at all, they are the result. Those
  that stay move to the front in their order; padding follows.
  """
  ops, attrs, edges, outputs = map(jnp.asarray, graph)
  chex.assert_rank([ops, attrs, edges, outputs], [1, 2, 2, 1])
  real = ops >= 0
  usable = real & ~jnp.isin(ops, jnp.array(removed, ops.dtype))
  edges = edges & usable[:, None] & usable
  first, last = jnp.arange(len(ops)) == 0, outputs > 0
  on_path = reachable(edges, first) & reaching(edges, last)
  edges = edges & on_path[:, None] & on_path
  return _compact(
    Graph(ops, attrs, edges, outputs), real & (on_path | first | last)
  )


def _compact(graph: Graph, stays: jax.Array) -> Graph:
  """Only the nodes in `stays` [V], moved to the front in their order."""
  nodes = jnp.arange(len(stays))
  # One-hot instead of a sort, which is several times slower under vmap.
  taken = stays & (jnp.cumsum(stays) - 1 == nodes[:, None])  # [new, old]
  order = jnp.sum(jnp.where(taken, nodes, 0), axis=1)
  real = nodes < jnp.sum(stays)
  return Graph(
    jnp.where(real, graph.ops[order], -1),
    jnp.where(real[:, None], graph.attrs[order], 0),
    graph.edges[order[:, None], order] & real[:, None] & real,
    jnp.where(real, graph.outputs[order], 0),
  )
