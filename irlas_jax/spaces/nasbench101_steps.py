"""The cells of NAS-Bench-101, built up step by step as AlphaX does.

Wang et al., "AlphaX: Exploring neural architectures with deep neural networks
and Monte Carlo tree search" (arXiv 1805.07440, 1903.11059): a cell starts as
input and output without edges and grows by a node or an edge until the agent
stops. In AlphaX a new node wipes all edges, so of every path to a cell only
the part after the last node counts; here nodes come before edges instead, and
an edge is offered only while a path from input to output can still be
completed within the budget. That is our reading.

  0            stop; legal once there is a path from input to output
  1, 2, 3      a new vertex: conv3x3, conv1x1, maxpool3x3
  4 + p        an edge between pair p of `nasbench101.pairs`

New vertices are 1, 2, ...; the output is vertex V - 1 from the beginning.

Shapes: `V` vertices, `P` = V (V - 1) / 2 pairs, `A` = 4 + P actions.
"""

import jax.numpy as jnp
import numpy as np

from irlas_jax.spaces import nasbench101, pruning
from irlas_jax.types import Space

STOP = 0
FIRST_EDGE = 1 + len(nasbench101.CHOICES)


def nasbench101_steps(
  max_vertices: int = nasbench101.MAX_VERTICES,
  max_edges: int = nasbench101.MAX_EDGES,
) -> Space:
  """Cells of up to `max_vertices` vertices and `max_edges` edges.

  `T` is the largest number of nodes and edges that can be added. Operations,
  graphs and the rows of a value table are those of `nasbench101`.

  Raises:
    ValueError: for limits outside 3 ... 7 vertices and 1 ... 9 edges.
  """
  nasbench101.check_limits(max_vertices, max_edges)
  sources, targets = nasbench101.pairs(max_vertices)
  num_nodes, num_pairs = max_vertices - 2, len(sources)
  num_steps = num_nodes + min(max_edges, num_pairs)
  num_actions = FIRST_EDGE + num_pairs
  # Action by (source, target), STOP where there is no pair.
  action_of = np.full((max_vertices, max_vertices), STOP, np.int32)
  action_of[sources, targets] = FIRST_EDGE + np.arange(num_pairs)
  first = np.arange(max_vertices) == 0
  last = np.arange(max_vertices) == max_vertices - 1

  def edges_of(actions):
    taken = jnp.any(actions[:, None, None] == action_of, axis=0)
    return taken & (action_of > STOP)

  def legal(actions, t):
    earlier = jnp.where(jnp.arange(num_steps) < t, actions, STOP)
    edges = edges_of(earlier)
    nodes, count = jnp.sum(_is_node(earlier)), jnp.sum(edges)
    from_input = pruning.reachable(edges, jnp.asarray(first))
    to_output = pruning.reaching(edges, jnp.asarray(last))
    connected = from_input[-1]
    completes = from_input[sources] & to_output[targets]
    reserve = ~(connected | completes)
    there = (jnp.arange(max_vertices) <= nodes) | last
    add = ~edges[sources, targets] & there[sources] & there[targets]
    add &= count + 1 + reserve <= max_edges
    grow = jnp.full(FIRST_EDGE - 1, (count == 0) & (nodes < num_nodes))
    mask = jnp.concatenate([connected[None], grow, add])
    ended = (t > 0) & (actions[t - 1] == STOP)
    return jnp.where(ended, jnp.arange(num_actions) == STOP, mask)

  def decode(actions):
    actions = jnp.asarray(actions, jnp.int32)
    nodes = actions[:num_nodes]
    ops = jnp.where(_is_node(nodes), nodes, 1)  # without edges, so dropped
    return nasbench101.to_cell(ops, edges_of(actions))

  def encode(graph):
    ops, edges, nodes = nasbench101.spread(graph, max_vertices)
    present = edges[sources, targets]
    step = nodes + jnp.cumsum(present) - 1
    steps = jnp.arange(num_steps)
    chosen = present & (step == steps[:, None])  # [T, P]
    added = jnp.where(chosen, FIRST_EDGE + jnp.arange(num_pairs), 0).sum(1)
    ops = jnp.pad(ops, (0, num_steps - num_nodes))
    return jnp.where(steps < nodes, ops, added).astype(jnp.int32)

  return Space(
    num_steps,
    num_actions,
    num_steps * num_actions,
    legal,
    lambda actions, t: nasbench101.table_row(actions, t, num_actions),
    decode,
    encode,
    nasbench101.OPERATIONS,
    nasbench101.ATTRIBUTES,
    terminal=True,
  )


def _is_node(actions):
  return (actions > STOP) & (actions < FIRST_EDGE)
