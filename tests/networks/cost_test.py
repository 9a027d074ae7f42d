"""Multiply-adds and parameters, against counts made by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from irlas_jax.networks import cost


def _array(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def _count_conv(features, groups=1, inputs=4, batch=1, **options):
  """Multiply-adds of a 3x3 convolution on 8x8 images, without its bias."""
  kernel = _array(3, 3, inputs // groups, features)
  options = {'window_strides': (1, 1), 'padding': 'SAME'} | options

  def conv(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      feature_group_count=groups,
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      **options,
    )

  return cost.count_multiply_adds(conv, _array(batch, 8, 8, inputs), kernel)


@pytest.mark.parametrize(
  ('found', 'by_hand'),
  [
    (lambda: _count_conv(6), 64 * 9 * 4 * 6),
    (lambda: _count_conv(6, batch=5), 5 * 64 * 9 * 4 * 6),
    (lambda: _count_conv(6, groups=2), 64 * 9 * 2 * 6),
    (lambda: _count_conv(4, groups=4), 64 * 9 * 4),
    (lambda: _count_conv(6, padding='VALID'), 36 * 9 * 4 * 6),
    (lambda: _count_conv(6, window_strides=(2, 2)), 16 * 9 * 4 * 6),
    (lambda: _count_conv(6, rhs_dilation=(2, 2)), 64 * 9 * 4 * 6),
  ],
  ids='plain batch grouped depthwise valid strided dilated'.split(),
)
def test_a_convolution_counts_output_times_kernel_times_group(found, by_hand):
  """Fails if groups, stride or the batch are miscounted."""
  assert found() == by_hand


def test_the_layout_of_a_convolution_does_not_matter():
  """Fails if the kernel's output axis is assumed and not read."""

  def conv(x, kernel):
    return lax.conv(x, kernel, (1, 1), 'SAME')  # NCHW, OIHW

  found = cost.count_multiply_adds(conv, _array(1, 4, 8, 8), _array(6, 4, 3, 3))
  assert found == 64 * 9 * 4 * 6


@pytest.mark.parametrize('groups', [1, 4])
def test_the_gradient_of_a_kernel_costs_what_the_convolution_does(groups):
  """Fails if the batch groups that the depthwise gradient uses are ignored."""
  module = nn.Conv(4, (3, 3), feature_group_count=groups, use_bias=False)

  def loss(kernel, x):
    return jnp.sum(module.apply({'params': {'kernel': kernel}}, x) ** 2)

  args = _array(3, 3, 4 // groups, 4), _array(2, 8, 8, 4)
  forward = 2 * 64 * 9 * (4 // groups) * 4
  assert cost.count_multiply_adds(loss, *args) == forward
  assert cost.count_multiply_adds(jax.grad(loss), *args) == 2 * forward


def test_a_matrix_product_counts_batch_m_n_k():
  """Fails if batch axes count twice, or one of several summed axes is lost."""
  count = cost.count_multiply_adds
  assert count(jnp.dot, _array(2, 3), _array(3, 4)) == 2 * 3 * 4
  assert count(jnp.matmul, _array(5, 2, 3), _array(5, 3, 4)) == 5 * 2 * 3 * 4
  product = lambda x, y: jnp.einsum('ijk,jkl->il', x, y)  # noqa: E731
  assert count(product, _array(2, 3, 5), _array(3, 5, 7)) == 2 * (3 * 5) * 7
  mapped = jax.vmap(jnp.dot, in_axes=(0, None))
  assert count(mapped, _array(6, 2, 3), _array(3, 4)) == 6 * 2 * 3 * 4


def _square(x):
  return x @ x


def _vjp_square(x):
  fn = jax.custom_vjp(_square)
  fn.defvjp(lambda x: (_square(x), x), lambda x, g: (g @ x,))
  return fn(x)


def _jvp_square(x):
  fn = jax.custom_jvp(_square)
  fn.defjvp(lambda x, dx: (_square(*x), dx[0]))
  return fn(x)


def _scan_of_scans(x):
  def inner(x):
    return lax.scan(lambda x, _: (_square(x), None), x, length=3)[0]

  return lax.scan(lambda x, _: (inner(x), None), x, length=7)[0]


def _switch(x):
  branches = [_square, lambda x: x, lambda x: _square(_square(x))]
  return lax.switch(x[0, 0].astype(int), branches, x)


@pytest.mark.parametrize(
  ('fn', 'squares'),
  [
    (jax.jit(_square), 1),
    (jax.checkpoint(_square), 1),
    (_vjp_square, 1),
    (_jvp_square, 1),
    (_scan_of_scans, 21),
    (lambda x: lax.fori_loop(0, 4, lambda _, x: _square(x), x), 4),
    (lambda x: lax.cond(x[0, 0] > 0, _square, lambda x: x, x), 1),
    (_switch, 2),
    (lambda x: lax.while_loop(lambda x: x[0, 0] < 9, lambda x: 2 * x, x), 0),
    (lambda x: jnp.sort(jnp.tanh(x) + x.sum()), 0),
  ],
  ids='jit remat vjp jvp scan fori cond switch while elementwise'.split(),
)
def test_inner_functions_count_as_often_as_they_run(fn, squares):
  """Fails if an inner function is skipped, or a loop counts once."""
  assert cost.count_multiply_adds(fn, _array(2, 2)) == 8 * squares


def test_products_in_a_while_loop_are_refused():
  """Fails if an unknown number of products passes for one."""

  def fn(x):
    return lax.while_loop(lambda x: x[0, 0] < 9, _square, x)

  with pytest.raises(ValueError, match='while .* unknown number of times'):
    cost.count_multiply_adds(jax.jit(fn), _array(2, 2))


def test_nothing_is_run():
  """Fails if arrays of 40 TB are made, or a count overflows 64 bits."""
  size = 10**7
  found = cost.count_multiply_adds(_square, _array(size, size))
  assert found == size**3


class _DenseNorm(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.BatchNorm(use_running_average=True)(nn.Dense(4)(x))


def test_parameters_are_counted_and_statistics_are_not():
  """Fails if running means count: 3 x 4 + 4 of the layer, 4 + 4 of the norm."""
  variables = jax.eval_shape(_DenseNorm().init, jax.random.key(0), _array(1, 3))
  assert 'batch_stats' in variables
  assert cost.count_parameters(variables) == 24
  assert cost.count_parameters({'params': {'w': jnp.ones((2, 5))}}) == 10


def test_a_module_without_variables_has_no_parameters():
  """Fails if a network of poolings only is refused."""
  assert cost.count_parameters({}) == 0


def test_parameters_given_without_their_collection_are_refused():
  """Fails if a bare tree of parameters counts 0."""
  with pytest.raises(ValueError, match="no 'params' among .*'Dense_0'"):
    cost.count_parameters({'Dense_0': {'kernel': jnp.ones((2, 5))}})
