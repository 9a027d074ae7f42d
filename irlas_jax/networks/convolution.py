"""Convolutions whose derivatives stay fast inside loops, on CPU.

XLA's CPU backend has a fast convolution for images [N, H, W, C] and kernels
[H, W, C, D] alone. It rewrites others to that, but not inside of loops and
conditionals, and the derivatives that JAX makes are others. Here they are
written so themselves. `benchmarks.child_engine` has what that is worth.

Shapes: batch `N`, image sides `H`, `W`, kernel side `k`, channels `C`, `D`.
"""

import functools

import jax
import jax.numpy as jnp

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
_MOST_IMAGES = 16  # that a kernel's gradient takes at once: measured

Pads = tuple[int, int]  # before and after the image, in both directions


def _run(x, kernel, pads: Pads, result_type=None):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (1, 1),
    (pads, pads),
    dimension_numbers=_LAYOUT,
    preferred_element_type=result_type,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, pads: Pads) -> jax.Array:
  """Stride 1: x [N, H, W, C] padded with zeros, kernel [k, k, C, D]."""
  return _run(x, kernel, pads)


def _convolve_fwd(x, kernel, pads):
  return _run(x, kernel, pads), (x, kernel)


def _convolve_bwd(pads, residuals, d_out):
  x, kernel = residuals
  reach = len(kernel) - 1
  turned = kernel[::-1, ::-1].swapaxes(2, 3)
  d_x = _run(d_out, turned, (reach - pads[0], reach - pads[1]))
  return d_x, _kernel_gradient(x, d_out, pads).astype(kernel.dtype)


convolve.defvjp(_convolve_fwd, _convolve_bwd)


def _kernel_gradient(x, d_out, pads):
  """[k, k, C, D]: channels take the place of images, and images of channels."""
  images = len(x)
  at_once = max(n for n in range(1, _MOST_IMAGES + 1) if images % n == 0)
  wide = jnp.promote_types(x.dtype, jnp.float32)

  def add(total, chunk):
    x, d_out = chunk
    gradient = _run(
      x.transpose(3, 1, 2, 0), d_out.transpose(1, 2, 0, 3), pads, wide
    )
    return total + gradient, None

  chunks = jax.tree.map(
    lambda v: v.reshape(images // at_once, at_once, *v.shape[1:]), (x, d_out)
  )
  side = x.shape[1] + sum(pads) - d_out.shape[1] + 1
  zeros = jnp.zeros((x.shape[-1], side, side, d_out.shape[-1]), wide)
  total, _ = jax.lax.scan(add, zeros, chunks)
  return total.transpose(1, 2, 0, 3)


def halve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Stride 2: x [N, H, W, C] -> [N, H / 2, W / 2, D] by kernel [3, 3, C, D].

  As a convolution of stride 1 over squares of 2 x 2 pixels, the channels of
  which stand side by side.
  """
  count, height, width, channels = x.shape
  squares = x.reshape(count, height // 2, 2, width // 2, 2, channels)
  squares = squares.transpose(0, 1, 3, 2, 4, 5)
  squares = squares.reshape(count, height // 2, width // 2, 4 * channels)
  # The kernel of a pixel and its neighbours, with a row and a column of zeros
  # before it: two squares in each direction.
  two = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
  two = two.reshape(2, 2, 2, 2, *kernel.shape[2:]).transpose(0, 2, 1, 3, 4, 5)
  return convolve(squares, two.reshape(2, 2, 4 * channels, -1), (1, 0))


@jax.custom_vjp
def pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """x [N, H, W, C] by kernel [C, D]: [N, H, W, D]."""
  return x @ kernel


def _pointwise_fwd(x, kernel):
  return x @ kernel, (x, kernel)


def _pointwise_bwd(residuals, d_out):
  x, kernel = residuals
  rows, d_rows = (v.reshape(-1, v.shape[-1]) for v in (x, d_out))
  # In this order nothing is transposed in memory.
  return d_out @ kernel.T, rows.T @ d_rows


pointwise.defvjp(_pointwise_fwd, _pointwise_bwd)
