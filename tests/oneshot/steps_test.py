"""What one-shot methods share: first variables, batches."""

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.oneshot import steps


def _shape(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_variables_are_drawn_by_the_fan_in_of_their_layer():
  """LeCun's: variance 1 / fan-in, stacked layers apart; norms do nothing."""
  shapes = {
    'conv': {'kernel': _shape(3, 3, 4, 500), 'bias': _shape(5)},
    'cells': {'many': _shape(20, 50, 2, 25)},
    'bn': {'scale': _shape(2), 'mean': _shape(2), 'var': _shape(2)},
  }
  draw = jax.jit(lambda key: steps.variables(key, shapes, {'many': 2}))
  found = draw(jax.random.key(0))
  assert np.isclose(np.var(found['conv']['kernel']) * 36, 1, atol=0.05)
  assert np.isclose(np.var(found['cells']['many']) * 2, 1, atol=0.05)
  assert not found['conv']['bias'].any() and not found['bn']['mean'].any()
  assert (found['bn']['scale'] == 1).all() and (found['bn']['var'] == 1).all()


def test_an_epoch_visits_all_images_and_begins_again_where_there_are_few():
  rows = np.asarray(steps.rows(jax.random.key(0), 6, 2, 3))
  assert sorted(rows.ravel()) == [0, 1, 2, 3, 4, 5]
  rows = np.asarray(steps.rows(jax.random.key(0), 4, 3, 2))
  assert sorted(rows.ravel()[:4]) == [0, 1, 2, 3]
  assert (rows.ravel()[4:] == rows.ravel()[:2]).all()
