"""MobileNetV2: sizes as published, and what its blocks compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import cost, mobilenet_v2

pytestmark = pytest.mark.usefixtures('quick_compiles')
IMAGE = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)


def _shapes(module, image=IMAGE):
  return jax.eval_shape(
    lambda x: module.init_with_output(jax.random.key(0), x, False), image
  )


def _init(module, x):
  return jax.jit(lambda x: module.init(jax.random.key(0), x, False))(x)


@pytest.mark.parametrize(
  'multiplier, params, madds',
  [(1.0, 3_504_872, 300e6), (1.4, 6_108_776, 582e6)],
)
def test_sizes_are_the_published_ones(multiplier, params, madds):
  """A wrong width, expansion or stride changes one or the other."""
  module = mobilenet_v2.network(multiplier=multiplier)
  logits, variables = _shapes(module)
  assert logits.shape == (1, 1000)
  assert cost.count_parameters(variables) == params
  found = cost.count_multiply_adds(
    lambda variables, x: module.apply(variables, x, False), variables, IMAGE
  )
  assert abs(found / madds - 1) < 0.005


@pytest.mark.parametrize(
  'width, multiplier, expected',
  [
    (32, 1.0, 32),
    (32, 1.4, 48),  # 44.8
    (24, 1.4, 32),  # 33.6
    (16, 0.35, 8),  # 5.6
    (24, 0.75, 24),  # 18: 16 would take off more than a tenth
    (1280, 1.4, 1792),
  ],
)
def test_widths_are_multiples_of_eight(width, multiplier, expected):
  assert mobilenet_v2.scaled(width, multiplier) == expected


def test_a_narrow_network_keeps_its_last_convolution():
  _, variables = _shapes(mobilenet_v2.network(10, 0.35))
  params = variables['params']
  assert params['last']['conv']['kernel'].shape == (1, 1, 112, 1280)
  assert params['head']['kernel'].shape == (1280, 10)


@pytest.mark.parametrize(
  'width, stride, residual', [(4, 1, True), (4, 2, False), (6, 1, False)]
)
def test_an_inverted_residual_adds_its_input_if_the_shape_stays(
  width, stride, residual
):
  """With a projection of zero the input is left, or nothing."""
  module = mobilenet_v2.InvertedResidual(6, width, stride)
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
  variables = _init(module, x)
  params = variables['params']
  assert params['depthwise']['conv']['kernel'].shape == (3, 3, 1, 24)
  zero = jax.tree.map(jnp.zeros_like, params['project'])
  found = module.apply(
    variables | {'params': params | {'project': zero}}, x, False
  )
  np.testing.assert_array_equal(found, x if residual else jnp.zeros_like(found))
  assert found.shape == (2, 4 // stride, 4 // stride, width)


def test_the_bottleneck_is_linear_and_activations_end_at_six():
  """Fails if a ReLU follows the projection, or the others do not clip."""
  module = mobilenet_v2.InvertedResidual(1, 1, 1)
  x = 100 * jnp.ones((1, 1, 1, 2))
  variables = _init(module, x)
  params = variables['params']
  for name, weight in (('depthwise', 1.0), ('project', -1.0)):
    kernel = jnp.full_like(params[name]['conv']['kernel'], weight)
    params = params | {name: params[name] | {'conv': {'kernel': kernel}}}
  found = module.apply(variables | {'params': params}, x, False)
  np.testing.assert_allclose(found, [[[[-12.0]]]], rtol=1e-4)
