"""The cells of NAS-Bench-201: four nodes, and one of five operations an edge.

Dong & Yang, "NAS-Bench-201", ICLR 2020 (arXiv 2001.00326); the same cells are
the topology space of NATS-Bench. Cell node j is the sum of the operations on
its edges from nodes i < j; node 0 is the cell's input, node 3 its output. A
step chooses the operation of one edge, in the official order 0-1, 0-2, 1-2,
0-3, 1-3, 2-3, so the actions of a cell read as its official name does:

  |nor_conv_3x3~0|+|none~0|skip_connect~1|+|...~0|...~1|...~2|

In a `Graph` operations are nodes: edge e of the cell is node
`OPERATION_NODES[e]` and cell node j > 0 is the `sum` that reads its edges. All
cells have the same ten nodes and edges, `none` being an operation like any
other, so no two cells are isomorphic; `effective` is what a cell computes.
"""

import itertools
import re

import jax.numpy as jnp
import numpy as np

from irlas_jax.spaces import choices, genotypes, pruning
from irlas_jax.types import Graph, Space

EDGE_OPERATIONS = (
  'none',
  'skip_connect',
  'nor_conv_1x1',
  'nor_conv_3x3',
  'avg_pool_3x3',
)
OPERATIONS = ('input', *EDGE_OPERATIONS, 'sum')
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATION_NODES = (1, 3, 4, 6, 7, 8)  # of each edge
CELL_NODES = (0, 2, 5, 9)  # input and sums
NUM_CELLS = len(EDGE_OPERATIONS) ** len(EDGES)  # 15,625

_TERM = re.compile(r'([a-z0-9_]+)~(\d)')


def _skeleton() -> Graph:
  """The graph of a cell whose operations are all `none`."""
  size = len(OPERATION_NODES) + len(CELL_NODES)
  ops = np.full(size, OPERATIONS.index('sum'), np.int32)
  ops[0] = 0
  ops[list(OPERATION_NODES)] = OPERATIONS.index('none')
  edges = np.zeros((size, size), bool)
  for node, (source, target) in zip(OPERATION_NODES, EDGES, strict=True):
    edges[CELL_NODES[source], node] = True
    edges[node, CELL_NODES[target]] = True
  outputs = np.zeros(size, np.int8)
  outputs[-1] = 1
  return Graph(ops, np.zeros((size, 0), np.int32), edges, outputs)


_SKELETON = _skeleton()


def nasbench201() -> Space:
  """The 15,625 cells; action a at step e is `EDGE_OPERATIONS[a]` on edge e."""
  sizes = (len(EDGE_OPERATIONS),) * len(EDGES)
  return choices.independent(sizes, _decode, _encode, OPERATIONS, ())


def _decode(actions):
  ops = jnp.asarray(_SKELETON.ops).at[jnp.array(OPERATION_NODES)]
  chosen = jnp.asarray(actions, jnp.int32) + 1  # row 0 is the input
  return jax_graph(_SKELETON)._replace(ops=ops.set(chosen))


def jax_graph(graph: Graph) -> Graph:
  """The graph with its fields as JAX arrays."""
  return Graph(*map(jnp.asarray, graph))


def _encode(graph):
  return jnp.asarray(graph.ops, jnp.int32)[jnp.array(OPERATION_NODES)] - 1


def effective(graph: Graph) -> Graph:
  """What a cell computes: without `none`, and what does not reach the output.

  Of a cell that computes nothing the input and the output stay, unconnected.
  """
  return pruning.prune(graph, (OPERATIONS.index('none'),))


def text_of(graph: Graph) -> str:
  """The official name of a cell."""
  names = iter(OPERATIONS[int(graph.ops[node])] for node in OPERATION_NODES)
  groups = itertools.groupby(EDGES, key=lambda edge: edge[1])
  return '+'.join(
    f'|{"|".join(f"{next(names)}~{source}" for source, _ in group)}|'
    for _, group in groups
  )


def parse(text: str) -> Graph:
  """The graph of a cell's official name, as NumPy arrays.

  Raises:
    GenotypeError: naming the edge that is wrong.
  """
  terms = _TERM.findall(text)
  graph = Graph(*(np.array(field) for field in _SKELETON))
  for i, (name, _) in enumerate(terms[: len(EDGES)]):
    if name not in EDGE_OPERATIONS:
      source, target = EDGES[i]
      raise genotypes.GenotypeError(
        f'{text!r}: {name!r} on edge {source}-{target} is no operation; choose '
        f'one of {", ".join(EDGE_OPERATIONS)}.'
      )
    graph.ops[OPERATION_NODES[i]] = OPERATIONS.index(name)
  if len(terms) != len(EDGES) or text_of(graph) != text:
    raise genotypes.GenotypeError(
      f'{text!r} is no cell of NAS-Bench-201, which is written like '
      f'{text_of(_SKELETON)}.'
    )
  return graph
