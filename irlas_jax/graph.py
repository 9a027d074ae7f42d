"""Canonical form and hash of architecture graphs, and their networkx view.

Two graphs are isomorphic when some renumbering of nodes maps operations,
attributes, output roles and edges onto each other. `canonical` picks one
representative of each class and `digest` names it, so both are equal if and
only if the graphs are isomorphic. Both take the cells of one architecture as
well, graphs with leading axes: cells keep their places, and each is renumbered
on its own. Everything here runs on the host, on one architecture; nothing is
traced.
"""

import hashlib
from collections.abc import Sequence

import networkx as nx
import numpy as np

from irlas_jax.types import Graph


def size(graph: Graph) -> int:
  """Number of real (not padding) nodes, of several cells the largest one's."""
  return int(np.max(np.sum(np.asarray(graph.ops) >= 0, axis=-1)))


def cells(graph: Graph) -> list[Graph]:
  """The graphs along the first axis, such as the cells of an architecture."""
  fields = [np.asarray(field) for field in graph]
  return [Graph(*rows) for rows in zip(*fields, strict=True)]


def _of_each(function, graph: Graph) -> Graph:
  """function(cell) of every cell."""
  fields = zip(*map(function, cells(graph)), strict=True)
  return Graph(*map(np.stack, fields))


def depths(graph: Graph) -> np.ndarray:
  """Longest path from a source to each real node: [size] int."""
  edges = np.asarray(graph.edges)
  depth = np.zeros(size(graph), int)
  for v in range(len(depth)):
    sources = np.flatnonzero(edges[: len(depth), v])
    depth[v] = depth[sources].max() + 1 if len(sources) else 0
  return depth


def permute(graph: Graph, order) -> Graph:
  """Renumbers the real nodes: new node i is old node `order[i]`.

  The order has to be topological for the result to be a valid `Graph`.
  """
  count = len(order)
  fields = Graph(*(np.array(field) for field in graph))
  for field in (fields.ops, fields.attrs, fields.outputs):
    field[:count] = field[order]
  fields.edges[:count, :count] = fields.edges[np.ix_(order, order)]
  return fields


def resize(graph: Graph, num_nodes: int) -> Graph:
  """The same graph with another amount of padding, as NumPy arrays.

  Raises:
    ValueError: if it (or a cell) has more than `num_nodes` real nodes.
  """
  if np.ndim(graph.ops) > 1:
    return _of_each(lambda cell: resize(cell, num_nodes), graph)
  count = size(graph)
  if count > num_nodes:
    raise ValueError(f'A graph of {count} nodes does not fit into {num_nodes}.')
  result = Graph(
    np.full(num_nodes, -1, np.int32),
    np.zeros((num_nodes, graph.attrs.shape[1]), np.int32),
    np.zeros((num_nodes, num_nodes), bool),
    np.zeros(num_nodes, np.int8),
  )
  for new, old in zip(
    result[:2] + result[3:], graph[:2] + graph[3:], strict=True
  ):
    new[:count] = np.asarray(old)[:count]
  result.edges[:count, :count] = np.asarray(graph.edges)[:count, :count]
  return result


class _Adjacency:
  """What the search below reads of a graph, as Python lists."""

  def __init__(self, edges: np.ndarray):
    self.edges = edges
    self.readers = [np.flatnonzero(row).tolist() for row in edges]
    self.sources = [np.flatnonzero(column).tolist() for column in edges.T]


def _rank(keys: Sequence) -> list[int]:
  """Colours 0, 1, ... in the order of the keys; equal keys share one."""
  colour = {key: i for i, key in enumerate(sorted(set(keys)))}
  return [colour[key] for key in keys]


def _refine(colours: list[int], graph: _Adjacency) -> list[int]:
  """Splits colours by the colours of sources and readers until stable."""
  while True:
    finer = _rank(
      [
        (
          colour,
          tuple(sorted([colours[u] for u in graph.sources[v]])),
          tuple(sorted([colours[u] for u in graph.readers[v]])),
        )
        for v, colour in enumerate(colours)
      ]
    )
    if max(finer) == max(colours):
      return finer
    colours = finer


