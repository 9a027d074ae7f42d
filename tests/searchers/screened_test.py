"""Which of a searcher's proposals a predictor lets through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.policies import kernel_predictor
from irlas_jax.searchers import random_search, screened
from irlas_jax.spaces import choices
from irlas_jax.types import Predictor, Searcher

SPACE = choices.choices((6, 6, 6))


def _oracle():
  """A predictor that knows the reward, the sum of the actions, once fitted."""
  return Predictor(
    lambda key, actions: jnp.bool_(False),
    lambda key, params, actions, rewards, held: jnp.bool_(True),
    lambda fitted, actions: jnp.where(fitted, actions.sum(1), jnp.nan * 0),
  )


def _recorder():
  """A random searcher whose state is what it was told last."""
  inner = random_search.random_search(SPACE)

  def update(key, state, proposals, rewards, valid):
    return {'actions': proposals.actions, 'rewards': rewards, 'valid': valid}

  return Searcher(inner.init, inner.propose, update)


def _screened(inner=None, **fields):
  settings = {'candidates': 8, 'random_share': 0.0, 'warm_up': 4} | fields
  inner = inner or random_search.random_search(SPACE)
  return screened.screened(
    inner, _oracle(), SPACE.num_steps, 64, refit_every=4, **settings
  )


def _run(searcher, iterations, n=4):
  """Proposals of each iteration, rewarded by the sum of their actions."""
  state, found = searcher.init(jax.random.key(0)), []
  propose = jax.jit(searcher.propose, static_argnums=2)
  update = jax.jit(searcher.update)
  for i in range(iterations):
    proposals, state = propose(jax.random.key(i), state, n)
    rewards = proposals.actions.sum(1).astype(jnp.float32)
    state = update(
      jax.random.key(i), state, proposals, rewards, jnp.ones(n, bool)
    )
    found.append(proposals)
  return found, state


def test_what_is_promising_is_proposed_and_what_is_known_is_not():
  found, _ = _run(_screened(), 4)
  sums = [np.asarray(p.actions.sum(1)) for p in found]
  assert np.isnan(found[0].info['predicted']).all()  # nobody was asked yet
  assert sums[0].mean() < 10 < 11 < min(s.mean() for s in sums[1:])
  np.testing.assert_array_equal(found[1].info['predicted'], sums[1])
  rows = np.concatenate([p.actions for p in found])
  assert len(np.unique(rows, axis=0)) == len(rows)


def test_a_random_share_is_let_through():
  found, _ = _run(_screened(random_share=1.0), 6)
  assert np.mean([p.actions.sum(1).mean() for p in found]) < 10


def test_the_searcher_is_told_of_what_was_evaluated():
  found, state = _run(_screened(_recorder()), 2)
  np.testing.assert_array_equal(state.inner['actions'], found[1].actions)
  np.testing.assert_array_equal(state.inner['rewards'], found[1].actions.sum(1))


def test_rows_that_are_not_valid_teach_nothing():
  searcher = _screened(_recorder())
  state = searcher.init(jax.random.key(0))
  proposals, state = searcher.propose(jax.random.key(1), state, 4)
  valid = jnp.array([True, False, True, False])
  after = searcher.update(
    jax.random.key(2), state, proposals, jnp.ones(4), valid
  )
  assert after.memory.pushed == 2
  np.testing.assert_array_equal(after.inner['valid'], valid)


def test_one_candidate_is_the_searcher_itself():
  plain = random_search.random_search(SPACE)
  key = jax.random.key(3)
  want, _ = plain.propose(jax.random.split(key)[0], plain.init(key), 4)
  searcher = _screened(candidates=1)
  found, _ = searcher.propose(key, searcher.init(key), 4)
  np.testing.assert_array_equal(
    np.sort(found.actions, axis=0), np.sort(want.actions, axis=0)
  )


def test_it_finds_better_by_learning_from_what_it_has_seen():
  """With the real predictor and no knowledge of the reward."""
  predictor = kernel_predictor.kernel_predictor(
    lambda actions: jax.nn.one_hot(actions, 6).ravel() / np.sqrt(3), 64
  )
  searcher = screened.screened(
    random_search.random_search(SPACE),
    predictor,
    SPACE.num_steps,
    64,
    candidates=8,
    random_share=0.0,
    warm_up=16,
    refit_every=4,
  )
  found, _ = _run(searcher, 10)
  sums = [float(p.actions.sum(1).mean()) for p in found]
  assert np.mean(sums[5:]) > np.mean(sums[:4]) + 3


@pytest.mark.parametrize('fields', [{'candidates': 0}, {'warm_up': 65}])
def test_numbers_out_of_range_are_refused(fields):
  with pytest.raises(ValueError, match='screened'):
    _screened(**fields)
