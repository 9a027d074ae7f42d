"""Mutation against its definition in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.searchers import neighbours


@pytest.fixture(scope='module')
def mutants(toy):
  """40 children of each sequence of the space: [N, 40, T]."""
  parents = jnp.repeat(jnp.asarray(toy.actions), 40, axis=0)
  mutate = jax.jit(neighbours.mutate, static_argnums=1)
  children = mutate(jax.random.key(0), toy.space, parents)
  return np.asarray(children).reshape(len(toy.actions), 40, -1)


def test_a_child_changes_one_step_and_what_that_made_illegal(toy, mutants):
  """It always differs, is legal, and keeps whatever is still legal."""
  for parent, children in zip(toy.actions, mutants, strict=True):
    for child in children:
      site = np.flatnonzero(child != parent)[0]  # fails if nothing differs
      for t, action in enumerate(child.tolist()):
        legal = toy.legal(tuple(child[:t].tolist()))
        assert action in legal
        if t > site and parent[t] in legal:
          assert action == parent[t]


def test_every_choice_is_as_likely_to_change(toy, mutants):
  """Of the four steps of a sequence without an early end, each in a quarter."""
  long = toy.actions[:, 2] != 0
  sites = np.argmax(mutants[long] != toy.actions[long][:, None], axis=-1)
  shares = np.bincount(sites.ravel(), minlength=4) / sites.size
  np.testing.assert_allclose(shares, 0.25, atol=0.03)


def test_all_first_actions_are_reached(toy, mutants):
  """From any parent that starts with 1, starting with 2 or 3 (4 needs a 1)."""
  children = mutants[toy.actions[:, 0] == 1].reshape(-1, 4)
  assert set(children[:, 0].tolist()) == {1, 2, 3}


def test_without_a_choice_the_child_is_the_parent(toy):
  space = toy.space._replace(legal=lambda actions, t: jnp.arange(5) == 1)
  parent = jnp.ones(4, jnp.int32)
  child = neighbours.mutate(jax.random.key(0), space, parent[None])[0]
  np.testing.assert_array_equal(child, parent)
