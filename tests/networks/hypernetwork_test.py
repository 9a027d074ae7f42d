"""Weights that are made for a space's networks fit them, in any numbering."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import kinds
from irlas_jax.networks import (
  block,
  hyper_block,
  hyper_nasbench201,
  hypernetwork,
)
from irlas_jax.policies import sampling
from irlas_jax.spaces import nasbench201, nsc
from irlas_jax.types import Graph

pytestmark = pytest.mark.usefixtures('quick_compiles')

SIZES = hypernetwork.Sizes(hidden=8, decoder=8, passes=2)
MACRO = block.Macro((4, 8), (2, 1))
LAYOUTS = {'block': hyper_block.layout, 'nasbench201': hyper_nasbench201.layout}
SPACES = {
  'dense': ('block', {'num_layers': 4, 'operations': 'dense'}),
  'separable': ('block', {'num_layers': 4, 'operations': 'separable'}),
  'cells': ('nasbench201', {}),
}


class Program:
  """The networks of a space and what makes their weights."""

  def __init__(self, name):
    space, fields = SPACES[name]
    kind = kinds.SPACES[space].make(**fields)
    self.space = kind.space
    actions = sampling.uniform_lengths(jax.random.key(0), kind.space, 3)
    self.graphs = jax.vmap(kind.space.decode)(actions)
    network = kind.network(kind.space.operations, MACRO, 3, 2)
    self.like = jax.eval_shape(network.init, jax.random.key(0), self.at(0))
    layout = LAYOUTS[space](kind.space.operations, self.like['params'])
    self.hyper = hypernetwork.hypernetwork(layout, MACRO, SIZES)
    self.params = jax.jit(self.hyper.init)(jax.random.key(1), self.at(0))
    self.images = jax.random.normal(jax.random.key(2), (4, 8, 8, 2))
    stats = jax.tree.map(lambda x: jnp.zeros(x.shape), self.like['batch_stats'])

    def logits(params, graph):
      weights = self.hyper.generate(params, graph)
      variables = {'params': weights, 'batch_stats': stats}
      return network.apply(variables, graph, self.images, True)[0]

    self.logits = jax.jit(logits)

  def at(self, i):
    return Graph(*(field[i] for field in self.graphs))


@pytest.fixture(scope='module')
def program():
  return functools.cache(Program)


@pytest.mark.parametrize('name', SPACES)
def test_what_is_made_is_what_the_padded_network_reads(program, name):
  """The same tree, shapes and types, in a batch too."""
  made = program(name)
  found = jax.eval_shape(made.hyper.generate, made.params, made.at(0))
  assert jax.tree.structure(found) == jax.tree.structure(made.like['params'])
  for leaf, like in zip(
    *map(jax.tree.leaves, (found, made.like['params'])), strict=True
  ):
    assert (leaf.shape, leaf.dtype) == (like.shape, like.dtype)
  batch = jax.eval_shape(
    jax.vmap(made.hyper.generate, (None, 0)), made.params, made.graphs
  )
  assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(batch))


def test_gradients_reach_all_of_the_graph_network(program):
  """Each of its arrays has one of some architecture, and all are finite."""
  made = program('dense')

  def loss(params, graph):
    return -jax.nn.log_softmax(made.logits(params, graph))[:, 0].mean()

  gradient = jax.jit(jax.grad(loss))
  total = jax.tree.map(jnp.zeros_like, made.params)
  for i in range(3):
    found = gradient(made.params, made.at(i))
    total = jax.tree.map(lambda a, b: a + jnp.abs(b), total, found)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(total))
  for name in ('nodes', 'places', 'spread'):
    assert all(x.any() for x in jax.tree.leaves(total[name])), name


# The second and the third layer in turn, two leaves in turn, and a concat that
# reads in turn.
FIRST = (
  '(1, Conv, 3, 0, 0)(2, MaxPool, 3, 1, 0)(3, Conv, 1, 0, 0)'
  '(4, Concat, 0, 1, 3)(5, Terminal)'
)
SECOND = (
  '(1, Conv, 1, 0, 0)(2, Conv, 3, 0, 0)(3, Concat, 0, 1, 2)'
  '(4, MaxPool, 3, 2, 0)(5, Terminal)'
)


def test_a_renumbered_block_is_the_same_network(program):
  made = program('dense')
  one, other = (
    jax.tree.map(jnp.asarray, nsc.to_graph(nsc.parse(code), 4))
    for code in (FIRST, SECOND)
  )
  found = made.logits(made.params, one)
  np.testing.assert_allclose(found, made.logits(made.params, other), atol=1e-4)
  assert np.abs(found - made.logits(made.params, made.at(0))).max() > 1e-2


def test_cells_that_compute_the_same_have_the_same_weights(program):
  """What leads nowhere, and which of the cell's nodes is used, do not count."""
  made = program('cells')
  names = (
    '|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|',
    '|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|nor_conv_1x1~2|',
    '|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|none~2|',
    '|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|',
  )
  found = [
    made.logits(made.params, nasbench201.jax_graph(nasbench201.parse(name)))
    for name in names
  ]
  for same in found[1:3]:
    np.testing.assert_allclose(same, found[0], atol=1e-4)
  assert np.abs(found[3] - found[0]).max() > 1e-3


def test_a_cell_of_nothing_has_finite_logits(program):
  made = program('cells')
  name = '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
  graph = nasbench201.jax_graph(nasbench201.parse(name))
  assert np.isfinite(made.logits(made.params, graph)).all()


def test_a_block_knows_of_the_one_before_it(program):
  """Equal blocks of a stage have different states, by place and message."""
  made = program('dense')
  without = made.params | {
    'places': jax.tree.map(jnp.zeros_like, made.params['places'])
  }
  states = jax.jit(made.hyper.states)(without, made.at(0))
  assert [x.shape for x in states.blocks] == [(2, 5, 8), (1, 5, 8)]
  assert np.abs(states.blocks[0][0] - states.blocks[0][1]).max() > 1e-4
  assert states.reductions.shape == (1, 8)


@pytest.mark.parametrize('name', ['hidden', 'decoder', 'passes'])
def test_sizes_of_nothing_are_refused(name):
  with pytest.raises(ValueError, match=f'evaluator.{name} is 0: at least 1'):
    hypernetwork.check(SIZES._replace(**{name: 0}))


def test_virtual_edges_to_behind_are_refused():
  with pytest.raises(ValueError, match='evaluator.virtual_edges is -1'):
    hypernetwork.check(SIZES._replace(virtual_edges=-1))
