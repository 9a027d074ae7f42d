"""NASNet counts: the published ones, and the traced networks'."""

import jax
import numpy as np
import pytest

from irlas_jax import experts, graph
from irlas_jax.networks import block, nasnet, nasnet_cost, nasnet_plan
from irlas_jax.policies import sampling
from irlas_jax.spaces import nasnet as space

MOBILE, CIFAR = (224, 224, 3), (32, 32, 3)


def _trace(trace_cost, architecture, macro, shape, num_classes):
  """Counts of the traced network and those of the graph."""
  model = nasnet.network(architecture, space.OPERATIONS, macro, num_classes)
  counted = nasnet_cost.cost(
    architecture, space.OPERATIONS, macro, shape, num_classes
  )
  return trace_cost(model, shape), counted


@pytest.mark.parametrize(
  'number, penultimate, imagenet, shape, classes, params, madds',
  [
    (4, 1056, True, MOBILE, 1000, 5.3e6, 564e6),
    (6, 768, False, CIFAR, 10, 3.3e6, None),
  ],
)
def test_nasnet_a_has_its_published_size(
  trace_cost, number, penultimate, imagenet, shape, classes, params, madds
):
  """Parameters within 2 %, multiply-adds within 3 %, nothing is run."""
  released = space.parse(experts.NASNET_CELLS['nasnet_a_released'])
  macro = nasnet_plan.sized(released, number, penultimate, imagenet)
  assert nasnet_plan.name_of(released, macro) == f'{number} @ {penultimate}'
  traced, counted = _trace(trace_cost, released, macro, shape, classes)
  assert traced[0] == pytest.approx(params, rel=0.02)
  assert madds is None or traced[1] == pytest.approx(madds, rel=0.03)
  assert traced == (counted.params, counted.madds)


@pytest.mark.parametrize(
  'macro, shape',
  [
    (block.Macro((5, 8), (1, 2)), (9, 7, 2)),  # odd sides, and an odd width
    (block.Macro((8, 12), (1, 1), imagenet=True), (35, 40, 3)),
  ],
)
def test_counts_are_those_of_the_traced_networks(trace_cost, macro, shape):
  """Of random cells and one whose inputs are part of both outputs."""
  cells = space.nasnet(3)
  actions = sampling.uniform_actions(jax.random.key(1), cells, 3)
  graphs = jax.device_get(jax.vmap(cells.decode)(actions))
  unread = ' '.join(3 * ['concat(identity 0, identity 0)'])
  loose = space.parse(f'normal: {unread}; reduction: {unread} -> 0 1 2 3 4')
  graphs = jax.tree.map(lambda x, y: np.append(x, y[None], 0), graphs, loose)
  found = nasnet_cost.cost(graphs, space.OPERATIONS, macro, shape, 3)
  for i, one in enumerate(graph.cells(graphs)):
    traced, counted = _trace(trace_cost, graph.canonical(one), macro, shape, 3)
    assert traced == (counted.params, counted.madds)
    assert traced == (found.params[i], found.madds[i])


def test_a_size_that_the_cell_cannot_have_is_refused():
  cells = space.parse(experts.NASNET_CELLS['nasnet_a'])
  with pytest.raises(ValueError, match='multiple of 20'):
    nasnet_plan.sized(cells, 4, 1056, True)
