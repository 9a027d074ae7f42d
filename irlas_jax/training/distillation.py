"""Losses of a student that a teacher's logits are shown to.

Shapes: batch `B`, classes `K`.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from irlas_jax.training import loop


class Weights(NamedTuple):
  """What each part of the loss counts for.

  The defaults are N2N's children's, of its code (Ashok et al., ICLR 2018): they
  see no labels. Its paper adds the labels' loss.
  """

  matching: float = (
    1.0  # mean squared difference of logits (Ba & Caruana, 2014)
  )
  soft: float = 0.0  # Hinton et al., 2015 (arXiv 1503.02531)
  temperature: float = 4.0  # of that
  labels: float = 0.0  # cross-entropy, as the recipe has it


def check(weights: Weights) -> None:
  """Refuses weights that are no loss.

  Raises:
    ValueError: naming the fields.
  """
  shares = weights.matching, weights.soft, weights.labels
  if min(shares) < 0 or max(shares) <= 0 or weights.temperature <= 0:
    raise ValueError(
      f'evaluator.matching is {weights.matching}, evaluator.soft '
      f'{weights.soft}, evaluator.labels {weights.labels} and '
      f'evaluator.temperature {weights.temperature}: no weight below 0, one '
      'of them and the temperature above it.'
    )


def matching(student: jax.Array, teacher: jax.Array) -> jax.Array:
  """mean_b,k (student - teacher)^2, [], of logits [B, K]."""
  chex.assert_equal_shape([student, teacher])
  return jnp.mean(jnp.square(student - teacher))


def soft(
  student: jax.Array, teacher: jax.Array, temperature: float
) -> jax.Array:
  """T^2 mean_b KL(softmax(teacher / T) || softmax(student / T)), [].

  With T^2 its gradients stay as large as those of labels (Hinton et al., 2015).
  Logits are [B, K].
  """
  chex.assert_equal_shape([student, teacher])
  known = jax.nn.log_softmax(teacher / temperature)
  guessed = jax.nn.log_softmax(student / temperature)
  return temperature**2 * jnp.sum(jnp.exp(known) * (known - guessed), -1).mean()


def make_loss(weights: Weights, teach: Callable) -> Callable:
  """A loss with the arguments of `loop.cross_entropy`.

  Args:
    weights: of its parts.
    teach: images [B, H, W, C], normalised and augmented -> logits [B, K].
  """

  def loss(logits, images, target_fn, recipe):
    known = jax.lax.stop_gradient(teach(images))
    # In bfloat16 logits have too few digits to be compared.
    student, teacher = (
      x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in (logits, known)
    )
    total = weights.matching * matching(student, teacher)
    if weights.soft:
      total += weights.soft * soft(student, teacher, weights.temperature)
    if weights.labels:
      hard = loop.cross_entropy(logits, images, target_fn, recipe)
      total += weights.labels * hard
    return total

  return loss
