"""The losses of students, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.training import distillation
from irlas_jax.training import recipe as recipes

STUDENT = jnp.array([[0.0, 0.0], [2.0, 0.0]])
TEACHER = jnp.array([[2.0, 0.0], [2.0, 0.0]])


def _loss(**weights):
  found = distillation.make_loss(
    distillation.Weights(**weights), lambda images: TEACHER
  )
  targets = jnp.array([[0.0, 1.0], [0.0, 1.0]])
  return lambda student: found(
    student, None, lambda count: targets, recipes.Recipe()
  )


def test_matching_by_hand():
  """Of four numbers one differs, by 2."""
  assert _loss()(STUDENT) == pytest.approx(1.0)
  slopes = jax.grad(_loss())(STUDENT)
  np.testing.assert_allclose(slopes, [[-1.0, 0.0], [0.0, 0.0]])


def test_soft_by_hand():
  """T = 2: p = 1 / (1 + 1/e) against 1/2, of one of two images."""
  p = 1 / (1 + np.exp(-1))
  divergence = p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))
  found = _loss(matching=0.0, soft=1.0, temperature=2.0)(STUDENT)
  assert found == pytest.approx(4 * divergence / 2, rel=1e-5)


def test_parts_are_added_by_their_weights():
  """Labels: log 2, and log(1 + e^2)."""
  hard = (np.log(2) + np.log(1 + np.exp(2))) / 2
  found = _loss(matching=0.5, labels=3.0)(STUDENT)
  assert found == pytest.approx(0.5 + 3 * hard, rel=1e-5)


def test_in_bfloat16_it_is_computed_in_float32():
  found = _loss(soft=1.0)(STUDENT.astype(jnp.bfloat16))
  assert found.dtype == jnp.float32


@pytest.mark.parametrize(
  'wrong',
  [
    {'matching': 0.0},
    {'soft': -1.0},
    {'temperature': 0.0},
  ],
)
def test_what_is_no_loss_is_refused(wrong):
  with pytest.raises(ValueError, match='evaluator.matching is'):
    distillation.check(distillation.Weights(**wrong))
