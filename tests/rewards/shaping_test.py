"""Rewards by hand: units, the mirror term, and the floor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import types
from irlas_jax.rewards import shaping

NAN = float('nan')


def make_scores(accuracy, failure):
  n = len(accuracy)
  unknown = jnp.full(n, NAN)
  return types.Scores(
    accuracy=jnp.array(accuracy),
    loss=unknown,
    params=unknown,
    madds=unknown,
    latency=unknown,
    seconds=unknown,
    epochs=unknown,
    curve=jnp.full((n, 2), NAN),
    index=jnp.arange(n),
    failure=jnp.array(failure, jnp.int32),
  )


def make_graphs(num_nodes):
  """Batch of chains with so many nodes each, padded to 4."""
  nodes = jnp.arange(4)
  ops = jnp.where(nodes < jnp.array(num_nodes)[:, None], 1, -1)
  n = len(num_nodes)
  edges = jnp.broadcast_to(jnp.eye(4, k=1, dtype=bool), (n, 4, 4))
  outputs = jnp.broadcast_to(nodes == 3, (n, 4)).astype(jnp.int8)
  return types.Graph(ops, jnp.zeros((n, 4, 1), jnp.int32), edges, outputs)


def size(graph):
  """Stands for the mirror stimuli function: number of nodes."""
  return jnp.sum(graph.ops >= 0).astype(jnp.float32)


SCORES = make_scores(
  [0.5, 0.25, 0.9, NAN, 0.75],
  [types.OK, types.DIVERGED, types.CRASHED, types.OK, types.OK],
)
GRAPHS = make_graphs([1, 2, 3, 4, 4])


@pytest.mark.parametrize('jit', (True, False))
def test_accuracy_is_in_percent_and_failures_get_the_floor(jit):
  """A crashed child's accuracy is no measurement, nor is NaN."""
  reward = shaping.accuracy_reward(floor=-1.0)
  reward = jax.jit(reward) if jit else reward
  np.testing.assert_allclose(reward(SCORES, GRAPHS), [50, -1, -1, -1, 75])


@pytest.mark.parametrize('jit', (True, False))
def test_mirror_term_is_added_to_measured_rows_only(jit):
  """A failed child must not earn by its topology."""
  reward = shaping.irlas_reward(size, mirror=2.0)
  reward = jax.jit(reward) if jit else reward
  np.testing.assert_allclose(reward(SCORES, GRAPHS), [52, 0, 0, 0, 83])


def test_zero_trade_off_is_the_accuracy_reward():
  """The ablation without an expert."""
  reward = shaping.irlas_reward(size, mirror=0.0, floor=3.0)
  expected = shaping.accuracy_reward(floor=3.0)(SCORES, GRAPHS)
  np.testing.assert_array_equal(reward(SCORES, GRAPHS), expected)


def test_trade_off_can_be_swept():
  """lambda is traced: one compile for all its values."""
  sweep = jax.jit(
    jax.vmap(lambda lam: shaping.irlas_reward(size, lam)(SCORES, GRAPHS))
  )
  rewards = sweep(jnp.array([0.0, 1.0, 5.0]))
  np.testing.assert_allclose(rewards[:, 0], [50, 51, 55])
  np.testing.assert_allclose(rewards[:, 1], [0, 0, 0])


def test_a_score_that_is_not_finite_gets_the_floor():
  """One NaN would spoil a searcher's baseline for good."""
  reward = shaping.irlas_reward(lambda graph: size(graph) * NAN, mirror=1.0)
  np.testing.assert_array_equal(reward(SCORES, GRAPHS), 0.0)


def test_one_score_a_row_is_required():
  """A score with an axis left over would broadcast into nonsense."""
  reward = shaping.irlas_reward(lambda graph: graph.ops * 1.0, mirror=1.0)
  with pytest.raises(AssertionError):
    reward(SCORES, GRAPHS)


MADDS = SCORES._replace(madds=jnp.array([1e6, 4e6, 1e6, 1e6, 4e6]))


@pytest.mark.parametrize('jit', (True, False))
def test_a_cost_is_taken_from_measured_rows_by_doublings(jit):
  """1 million multiply-adds cost nothing, 4 million two weights."""
  reward = shaping.cost_reward(3.0, floor=-1.0)
  reward = jax.jit(reward) if jit else reward
  np.testing.assert_allclose(
    reward(MADDS, GRAPHS), [50, -1, -1, -1, 69], rtol=1e-6
  )


