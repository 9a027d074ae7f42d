"""What the program reads of a chain, and its masked layers, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import metaqnn_program
from irlas_jax.spaces import metaqnn

SIZES = metaqnn.Sizes(
  image_size=8,
  num_layers=4,
  filters=(4, 6),
  kernels=(1, 3),
  pools=((9, 3), (3, 2), (2, 2)),
  units=(8, 5),
)
LIMITS = metaqnn_program.Limits(8, 4, 7, metaqnn.layers(SIZES))


def test_branches_are_the_windows_that_fit():
  """Filters are data; a pool of 9 pixels reads no image of 8.

  Convolutions of a quarter, half or all of it are told apart.
  """
  assert [tuple(window) for window in metaqnn_program.branches(LIMITS)] == [
    ('none', 1, 1, 8),
    *(('conv', 1, 1, extent) for extent in (2, 4, 8)),
    *(('conv', 3, 1, extent) for extent in (2, 4, 8)),
    ('max_pool', 2, 2, 8),
    ('max_pool', 3, 2, 8),
  ]


@pytest.mark.parametrize('jit', [True, False])
def test_a_wired_chain_by_hand(jit):
  def wire(graph):
    return metaqnn_program.wire(graph, metaqnn.OPERATIONS, LIMITS, 3, 2)

  wire = jax.jit(wire) if jit else wire
  found = wire(metaqnn.parse('C(4,3) P(3,2) FC(8) FC(5) SM', SIZES))
  assert found.branch.tolist() == [6, 8, 0, 0]
  assert found.is_conv.tolist() == [True, False, False, False]
  assert found.sides.tolist() == [8, 8, 3, 3, 3]
  assert found.widths.tolist() == [3, 8, 8, 8, 8]
  assert found.fan_in.tolist() == [27, 1, 1, 1]
  assert found.units.tolist() == [16, 10] and not found.averages
  found = wire(metaqnn.parse('C(4,1) C(6,3) C(4,3) C(4,1) GAP', SIZES))
  assert found.branch.tolist() == [3, 6, 6, 3]
  assert found.fan_in.tolist() == [3, 72, 108, 8]
  assert found.units.tolist() == [0, 0] and found.averages
  found = wire(metaqnn.parse('C(4,1) P(2,2) C(4,3) P(2,2) SM', SIZES))
  assert found.branch.tolist() == [3, 7, 5, 7], 'of 4 pixels half is enough'


def test_only_keeps_the_corner_and_the_first_channels():
  x = metaqnn_program.only(jnp.ones((2, 3, 3, 4)), 2, 3)
  assert x.sum() == 2 * 2 * 2 * 3
  assert x[:, :2, :2, :3].all()


def test_a_pool_takes_whole_windows_and_leaves_the_rest_zero():
  """Of 5 pixels a side, 2 windows of 3 by steps of 2."""
  x = jnp.arange(25.0).reshape(1, 5, 5, 1)
  window = metaqnn_program.Window('max_pool', 3, 2, 5)
  y = metaqnn_program._function(window, None, x)[0, :, :, 0]
  np.testing.assert_array_equal(y[:2, :2], [[12, 14], [22, 24]])
  assert y.shape == (5, 5) and y.sum() == 72
