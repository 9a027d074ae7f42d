"""Where the nodes of an architecture stand and its edges run on paper.

A layered drawing (Sugiyama, Tagawa and Toda, 1981) in four steps: rows by
depth; a trunk for edges that skip rows; orders within rows with few crossings;
then abscissae that keep trunks upright. Edges turn only between rows and cross
a row on a trunk, which has a place of its own there, so none runs through a
node.

Shapes: `n` nodes, the graph's and one for the output; `m` items, the nodes and
then the places where trunks cross rows. Lengths are in inches, y downwards.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, sparse

from irlas_jax import graph as graphs
from irlas_jax.types import Graph

HEIGHT = 0.34  # of a node
WIDTH = 1.1  # of a node, where no other is asked for
_SPACE = 0.2  # between neighbours in a row
_PORT = 0.2  # between two arrows into one node
_SWEEPS = 24  # over the rows, each way, to order them
_STRAIGHT = 2, 1, 8  # weights of links with no, one, two ends on a trunk
_MIDDLE = 0.05  # weight of standing in the middle


class Layout(NamedTuple):
  """A drawing of one graph; the last node is its output.

  Points 2i and 2i + 1 of a route lie on both sides of the space between two
  rows: a curve that is upright at both ends joins them. Points 2i + 1 and
  2i + 2 lie on both sides of a row: a straight upright line joins them.
  """

  positions: np.ndarray  # [n, 2] centres of the nodes
  widths: np.ndarray  # [n]
  routes: dict[tuple[int, int], np.ndarray]  # (u, v): [k, 2], k even, u to v


class _Items(NamedTuple):
  row: np.ndarray  # [m] int, from the top
  width: np.ndarray  # [m] 0 for trunks
  link: np.ndarray  # [m, m] bool, from one row to the next
  trunks: list[
    list[int]
  ]  # per node, its items from the top, the node itself first


def layout(graph: Graph, widths=None) -> Layout:
  """Places one unbatched graph, its node `n - 1` being the output.

  `widths` [n] are those of the nodes; the ones with many arrows into them
  grow.

  Raises:
    ValueError: for a batch of graphs, an empty one, or widths not [n].
  """
  check(graph)
  edges, depth = _with_output(graph)
  widths = np.full(len(depth), WIDTH) if widths is None else np.array(widths)
  if widths.shape != depth.shape:
    raise ValueError(
      f'widths has shape {widths.shape}: give {len(depth)}, one for each node '
      'and one for the output.'
    )
  widths = np.maximum(widths, _PORT * (edges.sum(0) + 1))
  items = _items(edges, depth, widths)
  rank = _order(items)
  port = _ports(items, rank)
  x = _abscissae(items, rank, port)
  y = _ordinates(items, x)[items.row]
  positions = np.stack([x, y], axis=1)
  routes = {
    (u, v): _route(u, v, items, positions, port)
    for u, v in np.argwhere(edges).tolist()
  }
  return Layout(positions[: len(depth)], widths, routes)


def check(graph: Graph):
  """Raises ValueError for a batch of graphs or an empty one."""
  if np.ndim(graph.ops) != 1:
    raise ValueError(
      f'ops has shape {np.shape(graph.ops)}: draw one graph of a batch.'
    )
  if graphs.size(graph) == 0:
    raise ValueError('The graph has no nodes: nothing to draw.')


def _with_output(graph):
  """Edges [n, n] and depth [n] of the graph with its output as a last node."""
  count = graphs.size(graph)
  edges = np.zeros((count + 1, count + 1), bool)
  edges[:count, :count] = np.asarray(graph.edges)[:count, :count]
  edges[:count, count] = np.asarray(graph.outputs)[:count] > 0
  depth = graphs.depths(graph)
  return edges, np.append(depth, depth.max() + 1)


def _items(edges, depth, widths) -> _Items:
  """Adds trunks: all edges of a node that skip rows share one."""
  row = depth.tolist()
  links: list[tuple[int, int]] = []
  trunks: list[list[int]] = []
  for u in range(len(depth)):
    readers = np.flatnonzero(edges[u])
    last = max(depth[readers] - 1, default=depth[u])
    trunk = [u, *range(len(row), len(row) + last - depth[u])]
    row += range(depth[u] + 1, last + 1)
    links += zip(trunk, trunk[1:], strict=False)
    links += [(trunk[depth[v] - depth[u] - 1], int(v)) for v in readers]
    trunks.append(trunk)
  link = np.zeros((len(row), len(row)), bool)
  link[tuple(np.array(links, int).reshape(-1, 2).T)] = True
  width = np.append(widths, np.zeros(len(row) - len(depth)))
  return _Items(np.array(row), width, link, trunks)


def _rows(items, rank=None):
  """Per row its items, in the order of their rank."""
  rank = np.arange(len(items.row)) if rank is None else rank
  order = np.lexsort((rank, items.row))
  return np.split(order, np.cumsum(np.bincount(items.row))[:-1])


def _ranks(rows, m):
  rank = np.zeros(m, int)
  for row in rows:
    rank[row] = np.arange(len(row))
  return rank


def crossings(link, rank, row) -> int:
  """How many pairs of links [m, m] cross, given rank and row [m] of items."""
  u, v = np.nonzero(link)
  same = row[u][:, None] == row[u]
  return int(
    np.sum(same & (rank[u][:, None] < rank[u]) & (rank[v][:, None] > rank[v]))
  )


def _order(items) -> np.ndarray:
  """Rank [m] of each item in its row: barycentres, then swaps of neighbours."""
  rank = _ranks(_rows(items), len(items.row))
  found = []
  for sweep in range(_SWEEPS):
    rank = _barycentres(items, rank, downwards=sweep % 2 == 0)
    swapped = _swaps(items, rank)
    cost = crossings(items.link, swapped, items.row)
    found.append((cost, sweep, swapped))
  return min(found, key=lambda entry: entry[:2])[2]


def _barycentres(items, rank, downwards):
  """Sorts each row by the mean rank of its neighbours in the row before."""
  neighbours = items.link if downwards else items.link.T
  rows = _rows(items, rank)
  for row in rows[1:] if downwards else rows[-2::-1]:
    weight = neighbours[:, row]
    count = weight.sum(0)
    mean = np.where(count, rank @ weight / np.maximum(count, 1), rank[row])
    rank = rank.copy()
    rank[row[np.argsort(mean, kind='stable')]] = np.arange(len(row))
  return rank


def _swaps(items, rank):
  """Swaps neighbours in a row while that saves crossings."""
  rank = rank.copy()
  both = items.link | items.link.T
  above = items.row[:, None] < items.row
  sides = (both & above, both & above.T)  # [neighbour, item]
  rows = _rows(items, rank)
  improved = True
  while improved:
    improved = False
    for row in rows:
      for i in range(len(row) - 1):
        if _gain(sides, rank, row[i], row[i + 1]) > 0:
          row[[i, i + 1]] = row[[i + 1, i]]
          rank[row[[i, i + 1]]] = i, i + 1
          improved = True
  return rank


def _gain(sides, rank, left, right) -> int:
  """How many crossings fewer there are when two neighbours swap."""
  difference = [
    np.sign(rank[side[:, left]][:, None] - rank[side[:, right]]).sum()
    for side in sides
  ]
  return int(sum(difference))


def _ports(items, rank):
  """Where a link [m, m] meets the node below, right of the node's centre."""
  before = (rank[:, None] > rank).astype(int)
  place = before @ items.link  # sources of v left of u; they share a row
  return _PORT * (place - (items.link.sum(0) - 1) / 2)


