"""The Meta-DNN: its shape, what it learns, and what it leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irlas_jax.policies import mlp_predictor

pytestmark = pytest.mark.usefixtures('quick_compiles')
M, T, A = 96, 4, 5


def _reward(actions):
  """Depends on single actions and on a pair, in a scale of its own."""
  single = actions[:, 0] + 2.0 * (actions[:, 1] == 2) - (actions[:, 2] > 2)
  return 100.0 * single + 7.0


def _draw(seed, n):
  return jax.random.randint(jax.random.key(seed), (n, T), 0, A)


PREDICTOR = mlp_predictor.mlp_predictor(
  A, sizes=(32,), learning_rate=0.01, epochs=100, batch_size=32
)


@jax.jit
def _fit(actions, rewards, held):
  params = PREDICTOR.init(jax.random.key(0), actions[0])
  return PREDICTOR.fit(jax.random.key(1), params, actions, rewards, held)


def test_what_was_never_seen_is_ranked():
  """By what was; places that are not held say nothing, whatever is there."""
  actions, held = _draw(0, M), jnp.arange(M) < 80
  fitted = _fit(actions, jnp.where(held, _reward(actions), 1e6), held)
  fresh = _draw(1, 200)
  predicted = jax.jit(PREDICTOR.predict)(fitted, fresh)
  assert stats.spearmanr(predicted, _reward(fresh)).statistic > 0.85
  assert abs(predicted - _reward(fresh)).mean() < 100  # of a range of 700


def test_one_reward_for_all_is_no_division_by_nothing():
  fitted = _fit(_draw(0, M), jnp.full(M, 7.0), jnp.ones(M, bool))
  predicted = jax.jit(PREDICTOR.predict)(fitted, _draw(1, 200))
  np.testing.assert_allclose(predicted, 7.0, atol=0.1)


def test_an_epoch_has_as_many_batches_as_hold_what_is_held():
  """Not as many as the memory may once hold: Adam counts its steps."""
  actions = _draw(0, M)
  fitted = _fit(actions, _reward(actions), jnp.arange(M) < 33)
  assert fitted.optimizer[0].count == 200


@pytest.mark.parametrize(
  'sizes, most', [((64, 64), 1e4), ((512, 2048, 2048, 512), 6.6e6)]
)
def test_the_number_of_weights(sizes, most):
  """The default is small; the published sizes give the published layers."""
  predictor = mlp_predictor.mlp_predictor(A, sizes=sizes)
  init = jax.eval_shape(predictor.init, jax.random.key(0), jnp.zeros(T, int))
  layers = [T * A, *sizes, 1]
  want = sum((i + 1) * o for i, o in zip(layers, layers[1:], strict=False))
  found = sum(x.size for x in jax.tree.leaves(init.params))
  assert found == want < most


@pytest.mark.parametrize(
  'fields, word',
  [({'sizes': (8, 0)}, 'sizes'), ({'epochs': 0}, 'epochs')],
)
def test_numbers_below_one_are_refused(fields, word):
  with pytest.raises(ValueError, match=word):
    mlp_predictor.mlp_predictor(A, **fields)
