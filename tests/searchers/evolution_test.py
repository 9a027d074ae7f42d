"""Selection and ageing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.searchers import evolution
from irlas_jax.types import Proposals


def scored(actions, rewards):
  """Arguments of an update: all rows valid."""
  actions = jnp.asarray(actions)
  proposals = Proposals(actions, actions, ())
  return proposals, jnp.asarray(rewards), jnp.ones(len(actions), bool)


def test_a_tournament_takes_the_best_of_those_drawn():
  """Drawn with replacement: the best of 4 wins 1 - (3/4)^2 of the pairs."""
  rewards = jnp.array([0.1, 0.9, 0.3, 0.2])
  winners = evolution.tournament(jax.random.key(0), rewards, 2, 4000)
  shares = np.bincount(winners, minlength=4) / 4000
  np.testing.assert_allclose(
    shares, [1 / 16, 7 / 16, 5 / 16, 3 / 16], atol=0.03
  )


def test_random_until_full_then_children_of_the_population(toy):
  searcher = evolution.regularized_evolution(
    toy.space, population_size=4, sample_size=2
  )
  state = searcher.init(jax.random.key(0))
  propose = jax.jit(searcher.propose, static_argnums=2)
  state = searcher.update(None, state, *scored(toy.actions[:3], [3.0, 2, 1]))
  early, _ = propose(jax.random.key(1), state, 64)
  np.testing.assert_array_equal(early.parents, early.actions)
  assert len(np.unique(early.actions, axis=0)) > 20
  state = searcher.update(None, state, *scored(toy.actions[3:4], [4.0]))
  late, _ = propose(jax.random.key(1), state, 64)
  parents = set(map(tuple, late.parents.tolist()))
  assert parents <= set(map(tuple, toy.actions[:4].tolist()))
  assert np.all(np.any(late.parents != late.actions, axis=1))


def test_the_oldest_die_however_good(toy):
  """Else it would be plain tournament selection, not regularized."""
  searcher = evolution.regularized_evolution(
    toy.space, population_size=3, sample_size=2
  )
  state = searcher.init(jax.random.key(0))
  state = searcher.update(None, state, *scored(toy.actions[:3], [9.0, 1, 1]))
  state = searcher.update(None, state, *scored(toy.actions[3:4], [1.0]))
  proposals, _ = searcher.propose(jax.random.key(1), state, 64)
  parents = set(map(tuple, proposals.parents.tolist()))
  assert parents == set(map(tuple, toy.actions[1:4].tolist()))


@pytest.mark.parametrize('sizes', [(0, 1), (1, 0)])
def test_empty_populations_and_tournaments_are_refused(toy, sizes):
  with pytest.raises(ValueError, match='population_size and sample_size'):
    evolution.regularized_evolution(
      toy.space, population_size=sizes[0], sample_size=sizes[1]
    )