def test_less_than_a_million_multiply_adds_earn():
  """Half the multiply-adds are worth one weight, wherever they are."""
  scores = MADDS._replace(madds=jnp.array([5e5, 1.0, 1.0, 1.0, 1.25e5]))
  found = shaping.cost_reward(2.0)(scores, GRAPHS)
  np.testing.assert_allclose(found, [52, 0, 0, 0, 81], rtol=1e-6)


@pytest.mark.parametrize('madds', [NAN, 0.0, -1.0, float('inf')])
def test_a_cost_that_nobody_knows_gets_the_floor(madds):
  """The logarithm of nothing would be an infinite reward."""
  scores = MADDS._replace(madds=jnp.full(5, madds))
  found = shaping.cost_reward(2.0, floor=-7.0)(scores, GRAPHS)
  np.testing.assert_array_equal(found, -7.0)


def test_the_weight_of_a_cost_can_be_swept():
  sweep = jax.vmap(lambda w: shaping.cost_reward(w)(MADDS, GRAPHS))
  rewards = sweep(jnp.array([0.0, 1.0]))
  np.testing.assert_allclose(rewards[:, 4], [75, 73], rtol=1e-6)


@pytest.mark.parametrize(
  'measure, values',
  [
    ('madds', [1e6, 1.0, 1.0, 1.0, 8e6]),
    ('params', [1e6, 1.0, 1.0, 1.0, 8e6]),
    ('latency', [1e-3, 1.0, 1.0, 1.0, 8e-3]),
  ],
)
def test_a_cost_is_the_one_that_is_named(measure, values):
  """In millions or milliseconds; nothing else of the scores matters."""
  scores = SCORES._replace(**{measure: jnp.array(values)})
  found = shaping.cost_reward(2.0, measure=measure)(scores, GRAPHS)
  np.testing.assert_allclose(found, [50, 0, 0, 0, 69], rtol=1e-5)


def test_what_is_no_cost_is_refused():
  with pytest.raises(ValueError, match="'loss': choose one of madds, params"):
    shaping.cost_reward(2.0, measure='loss')


# Two layers that read the input, and an add of both: 4 edges, 4 nodes.
DIAMOND = ([0, 1, 1, 2], [(0, 1), (0, 2), (1, 3), (2, 3)])
# A chain of two layers and padding: 2 edges, 3 nodes.
CHAIN = ([0, 1, 1, -1], [(0, 1), (1, 2)])
# As the diamond, and the add reads the input as well: 5 edges, 4 nodes.
DENSER = ([0, 1, 1, 2], [*DIAMOND[1], (0, 3)])


def stack_graphs(*described):
  """Batch of graphs of 4 nodes from (operations, edges)."""
  n = len(described)
  edges = np.zeros((n, 4, 4), bool)
  for row, (_, pairs) in zip(edges, described, strict=True):
    row[tuple(zip(*pairs, strict=True))] = True
  ops = np.array([ops for ops, _ in described], np.int32)
  outputs = np.zeros((n, 4), np.int8)
  return types.Graph(ops, np.zeros((n, 4, 1), np.int32), edges, outputs)


@pytest.mark.parametrize('jit', (True, False))
def test_block_qnn_charges_for_multiply_adds_and_density(jit):
  """2 and 3 points for a factor of e; the failed row gets the floor.

  ln 1 = 0 and ln (4 / 4) = 0; ln 2 = 0.6931 and ln (2 / 3) = -0.4055;
  ln (1 / 2) = -0.6931 and ln (5 / 4) = 0.2231.
  """
  reward = shaping.block_qnn_reward(mu=2.0, rho=3.0, floor=-1.0)
  reward = jax.jit(reward) if jit else reward
  scores = make_scores([0.5, 0.5, 0.9, 0.9], [types.OK] * 3 + [types.CRASHED])
  scores = scores._replace(madds=jnp.array([1e6, 2e6, 5e5, 1e6]))
  graphs = stack_graphs(DIAMOND, CHAIN, DENSER, DENSER)
  np.testing.assert_allclose(
    reward(scores, graphs),
    [50, 50 - 1.3863 + 1.2164, 90 + 1.3863 - 0.6694, -1],
    rtol=1e-5,
  )


