"""Blocks that a mirror stimuli function should tell apart, and whether it does.

One draw has, for each of E teachers, random blocks of its own length, its
neighbours (one layer replaced by another legal one), and random blocks of mixed
lengths, each uniform over legal tuples given its length. Blocks isomorphic to
the expert in question are left out.

Shapes: `E` experts, `N` random blocks, `M` neighbours, `T` steps, `D` features.
"""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import graph, kinds
from irlas_jax.policies import sampling
from irlas_jax.rewards import policy_class
from irlas_jax.types import Array, Graph

MAX_LENGTH = 10
KIND = kinds.SPACES['block'].make(MAX_LENGTH, 'separable')
SPACE = KIND.space
_TIE = 1e-5  # scores closer than this are equal: rounding


class Draw(NamedTuple):
  """Fresh blocks, as graphs; `*_valid` leaves out copies of the expert."""

  experts: Graph  # [E]
  matched: Graph  # [E, N] of the expert's length
  mixed: Graph  # [N] of 1 ... 10 layers, all lengths alike
  neighbours: Graph  # [E, M]
  rollouts: Graph  # what mirrors are fitted to, lengths as in `mixed`
  matched_valid: np.ndarray  # [E, N] bool
  mixed_valid: np.ndarray  # [E, N] bool
  neighbours_valid: np.ndarray  # [E, M] bool


class Measures(NamedTuple):
  """How one scoring of a draw ranks blocks; for every expert that teaches."""

  same_length: np.ndarray  # [E] P(neighbour above random of its length)
  any_length: np.ndarray  # [E] P(neighbour above random of 1 ... 10 layers)
  same_above: np.ndarray  # [E] share of random blocks above the expert
  any_above: np.ndarray  # [E]
  others: np.ndarray  # [E, E] P(expert j above random of its length); i teaches


def stack(graphs: Iterable[Graph], size: int = MAX_LENGTH + 1) -> Graph:
  """Blocks of any size as one Graph [E], padded to `size` nodes."""
  padded = [graph.resize(single, size) for single in graphs]
  return jax.tree.map(lambda *x: np.stack(x), *padded)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _draw(key, experts, num_random, num_neighbours, num_rollouts):
  actions = jax.vmap(SPACE.encode)(experts)
  key_matched, key_mixed, key_near, key_rollouts = jax.random.split(key, 4)

  def matched(key, own):
    lengths = jnp.full(num_random, jnp.sum(own > 0))
    return sampling.actions_of_lengths(key, SPACE, lengths)

  def near(key, own):
    keys = jax.random.split(key, num_neighbours)
    return jax.vmap(_neighbour, (0, None))(keys, own)

  keys = jax.random.split(key_matched, len(actions))
  keys_near = jax.random.split(key_near, len(actions))
  found = (
    actions,
    jax.vmap(matched)(keys, actions),
    sampling.uniform_lengths(key_mixed, SPACE, num_random),
    jax.vmap(near)(keys_near, actions),
    sampling.uniform_lengths(key_rollouts, SPACE, num_rollouts),
  )
  return tuple(
    jnp.vectorize(SPACE.decode, signature='(t)->(v),(v,f),(v,v),(v)')(x)
    for x in found
  )


def _neighbour(key, actions):
  """One layer of a block replaced: actions [T] -> [T]."""
  key_site, key_action = jax.random.split(key)
  site = sampling.pick(jax.random.uniform(key_site), actions > 0)
  other = jnp.arange(SPACE.num_actions) != actions[site]
  allowed = SPACE.legal(actions, site) & other.at[0].set(False)
  new = sampling.pick(jax.random.uniform(key_action), allowed)
  return actions.at[site].set(new)


def draw(
  key: jax.Array,
  experts: Graph,
  num_random: int,
  num_neighbours: int,
  num_rollouts: int,
) -> Draw:
  """Draws blocks for experts [E] and finds their copies among them."""
  found = _draw(key, experts, num_random, num_neighbours, num_rollouts)
  own, matched, mixed, near, rollouts = (
    Graph(*x) for x in jax.device_get(found)
  )
  mixed_for_all = jax.tree.map(
    lambda x: np.broadcast_to(x, (len(own.ops), *x.shape)), mixed
  )
  valid = [~_copies(own, x) for x in (matched, mixed_for_all, near)]
  return Draw(own, matched, mixed, near, rollouts, *valid)


