"""States of a graph's nodes, from messages passed along its edges in turn.

Graph HyperNetworks (Zhang et al., 2019, arXiv 1810.05749): nodes are visited
one by one, forward in topological order and then backward, so that one pass
carries messages along all paths. Virtual edges (Knyazev et al., 2021, arXiv
2110.13100) carry others from every node upstream, the weaker the farther.

Shapes: `V` nodes, `H` numbers a state, `K` kinds of edges.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp


class Propagation(NamedTuple):
  """How nodes come to know their graph."""

  init: Callable  # (key) -> params
  weigh: Callable  # edges [V, V] bool -> weights [K, V, V] of messages
  # (params, states [V, H], weights, live [V], before [H]) -> [V, H]
  run: Callable


def distances(edges: jax.Array) -> jax.Array:
  """Edges on the shortest path from u to v: [V, V] bool -> [V, V] float32.

  0 from a node to itself, infinity where there is no path. By squaring in the
  (min, +) semiring: d(u, v) = min_k d(u, k) + d(k, v).
  """
  chex.assert_shape(edges, (len(edges), len(edges)))
  itself = jnp.eye(len(edges), dtype=bool)
  found = jnp.where(itself, 0.0, jnp.where(edges, 1.0, jnp.inf))
  for _ in range(math.ceil(math.log2(max(len(edges), 2)))):
    found = jnp.min(found[:, :, None] + found[None], axis=1)
  return found


def virtual_weights(edges: jax.Array, farthest: int) -> jax.Array:
  """1 / d(u, v) for 1 <= d <= `farthest`, else 0: [V, V]."""
  apart = distances(edges)
  near = (apart >= 1) & (apart <= farthest)
  return jnp.where(near, 1 / jnp.where(near, apart, 1.0), 0.0)


def init_dense(key: jax.Array, inputs: int, outputs: int) -> dict:
  """A layer's kernel [inputs, outputs], by LeCun's normal, and bias."""
  kernel = nn.initializers.lecun_normal()(key, (inputs, outputs))
  return {'kernel': kernel, 'bias': jnp.zeros(outputs)}


def dense(params, x: jax.Array) -> jax.Array:
  """x [..., inputs] -> [..., outputs]."""
  return x @ params['kernel'] + params['bias']


def _init_mlp(key, inputs, hidden, outputs):
  key_first, key_second = jax.random.split(key)
  first = init_dense(key_first, inputs, hidden)
  return {'first': first, 'second': init_dense(key_second, hidden, outputs)}


def _mlp(params, x):
  return dense(params['second'], jax.nn.relu(dense(params['first'], x)))


def propagation(hidden: int, passes: int, farthest: int = 0) -> Propagation:
  """m_v = sum_u M(h_u) + sum_u M'(h_u) / d(u, v); h_v = GRU(h_v, m_v).

  The first sum is over the nodes that v reads, the second over those that are
  up to `farthest` edges away (0: it is left out). Backward the same functions
  read the nodes that read v, and what nobody reads is not visited again: with
  one output, 2 V - 1 visits a pass. Node 0 is also told M(before), of what
  stands before the graph. Nodes that are not `live` send nothing and keep their
  states, so padding changes nothing.

  Args:
    hidden: H, and the hidden units of M; M' has half of them.
    passes: how often all nodes are visited in both directions.
    farthest: of the virtual edges.
  """
  cell = nn.GRUCell(hidden)

  def init(key):
    key_cell, key_near, key_far = jax.random.split(key, 3)
    nothing = jnp.zeros(hidden)
    params = {
      'cell': cell.init(key_cell, nothing, nothing)['params'],
      'near': _init_mlp(key_near, hidden, hidden, hidden),
    }
    if farthest:
      params['far'] = _init_mlp(key_far, hidden, max(hidden // 2, 1), hidden)
    return params

  def weigh(edges):
    weights = [edges.astype(float)]
    if farthest:
      weights.append(virtual_weights(edges, farthest))
    return jnp.stack(weights)

  def send(params, states):
    """Messages [K, ..., H] of states [..., H]."""
    kinds = [params[name] for name in ('near', 'far') if name in params]
    return jnp.stack([_mlp(kind, states) for kind in kinds])

  def visit_all(params, weights, visited, given, carry, order):
    """Visits nodes in `order`; weights [K, V, V] are from u to v."""

    def visit(carry, v):
      states, sent = carry
      message = jnp.einsum('ku,kuh->h', weights[:, :, v], sent) + given[v]
      after, _ = cell.apply({'params': params['cell']}, states[v], message)
      after = jnp.where(visited[v], after, states[v])
      sent = sent.at[:, v].set(send(params, after))
      return (states.at[v].set(after), sent), None

    return jax.lax.scan(visit, carry, order)[0]

  def run(params, states, weights, live, before):
    chex.assert_rank([states, weights, live, before], [2, 3, 1, 1])
    forward = weights * (live[:, None] & live)
    backward = forward.swapaxes(1, 2)
    read = (forward[0] > 0).any(1)
    nothing = jnp.zeros_like(states)
    given = nothing.at[0].set(_mlp(params['near'], before))
    order = jnp.arange(len(states))

    def once(carry, _):
      carry = visit_all(params, forward, live, given, carry, order)
      carry = visit_all(params, backward, read, nothing, carry, order[::-1])
      return carry, None

    start = states, send(params, states)
    return jax.lax.scan(once, start, None, length=passes)[0][0]

  return Propagation(init, weigh, run)
