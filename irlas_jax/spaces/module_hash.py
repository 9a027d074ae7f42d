"""The name that NAS-Bench-101 itself gives to a cell.

The benchmark's files are keyed by it (`hash_module` of its graph_util.py), so
it has to be reproduced to the letter, string forms included. Isomorphic cells
share it; the benchmark's authors checked that others do not, up to 7 vertices.
"""

import hashlib

import numpy as np

from irlas_jax import graph as graphs
from irlas_jax.spaces import nasbench101
from irlas_jax.types import Graph


def _md5(text: str) -> str:
  return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _labels(ops: np.ndarray) -> list[int]:
  """-1 for the input, 0, 1, 2 for the operations, -2 for the output."""
  return np.where(ops == nasbench101.OUTPUT, -2, ops - 1).tolist()


def module_hash(graph: Graph) -> str:
  """The official hash of one pruned cell: 32 hexadecimal digits.

  A vertex starts with the hash of its out-degree, in-degree and label; as many
  times as there are vertices it is hashed again with its sources' and its
  readers' hashes, each sorted. The sorted list of all is hashed last.
  """
  count = graphs.size(graph)
  edges = np.asarray(graph.edges)[:count, :count].astype(bool)
  out_degrees, in_degrees = edges.sum(1).tolist(), edges.sum(0).tolist()
  sources = [np.flatnonzero(column).tolist() for column in edges.T]
  readers = [np.flatnonzero(row).tolist() for row in edges]
  labels = _labels(np.asarray(graph.ops)[:count])
  names = [
    _md5(str(start))
    for start in zip(out_degrees, in_degrees, labels, strict=True)
  ]
  for _ in range(count):
    names = [
      _md5('|'.join([_joined(names, read), _joined(names, by), name]))
      for read, by, name in zip(sources, readers, names, strict=True)
    ]
  return _md5(str(sorted(names)))


def _joined(names: list[str], vertices: list[int]) -> str:
  return ''.join(sorted([names[v] for v in vertices]))