def test_block_qnn_has_its_weights_by_default():
  """1 for multiply-adds and 8 for density: e^2 of one, 5 / 4 of the other."""
  scores = make_scores([0.75], [types.OK])
  scores = scores._replace(madds=jnp.array([1e6 * np.e**2]))
  reward = shaping.block_qnn_reward()(scores, stack_graphs(DENSER))
  np.testing.assert_allclose(reward, [75 - 2 - 8 * 0.22314], rtol=1e-5)


@pytest.mark.parametrize(
  'madds, graph', [(NAN, DIAMOND), (0.0, DIAMOND), (1e6, ([0, -1, -1, -1], ()))]
)
def test_block_qnn_gives_the_floor_where_a_logarithm_is_not_finite(
  madds, graph
):
  """No multiply-adds, or none known; no edges."""
  scores = make_scores([0.75], [types.OK])._replace(madds=jnp.array([madds]))
  graphs = stack_graphs(DIAMOND)._replace(
    ops=np.array([graph[0]], np.int32),
    edges=stack_graphs(DIAMOND).edges & bool(graph[1]),
  )
  found = shaping.block_qnn_reward(floor=-7.0)(scores, graphs)
  np.testing.assert_array_equal(found, [-7.0])


def test_the_weights_of_block_qnn_can_be_swept():
  scores = make_scores([0.75], [types.OK])._replace(madds=jnp.array([1e6]))
  sweep = jax.vmap(
    lambda rho: shaping.block_qnn_reward(1.0, rho)(scores, stack_graphs(DENSER))
  )
  found = sweep(jnp.array([0.0, 10.0]))[:, 0]
  np.testing.assert_allclose(found, [75, 75 - 2.2314], rtol=1e-5)


# The last five of six; stopped after three; a curve nobody has; a failure.
CURVES = [
  [0.9, 0.5, 0.8, 0.7, 0.6, 0.6],
  [0.4, 0.2, 0.1, NAN, NAN, NAN],
  [NAN] * 6,
  [0.9] * 6,
]


@pytest.mark.parametrize('jit', (True, False))
@pytest.mark.parametrize(
  'fields, expected',
  [
    ({}, [51.2, 6.4, -1, -1]),
    ({'evaluations': 2, 'power': 1.0}, [60, 20, -1, -1]),
    ({'evaluations': 9, 'power': 2.0}, [81, 16, -1, -1]),
  ],
)
def test_the_best_of_the_last_evaluations_to_a_power(jit, fields, expected):
  """0.8^3 is 0.512; failures and what nobody measured get the floor."""
  reward = shaping.best_power_reward(**fields, floor=-1.0)
  reward = jax.jit(reward) if jit else reward
  failure = [types.OK] * 3 + [types.CRASHED]
  scores = make_scores([0.6, 0.1, NAN, 0.9], failure)
  scores = scores._replace(curve=jnp.array(CURVES))
  found = reward(scores, make_graphs([1, 2, 3, 4]))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize('fields', [{'evaluations': 0}, {'power': 0.0}])
def test_no_evaluations_and_no_power_are_refused(fields):
  with pytest.raises(ValueError, match='reward.evaluations is'):
    shaping.best_power_reward(**fields)


@pytest.mark.parametrize('jit', (True, False))
def test_a_perplexity_is_worth_its_inverse_square(jit):
  """80 / 100^2 at 100; 100 times that at 10; what diverged gets the floor."""
  reward = shaping.perplexity_reward(floor=-1.0)
  reward = jax.jit(reward) if jit else reward
  failure = [types.OK] * 3 + [types.DIVERGED]
  scores = make_scores([0.2, 0.2, 0.2, 0.2], failure)
  loss = jnp.log(jnp.array([100.0, 10.0, NAN, 10.0]))
  found = reward(scores._replace(loss=loss), make_graphs([1, 2, 3, 4]))
  np.testing.assert_allclose(found, [0.008, 0.8, -1.0, -1.0], rtol=1e-5)
  half = shaping.perplexity_reward(scale=40.0)
  found = half(scores._replace(loss=loss), make_graphs([1, 2, 3, 4]))
  np.testing.assert_allclose(found, [0.004, 0.4, 0.0, 0.0], rtol=1e-5)
