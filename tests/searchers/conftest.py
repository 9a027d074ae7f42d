"""A space small enough to enumerate, for every searcher's tests."""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.types import Space

_STEPS, _ACTIONS = 4, 5
_PLACES = _ACTIONS ** np.arange(_STEPS)


class Toy(NamedTuple):
  """A space, everything in it, and a reward for each."""

  space: Space
  actions: np.ndarray  # [N, T] int32, every legal sequence
  rewards: np.ndarray  # [N] float32 in [0, 1], one of them 1
  chance: np.ndarray  # [N], probability under uniform choices at every step
  legal: object  # (tuple of actions before t) -> set of legal actions
  reward_fn: object  # actions [n, T] -> rewards [n]; 0 for illegal sequences


def _legal_set(prefix):
  """In plain Python: 0 ends, 3 may not follow 3, and 4 needs a 1 before."""
  if 0 in prefix:
    return {0}
  allowed = {0, 1, 2, 3} | ({4} if 1 in prefix else set())
  if not prefix:
    return allowed - {0}  # nothing at all is no architecture
  return allowed - {3} if prefix[-1] == 3 else allowed


def _legal(actions, t):
  before = jnp.arange(_STEPS) < t
  choices = jnp.arange(_ACTIONS)
  ended = jnp.any(before & (actions == 0))
  after_three = (t > 0) & (actions[jnp.maximum(t - 1, 0)] == 3)
  has_one = jnp.any(before & (actions == 1))
  allowed = (choices < 3) | ((choices == 3) & ~after_three)
  allowed |= (choices == 4) & has_one
  allowed &= (choices > 0) | (t > 0)
  return jnp.where(ended, choices == 0, allowed)


def _state(actions, t):
  """A row for every prefix: the longer ones behind the shorter."""
  prefix = jnp.where(jnp.arange(_STEPS) < t, actions, 0)
  start = (_ACTIONS**t - 1) // (_ACTIONS - 1)
  return (start + jnp.sum(prefix * _PLACES)).astype(jnp.int32)


def _enumerate():
  sequences = itertools.product(range(_ACTIONS), repeat=_STEPS)
  return [
    row
    for row in sequences
    if all(row[t] in _legal_set(row[:t]) for t in range(_STEPS))
  ]


@pytest.fixture(scope='module', autouse=True)
def always_quick(quick_compiles):
  """These programs run for milliseconds and compile for seconds."""


@pytest.fixture(scope='session')
def toy():
  """T = 4, A = 5, a terminal, and rules that read the whole prefix."""
  actions = np.array(_enumerate(), np.int32)
  noise = np.random.default_rng(0).random(len(actions))
  chance = [
    np.prod([1 / len(_legal_set(row[:t])) for t in range(_STEPS)])
    for row in map(tuple, actions.tolist())
  ]
  # Some structure, so that there is more to learn than a list.
  raw = noise + (actions == [1, 4, 2, 3]).mean(axis=1)
  rewards = (raw / raw.max()).astype(np.float32)
  table = np.zeros(_ACTIONS**_STEPS, np.float32)
  table[actions @ _PLACES] = rewards
  space = Space(
    num_steps=_STEPS,
    num_actions=_ACTIONS,
    num_states=(_ACTIONS**_STEPS - 1) // (_ACTIONS - 1),
    legal=_legal,
    state=_state,
    decode=None,  # a searcher sees arrays only
    encode=None,
    operations=(),
    attributes=(),
    terminal=True,
  )

  def reward_fn(actions):
    return jnp.asarray(table)[actions @ _PLACES]

  return Toy(space, actions, rewards, np.array(chance), _legal_set, reward_fn)
