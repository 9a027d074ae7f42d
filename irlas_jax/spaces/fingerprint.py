"""A hash of small graphs that is computed inside compiled code, and a lookup.

`irlas_jax.graph.digest` is exact but runs on the host. A compiled search over
a table of measured architectures has to find a proposal's row without leaving
the device: `fingerprint` is 64 bits in two words, as JAX's default has no
64-bit integers, and `find` is a binary search in the sorted words.

Isomorphic graphs have equal fingerprints. The converse holds up to chance and
to what neighbourhood hashing can tell apart: all 423,624 cells of
NAS-Bench-101 have fingerprints of their own; `build_index` refuses a table in
which two rows share one.

Shapes: `V` nodes, `N` rows of a table.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.types import Array, Graph

ROUNDS = 4  # 2 tell all cells of NAS-Bench-101 apart; larger graphs need more
_WORDS = (0x243F6A88, 0x85A308D3)  # digits of pi: any two different words do


def _mix(x: jax.Array) -> jax.Array:
  """MurmurHash3's finaliser: a bijection of uint32 that spreads every bit."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def _combine(word: jax.Array, value: jax.Array) -> jax.Array:
  """A word that depends on both, and on which is which."""
  return _mix(word * jnp.uint32(0x9E3779B1) + value.astype(jnp.uint32))


def fingerprint(graph: Graph, salt: Array = 0, rounds: int = ROUNDS):
  """Words [2] uint32 that neither numbering nor padding changes.

  Weisfeiler and Lehman's refinement: a node starts with its operation,
  attributes and role, and takes in the sums of its sources' and its readers'
  words, `rounds` times. Another `salt` [] uint32 gives unrelated words.
  """
  ops, attrs, edges, outputs = map(jnp.asarray, graph)
  chex.assert_rank([ops, attrs, edges, outputs], [1, 2, 2, 1])
  real = ops >= 0
  edges = (edges & real[:, None] & real)[..., None]  # [V, V, 1]
  seeds = _mix(jnp.asarray(_WORDS, jnp.uint32) ^ jnp.uint32(salt))
  words = _combine(_labels(ops, attrs, outputs)[:, None], seeds)  # [V, 2]

  def refine(_, words):
    sources = jnp.sum(jnp.where(edges, words[:, None], 0), 0, jnp.uint32)
    readers = jnp.sum(jnp.where(edges, words[None], 0), 1, jnp.uint32)
    return _combine(_combine(words, sources), readers)

  # A loop, not unrolled: fused rounds would compute each other again.
  words = jax.lax.fori_loop(0, rounds, refine, words)
  total = jnp.sum(jnp.where(real[:, None], words, 0), 0, jnp.uint32)
  return _combine(total, jnp.sum(real))


def _labels(ops, attrs, outputs):
  """Operation, role and attributes of each node as one word: [V] uint32."""
  columns = jnp.arange(attrs.shape[1], dtype=jnp.uint32)
  parts = _mix(_combine(_mix(columns + 1), attrs))  # [V, F]
  words = _combine(_combine(jnp.uint32(0), ops), outputs)
  return _combine(words, jnp.sum(parts, axis=1, dtype=jnp.uint32))


class Index(NamedTuple):
  """A table of graphs, sorted by fingerprint."""

  words: Array  # [N, 2] uint32, ascending by first, then second word
  rows: Array  # [N] int32, row of the table
  salt: Array  # [] uint32


def build_index(graphs: Graph, salt: int = 0) -> Index:
  """The index of graphs with one leading axis `N`; runs on the host.

  Raises:
    ValueError: if the table is empty, or naming two rows with one fingerprint.
  """
  if not len(graphs.ops):
    raise ValueError('An index of no graphs: the table has no rows.')
  batched = jax.jit(jax.vmap(fingerprint, in_axes=(0, None)))
  words = np.asarray(batched(graphs, jnp.uint32(salt)))
  rows = np.lexsort((words[:, 1], words[:, 0])).astype(np.int32)
  words = words[rows]
  same = np.flatnonzero((words[1:] == words[:-1]).all(1))
  if len(same):
    raise ValueError(
      f'Rows {rows[same[0]]} and {rows[same[0] + 1]} have the same '
      'fingerprint: keep one if they are the same graph, or try another salt.'
    )
  return Index(jnp.asarray(words), jnp.asarray(rows), jnp.uint32(salt))


def find(index: Index, graph: Graph) -> jax.Array:
  """The row of the table that is isomorphic to `graph`: [] int32; -1: none."""
  target = fingerprint(graph, index.salt)
  last = len(index.rows) - 1

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    first, second = index.words[middle]
    before = (first < target[0]) | ((first == target[0]) & (second < target[1]))
    return jnp.where(before, middle + 1, low), jnp.where(before, high, middle)

  bounds = jnp.int32(0), jnp.int32(last)
  place, _ = jax.lax.fori_loop(0, last.bit_length(), halve, bounds)
  place = jnp.minimum(place, last)
  found = jnp.all(index.words[place] == target)
  return jnp.where(found, index.rows[place], -1)
