"""Masks over connections: draws, the shadow's steps, patterns, what is read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.oneshot import masks


def test_the_shadow_starts_at_a_half_where_something_may_be_read():
  found = masks.shadow(3)
  np.testing.assert_allclose(found, [[0.5, 0, 0], [0.5, 0.5, 0], [0.5] * 3])


@pytest.mark.parametrize('fan_in', [2, 4])
def test_draws_are_distinct_and_of_what_is_there(fan_in):
  """A node read twice would be a smaller fan-in."""
  keys = jax.random.split(jax.random.key(0), 20)
  shadow = masks.shadow(4).at[3].set(jnp.array([0.0, 0.9, 0.0, 0.1]))
  draw = jax.jit(jax.vmap(lambda key: masks.draw(key, shadow, fan_in)))
  found = np.asarray(draw(keys))
  counts = [min(fan_in, j + 1) for j in range(4)]
  assert (found.sum(-1) == counts).all()
  assert not found[:, ~np.tri(4, dtype=bool)].any()


def test_draws_follow_the_shadow():
  """p = r / sum(r), one after another without putting back."""
  keys = jax.random.split(jax.random.key(0), 4000)
  shadow = masks.shadow(3).at[2].set(jnp.array([0.5, 0.3, 0.2]))
  for fan_in, first in ((1, 0.5), (2, 0.5 + 0.3 * 5 / 7 + 0.2 * 5 / 8)):
    draw = jax.jit(jax.vmap(lambda key, n=fan_in: masks.draw(key, shadow, n)))
    assert draw(keys)[:, 2, 0].mean() == pytest.approx(first, abs=0.03)


def test_a_shadow_of_zeros_can_be_drawn_from():
  """Nothing may become NaN when all connections were given up."""
  found = masks.draw(jax.random.key(0), jnp.zeros((3, 3)), 2)
  assert found.sum(1).tolist() == [1, 2, 2]


def test_the_shadow_is_moved_by_the_gradient_and_clipped():
  """By hand; what may not be read stays 0."""
  shadow = masks.shadow(2).at[1].set(jnp.array([0.9, 0.1]))
  slopes = jnp.array([[2.0, -7.0], [-3.0, 0.5]])
  found = masks.learnt(shadow, slopes, 0.1)
  np.testing.assert_allclose(found, [[0.3, 0], [1.0, 0.05]], atol=1e-7)
  np.testing.assert_allclose(
    masks.learnt(shadow, slopes, 1.0), [[0, 0], [1, 0]], atol=1e-7
  )


def test_the_strongest_are_kept_and_among_equals_the_nearest():
  values = jnp.array([[0.0] * 3, [0.5, 0.5, 0], [0.2, 0.8, 0.2]])
  assert masks.text_of(masks.strongest(values, 1)) == '0; 1; 1'
  assert masks.text_of(masks.strongest(values, 2)) == '0; 0 1; 1 2'


def test_patterns():
  assert masks.text_of(masks.nearest(4, 1)) == '0; 1; 2; 3'
  assert masks.text_of(masks.nearest(4, 2)) == '0; 0 1; 1 2; 2 3'
  assert masks.text_of(masks.nearest(3, 3)) == '0; 0 1; 0 1 2'
  keys = jax.random.split(jax.random.key(0), 30)
  found = {masks.text_of(masks.random(key, 4, 2)) for key in keys}
  assert len(found) > 5
  assert masks.text_of(masks.random(keys[0], 4, 2)) in found


def test_what_the_last_module_does_not_depend_on_is_not_needed():
  """Module 2 is read by module 3 alone, which nobody reads."""
  rows = [[0], [1], [0], [3], [0, 2]]
  found = np.array([[k in row for k in range(5)] for row in rows])
  assert masks.needed(found).tolist() == [True, True, False, False, True]
