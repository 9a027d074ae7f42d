"""Branches without lax.conv, against lax and Flax, gradients included."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block, block_ops

SIDES = [(5, 4), (1, 3)]
LAYOUT = ('NHWC', 'HWIO', 'NHWC')


def _normal(seed, *shape):
  values = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


def _branch(operation, kernel):
  return block_ops.branches([(operation, kernel)])[0].apply


def _lax(x, weights, groups=1):
  return jax.lax.conv_general_dilated(
    x,
    weights,
    (1, 1),
    'SAME',
    dimension_numbers=LAYOUT,
    feature_group_count=groups,
    precision='highest',
  )


def _assert_same_with_gradients(fn, want, cotangent, *args):
  """Values, and the gradient of <cotangent, value> for every argument."""

  def both(fn):
    value, pull = jax.vjp(fn, *args)
    return value, *pull(cotangent)

  results = jax.jit(lambda: (both(fn), both(want)))()
  for found, expected in zip(*results, strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('sides', SIDES)
@pytest.mark.parametrize('kernel', [1, 3, 5])
def test_convolve_is_lax_conv(kernel, sides):
  x, weights = _normal(0, 2, *sides, 3), _normal(1, kernel, kernel, 3, 4)
  cotangent = _normal(2, 2, *sides, 4)
  _assert_same_with_gradients(block_ops.convolve, _lax, cotangent, x, weights)


@pytest.mark.parametrize('sides', SIDES)
@pytest.mark.parametrize('kernel', [1, 3, 5])
def test_depthwise_is_lax_conv_with_a_group_a_channel(kernel, sides):
  x, weights = _normal(0, 2, *sides, 3), _normal(1, kernel, kernel, 3)
  cotangent = _normal(2, 2, *sides, 3)
  _assert_same_with_gradients(
    block_ops.depthwise,
    lambda x, weights: _lax(x, weights[:, :, None], groups=3),
    cotangent,
    x,
    weights,
  )


@pytest.mark.parametrize('kernel, first', [(1, 2), (3, 1), (5, 0)])
def test_centre_is_the_middle_of_the_largest_kernel(kernel, first):
  weights = jnp.arange(50).reshape(5, 5, 2)
  middle = block_ops.centre(weights, kernel)
  assert middle.shape == (kernel, kernel, 2)
  np.testing.assert_array_equal(middle[0, 0], weights[first, first])
  np.testing.assert_array_equal(middle[-1, -1], weights[4 - first, 4 - first])


def test_shifts_stand_in_the_order_of_kernel_weights():
  """Of 2 x 3 pixels 1 ... 6, row by row, with 0 around."""
  x = jnp.arange(1.0, 7.0).reshape(1, 2, 3, 1)
  moved = [shift[0, :, :, 0] for shift in block_ops.shifts(x, 3, 0.0)]
  assert len(moved) == 9
  np.testing.assert_array_equal(moved[0], [[0, 0, 0], [0, 1, 2]])
  np.testing.assert_array_equal(moved[4], x[0, :, :, 0])
  np.testing.assert_array_equal(moved[5], [[2, 3, 0], [5, 6, 0]])
  np.testing.assert_array_equal(moved[7], [[4, 5, 6], [0, 0, 0]])


@pytest.mark.parametrize('sides', SIDES)
@pytest.mark.parametrize('kernel', [1, 3])
@pytest.mark.parametrize('values', ['distinct', 'ties'])
def test_max_pool_is_that_of_flax(values, kernel, sides):
  """In a tie the first pixel takes the whole gradient, as in XLA."""
  x = _normal(0, 4, *sides, 3)
  x = jnp.round(x) if values == 'ties' else x
  apply = _branch('max_pool', kernel)
  _assert_same_with_gradients(
    lambda x: apply({}, x, x),
    lambda x: nn.max_pool(x, (kernel, kernel), padding='SAME'),
    _normal(1, *x.shape),
    x,
  )


def test_max_pool_of_equal_pixels_sends_its_gradient_to_the_first():
  """Where nine pixels tie, the window's upper left one (in the image)."""
  x = jnp.zeros((1, 3, 3, 1))
  apply = _branch('max_pool', 3)
  gradient = jax.grad(lambda x: apply({}, x, x).sum())(x)[0, :, :, 0]
  np.testing.assert_array_equal(gradient, [[4, 2, 0], [2, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize('sides', SIDES)
@pytest.mark.parametrize('kernel', [1, 3])
def test_avg_pool_is_that_of_flax(kernel, sides):
  """Padding does not count: at a corner the mean is of four pixels."""
  x = _normal(0, 4, *sides, 3)
  apply = _branch('avg_pool', kernel)
  _assert_same_with_gradients(
    lambda x: apply({}, x, x),
    lambda x: nn.avg_pool(
      x, (kernel, kernel), padding='SAME', count_include_pad=False
    ),
    _normal(1, *x.shape),
    x,
  )
  np.testing.assert_allclose(
    apply({}, x + 3, x) - 3, apply({}, x, x), atol=1e-5
  )


@pytest.mark.parametrize('kernel', [1, 3, 5])
def test_the_conv_branch_is_relu_and_the_middle_of_its_weights(kernel):
  x, weights = _normal(0, 2, 4, 5, 3), _normal(1, 5, 5, 3, 3)
  first = 2 - kernel // 2
  middle = weights[first : 5 - first, first : 5 - first]
  found = _branch('conv', kernel)({'conv': weights}, x, None)
  expected = _lax(jnp.maximum(x, 0), middle)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('kernel', [1, 3, 5])
def test_the_sep_conv_branch_is_relu_depthwise_and_pointwise(kernel):
  x, depthwise = _normal(0, 2, 4, 5, 3), _normal(1, 5, 5, 3)
  pointwise = _normal(2, 3, 3)
  first = 2 - kernel // 2
  middle = depthwise[first : 5 - first, first : 5 - first, None]
  kernels = {'depthwise': depthwise, 'pointwise': pointwise}
  found = _branch('sep_conv', kernel)(kernels, x, None)
  expected = _lax(jnp.maximum(x, 0), middle, groups=3) @ pointwise
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_merges_and_identity():
  x, y, weights = (
    _normal(0, 1, 2, 2, 3),
    _normal(1, 1, 2, 2, 3),
    _normal(2, 6, 3),
  )
  np.testing.assert_array_equal(_branch('add', 0)({}, x, y), x + y)
  np.testing.assert_array_equal(_branch('identity', 0)({}, x, y), x)
  kernels = {'concat': weights.reshape(2, 3, 3)}
  expected = jnp.concatenate([x, y], -1) @ weights
  np.testing.assert_allclose(
    _branch('concat', 0)(kernels, x, y), expected, rtol=1e-4, atol=1e-5
  )


def test_branches_keep_the_order_of_the_choices():
  made = block_ops.branches([('conv', 3), ('add', 0), ('conv', 1)])
  named = [(branch.operation, branch.kernel) for branch in made]
  assert named == [('conv', 3), ('add', 0), ('conv', 1)]


def test_only_the_weights_that_a_branch_reads_are_kept():
  shapes = block_ops.kernel_shapes(block_ops.branches([('max_pool', 3)]), 4)
  assert shapes == {}
  made = block_ops.branches([('conv', 1), ('conv', 5), ('concat', 0)])
  assert block_ops.kernel_shapes(made, 4) == {
    'conv': (5, 5, 4, 4),
    'concat': (2, 4, 4),
  }
  made = block_ops.branches([('sep_conv', 3)])
  assert block_ops.kernel_shapes(made, 4) == {
    'depthwise': (5, 5, 4),
    'pointwise': (4, 4),
  }


@pytest.mark.parametrize('kernel', [1, 3])
def test_the_pools_of_the_plain_network_are_the_same(kernel):
  x = _normal(0, 2, 5, 4, 3)
  for name, pool in (
    ('max_pool', block.max_pool),
    ('avg_pool', block.avg_pool),
  ):
    found = _branch(name, kernel)({}, x, x)
    np.testing.assert_allclose(found, pool(x, kernel), rtol=1e-5, atol=1e-6)
