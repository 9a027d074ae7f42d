"""NAS-RL's plain networks: shapes and numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block, nas_rl
from irlas_jax.spaces import nas_rl as spaces

SIZES = spaces.Sizes(
  4, (1, 3), (1, 3), (1, 2), strides=(1, 2), pooled_layers=(2,)
)
ONE = block.Macro((1,), (1,))


def _network(text, macro=ONE):
  found = spaces.parse(text, SIZES)
  return nas_rl.network(found, spaces.OPERATIONS, macro, 4)


def test_kernels_have_the_sizes_of_the_text():
  """Of all that a layer reads; filters are doubled, the image's three not."""
  model = _network(
    'C(3,1,2) from 0; C(1,3,1) P(2) from 0; C(3,3,2) from 1 2; C(1,1,1) from 1',
    block.Macro((2,), (1,)),
  )
  image = jax.ShapeDtypeStruct((2, 6, 5, 3), jnp.float32)
  logits, variables = jax.eval_shape(
    lambda x: model.init_with_output(jax.random.key(0), x, True), image
  )
  assert logits.shape == (2, 4)
  shapes = {
    name: part['kernel'].shape
    for name, part in variables['params'].items()
    if 'kernel' in part
  }
  assert shapes == {
    'layer1_conv': (3, 1, 3, 4),
    'layer2_conv': (1, 3, 3, 2),
    'layer3_conv': (3, 3, 4 + 2, 4),
    'layer4_conv': (1, 1, 4, 2),
    'head': (4 + 2, 4),
  }


def test_smaller_images_are_concatenated_with_zeros_around():
  """The third repair: below and to the right."""
  large, small = jnp.ones((1, 2, 3, 1)), 5 * jnp.ones((1, 1, 2, 1))
  found = nas_rl.concatenate([large, small])
  np.testing.assert_array_equal(found[0, :, :, 0], np.ones((2, 3)))
  np.testing.assert_array_equal(found[0, :, :, 1], [[5, 5, 0], [0, 0, 0]])


def test_a_network_by_hand():
  """Layer 1 takes every second pixel, layer 2 pools; both are classified.

  Filters have weight 1 and -1, normalised by 0 and 1, and then ReLU; the head
  has ones.
  """
  model = _network('C(1,1,1) S(2,2) from 0; C(1,1,2) P(2) from 0')
  x = np.zeros((1, 3, 2, 1), np.float32)
  x[0, :, :, 0] = [[1, -2], [3, 4], [-5, 6]]
  variables = model.init(jax.random.key(0), x, False)
  params = variables['params'] | {
    'layer1_conv': {'kernel': jnp.ones((1, 1, 1, 1))},
    'layer2_conv': {'kernel': jnp.array([1.0, -1.0]).reshape(1, 1, 1, 2)},
    'head': {'kernel': jnp.ones((3, 4)), 'bias': jnp.arange(4.0)},
  }
  logits = model.apply(variables | {'params': params}, x, False)
  # Of layer 1: 1 and ReLU(-5) in two rows. Of layer 2: 4 and 6 (the last row
  # alone), 2 and 5. The mean of each is over two rows.
  total = 1 / 2 + (4 + 6) / 2 + (2 + 5) / 2
  np.testing.assert_allclose(logits[0], total + np.arange(4.0), rtol=1e-4)


def test_another_macro_architecture_is_refused():
  with pytest.raises(ValueError, match='network.num_stages=1'):
    _network('C(1,1,1) from 0', block.Macro((4, 8), (1, 1)))
