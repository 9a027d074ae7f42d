"""Teachers and students as Flax modules: what follows from their layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from irlas_jax import kinds
from irlas_jax.networks import block
from irlas_jax.spaces import n2n

MACRO = block.Macro((1,), (1,))


def _module(text):
  kind = kinds.SPACES['n2n'].make(teacher=text, image_size=8)
  return kind.module(kind.parse(text), n2n.OPERATIONS, MACRO, 10)


def _shapes(module, batch=2):
  """Of variables and logits, nothing is run."""
  images = jax.ShapeDtypeStruct((batch, 8, 8, 3), jnp.float32)
  logits, variables = jax.eval_shape(
    lambda key, x: module.init_with_output(key, x, False),
    jax.random.key(0),
    images,
  )
  return logits.shape, variables


@pytest.mark.parametrize(
  'text, name, shape',
  [
    ('C(4,3) [C(6,3) C(4,3)] GAP', None, None),
    ('C(4,3) [C(6,3) C(5,3)] GAP', 'layer3_shortcut_conv', (1, 1, 4, 5)),
    ('C(4,3) [C(4,3,2)] GAP', 'layer2_shortcut_conv', (1, 1, 4, 4)),
  ],
)
def test_a_shortcut_is_a_projection_where_its_ends_differ(text, name, shape):
  _, variables = _shapes(_module(text))
  found = {k: v for k, v in variables['params'].items() if 'shortcut_conv' in k}
  assert list(found) == ([name] if name else [])
  if name:
    assert found[name]['kernel'].shape == shape


def test_a_block_whose_convolution_is_nothing_is_its_shortcut_rectified():
  """The last convolution inside of brackets has its ReLU after the sum."""
  module = _module('C(3,1) [C(3,3)] GAP')
  images = jnp.ones((1, 8, 8, 3))
  variables = module.init(jax.random.key(0), images, False)
  params = jax.tree.map(jnp.zeros_like, variables['params'])
  params['layer1_conv']['kernel'] = jnp.eye(3)[None, None]
  params['layer1_bn']['scale'] = jnp.ones(3)
  params['layer2_bn']['bias'] = jnp.array([-3.0, -0.5, 1.0])
  params['head']['kernel'] = jnp.eye(3, 10)
  logits = module.apply(variables | {'params': params}, images, False)
  np.testing.assert_allclose(logits[0, :4], [0, 0.5, 2, 0], atol=1e-4)


def test_a_batch_of_any_size_as_an_export_has_it():
  (batch,) = export.symbolic_shape('batch')
  shape, _ = _shapes(_module('C(4,3) A(2,2) D(12)'), batch)
  assert shape == (batch, 10)
