"""Both predictors: what they learn, and what they leave alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irlas_jax.policies import kernel_predictor, lstm_predictor

M, T, A = 96, 4, 5


def _one_hot(actions):
  return jax.nn.one_hot(actions, A).ravel() / np.sqrt(T)


PREDICTORS = {
  'kernel': kernel_predictor.kernel_predictor(_one_hot, M),
  'lstm': lstm_predictor.lstm_predictor(A, hidden=16, steps=150),
}


def _reward(actions):
  """Depends on single actions and on a pair."""
  return actions[:, 0] + 2.0 * (actions[:, 1] == 2) - (actions[:, 2] > 2)


def _draw(seed, n):
  return jax.random.randint(jax.random.key(seed), (n, T), 0, A)


def _fit(predictor, actions, rewards, held):
  params = predictor.init(jax.random.key(0), actions[0])
  return jax.jit(predictor.fit)(
    jax.random.key(1), params, actions, rewards, held
  )


@pytest.mark.parametrize('name', PREDICTORS)
def test_what_was_never_seen_is_ranked(name):
  """By what was; places that are not held say nothing, whatever is there."""
  predictor = PREDICTORS[name]
  actions, held = _draw(0, M), jnp.arange(M) < 80
  rewards = jnp.where(held, _reward(actions), 1e6)
  fitted = _fit(predictor, actions, rewards, held)
  fresh = _draw(1, 200)
  predicted = jax.jit(predictor.predict)(fitted, fresh)
  rho = stats.spearmanr(predicted, _reward(fresh)).statistic
  assert rho > 0.85, rho
  assert abs(predicted - _reward(fresh)).mean() < 1.0  # in units of rewards


@pytest.mark.parametrize('name', PREDICTORS)
def test_one_reward_for_all_is_no_division_by_nothing(name):
  predictor, actions = PREDICTORS[name], _draw(0, M)
  fitted = _fit(predictor, actions, jnp.full(M, 7.0), jnp.ones(M, bool))
  predicted = predictor.predict(fitted, _draw(1, 8))
  np.testing.assert_allclose(predicted, 7.0, atol=0.1)


def test_normal_scores_are_quantiles_at_the_middle_of_the_rank():
  rewards = jnp.array([5.0, 1.0, 99.0, 5.0, 8.0])
  held = jnp.array([True, True, False, True, True])
  found = kernel_predictor.normal_scores(rewards, held)
  want = stats.norm.ppf([0.5, 0.125, 0.5, 0.5, 0.875])
  np.testing.assert_allclose(found, want, atol=1e-6)
