"""ResNeXt: sizes as published, and what its blocks compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import cost, resnext

pytestmark = pytest.mark.usefixtures('quick_compiles')
IMAGE = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)


@pytest.fixture(scope='module')
def resnext50():
  """The module, its logits, variables and intermediates, as shapes."""
  module = resnext.network()

  def init(x):
    return module.init_with_output(
      jax.random.key(0), x, False, capture_intermediates=True, mutable=True
    )

  return module, *jax.eval_shape(init, IMAGE)


def test_sizes_of_resnext50_are_the_published_ones(resnext50):
  """A wrong width, group or stride changes one or the other."""
  module, logits, variables = resnext50
  assert logits.shape == (1, 1000)
  assert cost.count_parameters(variables) == 25_028_904
  kept = {kind: variables[kind] for kind in ('params', 'batch_stats')}
  found = cost.count_multiply_adds(
    lambda variables, x: module.apply(variables, x, False), kept, IMAGE
  )
  assert abs(found / 4.2e9 - 1) < 0.01


@pytest.mark.parametrize(
  'stage, blocks, side, width',
  [(0, 3, 56, 256), (1, 4, 28, 512), (2, 6, 14, 1024), (3, 3, 7, 2048)],
)
def test_stages_are_the_published_ones(resnext50, stage, blocks, side, width):
  """The stride is the first block's, in its grouped convolution."""
  *_, variables = resnext50
  names = [n for n in variables['params'] if n.startswith(f'stage{stage}_')]
  assert len(names) == blocks
  for name in names:
    (out,) = variables['intermediates'][name]['__call__']
    assert out.shape == (1, side, side, width)
  first = variables['params'][f'stage{stage}_block0']
  kernel = (3, 3, width // 2 // 32, width // 2)
  assert first['grouped']['conv']['kernel'].shape == kernel
  (out,) = variables['intermediates'][f'stage{stage}_block0']['reduce'][
    '__call__'
  ]
  assert out.shape[1] == (side if stage == 0 else 2 * side)


def _init(module, x):
  return jax.jit(lambda x: module.init(jax.random.key(0), x, False))(x)


def _features(channels):
  shape = 2, 4, 4, channels
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_block_adds_its_input_and_ends_in_a_relu():
  """With an expansion of zero the positive part of the input is left."""
  module = resnext.Bottleneck(4, 2, 1)
  x = _features(8)
  variables = _init(module, x)
  params = variables['params']
  assert set(params) == {'reduce', 'grouped', 'expand'}
  zero = jax.tree.map(jnp.zeros_like, params['expand'])
  found = module.apply(
    variables | {'params': params | {'expand': zero}}, x, False
  )
  np.testing.assert_array_equal(found, np.maximum(x, 0))


@pytest.mark.parametrize('channels, stride', [(6, 1), (8, 2)])
def test_a_block_that_changes_the_shape_projects_its_input(channels, stride):
  module = resnext.Bottleneck(4, 2, stride)
  x = _features(channels)
  variables = _init(module, x)
  kernel = variables['params']['shortcut']['conv']['kernel']
  assert kernel.shape == (1, 1, channels, 8)
  found = module.apply(variables, x, False)
  assert found.shape == (2, 4 // stride, 4 // stride, 8)
