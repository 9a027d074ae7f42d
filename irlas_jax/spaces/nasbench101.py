"""The cells of NAS-Bench-101, one operation or edge a step.

Ying et al., "NAS-Bench-101: Towards reproducible neural architecture search",
ICML 2019 (arXiv 1902.09635): directed acyclic graphs of 2 to 7 vertices and at
most 9 edges, in which every vertex lies on a path from the input (the first
vertex) to the output (the last); the vertices between them carry one of three
operations. 423,624 such cells are not isomorphic.

A sequence first gives the operation of each of the V - 2 vertices in between,
then says of each pair of vertices, column by column of the adjacency matrix,
whether there is an edge. Vertices on no path are dropped, so smaller cells are
in the space too. What keeps every sequence valid is the last column, the
output's sources: it is read from the last vertex down to the input; one edge
of the budget is kept back until one of the sources can be reached from the
input, and the input itself, the last one asked for, is forced in if none was.

Shapes: `V` vertices, `P` = V (V - 1) / 2 pairs, `T` = V - 2 + P steps.
"""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import graph as graphs
from irlas_jax.spaces import genotypes, pruning
from irlas_jax.types import Graph, Space

OPERATIONS = ('input', 'conv3x3', 'conv1x1', 'maxpool3x3', 'output')
ATTRIBUTES = ()
CHOICES = OPERATIONS[1:-1]
OUTPUT = len(OPERATIONS) - 1
MAX_VERTICES = 7
MAX_EDGES = 9


def nasbench101(
  max_vertices: int = MAX_VERTICES, max_edges: int = MAX_EDGES
) -> Space:
  """Cells of up to `max_vertices` vertices and `max_edges` edges.

  Every complete legal sequence decodes to a cell of the space, and every cell
  is decoded from some. A value table tells apart the step and the previous
  action, as the block space's does. `encode` takes graphs padded to
  `max_vertices` nodes.

  Raises:
    ValueError: for limits outside 3 ... 7 vertices and 1 ... 9 edges.
  """
  check_limits(max_vertices, max_edges)
  num_ops = max_vertices - 2
  sources, targets = pairs(max_vertices)
  num_steps = num_ops + len(sources)
  # Step by (source, target); 0 elsewhere, masked by `is_pair`.
  step_of = np.zeros((max_vertices, max_vertices), np.int32)
  step_of[sources, targets] = num_ops + np.arange(len(sources))
  is_pair = step_of > 0
  pair_at = np.zeros((num_steps, 2), np.int32)
  pair_at[num_ops:, 0], pair_at[num_ops:, 1] = sources, targets

  def edges_of(actions):
    return (actions[step_of] == 1) & is_pair

  def legal(actions, t):
    earlier = jnp.arange(num_steps) < t
    edges = edges_of(jnp.where(earlier, actions, 0))
    reached = pruning.reachable(edges, jnp.arange(max_vertices) == 0)
    connected = jnp.any(edges[:, -1] & reached)
    source, target = jnp.asarray(pair_at)[t]
    completes = reached[source] & (target == max_vertices - 1)
    reserve = ~(connected | completes)
    add = jnp.sum(edges) + 1 + reserve <= max_edges
    leave = connected | (target < max_vertices - 1) | (source > 0)
    return (t < num_ops) | jnp.stack([leave, add, jnp.bool_(False)])

  def decode(actions):
    actions = jnp.asarray(actions, jnp.int32)
    return to_cell(actions[:num_ops] + 1, edges_of(actions))

  def encode(graph):
    ops, edges, _ = spread(graph, max_vertices)
    return jnp.concatenate([ops - 1, edges[sources, targets].astype(jnp.int32)])

  return Space(
    num_steps,
    len(CHOICES),
    num_steps * len(CHOICES),
    legal,
    lambda actions, t: table_row(actions, t, len(CHOICES)),
    decode,
    encode,
    OPERATIONS,
    ATTRIBUTES,
    terminal=False,
  )


def check_limits(max_vertices: int, max_edges: int):
  """Raises ValueError for limits that are not those of a NAS-Bench-101 cell."""
  for name, value, low, high in (
    ('max_vertices', max_vertices, 3, MAX_VERTICES),
    ('max_edges', max_edges, 1, MAX_EDGES),
  ):
    if not low <= value <= high:
      raise ValueError(
        f'space.{name} is {value}: NAS-Bench-101 allows {low} to {high}.'
      )


