"""The language model around a cell: LSTM, tying, dropout, what is refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import language_model

pytestmark = pytest.mark.usefixtures('quick_compiles')
SIZES = language_model.Sizes(
  units=6, layers=2, dropout=0.0, tied=False, init_scale=0.3
)
TOKENS = np.arange(8).reshape(4, 2) % 7


def _model(sizes):
  return language_model.LanguageModel(language_model.lstm, sizes, 7)


def _init(sizes):
  carry = language_model.start(sizes, 2)
  return _model(sizes).init(jax.random.key(0), TOKENS, carry, False), carry


def test_an_lstm_is_flaxs():
  """Another implementation, whose gates have their own matrices."""
  variables, _ = _init(SIZES)
  layer = variables['params']['layer1']
  names = zip(
    'ifog',
    np.split(layer['input']['kernel'], 4, axis=1),
    np.split(layer['hidden'], 4, axis=1),
    strict=True,
  )
  zeros = np.zeros(6, np.float32)
  params = {}
  for name, read, hidden in names:
    params[f'i{name}'] = {'kernel': read}
    params[f'h{name}'] = {'kernel': hidden, 'bias': zeros}
  rng = np.random.default_rng(0)
  x = rng.normal(size=(4, 2, 6)).astype(np.float32)
  h, c = rng.normal(size=(2, 2, 6)).astype(np.float32)
  module = language_model.lstm(6, nn.initializers.zeros, 'layer1')
  (found_h, found_c), found = module.apply({'params': layer}, (h, c), x)
  cell, carry = nn.LSTMCell(6), (c, h)
  for i in range(4):
    carry, y = cell.apply({'params': params}, carry, x[i])
    np.testing.assert_allclose(found[i], y, atol=1e-6)
  np.testing.assert_allclose(found_c, carry[0], atol=1e-6)
  np.testing.assert_allclose(found_h, carry[1], atol=1e-6)


def test_what_is_remembered_goes_on_where_a_window_ended():
  variables, carry = _init(SIZES)
  model = _model(SIZES)
  whole, _ = model.apply(variables, TOKENS, carry, False)
  first, carry = model.apply(variables, TOKENS[:1], carry, False)
  rest, _ = model.apply(variables, TOKENS[1:], carry, False)
  np.testing.assert_allclose(whole, np.concatenate([first, rest]), atol=1e-6)


def test_a_tied_model_has_one_matrix_of_words():
  sizes = SIZES._replace(tied=True)
  variables, carry = _init(sizes)
  params = variables['params']
  assert 'head' not in params and params['bias'].shape == (7,)
  logits, _ = _model(sizes).apply(variables, TOKENS, carry, False)
  params = params | {'bias': params['bias'] + 2.0}
  higher, _ = _model(sizes).apply({'params': params}, TOKENS, carry, False)
  np.testing.assert_allclose(higher, logits + 2.0, atol=1e-5)


def test_weights_start_uniform_and_biases_at_zero():
  variables, _ = _init(SIZES._replace(units=40))
  for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
    if path[-1].key == 'bias':
      assert not leaf.any()
    else:
      assert 0.29 < jnp.abs(leaf).max() <= 0.3
      assert abs(leaf.std() - 0.3 / 3**0.5) < 0.02


def test_dropout_is_of_the_training_only():
  """And not of what goes from step to step: that would be forgotten."""
  sizes = SIZES._replace(dropout=0.5)
  variables, carry = _init(sizes)
  model = _model(sizes)

  def run(key, train):
    rngs = {'dropout': jax.random.key(key)}
    return model.apply(variables, TOKENS, carry, train, rngs=rngs)[0]

  assert not np.array_equal(run(1, True), run(2, True))
  np.testing.assert_array_equal(run(1, False), run(2, False))
  plain, _ = _model(SIZES).apply(variables, TOKENS, carry, False)
  np.testing.assert_array_equal(run(1, False), plain)


@pytest.mark.parametrize(
  'field, value', [('units', 0), ('layers', 0), ('dropout', 1.0)]
)
def test_sizes_of_no_model_are_refused(field, value):
  with pytest.raises(ValueError, match=f'network.{field} is {value}'):
    language_model.check(SIZES._replace(**{field: value}))
