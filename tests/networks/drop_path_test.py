"""Dropped paths: whole examples, the right mean, the right schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import drop_path

X = 1 + jnp.arange(2000.0 * 2 * 2 * 3).reshape(2000, 2, 2, 3)


def _drop(x, rate, key=0):
  rngs = {'drop_path': jax.random.key(key)}
  return drop_path.DropPath().apply({}, x, rate, rngs=rngs)


@pytest.mark.parametrize('jit', [True, False])
@pytest.mark.parametrize('rate', [0.2, 0.5])
def test_whole_examples_are_dropped_and_the_mean_is_kept(rate, jit):
  """Dropping pixel by pixel is dropout; without 1 / keep the mean falls."""
  drop = jax.jit(_drop) if jit else _drop
  scale = np.asarray(drop(X, rate) / X)
  whole = scale.reshape(len(X), -1)
  np.testing.assert_allclose(whole, np.repeat(whole[:, :1], 12, 1), rtol=1e-5)
  kept = whole[:, 0] > 0
  np.testing.assert_allclose(whole[kept, 0], 1 / (1 - rate), rtol=1e-5)
  # Four standard deviations of the share of 2,000 draws are at most 0.045.
  assert abs(kept.mean() - (1 - rate)) < 0.045
  assert abs(whole[:, 0].mean() - 1) < 0.09


def test_the_gradient_takes_the_same_paths():
  grads = jax.grad(lambda x: _drop(x, 0.5).sum())(X)
  np.testing.assert_allclose(grads * X, _drop(X, 0.5), rtol=1e-5)


def test_the_key_decides_and_rate_0_changes_nothing():
  np.testing.assert_array_equal(_drop(X, 0.5), _drop(X, 0.5))
  assert (_drop(X, 0.5) != _drop(X, 0.5, key=1)).any()
  np.testing.assert_array_equal(_drop(X, 0.0), X)


def test_a_traced_rate_leaves_bfloat16_alone():
  """Else the rest of the network would be computed in float32."""
  assert jax.jit(_drop)(X.astype(jnp.bfloat16), 0.3).dtype == jnp.bfloat16


@pytest.mark.parametrize(
  'progress, expected',
  [(0.0, [0, 0, 0]), (0.5, [0.05, 0.1, 0.15]), (1.0, [0.1, 0.2, 0.3])],
)
def test_the_rate_rises_over_the_training_and_the_cells(progress, expected):
  """Three cells, 0.3 in the last one at the end."""
  rates = [drop_path.scheduled(0.3, progress, i, 3) for i in range(3)]
  np.testing.assert_allclose(rates, expected, rtol=1e-6)
