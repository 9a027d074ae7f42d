"""Costs by hand, and as counted over the traced networks."""

import jax
import numpy as np
import pytest

from irlas_jax.networks import block, metaqnn, metaqnn_cost
from irlas_jax.policies import sampling
from irlas_jax.spaces import metaqnn as spaces

OPERATIONS = spaces.OPERATIONS
SIZES = spaces.Sizes(num_layers=6)
IMAGE = (32, 32, 3)


def test_by_hand():
  """28 pixels a side: 5 x 5 kernels, whole windows, twice fully connected.

  7 pixels are left by pools of 2, twice.
  """
  sizes = spaces.Sizes(image_size=28, filters=(64,))
  text = 'C(64,5) P(2,2) C(64,1) P(2,2) FC(256) FC(128) SM'
  chain = spaces.parse(text, sizes)
  weights = [25 * 64, 64 * 64, 49 * 64 * 256, 256 * 128, 128 * 10]
  times = [28**2, 14**2, 1, 1, 1]
  found = metaqnn_cost.cost(
    chain, OPERATIONS, block.Macro((1,), (1,)), (28, 28, 1), 10
  )
  assert found.params == sum(weights) + 2 * 128 + 256 + 128 + 10
  assert found.madds == np.dot(weights, times)


@pytest.mark.parametrize('width', [1, 3])
def test_as_traced(trace_cost, width):
  """Random chains, all of them in one call."""
  space = spaces.metaqnn(SIZES)
  actions = sampling.uniform_lengths(jax.random.key(1), space, 8)
  batch = jax.device_get(jax.jit(jax.vmap(space.decode))(actions))
  macro = block.Macro((width,), (1,))
  found = metaqnn_cost.cost(batch, OPERATIONS, macro, IMAGE, 10)
  for i in range(len(actions)):
    chain = jax.tree.map(lambda x, i=i: x[i], batch)
    model = metaqnn.network(chain, OPERATIONS, macro, 10)
    expected = trace_cost(model, IMAGE)
    assert (found.params[i], found.madds[i]) == expected


def test_what_has_no_such_network_is_refused():
  chain = spaces.parse('C(64,1) SM')
  with pytest.raises(ValueError, match='network.num_stages=1'):
    metaqnn_cost.cost(chain, OPERATIONS, block.Macro(), IMAGE, 10)
  macro = block.Macro((1,), (1,))
  with pytest.raises(ValueError, match='square'):
    metaqnn_cost.cost(chain, OPERATIONS, macro, (32, 24, 3), 10)
