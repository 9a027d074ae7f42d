"""What holds for every policy, on a space of five sequences.

Two steps and actions 0 to 2. The first step allows 1 and 2 only; after 1
everything is legal, after 2 only 0 and 1.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.policies import free_logits, lstm
from irlas_jax.types import Space

pytestmark = pytest.mark.usefixtures('quick_compiles')

_SEQUENCES = np.array([[1, 0], [1, 1], [1, 2], [2, 0], [2, 1]], np.int32)


def _legal(actions, t):
  first = jnp.array([False, True, True])
  second = jnp.array([True, True, False]).at[2].set(actions[0] == 1)
  return jnp.where(t == 0, first, second)


SPACE = Space(2, 3, 2, _legal, lambda actions, t: t, None, None, (), (), False)
_MAKE = {
  'free_logits': free_logits.free_logits,
  # With large weights, so that it is far from uniform.
  'lstm': lambda space: lstm.lstm(space, hidden=4, layers=2, init_scale=2.0),
}


@pytest.fixture(name='name', scope='module', params=sorted(_MAKE))
def fixture_name(request):
  return request.param


@pytest.fixture(name='jitted', scope='module')
def fixture_jitted(name):
  plain = _MAKE[name](SPACE)
  return plain._replace(
    sample=jax.jit(plain.sample, static_argnums=2),
    log_prob=jax.jit(plain.log_prob),
  )


@pytest.fixture(name='params', scope='module')
def fixture_params(name):
  """Such that no two actions are as likely."""
  params = _MAKE[name](SPACE).init(jax.random.key(1))
  if name == 'free_logits':
    return params + jnp.array([[0.0, 1.0, 0.5], [0.2, -0.5, 1.0]])
  return params


def test_all_legal_sequences_have_probability_1_together(jitted, params):
  log_prob, _ = jitted.log_prob(params, _SEQUENCES)
  chances = np.exp(np.sum(log_prob, axis=1))
  np.testing.assert_allclose(chances.sum(), 1, rtol=1e-5)
  assert len(set(chances.round(4))) == len(_SEQUENCES)


def test_an_illegal_action_has_no_probability(jitted, params):
  log_prob, _ = jitted.log_prob(params, np.array([[0, 1], [2, 2]], np.int32))
  np.testing.assert_array_equal(np.exp(log_prob)[[0, 1], [0, 1]], 0)


def test_samples_come_as_often_as_log_prob_says(jitted, params):
  """Nothing illegal among them, and each told its own log-probability."""
  n = 4000
  actions, told = jitted.sample(jax.random.key(0), params, n)
  chex.assert_shape([actions, told], (n, 2))
  chex.assert_type(actions, jnp.int32)
  counts = [(actions == row).all(axis=1).sum() for row in _SEQUENCES]
  assert sum(counts) == n
  log_prob, _ = jitted.log_prob(params, _SEQUENCES)
  chances = np.exp(np.sum(log_prob, axis=1))
  np.testing.assert_allclose(np.array(counts) / n, chances, atol=0.03)
  again, _ = jitted.log_prob(params, actions)
  np.testing.assert_allclose(told, again, rtol=1e-5, atol=1e-6)


def test_entropy_is_that_of_each_step(jitted, params):
  """Of (0, 1, 2) after 1, from their log-probabilities."""
  log_prob, entropy = jitted.log_prob(params, _SEQUENCES)
  chex.assert_shape([log_prob, entropy], (5, 2))
  second = np.asarray(log_prob)[:3, 1]
  expected = -np.sum(np.exp(second) * second)
  np.testing.assert_allclose(entropy[:3, 1], expected, rtol=1e-5)


def test_without_jit_it_is_the_same(name, jitted, params):
  plain, key = _MAKE[name](SPACE), jax.random.key(2)
  whole = plain.sample(key, params, 6)
  chex.assert_trees_all_close(jitted.sample(key, params, 6), whole, rtol=1e-5)
  chex.assert_trees_all_close(
    jitted.log_prob(params, _SEQUENCES),
    plain.log_prob(params, _SEQUENCES),
    rtol=1e-5,
    atol=1e-6,
  )


def test_other_keys_and_sizes_of_a_batch(jitted, params):
  """Parameters of another update compile nothing; other keys, other draws."""
  first, _ = jitted.sample(jax.random.key(3), params, 50)
  before = jitted.sample._cache_size()
  changed = jax.tree.map(lambda x: x + 0.1, params)
  second, _ = jitted.sample(jax.random.key(4), changed, 50)
  assert jitted.sample._cache_size() == before
  assert np.any(np.asarray(first) != np.asarray(second))


def test_the_gradient_is_that_of_finite_differences(jitted, params):
  """Along a random direction, with no NaN from p log p at p = 0."""
  flat, unravel = jax.flatten_util.ravel_pytree(params)

  @jax.jit
  def value(x):
    log_prob, entropy = jitted.log_prob(unravel(x), _SEQUENCES)
    return jnp.sum(jnp.arange(1, 6) @ log_prob) + 2 * jnp.sum(entropy)

  ascent = jax.grad(value)(flat)
  chex.assert_tree_all_finite(ascent)
  drawn = jax.random.normal(jax.random.key(5), flat.shape)
  way = drawn / jnp.linalg.norm(drawn) + ascent / jnp.linalg.norm(ascent)
  step = 1e-2
  slope = (value(flat + step * way) - value(flat - step * way)) / (2 * step)
  np.testing.assert_allclose(slope, jnp.vdot(ascent, way), rtol=1e-2)


def test_no_key_is_used_twice(name):
  policy = _MAKE[name](SPACE)

  def run(key):
    key_init, key_sample = jax.random.split(key)
    return policy.sample(key_sample, policy.init(key_init), 3)

  with jax.debug_key_reuse(True):
    jax.jit(run).trace(jax.random.key(0))
