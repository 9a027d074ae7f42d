"""Convolutions with derivatives of their own, against lax.conv's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import convolution

LAYOUT = ('NHWC', 'HWIO', 'NHWC')


def _lax(x, kernel, stride, pads):
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), (pads, pads), dimension_numbers=LAYOUT
  )


def _draw(*shapes):
  rng = np.random.default_rng(0)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def _assert_same(found, want, x, kernel):
  """Values and gradients, in float64; `found` and `want` take both."""
  (cotangent,) = _draw(jax.eval_shape(want, x, kernel).shape)

  def both(function):
    value, pull = jax.vjp(function, x, kernel)
    return value, *pull(cotangent)

  for ours, theirs in zip(both(found), both(want), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('images', [1, 7, 32])  # 32: in several parts
@pytest.mark.parametrize('pads', [(1, 1), (0, 0), (1, 0), (0, 2)])
def test_any_padding_is_lax_conv(images, pads):
  with jax.enable_x64(True):
    x, kernel = _draw((images, 6, 5, 3), (3, 3, 3, 2))
    _assert_same(
      lambda x, kernel: convolution.convolve(x, kernel, pads),
      lambda x, kernel: _lax(x, kernel, 1, pads),
      x,
      kernel,
    )


def test_halving_is_lax_conv_of_stride_two():
  with jax.enable_x64(True):
    x, kernel = _draw((2, 8, 6, 3), (3, 3, 3, 4))
    _assert_same(
      convolution.halve,
      lambda x, kernel: _lax(x, kernel, 2, (1, 1))[:, :4, :3],
      x,
      kernel,
    )


def test_pointwise_is_a_matrix_product():
  with jax.enable_x64(True):
    x, kernel = _draw((2, 4, 3, 5), (5, 6))
    _assert_same(convolution.pointwise, jnp.matmul, x, kernel)


def test_gradients_of_half_precision_are_summed_in_single():
  """Sums of many images would lose the last ones."""
  ones = jnp.ones((512, 4, 4, 1), jnp.bfloat16)
  kernel = jnp.ones((1, 1, 1, 1), jnp.bfloat16)
  _, pull = jax.vjp(lambda w: convolution.convolve(ones, w, (0, 0)), kernel)
  assert pull(ones)[0] == 512 * 16