def _abscissae(items, rank, port) -> np.ndarray:
  """Centres [m] of the items: short links, upright trunks, no overlaps.

  Minimises sum w |x_u - x_v| over links, while neighbours in a row keep their
  distance: the linear programme of Gansner et al., "A technique for drawing
  directed graphs", 1993. Where that leaves a node free between its neighbours,
  it stands in the middle of them.
  """
  u, v = np.nonzero(items.link)
  trunk = (items.width == 0).astype(int)
  eye = np.eye(len(rank))
  terms = [eye[u] - eye[v], *_middles(items.link)]
  target = np.concatenate([port[u, v], np.zeros(sum(map(len, terms[1:])))])
  weight = np.full(len(target), _MIDDLE)
  weight[: len(u)] = np.array(_STRAIGHT)[trunk[u] + trunk[v]]
  order = np.lexsort((rank, items.row))
  left, right = order[:-1], order[1:]
  same = items.row[left] == items.row[right]
  left, right = left[same], right[same]
  gap = (items.width[left] + items.width[right]) / 2 + _SPACE
  x = _least_deviation(
    np.concatenate(terms), target, weight, eye[right] - eye[left], gap
  )
  return x - np.min(x - items.width / 2)


def _middles(link):
  """Rows [., m] of x less the mean of its readers, then of its sources."""
  for neighbours in (link, link.T):
    some = np.flatnonzero(neighbours.sum(1) > 1)
    mean = neighbours[some] / neighbours[some].sum(1, keepdims=True)
    yield np.eye(len(link))[some] - mean


def _least_deviation(terms, target, weight, steps, gap):
  """The x [m] of least weight . |terms x - target|, where steps x >= gap."""
  count, m = terms.shape
  slack = sparse.eye(count)
  result = optimize.linprog(
    np.concatenate([np.zeros(m), weight]),
    A_ub=sparse.block_array(
      [[terms, -slack], [-terms, -slack], [sparse.csr_array(-steps), None]],
      format='csr',
    ),
    b_ub=np.concatenate([target, -target, -gap]),
    bounds=(None, None),
  )
  return result.x[:m]


def _ordinates(items, x):
  """Centres of the rows: further apart where links have far to go."""
  u, v = np.nonzero(items.link)
  reach = np.zeros(items.row.max() + 1)
  np.maximum.at(reach, items.row[v], np.abs(x[u] - x[v]))
  steps = HEIGHT + np.clip(0.3 + 0.2 * reach, 0.36, 1.1)
  steps[0] = HEIGHT / 2
  return np.cumsum(steps)


def _route(u, v, items, positions, port):
  """Points [k, 2] of edge (u, v): down the trunk of u to a port of v."""
  half = np.array([0, HEIGHT / 2])
  passed = items.trunks[u][: items.row[v] - items.row[u]]
  points = [positions[u] + half]
  for item in passed[1:]:
    points += [positions[item] - half, positions[item] + half]
  points.append(positions[v] - half + [port[passed[-1], v], 0])
  return np.array(points)
