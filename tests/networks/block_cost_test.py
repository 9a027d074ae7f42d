"""Counts from the graph, against the traced networks and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block as networks
from irlas_jax.networks import block_cost, cost
from irlas_jax.spaces import block, nsc

MACROS = {
  'cifar': (networks.Macro((8, 16), (2, 1)), (9, 8, 3)),
  'imagenet': (networks.Macro((8, 12, 16), (1, 2, 1), True), (65, 64, 3)),
}


def _graphs(operations, num_layers, n):
  """Random blocks, the first of one layer: a Graph with a leading n."""
  rng = np.random.default_rng(0)
  table = block.choices(num_layers, operations)
  options = [[c for c in table if c.preds[-1] <= t] for t in range(num_layers)]
  lengths = [1, num_layers, *rng.integers(1, num_layers, size=n - 2)]
  graphs = [
    nsc.to_graph(
      [o[rng.integers(len(o))] for o in options[:length]], num_layers
    )
    for length in lengths
  ]
  return jax.tree.map(lambda *fields: np.stack(fields), *graphs)


@pytest.mark.parametrize('operations', block.OPERATION_SETS)
@pytest.mark.parametrize('name', MACROS)
def test_counts_are_those_of_the_traced_network(name, operations):
  macro, shape = MACROS[name]
  graphs = _graphs(operations, 7, 4)
  found = block_cost.cost(graphs, block.OPERATIONS, macro, shape, 10)
  assert found.params.shape == found.madds.shape == (4,)
  image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  for i in range(4):
    graph = jax.tree.map(lambda field: field[i], graphs)  # noqa: B023
    model = networks.network(graph, block.OPERATIONS, macro, 10)

    def init(key, x, model=model):
      return model.init(key, x, False)

    def apply(variables, x, model=model):
      return model.apply(variables, x, False)

    variables = jax.eval_shape(init, jax.random.key(0), image)
    assert found.params[i] == cost.count_parameters(variables)
    assert found.madds[i] == cost.count_multiply_adds(apply, variables, image)


def test_a_small_network_by_hand():
  """Conv 3x3 with an identity beside it, one stage of width 4, 6 x 5 x 3."""
  layers = (block.Choice('conv', 3, (0,)), block.Choice('identity', 0, (0,)))
  graph = nsc.to_graph(layers, 5)
  macro = networks.Macro((4,), (1,))
  found = block_cost.cost(graph, block.OPERATIONS, macro, (6, 5, 3), 10)
  stem, enter, conv, head = 9 * 3 * 4, 4 * 4, 9 * 4 * 4, 2 * 4 * 10
  norms = 3 * 2 * 4  # stem, enter, conv: scale and bias
  assert found.params == stem + enter + conv + head + norms + 10
  assert found.madds == 30 * (stem + enter + conv) + head


def test_any_leading_axes_and_padding_count_alike():
  graphs = _graphs('dense', 5, 4)
  macro, shape = MACROS['cifar']
  flat = block_cost.cost(graphs, block.OPERATIONS, macro, shape, 10)
  square = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), graphs)
  found = block_cost.cost(square, block.OPERATIONS, macro, shape, 10)
  np.testing.assert_array_equal(found.params, flat.params.reshape(2, 2))
  np.testing.assert_array_equal(found.madds, flat.madds.reshape(2, 2))
  layers = nsc.from_graph(jax.tree.map(lambda field: field[1], graphs))
  longer = nsc.to_graph(layers, 9)
  one = block_cost.cost(longer, block.OPERATIONS, macro, shape, 10)
  assert (one.params, one.madds) == (flat.params[1], flat.madds[1])


def test_large_counts_are_exact():
  """23 convolutions 5x5 of width 512: float32 would round them."""
  layers = [block.Choice('conv', 5, (t,)) for t in range(23)]
  macro = networks.Macro((512,), (1,))
  found = block_cost.cost(
    nsc.to_graph(layers), block.OPERATIONS, macro, (31, 31, 3), 7
  )
  weights = 27 * 512 + 512**2 + 23 * 25 * 512**2
  assert found.madds == 31**2 * weights + 512 * 7
  assert found.params == weights + 25 * 2 * 512 + 513 * 7
