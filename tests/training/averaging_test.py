"""Averages of weights against a loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.training import averaging


@pytest.mark.parametrize(
  'count, expected', [(0, 1 / 10), (8, 1 / 2), (81, 82 / 91), (10_000, 0.95)]
)
def test_the_decay_rises_to_the_one_asked_for(count, expected):
  """At once at 0.999, a short training would be scored by its first weights."""
  found = averaging.decay_at(0.95, jnp.int32(count))
  np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize('jit', [True, False])
def test_the_average_is_that_of_a_loop(jit):
  """Over 20 steps, of every leaf; its type stays that of the leaf."""
  rng = np.random.default_rng(0)
  steps = rng.normal(size=(20, 2, 3))
  update = jax.jit(averaging.update) if jit else averaging.update
  average = {'a': jnp.full((2, 3), 5.0), 'b': jnp.zeros(2, jnp.bfloat16)}
  expected = np.full((2, 3), 5.0)
  for count, now in enumerate(steps):
    new = {'a': jnp.asarray(now, jnp.float32), 'b': jnp.ones(2, jnp.bfloat16)}
    average = update(average, new, 0.6, jnp.int32(count))
    decay = min(0.6, (1 + count) / (10 + count))
    expected = decay * expected + (1 - decay) * now
  np.testing.assert_allclose(average['a'], expected, rtol=1e-4, atol=1e-5)
  assert average['b'].dtype == jnp.bfloat16
  np.testing.assert_allclose(average['b'].astype(float), 1, atol=0.02)
