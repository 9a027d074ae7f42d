"""Networks of modules whose connections are data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import cost
from irlas_jax.oneshot import masks, modular_network

pytestmark = pytest.mark.usefixtures('quick_compiles')

SHAPE = (6, 6, 2)
PLAN = modular_network.Plan('resnext', 4, (2, 1), 2)


def _ready(plan):
  """The whole network, variables whose statistics are no zeros, images."""
  module = modular_network.whole(plan, 3)
  rng, count = np.random.default_rng(0), sum(plan.modules)
  images = rng.normal(size=(4, *SHAPE)).astype(np.float32)
  shapes = jax.eval_shape(
    lambda key: module.init(key, images, jnp.ones((count, count)), False),
    jax.random.key(0),
  )
  variables = jax.tree.map(
    lambda x: rng.uniform(0.1, 0.5, x.shape).astype(x.dtype), shapes
  )
  return module, variables, images


def test_the_gradient_of_a_mask_is_by_hand():
  """dL/dm_k = <dL/d input, x_k>, where m_k is 0 too."""
  values = [jnp.array([1.0, 2.0]), jnp.array([3.0, -1.0]), jnp.array([0.5, 4])]
  slope = jnp.array([10.0, 1.0])  # dL/d input of L = slope . input

  def loss(weights):
    return slope @ modular_network.weighted_sum(weights, values)

  found = jax.grad(loss)(jnp.array([1.0, 0.0, 1.0]))
  np.testing.assert_allclose(found, [12.0, 29.0, 9.0])


def test_without_modules_that_nobody_reads_the_logits_are_the_same():
  """Module 1, the last before the image halves, goes with its weights."""
  module, variables, images = _ready(PLAN)
  found = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0]], bool)
  apply = jax.jit(
    lambda module, *arguments: module.apply(*arguments, False),
    static_argnums=0,
  )
  whole = apply(module, variables, images, jnp.asarray(found, jnp.float32))
  sizes = []
  for unread in (True, False):
    part = modular_network.connected(PLAN, 3, found, unread)
    like = modular_network.shapes(part, SHAPE)
    chosen = modular_network.select(variables, like)
    assert jax.tree.structure(chosen) == jax.tree.structure(like)
    logits = apply(part, chosen, images, None)
    np.testing.assert_allclose(logits, whole, rtol=1e-5, atol=1e-5)
    sizes.append(cost.count_parameters(like))
    assert ('module1' in chosen['params']) == unread
  assert sizes[1] < sizes[0] < cost.count_parameters(variables)
  assert sizes[1] == modular_network.parameters(part, SHAPE)


def test_stages_are_joined_by_strided_adaptors():
  """Of each connection its own, and none within a stage."""
  plan = modular_network.Plan('resnet', 4, (1, 1, 1))
  _, variables, _ = _ready(plan)
  found = {k: v for k, v in variables['params'].items() if 'adaptor' in k}
  shapes = {name: v['kernel'].shape for name, v in found.items()}
  assert shapes == {
    'adaptor0_1': (4, 8),
    'adaptor1_1': (4, 8),
    'adaptor0_2': (4, 16),
    'adaptor1_2': (4, 16),
    'adaptor2_2': (8, 16),
  }
  adaptor = modular_network.Adaptor(2, 2)
  x = jnp.arange(9.0).reshape(1, 3, 3, 1)
  kernel = {'params': {'kernel': jnp.array([[1.0, -1.0]])}}
  y = adaptor.apply(kernel, x)
  np.testing.assert_allclose(y[0, :, :, 0], [[0, 2], [6, 8]])
  np.testing.assert_allclose(y[..., 1], -y[..., 0])


def test_groups_see_their_own_channels():
  """The ResNeXt module's 3x3 convolution."""
  conv = modular_network.ConvNorm(4, 3, groups=2)
  x = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
  variables = jax.jit(conv.init, static_argnums=2)(jax.random.key(1), x, False)
  assert variables['params']['kernel'].shape == (3, 3, 2, 4)

  @jax.jit
  @jax.grad
  def slope_of(x):
    return conv.apply(variables, x, False)[..., :2].sum()

  slope = slope_of(x)
  assert (slope[..., 2:] == 0).all() and (slope[..., :2] != 0).any()


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(kind='vgg'), "network.kind is 'vgg': choose one of resnet, resnext"),
    (dict(modules=(2, 0)), 'network.modules'),
    (dict(width=0), 'network.width is 0'),
    (dict(kind='resnext', groups=3), 'a multiple of 6'),
    (dict(modules=(1,) * 5), 'images of 8x8 pixels allow 4'),
  ],
)
def test_modules_that_cannot_be_are_refused(fields, words):
  plan = modular_network.Plan('resnet', 4, (1, 1))._replace(**fields)
  with pytest.raises(ValueError, match=words):
    modular_network.check(plan, (8, 8, 1))


def test_a_chain_has_no_connection_of_two():
  module = modular_network.connected(PLAN, 3, masks.nearest(3, 1))
  assert module.reads == ((0,), (1,), (2,))
