"""REINFORCE on one step with two actions, worked by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irlas_jax.policies import free_logits
from irlas_jax.searchers import reinforce
from irlas_jax.types import Proposals, Space

_SPACE = Space(
  num_steps=1,
  num_actions=2,
  num_states=1,
  legal=lambda actions, t: jnp.ones(2, bool),
  state=lambda actions, t: jnp.int32(0),
  decode=None,
  encode=None,
  operations=(),
  attributes=(),
  terminal=False,
)
_POLICY = free_logits.free_logits(_SPACE)


def batch(state, actions, rewards, valid=None, chances=None, age=0):
  """Rows sampled with `chances`, `age` updates before the state's.

  Those of age 0 hold chances that would show, were they read.
  """
  n = len(actions)
  actions = jnp.array(actions, jnp.int32)[:, None]
  valid = jnp.ones(n, bool) if valid is None else jnp.array(valid)
  chances = jnp.full(n, 0.01) if chances is None else jnp.array(chances)
  updates = jnp.broadcast_to(state.updates - jnp.array(age), (n,))
  info = {'log_prob': jnp.log(chances)[:, None], 'updates': updates}
  return Proposals(actions, actions, info), jnp.array(rewards, 'float32'), valid


def make(jit=True, **kwargs):
  searcher = reinforce.reinforce(_POLICY, optax.sgd(1.0), **kwargs)
  return searcher._replace(update=jax.jit(searcher.update)) if jit else searcher


@pytest.mark.parametrize('jit', [True, False])
def test_a_step_follows_the_hand_computed_gradient(jit):
  """Rewards 1, 0 of actions 1, 0: after the first batch the baseline is 1/2.

  d log pi(1) = (-1/2, 1/2) and d log pi(0) = (1/2, -1/2), so the mean of
  (R - b) d log pi is (-1/4, 1/4), whole with a step size of 1.
  """
  searcher = make(jit)
  state = searcher.init(jax.random.key(0))
  state = searcher.update(None, state, *batch(state, [1, 0], [1, 0]))
  np.testing.assert_array_equal(state.params, [[0.0, 0.0]])
  np.testing.assert_allclose(state.average, 0.05 * 0.5, rtol=1e-5)
  state = searcher.update(None, state, *batch(state, [1, 0], [1, 0]))
  np.testing.assert_allclose(state.params, [[-0.25, 0.25]], rtol=1e-6)


def test_the_second_step_uses_earlier_rewards_only():
  """Baseline 1/2 from before; both rewards 1: each row pushes by 1/2."""
  searcher = make(baseline_decay=0.9)
  state = searcher.init(jax.random.key(0))
  first = searcher.update(None, state, *batch(state, [1, 0], [1, 0]))
  second = searcher.update(None, first, *batch(first, [1, 1], [1, 1]))
  np.testing.assert_allclose(second.params, [[-0.25, 0.25]], rtol=1e-5)
  average = 0.9 * 0.05 + 0.1 * 1.0
  np.testing.assert_allclose(second.average, average, rtol=1e-5)


def test_the_first_batches_count_alike():
  """Rewards 0, 1: the third baseline is (0.9 * 0 + 1) / (0.9 + 1), not 0.1."""
  searcher = make(baseline_decay=0.9)
  state = searcher.init(jax.random.key(0))
  for reward in (0, 1):
    state = searcher.update(None, state, *batch(state, [1], [reward]))
  # With the baseline for its reward, a batch teaches nothing.
  same = searcher.update(None, state, *batch(state, [0], [1 / 1.9]))
  np.testing.assert_allclose(same.params, state.params, atol=1e-6)


def test_the_baseline_starts_at_the_first_mean():
  """Not at 0: rewards that are all 7 teach nothing, then or later."""
  searcher = make()
  state = searcher.init(jax.random.key(0))
  for _ in range(3):
    state = searcher.update(None, state, *batch(state, [1, 1, 0], [7, 7, 7]))
  np.testing.assert_allclose(state.params, 0.0, atol=1e-6)


def test_means_are_over_the_valid_rows():
  """The hand-computed step again, with a third row that is NaN."""
  searcher = make()
  state = searcher.init(jax.random.key(0))
  for _ in range(2):
    rows = batch(state, [1, 0, 0], [1, 0, np.nan], [True, True, False])
    state = searcher.update(None, state, *rows)
  np.testing.assert_allclose(state.params, [[-0.25, 0.25]], rtol=1e-6)


def test_the_entropy_term_has_its_gradient():
  """Without advantage only 0.1 dH/dz_i = -0.1 p_i (log p_i + H) is left."""
  searcher = make(entropy_weight=0.1)
  state = searcher.init(jax.random.key(0))
  state = searcher.update(None, state, *batch(state, [1, 0], [3, 3]))
  params = jnp.array([[1.0, -0.5]])
  state = state._replace(params=params)
  after = searcher.update(None, state, *batch(state, [1, 0], [3, 3]))
  p = np.exp([1.0, -0.5]) / np.exp([1.0, -0.5]).sum()
  entropy = -(p * np.log(p)).sum()
  expected = params + 0.1 * -p * (np.log(p) + entropy)
  np.testing.assert_allclose(after.params, expected, rtol=1e-5)


def test_without_valid_rows_a_momentum_stands_still():
  """Adam would walk on by its moments, and count the step."""
  searcher = reinforce.reinforce(_POLICY, optax.adam(0.1))
  state = searcher.init(jax.random.key(0))
  state = searcher.update(None, state, *batch(state, [1, 0], [1, 0]))
  rows = batch(state, [1, 0], [np.nan, 5], [False, False])
  chex.assert_trees_all_equal(searcher.update(None, state, *rows), state)


def test_proposals_carry_their_log_probability():
  """That at sampling, for importance weights once they are stale."""
  searcher = make()
  params = jnp.log(jnp.array([[0.2, 0.8]]))
  state = searcher.init(jax.random.key(0))._replace(
    params=params, updates=jnp.int32(7)
  )
  proposals, _ = searcher.propose(jax.random.key(1), state, 50)
  np.testing.assert_array_equal(proposals.info['updates'], np.full(50, 7))
  probability = np.where(proposals.actions == 1, 0.8, 0.2)
  np.testing.assert_allclose(
    jnp.exp(proposals.info['log_prob']), probability, rtol=1e-5
  )


@pytest.mark.parametrize(
  'jit, clip, weights',
  [(True, 1.0, [0.5, 1.0, 1.0]), (False, 4.0, [0.5, 2.0, 1.0])],
)
def test_stale_rows_count_by_their_importance(jit, clip, weights):
  """Now 1/2 each; sampled with 1, 1/4 and, just now, with what is not read.

  Rewards less the baseline are 1/2 for action 1 in the first row, 1/2 for
  action 0 in the second and -1/2 for it in the third, so each pushes action 1
  by 1/4, -1/4, 1/4 times its weight, and the mean is over all three.
  """
  searcher = make(jit, weight_clip=clip)
  state = searcher.init(jax.random.key(0))
  state = searcher.update(None, state, *batch(state, [1, 0], [1, 0]))
  rows = batch(
    state,
    [1, 0, 0, 1],
    [1, 1, 0, np.nan],
    [True, True, True, False],
    chances=[1.0, 0.25, 1e-9, np.nan],
    age=[1, 1, 0, 1],
  )
  state = searcher.update(None, state, *rows)
  push = np.dot(weights, [0.25, -0.25, 0.25]) / 3
  np.testing.assert_allclose(state.params, [[-push, push]], rtol=1e-5)


def test_importance_is_that_of_whole_sequences_and_cannot_overflow():
  """exp(1 + 1/2) for two steps; a ratio beyond float32 is the clip."""
  sampled = jnp.array([[-3.0, -1.0], [-500.0, -1.0], [-0.5, -0.5]])
  now = jnp.array([[-2.0, -0.5], [-0.1, -0.1], [-400.0, -0.5]])
  weights = reinforce.importance(now, sampled, 10.0)
  np.testing.assert_allclose(weights, [np.exp(1.5), 10.0, 0.0], rtol=1e-5)


def test_the_entropy_of_stale_rows_counts_by_their_importance_too():
  """Without advantage and half the weight, half of 0.1 dH/dz is left."""
  searcher = make(entropy_weight=0.1)
  state = searcher.init(jax.random.key(0))
  state = searcher.update(None, state, *batch(state, [1], [3]))
  state = state._replace(params=jnp.log(jnp.array([[0.6, 0.4]])))
  one = batch(state, [1], [3], chances=[0.8], age=1)
  half = searcher.update(None, state, *one).params - state.params
  whole = searcher.update(None, state, *batch(state, [1], [3])).params
  np.testing.assert_allclose(half, (whole - state.params) / 2, rtol=1e-4)
  assert np.abs(half).max() > 1e-3


def test_hyper_parameters_may_be_traced():
  """A sweep over decays and entropy weights is a vmap."""

  def run(decay, weight):
    searcher = make(False, baseline_decay=decay, entropy_weight=weight)
    state = searcher.init(jax.random.key(0))
    state = searcher.update(None, state, *batch(state, [1, 0], [1, 0]))
    state = searcher.update(None, state, *batch(state, [1, 0], [1, 0]))
    return searcher.update(None, state, *batch(state, [1, 1], [1, 0]))

  decays, weights = jnp.array([0.9, 0.5]), jnp.array([0.0, 0.3])
  swept = jax.jit(jax.vmap(run))(decays, weights)
  for i in range(2):
    row = jax.tree.map(lambda x, i=i: x[i], swept)
    single = run(float(decays[i]), float(weights[i]))
    chex.assert_trees_all_close(row, single, rtol=1e-5)
