"""The mirror stimuli function: how much an architecture looks like an expert's.

Guo et al., "IRLAS: Inverse reinforcement learning for architecture search",
CVPR 2019, fit a linear function of an architecture's topology to a
hand-designed expert by inverse reinforcement learning. The training loop is a
reconstruction; the features, the sampled policy class
and the scale are ours.

Everything that is learnt is arrays: `fit` may be vmapped over experts and over
pools of rollouts, and so may `score` over mirrors and architectures.

Shapes: `V` nodes, `N` rollouts, `D` features, `I` iterations, `O` operations.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.rewards import apprenticeship, features
from irlas_jax.types import Graph


class MirrorStimuli(NamedTuple):
  """A fitted mirror stimuli function, with all that `score` needs."""

  weights: jax.Array  # [D], length 1
  expert: jax.Array  # [] w.mu of the expert, the mean of several
  random: jax.Array  # [] mean of w.mu over the rollouts
  margins: jax.Array  # [I], t_i of the learner
  iterations: jax.Array  # [] int32, how many the learner used
  operations: jax.Array  # [O] int32, rows of the operation table
  attribute_values: tuple[jax.Array, ...]  # values told apart, [A_f] a column
  discount: jax.Array  # [] of feature counts, by depth
  normalised: jax.Array  # [] bool, whether counts are scaled to length 1


@functools.partial(
  jax.jit,
  static_argnames=(
    'learner',
    'num_operations',
    'attribute_values',
    'num_iterations',
  ),
)
def fit(
  expert_graph: Graph,
  rollouts: Graph,
  *,
  learner: Callable[..., apprenticeship.Solution],
  num_operations: int,
  attribute_values: tuple[tuple[int, ...], ...],
  discount: float | jax.Array = 0.9,
  normalised: bool | jax.Array = True,
  num_iterations: int = 50,
  tolerance: float | jax.Array = 1e-2,
) -> MirrorStimuli:
  """Learns the weights w under which the expert is ahead of the rollouts.

  The expert's counts are mu_E = mu(expert), the first policy's are the mean of
  the rollouts', and a best response is the best rollout
  (`apprenticeship.pool_response`).

  Args:
    expert_graph: one architecture, or several along a leading axis, whose
      counts are averaged.
    rollouts: N architectures drawn at random, along a leading axis.
    learner: one of `apprenticeship`'s.
    num_operations: O; see `features.feature_counts`, also for the next two.
    attribute_values: as a tuple of tuples.
    discount: of the counts, by depth.
    normalised: scale every architecture's counts to length 1, which takes out
      their length. Ours, not the paper's.
    num_iterations: at most; I.
    tolerance: stop at a margin of this times ||mu_E||.

  Raises:
    ValueError: the rollouts have no leading axis, or
      `features.feature_counts` says so.
  """
  if rollouts.ops.ndim != 2:
    raise ValueError(
      f'fit: rollouts.ops has {rollouts.ops.ndim} axes; stack the random '
      'architectures along one leading axis, [N, V].'
    )
  if expert_graph.ops.ndim == 1:
    expert_graph = jax.tree.map(lambda x: x[None], expert_graph)
  counts_fn = jax.vmap(
    lambda graph: _counts(
      graph, num_operations, attribute_values, discount, normalised
    )
  )
  counts = counts_fn(rollouts)
  mu_expert = counts_fn(expert_graph).mean(0)
  mu_random = counts.mean(0)
  solution = learner(
    mu_expert,
    apprenticeship.pool_response(counts),
    mu_random,
    num_iterations,
    tolerance,
  )
  return MirrorStimuli(
    weights=solution.weights,
    expert=_value(solution.weights, mu_expert),
    random=_value(solution.weights, mu_random),
    margins=solution.margins,
    iterations=solution.iterations,
    operations=jnp.arange(num_operations),
    attribute_values=tuple(jnp.asarray(v) for v in attribute_values),
    discount=jnp.asarray(discount, jnp.float32),
    normalised=jnp.asarray(normalised),
  )


def score(mirror: MirrorStimuli, graph: Graph) -> jax.Array:
  """F_topo of one architecture, []: 0 a random one on average, 1 the expert.

  F_topo(G) = (w.mu(G) - r) / (w.mu_E - r), r the mean of w.mu over rollouts.

  The scale is ours: the trade-off of a reward then has a meaning, its unit a
  random architecture's distance to the expert. It is 0 throughout where nothing
  could be learnt because the expert is like an average random architecture, and
  says nothing where the expert is behind that average, w.mu_E < r: cosine on
  raw counts can end there; max_margin cannot, nor cosine on normalised ones.
  """
  mu = _mirrored_counts(mirror, graph)
  ahead = _value(mirror.weights, mu) - mirror.random
  scale = mirror.expert - mirror.random
  return jnp.where(scale == 0, 0.0, ahead / jnp.where(scale == 0, 1.0, scale))


def contributions(mirror: MirrorStimuli, graph: Graph) -> jax.Array:
  """What each feature adds to an architecture's score: [D].

  w_d mu_d(G) / (w.mu_E - r); their sum is `score` up to a constant of the
  mirror. 0 throughout where nothing could be learnt.
  """
  mu = _mirrored_counts(mirror, graph)
  scale = mirror.expert - mirror.random
  share = mirror.weights * mu / jnp.where(scale == 0, 1.0, scale)
  return jnp.where(scale == 0, 0.0, share)


def _mirrored_counts(mirror, graph):
  return _counts(
    graph,
    mirror.operations.shape[0],
    mirror.attribute_values,
    mirror.discount,
    mirror.normalised,
  )


def _counts(graph, num_operations, attribute_values, discount, normalised):
  mu = features.feature_counts(
    graph, num_operations, attribute_values, discount
  )
  return jnp.where(normalised, features.normalise(mu), mu)


def _value(weights, mu):
  return jnp.dot(weights, mu, precision=jax.lax.Precision.HIGHEST)