def pairs(num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
  """Sources and targets [P] int of all pairs, in the order of their actions.

  Column by column; sources ascend, but descend in the output's column.
  """
  last = num_vertices - 1
  rows = [(u, v) for v in range(1, last) for u in range(v)]
  rows += [(u, last) for u in reversed(range(last))]
  sources, targets = np.array(rows).T
  return sources, targets


def table_row(actions: jax.Array, t, num_actions: int) -> jax.Array:
  """Step and previous action as one number: [T], [] -> [] int32."""
  previous = jnp.where(t > 0, actions[t - 1], 0)
  return jnp.asarray(t * num_actions + previous, jnp.int32)


def to_cell(ops: jax.Array, edges: jax.Array) -> Graph:
  """The pruned cell of operation rows [V - 2] and edges [V, V]."""
  first, last = jnp.zeros(1, jnp.int32), jnp.full(1, OUTPUT, jnp.int32)
  num_vertices = len(edges)
  outputs = jnp.arange(num_vertices) == num_vertices - 1
  return pruning.prune(
    Graph(
      jnp.concatenate([first, ops, last]),
      jnp.zeros((num_vertices, 0), jnp.int32),
      edges,
      outputs.astype(jnp.int8),
    )
  )


def spread(graph: Graph, num_vertices: int):
  """A cell with its output moved to the last vertex: what `to_cell` takes.

  Returns:
    Operation rows [V - 2] (conv3x3 where there is no vertex), edges [V, V] and
    the number [] of vertices between input and output.
  """
  ops, edges = jnp.asarray(graph.ops), jnp.asarray(graph.edges)
  chex.assert_shape(ops, (num_vertices,))
  vertices = jnp.arange(num_vertices)
  between = jnp.sum(ops >= 0) - 2
  last = vertices == num_vertices - 1
  node = jnp.where(last, between + 1, vertices)
  there = last | (vertices <= between)
  edges = edges[node[:, None], node] & there[:, None] & there
  return jnp.where(there, ops, 1)[1:-1], edges, between


def text_of(graph: Graph) -> str:
  """Writes a cell: operations between input and output, then all edges.

  'conv3x3 conv1x1 | 0-1 0-3 1-2 2-3' has vertices 0 (the input) to 3.
  """
  ops = np.asarray(graph.ops)[1 : graphs.size(graph) - 1]
  names = ' '.join(OPERATIONS[op] for op in ops)
  edges = np.argwhere(np.asarray(graph.edges)).tolist()
  return f'{names} | {" ".join(f"{u}-{v}" for u, v in edges)}'.strip()


def parse(
  text: str, max_vertices: int = MAX_VERTICES, max_edges: int = MAX_EDGES
) -> Graph:
  """Reads what `text_of` writes, as a NumPy Graph of `max_vertices` nodes.

  Raises:
    GenotypeError: naming the operation, edge or vertex and the rule.
  """
  halves = text.split('|')
  if len(halves) != 2:
    raise genotypes.GenotypeError(
      f'Not a cell: {text[:60]!r}. Write operations | edges, such as '
      'conv3x3 conv1x1 | 0-1 1-2 2-3 0-3.'
    )
  names, edges = halves[0].split(), halves[1].split()
  if len(names) + 2 > max_vertices:
    raise genotypes.GenotypeError(
      f'{len(names)} operations make {len(names) + 2} vertices with input and '
      f'output: at most {max_vertices} are allowed.'
    )
  for place, name in enumerate(names, start=1):
    if name not in CHOICES:
      raise genotypes.GenotypeError(
        f'Vertex {place} has the unknown operation {name!r}: choose one of '
        f'{", ".join(CHOICES)}.'
      )
  graph = _numpy_cell([OPERATIONS.index(name) for name in names], max_vertices)
  for edge in edges:
    _add_edge(graph, edge, last=len(names) + 1)
  if len(edges) > max_edges:
    raise genotypes.GenotypeError(
      f'{len(edges)} edges: at most {max_edges} are allowed, remove '
      f'{len(edges) - max_edges}.'
    )
  _check_paths(graph)
  return graph


def _numpy_cell(ops, num_nodes):
  """Input, vertices of the given operation rows and output, without edges."""
  last = len(ops) + 1
  return Graph(
    np.array([0, *ops, OUTPUT] + [-1] * (num_nodes - last - 1), np.int32),
    np.zeros((num_nodes, 0), np.int32),
    np.zeros((num_nodes, num_nodes), bool),
    (np.arange(num_nodes) == last).astype(np.int8),
  )


def _add_edge(graph, edge, last):
  if not re.fullmatch(r'\d+-\d+', edge):
    raise genotypes.GenotypeError(
      f'{edge!r} is not an edge: write source-target, as 0-1.'
    )
  u, v = map(int, edge.split('-'))
  if max(u, v) > last:
    raise genotypes.GenotypeError(
      f'Edge {edge} names vertex {max(u, v)}: vertices are 0 (the input) to '
      f'{last} (the output).'
    )
  if u >= v:
    raise genotypes.GenotypeError(
      f'Edge {edge} does not lead forward: the source is less than the target.'
    )
  if graph.edges[u, v]:
    raise genotypes.GenotypeError(f'Edge {edge} is there twice: write it once.')
  graph.edges[u, v] = True


def _check_paths(graph):
  last = graphs.size(graph) - 1
  vertices = np.arange(len(graph.ops))
  ahead = pruning.reachable(graph.edges, vertices == 0)
  on_path = ahead & pruning.reaching(graph.edges, vertices == last)
  if not on_path[last]:
    raise genotypes.GenotypeError(
      f'No path leads from the input (0) to the output ({last}): add the edges '
      f'of one, such as 0-{last}.'
    )
  loose = np.flatnonzero(~on_path & (vertices < last))
  if len(loose):
    raise genotypes.GenotypeError(
      f'Vertex {loose[0]} is on no path from the input (0) to the output '
      f'({last}): connect it or remove it.'
    )


def from_matrices(adj: np.ndarray, ops: np.ndarray) -> Graph:
  """Cells as data files hold them, as a NumPy Graph with leading axis `N`.

  Args:
    adj: [N, V, V] adjacency matrices of 0 and 1.
    ops: [N, V]: -1 input, 0 conv3x3, 1 conv1x1, 2 maxpool3x3, -2 output, -3
      padding.

  Raises:
    ValueError: naming the first row that is not a pruned and compact cell.
  """
  adj, ops = np.asarray(adj), np.asarray(ops)
  chex.assert_rank([adj, ops], [3, 2])
  chex.assert_shape(adj, (*ops.shape, ops.shape[1]))
  vertices = np.arange(ops.shape[1])
  last = np.sum(ops != -3, axis=1, keepdims=True) - 1  # [N, 1]
  between = (vertices > 0) & (vertices < last)
  expected = np.where(vertices == 0, -1, np.where(vertices == last, -2, -3))
  in_place = np.where(between, (ops >= 0) & (ops <= 2), ops == expected)
  edges = adj.astype(bool)
  reads, is_read = edges.any(1), edges.any(2)
  broken = {
    'its operations are not -1, then 0 to 2, then -2, then only -3': (
      ~in_place.all(1) | (last[:, 0] < 1)
    ),
    'its matrix is not of 0 and 1, all above the diagonal': (
      (edges != adj) | np.tril(edges)
    ).any((1, 2)),
    f'it has more than {MAX_EDGES} edges': edges.sum((1, 2)) > MAX_EDGES,
    'a vertex is on no path, or padding has edges; prune it': (
      (reads != ((vertices > 0) & (vertices <= last)))
      | (is_read != (vertices < last))
    ).any(1),
  }
  _refuse_first(broken)
  return Graph(
    np.select([ops == -2, ops == -3], [OUTPUT, -1], ops + 1).astype(np.int32),
    np.zeros((*ops.shape, 0), np.int32),
    edges,
    (vertices == last).astype(np.int8),
  )


def _refuse_first(broken):
  """Raises for the least row that any of the rules {text: rows [N]} names."""
  found = [
    (int(np.argmax(rows)), text) for text, rows in broken.items() if rows.any()
  ]
  if found:
    row, text = min(found, key=lambda pair: pair[0])
    raise ValueError(f'Row {row} is not a NAS-Bench-101 cell: {text}.')
