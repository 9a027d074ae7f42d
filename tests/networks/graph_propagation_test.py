"""Messages in turn: against a plain loop, with hand-computed distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import graph_propagation

H = 4
# 0 -> 1 -> 2 -> 4 and 0 -> 3 -> 4, 0 -> 4; 5 is alone.
EDGES = np.zeros((6, 6), bool)
for _edge in ((0, 1), (1, 2), (2, 4), (0, 3), (3, 4)):
  EDGES[_edge] = True
LIVE = np.array([1, 1, 1, 1, 1, 0], bool)

pytestmark = pytest.mark.usefixtures('quick_compiles')


def test_distances_are_those_of_the_shortest_paths():
  far = np.inf
  expected = [
    [0, 1, 2, 1, 2, far],
    [far, 0, 1, far, 2, far],
    [far, far, 0, far, 1, far],
    [far, far, far, 0, 1, far],
    [far, far, far, far, 0, far],
    [far, far, far, far, far, 0],
  ]
  found = graph_propagation.distances(jnp.asarray(EDGES))
  np.testing.assert_array_equal(found, expected)


def test_a_chain_is_as_long_as_it_can_be():
  """As many squarings as paths need, of any number of nodes."""
  for size in (1, 2, 9):
    found = graph_propagation.distances(jnp.eye(size, k=1, dtype=bool))
    assert found[0, -1] == size - 1


def test_virtual_edges_are_weaker_the_farther():
  found = graph_propagation.virtual_weights(jnp.asarray(EDGES), 50)
  np.testing.assert_array_equal(found[0], [0, 1, 0.5, 1, 0.5, 0])
  near = graph_propagation.virtual_weights(jnp.asarray(EDGES), 1)
  np.testing.assert_array_equal(near, EDGES)


def _mlp(params, x):
  first, second = (jax.tree.map(np.asarray, params[n]) for n in params)
  hidden = np.maximum(x @ first['kernel'] + first['bias'], 0)
  return hidden @ second['kernel'] + second['bias']


def _gru(cell, h, x):
  def read(name, value):
    found = value @ np.asarray(cell[name]['kernel'])
    return found + np.asarray(cell[name].get('bias', 0.0))

  def sigmoid(value):
    return 1 / (1 + np.exp(-value))

  r = sigmoid(read('ir', x) + read('hr', h))
  z = sigmoid(read('iz', x) + read('hz', h))
  n = np.tanh(read('in', x) + r * read('hn', h))
  return (1 - z) * n + z * h


def _by_loops(params, states, before, passes, farthest):
  """The definition, a node and a neighbour after another."""
  apart = np.asarray(graph_propagation.distances(jnp.asarray(EDGES)))
  h = [np.array(row) for row in states]
  live = [v for v in range(6) if LIVE[v]]

  def message(v, reads, d):
    total = np.zeros(H)
    for u in live:
      if reads(u, v):
        total += _mlp(params['near'], h[u])
      if farthest and 1 <= d(u, v) <= farthest:
        total += _mlp(params['far'], h[u]) / d(u, v)
    return total

  for _ in range(passes):
    for v in live:
      total = message(v, lambda u, v: EDGES[u, v], lambda u, v: apart[u, v])
      if v == 0:
        total += _mlp(params['near'], before)
      h[v] = _gru(params['cell'], h[v], total)
    for v in live[-2::-1]:  # the last one is not visited again
      total = message(v, lambda u, v: EDGES[v, u], lambda u, v: apart[v, u])
      h[v] = _gru(params['cell'], h[v], total)
  return np.stack(h)


def _run(made, params, states, edges, live, before):
  weights = made.weigh(jnp.asarray(edges))
  return jax.jit(made.run)(params, states, weights, jnp.asarray(live), before)


@pytest.fixture(scope='module', params=[0, 1, 50])
def spread(request):
  """(farthest, the functions, their parameters, states, what came before)."""
  made = graph_propagation.propagation(H, 2, request.param)
  params = jax.jit(made.init)(jax.random.key(0))
  states = jax.random.normal(jax.random.key(1), (6, H))
  return request.param, made, params, states, jnp.arange(4.0)


def test_states_are_those_of_a_plain_loop(spread):
  farthest, made, params, states, before = spread
  found = _run(made, params, states, EDGES, LIVE, before)
  expected = _by_loops(params, states, np.asarray(before), 2, farthest)
  np.testing.assert_allclose(found, expected, atol=2e-6)


def test_padding_changes_no_state(spread):
  """Nor does what a node that is not there has for neighbours and state."""
  _, made, params, states, before = spread
  plain = _run(made, params, states[:5], EDGES[:5, :5], LIVE[:5], before)
  edges = EDGES.copy()
  padded = _run(made, params, states, edges, LIVE, before)
  np.testing.assert_allclose(padded[:5], plain, atol=1e-6)
  np.testing.assert_array_equal(padded[5], states[5])


def test_another_topological_order_is_the_same_graph(spread):
  _, made, params, states, before = spread
  order = np.array([0, 3, 1, 2, 4, 5])
  found = _run(made, params, states, EDGES, LIVE, before)
  moved = EDGES[order][:, order]
  other = _run(made, params, states[order], moved, LIVE, before)
  np.testing.assert_allclose(other, found[order], atol=1e-6)
