"""Rewards: from what is known of architectures to one number each, in percent.

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


def cost_reward(
  weight: float | jax.Array, floor: float | jax.Array = 0.0
) -> Reward:
  """R = 100 accuracy - weight log2(multiply-adds / 10^6), in points.

  `weight` is what half the multiply-adds are worth, in points of accuracy; may
  be traced. The baseline that needs no expert to prefer small networks.
  """

  def reward(scores: Scores, graphs: Graph) -> jax.Array:
    del graphs
    size = jnp.log2(scores.madds / 1e6)
    return _or_floor(scores, 100.0 * scores.accuracy - weight * size, floor)

  return reward


def _or_floor(scores, reward, floor):
  measured = (scores.failure == OK) & jnp.isfinite(reward)
  return jnp.where(measured, reward, floor)
