"""The mirror stimuli function: how much an architecture looks like an expert's.

Guo et al., "IRLAS: Inverse reinforcement learning for architecture search",
CVPR 2019, fit a linear function of an architecture's topology to a
hand-designed expert by inverse reinforcement learning. The training loop is a
reconstruction; the features, the sampled policy class
and the scale are ours.

Everything that is learnt is arrays: `fit` may be jitted, and vmapped over
experts and over pools of rollouts, and so may `score` over mirrors and
architectures.

Shapes: `V` nodes, `N` rollouts, `D` features, `I` iterations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.rewards import policy_class
from irlas_jax.rewards.features import Features, Shares
from irlas_jax.rewards.policy_class import Learner
from irlas_jax.types import Graph

_ROUNDING = 1e-5  # of the mean of rollouts in single precision


class MirrorStimuli(NamedTuple):
  """A fitted mirror stimuli function of some `Features`."""

  weights: jax.Array  # [D]
  expert: jax.Array  # [] w.mu of the expert, the mean of several
  random: jax.Array  # [] mean of w.mu over the rollouts
  trace: jax.Array  # [I] of the learner
  iterations: jax.Array  # [] int32, how many the learner used


def expectation(features: Features, rollouts: Graph) -> jax.Array:
  """The feature expectation of a policy, E mu [D], from its rollouts [N].

  Rollouts of any policy will do: `decode`d samples of a searcher's policy, or
  uniform ones. Unbiased; `layer_program` is exact where features read one layer
  only.
  """
  return jax.vmap(features.counts)(rollouts).mean(0)


def fit(
  features: Features, learner: Learner, expert: Graph, rollouts: Graph
) -> MirrorStimuli:
  """Learns the weights w under which the expert is ahead of the rollouts.

  Args:
    features: phi.
    learner: of `apprenticeship`, `convex` or `similarity`; it sees the rollouts
      as a `policy_class.pool`.
    expert: one architecture, or several along a leading axis, whose counts are
      averaged.
    rollouts: N architectures drawn from any policy, along a leading axis. The
      score of an average one will be 0.

  Raises:
    ValueError: the rollouts have no leading axis.
  """
  if rollouts.ops.ndim != 2:
    raise ValueError(
      f'fit: rollouts.ops has {rollouts.ops.ndim} axes; stack the random '
      'architectures along one leading axis, [N, V].'
    )
  if expert.ops.ndim == 1:
    expert = jax.tree.map(lambda x: x[None], expert)
  mu_expert = expectation(features, expert)
  policies = policy_class.pool(jax.vmap(features.counts)(rollouts))
  solution = learner(mu_expert, policies)
  # Scaled to 1, what is learnt from rounding would pass for a score.
  away = jnp.linalg.norm(mu_expert - policies.mean)
  unlike = away > _ROUNDING * jnp.linalg.norm(mu_expert)
  weights = jnp.where(unlike, solution.weights, 0.0)
  return MirrorStimuli(
    weights=weights,
    expert=_value(weights, mu_expert),
    random=_value(weights, policies.mean),
    trace=solution.trace,
    iterations=solution.iterations,
  )


def score(features: Features, mirror: MirrorStimuli, graph: Graph) -> jax.Array:
  """F_topo of one architecture, []: 0 a random one on average, 1 the expert.

  F_topo(G) = (w.mu(G) - r) / (w.mu_E - r), r the mean of w.mu over rollouts.

  The scale is ours: the trade-off of a reward then has a meaning, its unit a
  random architecture's distance to the expert. It is 0 throughout where nothing
  could be learnt because the expert is like an average random architecture, and
  says nothing where the expert is behind that average, w.mu_E < r. max_margin,
  max_entropy and mean_difference cannot end there, nor cosine on counts of
  length 1; projection can where the expert is nearly a mixture of rollouts,
  structured_margin where its cost outweighs their counts.
  """
  ahead = _value(mirror.weights, features.counts(graph)) - mirror.random
  return _scaled(mirror, ahead)


def contributions(
  features: Features, mirror: MirrorStimuli, graph: Graph
) -> jax.Array:
  """What each feature adds to an architecture's score: [D].

  w_d mu_d(G) / (w.mu_E - r); their sum is `score` up to a constant of the
  mirror. 0 throughout where nothing could be learnt.
  """
  return _scaled(mirror, mirror.weights * features.counts(graph))


def shares(features: Features, mirror: MirrorStimuli, graph: Graph) -> Shares:
  """What each node and each edge adds to an architecture's score.

  Their sum is that of `contributions`: a feature of a node is that node's, one
  of what reads what is that edge's.
  """
  found = features.shares(graph, mirror.weights)
  return Shares(*(_scaled(mirror, x) for x in found))


def _scaled(mirror, values):
  scale = mirror.expert - mirror.random
  return jnp.where(scale == 0, 0.0, values / jnp.where(scale == 0, 1.0, scale))


def _value(weights, mu):
  return jnp.dot(weights, mu, precision=policy_class.EXACT)
