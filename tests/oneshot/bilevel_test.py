"""Gradients of an architecture at weights that are one step on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import convolution
from irlas_jax.oneshot import bilevel

RATE = 0.3


def _scalar(weights, architecture):
  """L_train = w^2 a / 2; with L_val = w + a the gradients are by hand."""
  return weights['w'] ** 2 * architecture / 2


def test_a_problem_by_hand():
  """w' = w - r w a, so dL_val / da = 1 - r w; the first order sees the 1."""
  weights, architecture = {'w': jnp.float32(2.0)}, jnp.float32(0.7)

  def valid(weights, architecture):
    return weights['w'] + architecture

  arguments = weights, architecture
  assert bilevel.first_order(valid, *arguments) == 1
  for made in (bilevel.second_order, bilevel.finite_difference):
    found = made(_scalar, valid, *arguments, RATE)
    assert float(found) == pytest.approx(1 - RATE * 2.0, rel=1e-4)


def _problem():
  """Two layers, a convolution mixed by softmax among them; not quadratic."""
  rng = np.random.default_rng(0)
  x = [jnp.asarray(rng.normal(size=(2, 3, 3, 2))) for _ in range(2)]
  weights = {
    'kernels': jnp.asarray(rng.normal(size=(3, 3, 2, 2))),
    'head': jnp.asarray(rng.normal(size=(2,))),
  }
  architecture = jnp.asarray(rng.normal(size=(2,)))

  def loss_of(x):
    def loss(weights, architecture):
      p = jax.nn.softmax(architecture)
      z = convolution.convolve(x, weights['kernels'], (1, 1))
      y = p[0] * jnp.tanh(z) + p[1] * x
      return jnp.square(y @ weights['head'] - 1.0).mean()

    return loss

  return *map(loss_of, x), weights, architecture


def test_the_second_order_is_that_of_finite_differences():
  """In float64, through convolutions whose derivatives are our own."""
  with jax.enable_x64(True):
    train, valid, weights, architecture = _problem()

    @jax.jit
    def unrolled(architecture):
      slope = jax.grad(train)(weights, architecture)
      moved = jax.tree.map(lambda w, d: w - RATE * d, weights, slope)
      return valid(moved, architecture)

    def gradients(architecture):
      arguments = train, valid, weights, architecture, RATE
      exact = bilevel.second_order(*arguments)
      near = bilevel.finite_difference(*arguments)
      return exact, near, bilevel.first_order(valid, weights, architecture)

    exact, near, first = map(np.asarray, jax.jit(gradients)(architecture))
    steps = 1e-5 * np.eye(2)
    rises = [
      float(unrolled(architecture + e) - unrolled(architecture - e)) / 2e-5
      for e in steps
    ]
  np.testing.assert_allclose(exact, rises, rtol=1e-7)
  np.testing.assert_allclose(near, rises, rtol=1e-2)
  assert np.abs(first - rises).max() > 0.1 * np.abs(rises).max()
