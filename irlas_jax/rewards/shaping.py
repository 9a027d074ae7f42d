"""Rewards: from what is known of architectures to one number each.

In percent, but for that of language models.

A row that carries no measurement, because its evaluation failed or its accuracy
is not finite, gets a floor. Shapes: `n` architectures.
"""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from irlas_jax.types import OK, Graph, Reward, Scores


def accuracy_reward(floor: float | jax.Array = 0.0) -> Reward:
  """R = 100 accuracy, in percent; `floor` percent where there is none."""

  def reward(scores, graphs):
    del graphs
    return _or_floor(scores, 100.0 * scores.accuracy, floor)

  return reward


def best_power_reward(
  evaluations: int = 5, power: float = 3.0, floor: float | jax.Array = 0.0
) -> Reward:
  """R = 100 (the best of the last accuracies)^power, in percent.

  The reward of NAS-RL (Zoph & Le, 2017, arXiv 1611.01578), whose children are
  validated after every epoch.

  Args:
    evaluations: how many of the curve count, from the last one reached back.
    power: 3 in the paper: differences among the good count for more.
    floor: the whole reward of a row without a measurement, in percent.

  Raises:
    ValueError: for a number below 1, or a power that is not positive.
  """
  if evaluations < 1 or power <= 0:
    raise ValueError(
      f'reward.evaluations is {evaluations} and reward.power {power}: at least '
      '1, and above 0.'
    )

  def reward(scores: Scores, graphs: Graph) -> jax.Array:
    del graphs
    reached = jnp.isfinite(scores.curve)
    left = jnp.cumsum(reached[:, ::-1], axis=1)[:, ::-1]
    late = reached & (left <= evaluations)
    best = jnp.max(jnp.where(late, scores.curve, -jnp.inf), axis=1)
    value = jnp.where(late.any(axis=1), 100.0 * best**power, jnp.nan)
    return _or_floor(scores, value, floor)

  return reward


def irlas_reward(
  score_fn: Callable[[Graph], jax.Array],
  mirror: float | jax.Array,
  floor: float | jax.Array = 0.0,
) -> Reward:
  """R = 100 accuracy + lambda F_topo(architecture), in percentage points.

  Guo et al. (2019) combine accuracy and topology guidance; that it is this sum,
  and lambda, are a reconstruction.

  Args:
    score_fn: (graph) -> [], for one architecture, F_topo; with
      `mirror_stimuli.score`, lambda is what likeness to the expert instead of a
      random architecture is worth, in points of accuracy.
    mirror: lambda; 0 is the ablation without an expert. May be traced.
    floor: the whole reward of a row without a measurement, in percent.
  """

  def reward(scores: Scores, graphs: Graph) -> jax.Array:
    topology = jax.vmap(score_fn)(graphs)
    chex.assert_equal_shape([topology, scores.accuracy])
    return _or_floor(scores, 100.0 * scores.accuracy + mirror * topology, floor)

  return reward


def perplexity_reward(
  scale: float | jax.Array = 80.0, floor: float | jax.Array = 0.0
) -> Reward:
  """R = scale / perplexity^2, of a language model; `floor` where there is none.

  Zoph & Le (2017), whose c is the default. Perplexity is exp(validation loss).
  Not in percent: 0.008 at perplexity 100.
  """

  def reward(scores: Scores, graphs: Graph) -> jax.Array:
    del graphs
    return _or_floor(scores, scale * jnp.exp(-2.0 * scores.loss), floor)

  return reward


# What a cost may be, and the amount of it that costs nothing.
COSTS = {
  'madds': 1e6,  # multiply-adds
  'params': 1e6,  # parameters
  'latency': 1e-3,  # seconds a batch
}


def cost_reward(
  weight: float | jax.Array,
  floor: float | jax.Array = 0.0,
  measure: str = 'madds',
) -> Reward:
  """R = 100 accuracy - weight log2(measure / unit), in points.

  The baseline that needs no expert to prefer small or fast networks.

  Args:
    weight: what half the cost is worth, in points of accuracy; may be traced.
    floor: the whole reward of a row without a measurement, in percent.
    measure: the cost, a field of the scores; its unit is in `COSTS` and shifts
      all rewards alike.

  Raises:
    ValueError: for a measure that is no cost.
  """
  if measure not in COSTS:
    raise ValueError(
      f'reward.measure is {measure!r}: choose one of {", ".join(COSTS)}.'
    )

  def reward(scores: Scores, graphs: Graph) -> jax.Array:
    del graphs
    size = jnp.log2(getattr(scores, measure) / COSTS[measure])
    return _or_floor(scores, 100.0 * scores.accuracy - weight * size, floor)

  return reward


def density(graph: Graph) -> jax.Array:
  """Edges over nodes of a graph, which are the layers and the input: [...].

  The leading axes are the graph's, [n, V] or none. The concatenation of a
  block's unread layers is no node. Which nodes count is a reconstruction.
  """
  nodes = jnp.sum(graph.ops >= 0, axis=-1)
  return jnp.sum(graph.edges, axis=(-2, -1)) / nodes


def block_qnn_reward(
  mu: float | jax.Array = 1.0,
  rho: float | jax.Array = 8.0,
  floor: float | jax.Array = 0.0,
) -> Reward:
  """R = 100 accuracy - mu ln(multiply-adds / 10^6) - rho ln(density), points.

  The reward of Block-QNN (Zhong et al., CVPR 2018) for children that are
  trained for few epochs: of two that are as accurate by then, the one with
  fewer multiply-adds and edges is taken to be better in the end. That accuracy
  is in percent, that FLOPs are relative to some amount (here 10^6
  multiply-adds of one image, which shifts all rewards alike), that logarithms
  are natural and the default weights, those of a re-implementation, are
  reconstructions.

  Args:
    mu: what e times the multiply-adds costs, in points of accuracy; may be
      traced.
    rho: what e times the `density` costs, likewise. A chain of n layers has a
      density of n / (n + 1).
    floor: the whole reward of a row without a measurement, in percent.
  """

  def reward(scores: Scores, graphs: Graph) -> jax.Array:
    dense = jnp.log(density(graphs))
    chex.assert_equal_shape([dense, scores.madds])
    size = jnp.log(scores.madds / COSTS['madds'])
    total = 100.0 * scores.accuracy - mu * size - rho * dense
    return _or_floor(scores, total, floor)

  return reward


def _or_floor(scores, reward, floor):
  measured = (scores.failure == OK) & jnp.isfinite(reward)
  return jnp.where(measured, reward, floor)
