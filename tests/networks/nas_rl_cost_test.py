"""Costs by hand, and as counted over the traced networks."""

import jax
import numpy as np
import pytest

from irlas_jax.networks import block, nas_rl, nas_rl_cost
from irlas_jax.policies import sampling
from irlas_jax.spaces import nas_rl as spaces

OPERATIONS = spaces.OPERATIONS
SIZES = spaces.Sizes(
  5, (1, 3), (3, 5), (4, 6), strides=(1, 2, 3), pooled_layers=(2, 4)
)


def test_by_hand():
  """Images of 11 x 8: strides of 3 and 2 leave 4 x 4, pooling 6 x 4."""
  found = spaces.parse(
    'C(3,5,4) S(3,2) from 0; C(1,3,6) P(2) from 0; C(3,3,4) from 1 2', SIZES
  )
  weights = [15 * 3 * 4, 3 * 3 * 6, 9 * (4 + 6) * 4, 4 * 10]
  areas = [4 * 4, 11 * 8, 6 * 4, 1]
  cost = nas_rl_cost.cost(
    found, OPERATIONS, block.Macro((1,), (1,)), (11, 8, 3), 10
  )
  assert cost.params == sum(weights) + 2 * (4 + 6 + 4) + 10
  assert cost.madds == np.dot(weights, areas)


@pytest.mark.parametrize('width', [1, 3])
def test_as_traced(trace_cost, width):
  """Random architectures, all of them in one call."""
  space = spaces.nas_rl(SIZES)
  actions = sampling.uniform_lengths(jax.random.key(1), space, 8)
  batch = jax.device_get(jax.jit(jax.vmap(space.decode))(actions))
  macro = block.Macro((width,), (1,))
  found = nas_rl_cost.cost(batch, OPERATIONS, macro, (17, 32, 3), 10)
  for i in range(len(actions)):
    one = jax.tree.map(lambda x, i=i: x[i], batch)
    model = nas_rl.network(one, OPERATIONS, macro, 10)
    expected = trace_cost(model, (17, 32, 3))
    assert (found.params[i], found.madds[i]) == expected


def test_another_macro_architecture_is_refused():
  found = spaces.parse('C(3,5,4) from 0', SIZES)
  with pytest.raises(ValueError, match='network.num_stages=1'):
    nas_rl_cost.cost(found, OPERATIONS, block.Macro(), (8, 8, 3), 10)