def _copies(own, others):
  """Which of others [E, K] are isomorphic to the expert of their row."""
  same_ops = np.sort(others.ops, -1) == np.sort(own.ops, -1)[:, None]
  maybe = same_ops.all(-1) & (
    others.edges.sum((-1, -2)) == own.edges.sum((-1, -2))[:, None]
  )
  found = np.zeros(maybe.shape, bool)
  for i, k in np.argwhere(maybe):
    found[i, k] = _digest(others, i, k) == _digest(own, i)
  return found


def _digest(graphs, *place):
  return graph.digest(Graph(*(x[place] for x in graphs)))


class Counts(NamedTuple):
  """Feature counts of a draw's blocks, as in `Draw`."""

  experts: Array  # [E, D]
  matched: Array  # [E, N, D]
  mixed: Array  # [N, D]
  neighbours: Array  # [E, M, D]
  rollouts: Array  # [., D]


def counter(counts_fn) -> Callable[[Draw], Counts]:
  """Counts all blocks of a draw; `counts_fn` maps one Graph to [D]."""
  many = jax.jit(jax.vmap(counts_fn))

  def apply(graphs):
    lead = graphs.ops.shape[:-1]
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[len(lead) :]), graphs)
    return many(flat).reshape(*lead, -1)

  return lambda blocks: Counts(*(apply(graphs) for graphs in blocks[:5]))


def weights(learner, counts: Counts) -> jax.Array:
  """What each expert teaches by a learner: [E, D]."""
  policies = policy_class.pool(counts.rollouts)
  return jax.vmap(lambda mu: learner(mu, policies).weights)(counts.experts)


@jax.jit
def scores(w: jax.Array, counts: Counts) -> Counts:
  """w.mu [E, ...] of every block under every expert's weights w [E, D]."""

  def score(mu):
    return jnp.einsum('id,...d->i...', w, mu, precision=policy_class.EXACT)

  return Counts(*map(score, counts))


def length_scores(blocks: Draw) -> Counts:
  """-|layers - the expert's layers|, in the form of `scores`."""

  def length(graphs):
    return (graphs.ops > 0).sum(-1).astype(np.float32)

  own = length(blocks.experts)

  def score(graphs):
    found = length(graphs)
    return -np.abs(found - own.reshape(-1, *[1] * found.ndim))

  return Counts(*map(score, blocks[:5]))


def measure(values: Counts, blocks: Draw) -> Measures:
  """How the scores of a draw's blocks rank them."""
  values = jax.device_get(values)
  rows = range(len(values.experts))
  matched = [
    [v[j][blocks.matched_valid[j]] for j in rows] for v in values.matched
  ]
  mixed = [v[blocks.mixed_valid[i]] for i, v in enumerate(values.mixed)]
  near = [
    v[i][blocks.neighbours_valid[i]] for i, v in enumerate(values.neighbours)
  ]
  own = [values.experts[i, i] for i in rows]
  return Measures(
    np.array([outranks(near[i], matched[i][i]) for i in rows]),
    np.array([outranks(near[i], mixed[i]) for i in rows]),
    np.array([np.mean(matched[i][i] > own[i] + _TIE) for i in rows]),
    np.array([np.mean(mixed[i] > own[i] + _TIE) for i in rows]),
    np.array(
      [
        [outranks(values.experts[i, j], matched[i][j]) for j in rows]
        for i in rows
      ]
    ),
  )


def outranks(above, below) -> float:
  """P(a > b) + P(a = b) / 2 for a and b drawn from two samples."""
  below = np.sort(below)
  fewer = np.searchsorted(below, np.ravel(above) - _TIE)
  most = np.searchsorted(below, np.ravel(above) + _TIE)
  return float(np.mean(fewer + most) / 2 / len(below))
