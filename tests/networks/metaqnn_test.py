"""MetaQNN's plain networks: shapes and numbers by hand."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block, metaqnn
from irlas_jax.spaces import metaqnn as spaces

SIZES = spaces.Sizes(image_size=8, num_layers=4, filters=(2, 3), units=(5,))
ONE = block.Macro((1,), (1,))


def _network(text, macro=ONE):
  chain = spaces.parse(text, SIZES)
  return metaqnn.network(chain, spaces.OPERATIONS, macro, 4)


def _shapes(model, side=8):
  image = jax.ShapeDtypeStruct((2, side, side, 1), jnp.float32)
  init = jax.eval_shape(
    lambda x: model.init_with_output(jax.random.key(0), x, True), image
  )
  assert init[0].shape == (2, 4)
  params = init[1]['params']
  return {
    name: dict(part)['kernel'].shape
    for name, part in params.items()
    if 'kernel' in part
  }


@pytest.mark.parametrize(
  'text, macro, expected',
  [
    (
      'C(2,3) P(5,3) C(3,1) FC(5) SM',  # 8 pixels, then 2
      ONE,
      {
        'layer1_conv': (3, 3, 1, 2),
        'layer3_conv': (1, 1, 2, 3),
        'layer4': (12, 5),
        'head': (5, 4),
      },
    ),
    (
      'C(2,3) P(3,2) SM',  # 8 pixels, then 3; all filters are doubled
      block.Macro((2,), (1,)),
      {'layer1_conv': (3, 3, 1, 4), 'head': (36, 4)},
    ),
    ('C(3,5) GAP', ONE, {'layer1_conv': (5, 5, 1, 3), 'head': (3, 4)}),
  ],
)
def test_kernels_have_the_sizes_of_the_text(text, macro, expected):
  assert _shapes(_network(text, macro)) == expected


def test_a_chain_by_hand():
  """A filter of weight -1, normalised by the statistics 0 and 1, and ReLU.

  The pool takes the largest of four; the head has ones.
  """
  model = _network('C(2,1) P(2,2) SM')
  x = np.zeros((1, 2, 2, 1), np.float32)
  x[0, :, :, 0] = [[-3, 1], [2, 5]]
  variables = model.init(jax.random.key(0), x, False)
  kernel = jnp.array([-1.0, 1.0]).reshape(1, 1, 1, 2)
  params = variables['params'] | {
    'layer1_conv': {'kernel': kernel},
    'head': {'kernel': jnp.ones((2, 4)), 'bias': jnp.arange(4.0)},
  }
  logits = model.apply(variables | {'params': params}, x, False)
  # Largest of 3, 0, 0, 0 and of 0, 1, 2, 5.
  np.testing.assert_allclose(logits[0], 8 + np.arange(4.0), rtol=1e-4)


def test_what_does_not_fit_is_refused():
  with pytest.raises(ValueError, match='network.num_stages=1'):
    _network('C(2,1) SM', block.Macro((4, 8), (1, 1)))
  with pytest.raises(ValueError, match='square'):
    _network('C(2,1) SM').init(jax.random.key(0), jnp.ones((1, 8, 6, 1)), True)
  with pytest.raises(ValueError, match='Layer 2 pools windows of 5.*reads 4'):
    _shapes(_network('C(2,1) P(5,3) SM'), side=4)


def test_units_are_dropped_after_every_second_layer_in_training():
  """Four layers: with 0.3 after the second and 0.6 after the fourth."""
  model = _network('C(2,1) C(3,1) C(3,1) C(2,1) SM').clone(drop_path=0.6)
  x = np.ones((64, 8, 8, 1), np.float32)
  variables = _network('C(2,1) C(3,1) C(3,1) C(2,1) SM').init(
    jax.random.key(0), x, False
  )
  rates = []

  def spy(next_fun, args, kwargs, context):
    out = next_fun(*args, **kwargs)
    if isinstance(context.module, nn.Dropout):
      rates.append(context.module.rate)
    return out

  with nn.intercept_methods(spy):
    model.apply(
      variables,
      x,
      True,
      progress=0.0,
      mutable=['batch_stats'],
      rngs={'drop_path': jax.random.key(1)},
    )
    np.testing.assert_allclose(rates, [0.3, 0.6])
    rates.clear()
    model.apply(variables, x, False)
    assert not rates, 'units are dropped at evaluation'