def _shared_colour(colours: list[int]) -> list[int]:
  """The nodes of the first colour that several nodes have, or []."""
  cells: list[list[int]] = [[] for _ in colours]
  for v, colour in enumerate(colours):
    cells[colour].append(v)
  return next((cell for cell in cells if len(cell) > 1), [])


def _single_out(colours: list[int], node: int, graph) -> list[int]:
  """Puts `node` before the others of its colour, and refines."""
  colours = [2 * colour + 1 for colour in colours]
  colours[node] -= 1
  return _refine(_rank(colours), graph)


def _first_leaf(colours: list[int], graph) -> list[int]:
  while cell := _shared_colour(colours):
    colours = _single_out(colours, cell[0], graph)
  return colours


def _certificate(colours: list[int], graph) -> tuple[bytes, np.ndarray]:
  order = np.argsort(colours)
  return graph.edges[np.ix_(order, order)].tobytes(), order


def _search(colours: list[int], graph) -> tuple[bytes, np.ndarray]:
  """The least certificate of all leaves below `colours`, and its order."""
  cell = _shared_colour(colours)
  if not cell:
    return _certificate(colours, graph)
  leaves, found = set(), []
  for node in cell:
    child = _single_out(colours, node, graph)
    # Equal certificates are an automorphism that takes one node of this colour
    # to the other: everything below the second repeats what is below the first.
    leaf, _ = _certificate(_first_leaf(child, graph), graph)
    if leaf not in leaves:
      leaves.add(leaf)
      found.append(_search(child, graph))
  return min(found, key=lambda pair: pair[0])


def canonical_order(graph: Graph) -> np.ndarray:
  """A topological numbering [size] that the isomorphism class determines.

  Colour refinement with individualisation (McKay, "Practical graph
  isomorphism", 1981): nodes start with the colour of their depth, operation,
  attributes and role; colours are refined by those of their neighbours; while
  one is shared, each of its nodes in turn is singled out. Of all numberings
  reached the one with the least adjacency matrix is kept.
  """
  count = size(graph)
  columns = [depths(graph), np.asarray(graph.ops)[:count]]
  columns += list(np.asarray(graph.attrs)[:count].T)
  columns += [np.asarray(graph.outputs)[:count]]
  labels = np.stack(columns, axis=1).tolist()
  adjacency = _Adjacency(np.asarray(graph.edges)[:count, :count].astype(bool))
  colours = _refine(_rank([tuple(row) for row in labels]), adjacency)
  return _search(colours, adjacency)[1]


def canonical(graph: Graph) -> Graph:
  """The representative of the graph's isomorphism class, as NumPy arrays."""
  if np.ndim(graph.ops) > 1:
    return _of_each(canonical, graph)
  return permute(graph, canonical_order(graph))


def digest(graph: Graph) -> str:
  """Name of the isomorphism class: 32 hexadecimal digits.

  Padding does not count, so the same architecture in a larger space keeps its
  name. Operations enter as rows: names compare within one operation table. The
  name of several cells is the hash of their names.
  """
  if np.ndim(graph.ops) > 1:
    return _hash(' '.join(map(digest, cells(graph))).encode())
  graph = canonical(graph)
  count = size(graph)
  parts: list[np.ndarray] = [
    np.asarray([count, graph.attrs.shape[1]], np.int32),
    graph.ops[:count].astype(np.int32),
    graph.attrs[:count].astype(np.int32),
    graph.outputs[:count].astype(np.int8),
    np.packbits(graph.edges[:count, :count]),
  ]
  return _hash(b''.join(part.tobytes() for part in parts))


def _hash(data: bytes) -> str:
  return hashlib.sha256(data).hexdigest()[:32]


def to_networkx(graph: Graph, operations, attributes) -> nx.DiGraph:
  """A DiGraph with `operation`, each attribute and `output` on the nodes."""
  count = size(graph)
  result = nx.DiGraph()
  for v in range(count):
    values = zip(attributes, np.asarray(graph.attrs)[v].tolist(), strict=True)
    result.add_node(
      v,
      operation=operations[int(graph.ops[v])],
      output=int(graph.outputs[v]),
      **dict(values),
    )
  edges = np.argwhere(np.asarray(graph.edges)[:count, :count])
  result.add_edges_from(edges.tolist())
  return result
