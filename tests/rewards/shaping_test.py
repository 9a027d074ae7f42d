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
