"""Masks, lengths and uniform draws, on masks written out by hand."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from irlas_jax.policies import sampling
from irlas_jax.types import Space

pytestmark = pytest.mark.usefixtures('quick_compiles')


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
    terminal=False,
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
  choose = jax.vmap(lambda u: sampling.pick(u, allowed))
  choose = jax.jit(choose) if jit else choose
  counts = np.bincount(choose(jax.random.uniform(jax.random.key(0), (3000,))))
  np.testing.assert_array_equal(counts[[0, 2]], 0)
  np.testing.assert_allclose(counts[[1, 3, 4]], 1000, atol=90)
  assert len(counts) == 5


def test_the_only_action_allowed_is_chosen():
  """At either end, where an index one off would show."""
  for action in (0, 4):
    allowed = jnp.arange(5) == action
    for u in (0.0, 1.0 - 2.0**-23):
      assert sampling.pick(jnp.float32(u), allowed) == action


def test_indices_are_picked_in_proportion_to_their_weights():
  """Also where weights do not add up to 1, and never one of weight 0."""
  weights = jnp.array([0.0, 2.0, 0.0, 6.0, 0.0])
  draws = jnp.arange(1000, dtype=jnp.float32) / 1000
  found = jax.vmap(lambda u: sampling.pick(u, weights))(draws)
  counts = np.bincount(found, minlength=5)
  np.testing.assert_allclose(counts, [0, 250, 0, 750, 0], atol=1)


@pytest.mark.parametrize('scale', [0.3, 1.0, 1.0000001, 7.7])
def test_the_greatest_draw_picks_an_index_that_has_a_weight(scale):
  """Rounding must not carry it past the last one, back to index 0."""
  weights = scale * jnp.array([0.0, 0.1, 0.2, 0.3, 0.4], jnp.float32)
  assert sampling.pick(jnp.float32(1.0 - 2.0**-23), weights) == 4


def test_a_choice_sees_what_was_chosen_before_it():
  space = forced_space(np.ones((4, 9)))

  def choose(u, actions, t):
    del u
    return (jnp.sum(actions) + 1).astype(jnp.int32)

  actions = sampling.build_actions(jnp.zeros(4), space, choose)
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


def terminal_space(masks):
  """As `forced_space`, but for the terminal, action 0: after it only that."""
  masks = jnp.asarray(masks, bool)

  def legal(actions, t):
    ended = (t > 0) & (actions[t - 1] == 0)
    return jnp.where(ended, jnp.arange(masks.shape[1]) == 0, masks[t])

  return forced_space(masks)._replace(legal=legal, terminal=True)


def lengths_of(actions):
  """Steps before the terminal: [n, T] -> [n]."""
  return np.cumprod(np.asarray(actions) > 0, axis=1).sum(1)


def assert_legal(space, actions):
  masks = jax.vmap(functools.partial(sampling.legal_masks, space))(actions)
  chosen = np.take_along_axis(np.asarray(masks), actions[..., None], axis=2)
  assert chosen.all()


# As in the block space: a first layer there must be, and ever more choices.
TINY = terminal_space([[0, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]])


@functools.cache
def drawn():
  """Many episodes of TINY, all lengths alike."""
  draw = functools.partial(sampling.uniform_lengths, space=TINY, n=6000)
  return np.asarray(jax.jit(draw)(jax.random.key(0)))


def test_uniform_lengths_come_as_often_and_so_do_episodes_of_each():
  """Of 2, 4 and 12 episodes; drawn step by step, few have a single layer."""
  actions = drawn()
  assert actions.dtype == np.int32
  assert_legal(TINY, actions)
  counts = collections.Counter(map(tuple, actions.tolist()))
  expected = {
    (*layers, 0, 0, 0)[:3]: 2000 / number
    for number, episodes in (
      (2, [(a,) for a in (1, 2)]),
      (4, [(a, b) for a in (1, 2) for b in (1, 2)]),
      (12, [(a, b, c) for a in (1, 2) for b in (1, 2) for c in (1, 2, 3)]),
    )
    for layers in episodes
  }
  assert counts.keys() == expected.keys()
  seen = [counts[episode] for episode in expected]
  assert scipy.stats.chisquare(seen, list(expected.values())).pvalue > 0.01


def test_uniform_lengths_of_a_space_without_a_terminal_are_uniform_actions():
  """Action 0 is an action like any other there."""
  space = forced_space([[0, 1, 1], [1, 0, 0], [1, 1, 1]])
  key = jax.random.key(0)
  np.testing.assert_array_equal(
    sampling.uniform_lengths(key, space, 6),
    sampling.uniform_actions(key, space, 6),
  )


def test_an_episode_is_as_long_as_asked():
  lengths = jnp.array([1, 3, 2, 2, 1, 3])
  actions = sampling.actions_of_lengths(jax.random.key(0), TINY, lengths)
  assert_legal(TINY, actions)
  np.testing.assert_array_equal(lengths_of(actions), lengths)
  assert len({*map(tuple, actions.tolist())}) > 3


def test_an_episode_that_cannot_end_or_go_on_is_as_near_as_it_can_be():
  """Rather than illegal: the terminal must wait, or comes early."""
  space = terminal_space([[0, 1, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
  asked = jnp.array([0, 1, 2, 3, 4, 9])
  actions = sampling.actions_of_lengths(jax.random.key(0), space, asked)
  assert_legal(space, actions)
  np.testing.assert_array_equal(lengths_of(actions), [2, 2, 2, 3, 3, 3])


def test_lengths_and_actions_are_drawn_from_keys_of_their_own():
  """One key for both would tie the first layer to the length."""
  draw = jax.jit(lambda key: sampling.uniform_lengths(key, TINY, 3))
  with jax.debug_key_reuse(True):
    draw.trace(jax.random.key(0))
  first, lengths = drawn()[:, 0], lengths_of(drawn())
  table = [np.bincount(first[lengths == n])[1:] for n in (1, 2, 3)]
  assert scipy.stats.chi2_contingency(table).pvalue > 0.01
