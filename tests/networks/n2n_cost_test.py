"""Costs by hand, as counted over the traced networks, and a published one."""

import jax
import numpy as np
import pytest

from irlas_jax import kinds
from irlas_jax.networks import block
from irlas_jax.policies import sampling
from irlas_jax.spaces import layer_table, n2n

OPERATIONS = n2n.OPERATIONS
MACRO = block.Macro((1,), (1,))


def _kind(text, stage='removal', image_size=32):
  return kinds.SPACES['n2n'].make(
    teacher=text, stage=stage, image_size=image_size
  )


def _cost(kind, graph, shape):
  return kind.cost(graph, OPERATIONS, MACRO, shape, 10)


def test_by_hand():
  """A projection of stride 2, a pool, and a dense layer of 2 x 2 pixels."""
  text = 'C(4,3) [C(6,3,2) C(8,3)] M(2,2) D(5)'
  kind = _kind(text, image_size=8)
  found = _cost(kind, kind.parse(text), (8, 8, 3))
  weights = [9 * 3 * 4, 9 * 4 * 6, 9 * 6 * 8, 4 * 8, 4 * 8 * 5, 5 * 10]
  areas = [64, 16, 16, 16, 1, 1]
  assert found.params == sum(weights) + 2 * (4 + 6 + 8 + 8) + 5 + 10
  assert found.madds == np.dot(weights, areas)


@pytest.mark.parametrize(
  'text, stage',
  [
    ('C(12,3) [C(12,3) C(14,3)] [C(16,3,2) C(16,3)] C(11,3) GAP', 'removal'),
    ('C(12,3,2) C(14,3) A(3,2) C(12,5,3) D(12) D(11)', 'shrinkage'),
  ],
)
def test_as_traced(trace_cost, text, stage):
  """Random students, all of them in one call."""
  kind = _kind(text, stage, 15)
  actions = sampling.uniform_actions(jax.random.key(1), kind.space, 5)
  batch = jax.device_get(jax.jit(jax.vmap(kind.space.decode))(actions))
  found = _cost(kind, batch, (15, 15, 3))
  for i in range(len(actions)):
    one = jax.tree.map(lambda x, i=i: x[i], batch)
    model = kind.module(one, OPERATIONS, MACRO, 10)
    assert (found.params[i], found.madds[i]) == trace_cost(model, (15, 15, 3))


def test_resnet_18_has_the_parameters_that_are_published():
  """11,173,962 on CIFAR-10, with projections and without biases."""
  text = layer_table.resnet((64, 128, 256, 512), (2, 2, 2, 2))
  kind = _kind(text)
  assert _cost(kind, kind.parse(text), (32, 32, 3)).params == 11_173_962
