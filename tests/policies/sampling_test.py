"""Masks, lengths and uniform draws, on masks written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.policies import sampling
from irlas_jax.types import Space


def forced_space(masks):
  """A space whose masks [T, A] do not depend on what was chosen."""
  masks = jnp.asarray(masks, bool)
  return Space(
    num_steps=len(masks),
    num_actions=masks.shape[1],
    num_states=len(masks),
    legal=lambda actions, t: masks[t],
    state=lambda actions, t: t,
    decode=None,
    encode=None,
    operations=(),
    attributes=(),
  )


@pytest.mark.parametrize(
  'masks, expected',
  [
    ([[1, 1], [1, 1], [1, 0]], 2),  # after a terminal, or a forced terminal
    ([[1, 1], [0, 1], [1, 1]], 3),  # a forced step between choices counts
    ([[0, 1], [1, 1], [1, 1]], 3),  # as does one at the start
    ([[1, 0], [0, 1], [1, 0]], 0),  # nothing to choose
  ],
)
def test_an_episode_ends_with_its_last_choice(masks, expected):
  assert sampling.episode_length(jnp.array(masks, bool)) == expected


def test_illegal_actions_have_probability_zero_and_no_gradient():
  """Also where all the logit's weight is on an illegal action."""
  logits, legal = jnp.array([1.0, 500.0, 1.0]), jnp.array([True, False, True])
  log_probs = sampling.masked_log_softmax(logits, legal)
  np.testing.assert_allclose(jnp.exp(log_probs), [0.5, 0.0, 0.5])
  jacobian = jax.jacobian(sampling.masked_log_softmax)(logits, legal)
  np.testing.assert_allclose(
    jacobian[0], [0.5, 0.0, -0.5], err_msg='not finite, or not by the legal'
  )
  np.testing.assert_array_equal(jacobian[:, 1], 0)


@pytest.mark.parametrize('jit', [True, False])
def test_choices_are_uniform_over_the_allowed_and_none_else(jit):
  allowed = jnp.array([False, True, False, True, True, False])
  choose = jax.vmap(lambda key: sampling.choose_uniformly(key, allowed))
  choose = jax.jit(choose) if jit else choose
  counts = np.bincount(choose(jax.random.split(jax.random.key(0), 3000)))
  np.testing.assert_array_equal(counts[[0, 2]], 0)
  np.testing.assert_allclose(counts[[1, 3, 4]], 1000, atol=90)
  assert len(counts) == 5


def test_the_only_action_allowed_is_chosen():
  """At either end, where an index one off would show."""
  for action in (0, 4):
    allowed = jnp.arange(5) == action
    assert sampling.choose_uniformly(jax.random.key(0), allowed) == action


def test_a_choice_sees_what_was_chosen_before_it():
  space = forced_space(np.ones((4, 9)))

  def choose(key, actions, t):
    del key
    return (jnp.sum(actions) + 1).astype(jnp.int32)

  actions = sampling.build_actions(jax.random.key(0), space, choose)
  np.testing.assert_array_equal(actions, [1, 2, 4, 8])


def test_uniform_actions_follow_the_masks():
  masks = np.array([[0, 1, 1], [1, 0, 0], [1, 1, 1]], bool)
  actions = sampling.uniform_actions(
    jax.random.key(0), forced_space(masks), 3000
  )
  for t, mask in enumerate(masks):
    shares = np.bincount(actions[:, t], minlength=3) / 3000
    np.testing.assert_allclose(shares, mask / mask.sum(), atol=0.03)
    np.testing.assert_array_equal(shares > 0, mask)
  np.testing.assert_array_equal(
    sampling.legal_masks(forced_space(masks), actions[0]), masks
  )
