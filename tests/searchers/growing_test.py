"""Searches whose architectures grow: of every searcher, by its rewards."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irlas_jax.policies import lstm_anchors
from irlas_jax.searchers import (
  evolution,
  growing,
  ppo,
  q_learning,
  random_search,
  reinforce,
)
from irlas_jax.spaces import choices, nas_rl

SIZES = nas_rl.Sizes(4, heights=(1,), widths=(1, 3), filters=(4, 8))
SPACE = nas_rl.nas_rl(SIZES)
_BATCH = 8


def _policy(space):
  return lstm_anchors.lstm_anchors(space, hidden=4, layers=1)


_MAKE = {
  'random_search': random_search.random_search,
  'reinforce': lambda space: reinforce.reinforce(
    _policy(space), optax.adam(0.03)
  ),
  'ppo': lambda space: ppo.ppo(_policy(space), optax.adam(0.03)),
  'q_learning': lambda space: q_learning.q_learning(
    space, lambda count: jnp.float32(0.5), replay_size=64, replay_updates=4
  ),
  'evolution': lambda space: evolution.regularized_evolution(
    space, population_size=16, sample_size=4
  ),
}


def _layers(actions):
  starts = [nas_rl.num_steps(i, SIZES) for i in range(4)]
  return np.sum(np.asarray(actions)[..., starts] > 0, axis=-1)


def _grow(make, valid, iterations=6):
  """The number of layers of all proposals, [iterations, n], by one program."""
  layers_fn = growing.staircase(2, 1, 2 * _BATCH)
  searcher = growing.growing(
    make, SPACE, lambda count: nas_rl.num_steps(layers_fn(count), SIZES)
  )
  propose = jax.jit(searcher.propose, static_argnums=2)
  update = jax.jit(searcher.update)
  state, found = searcher.init(jax.random.key(0)), []
  for key in jax.random.split(jax.random.key(1), iterations):
    proposals, state = propose(key, state, _BATCH)
    rewards = jnp.sum(proposals.actions, axis=1).astype(jnp.float32)
    state = update(key, state, proposals, rewards, valid)
    found.append(_layers(proposals.actions))
  assert propose._cache_size() == update._cache_size() == 1
  return np.stack(found)


@pytest.mark.parametrize('name', sorted(_MAKE))
def test_all_proposals_of_a_time_have_its_layers(name):
  """Two batches of two layers, two of three, two of four."""
  layers = _grow(_MAKE[name], jnp.ones(_BATCH, bool))
  if name == 'evolution':  # whose members may be of an earlier time
    np.testing.assert_array_equal(layers[[0, 1]], 2)
    assert layers[2].max() == 3 and layers[4].max() == 4
  else:
    expected = np.repeat([2, 3, 4], 2)[:, None]
    np.testing.assert_array_equal(layers, np.tile(expected, _BATCH))


def test_it_grows_by_rewards_that_are_in():
  """Of half of each batch nothing is known yet."""
  layers = _grow(random_search.random_search, jnp.arange(_BATCH) < 4)
  np.testing.assert_array_equal(layers[:, 0], [2, 2, 2, 2, 3, 3])


def test_no_more_layers_than_there_are():
  """The last steps force the end, however far a search goes."""
  layers = _grow(random_search.random_search, jnp.ones(_BATCH, bool), 9)
  assert (layers[-1] == 4).all()


def test_the_paper_s_staircase_by_hand():
  layers_fn = growing.staircase(6, 2, 1600)
  found = [layers_fn(n) for n in (0, 1599, 1600, 3199, 3200, 12_799)]
  assert found == [6, 6, 8, 8, 10, 20]


def test_what_cannot_grow_is_refused():
  with pytest.raises(ValueError, match="'growth', and all architectures"):
    growing.growing(
      random_search.random_search, choices.choices((3, 3)), lambda count: 1
    )
  for wrong in ((0, 1, 1), (1, -1, 1), (1, 1, 0)):
    with pytest.raises(ValueError, match='growth has start='):
      growing.staircase(*wrong)
