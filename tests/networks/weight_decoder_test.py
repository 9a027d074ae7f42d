"""Weights from states: shapes, and how large what they compute is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import weight_decoder

H = 16

pytestmark = pytest.mark.usefixtures('quick_compiles')


def test_arrays_are_cut_or_repeated():
  found = jnp.arange(6).reshape(2, 3)
  np.testing.assert_array_equal(weight_decoder.fit(found, (1, 2)), [[0, 1]])
  np.testing.assert_array_equal(
    weight_decoder.fit(found, (3, 4)),
    [[0, 1, 2, 0], [3, 4, 5, 3], [0, 1, 2, 0]],
  )
  assert weight_decoder.fit(jnp.ones((5, 2, 3)), (3, 7)).shape == (5, 3, 7)


def test_an_output_is_as_large_as_its_largest_use():
  """Up to a limit; but as many classes as there are."""
  state = jnp.zeros(H)

  def use(decode):
    decode.kernel('conv', state, (3, 3, 8, 100), 1, 1.0)
    decode.kernel('conv', state, (3, 3, 16, 8), 1, 1.0)
    decode.kernel('head', state, (100, 1000), 1, 1.0)
    decode.norm('conv', state, 8)

  assert weight_decoder.largest(use) == {
    'conv': (3, 3, 16, 64),
    'head': (64, 1000),
    'conv scale': (8,),
    'conv bias': (8,),
  }


def _made(normalise, **shapes):
  made = weight_decoder.decoder(H, 64, True, normalise)
  params = jax.jit(lambda key: made.init(key, shapes))(jax.random.key(0))
  return made.decode(params, shapes)


@pytest.mark.parametrize('fan_in', [16, 256])
def test_normalised_kernels_keep_the_variance(fan_in):
  """A layer's outputs are as large as its inputs, whatever their number.

  Without, their variance is the fan-in.
  """
  states = jax.random.normal(jax.random.key(1), (32, H))
  x = jax.random.normal(jax.random.key(2), (100, fan_in))

  def variance(normalise):
    decode = _made(normalise, conv=(256, 64))
    kernels = decode.kernel('conv', states, (fan_in, 64), fan_in, 1.0)
    return float(jnp.var(jnp.einsum('ni,lio->lno', x, kernels)))

  assert variance(True) == pytest.approx(1.0, rel=0.35)
  assert variance(False) == pytest.approx(fan_in * variance(True), rel=1e-3)


def test_the_gain_of_what_reads_rectified_values():
  decode = _made(True, conv=(4,))
  state = jnp.arange(float(H))
  plain = decode.kernel('conv', state, (4,), 8, 1.0)
  found = decode.kernel('conv', state, (4,), 8, 2.0)
  np.testing.assert_allclose(found, plain * np.sqrt(2), rtol=1e-6)


def test_normalised_scales_and_biases_are_bounded():
  """A scale is between 0 and 2, a bias between -1 and 1, as GHN-2's."""
  wide = 1e3 * jax.random.normal(jax.random.key(1), (8, 4))
  decode = weight_decoder.decode_by(lambda *_: wide, True)
  norm = decode.norm('conv', None, 4)
  assert 0 <= norm['scale'].min() < 0.01 and 1.99 < norm['scale'].max() <= 2
  assert -1 <= norm['bias'].min() < -0.99
  at_zero = weight_decoder.decode_by(lambda *_: jnp.zeros(1), True)
  assert at_zero.norm('conv', None, 1)['scale'] == 1


def test_each_node_has_its_own_fan_in():
  decode = _made(True, conv=(2, 2))
  same = jnp.ones((3, H)) * jnp.arange(H)
  fan_in = jnp.array([1, 4, 16])
  found = decode.kernel('conv', same, (2, 2), fan_in, 1.0)
  np.testing.assert_allclose(found[0], 2 * found[1], rtol=1e-6)
  np.testing.assert_allclose(found[0], 4 * found[2], rtol=1e-6)
