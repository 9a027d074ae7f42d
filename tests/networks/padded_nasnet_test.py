"""The padded program: architecture by architecture the plain network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax import graph
from irlas_jax.networks import (
  block,
  nasnet_ops,
  nasnet_plan,
  nasnet_program,
  padded_nasnet,
)
from irlas_jax.networks import nasnet as plain
from irlas_jax.spaces import nasnet

OPERATIONS = nasnet.OPERATIONS
SPACE = padded_equality.Cells(
  nasnet.nasnet(2), padded_nasnet.padded_network, plain.network
)
MIXED = nasnet.parse(
  'normal: add(sep_conv_3x3 0, identity 1) concat(conv_1x7_7x1 2, identity 0); '
  'reduction: add(identity 1, sep_conv_5x5 0) '
  'concat(dil_conv_3x3 2, max_pool_5x5 1)'
)
# Inputs that nobody reads, or that are part of the output all the same.
LOOSE = nasnet.parse(
  'normal: add(avg_pool_3x3 0, avg_pool_3x3 0) add(identity 2, identity 2); '
  'reduction: add(conv_1x1 1, conv_3x3 1) add(identity 2, conv_1x1 2) -> 0 1 3'
)


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_every_architecture_is_its_plain_network(padded, dtype):
  cells = padded_equality.random_cells(0, SPACE, 3)
  network = padded_equality.cell_program(SPACE, padded.fast)
  padded.check_equal(network, [*cells, MIXED, LOOSE], dtype)


def _network(widths=(16, 33), blocks=(2, 2)):
  macro = block.Macro(widths, blocks)
  return padded_nasnet.padded_network(OPERATIONS, macro, 10, 3)


def test_initial_weights_are_drawn_as_flax_draws_them(padded):
  """Stem and head; of a normal cell 2 inputs, 4, 2 and a concatenation.

  Of a reduction cell 2 inputs, 1, 4, 1 and a concatenation; the normal cell
  behind it has one more, as its older input is halved by two.
  """
  assert padded.count_drawn_kernels(_network(), MIXED) == 2 + 4 * 9 + 9 + 1


@pytest.mark.parametrize('cells', [LOOSE, graph.canonical(MIXED)])
def test_the_flax_variables_are_those_that_the_plain_network_reads(
  padded, cells
):
  """Odd sides and widths included."""
  network = _network()
  macro = block.Macro((16, 33), (2, 2))
  model = plain.network(cells, OPERATIONS, macro, 10)
  image = jax.ShapeDtypeStruct((1, 7, 5, 3), jnp.float32)
  expected = jax.eval_shape(
    lambda image: model.init(jax.random.key(0), image, True), image
  )
  found = network.to_flax(padded.random_variables(network, cells), cells)
  assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)


def test_from_flax_restores_what_the_cells_use_and_zeros_the_rest(padded):
  network = _network((4, 6), (1, 1))
  flax_variables = network.to_flax(
    padded.random_variables(network, MIXED), MIXED
  )
  back = network.from_flax(flax_variables, MIXED)
  again = network.to_flax(back, MIXED)
  jax.tree.map(np.testing.assert_array_equal, again, flax_variables)
  cell = back['params']['stages'][1]['first']['layers']['kernels']
  # Layers: twice sep_conv_3x3, add, 1x7, 7x1, concat; four are padding.
  used = np.abs(cell['dense']).sum((2, 3)) > 0
  assert used.sum(1).tolist() == [1, 1, 0, 7, 7, 2, 0, 0, 0, 0]
  used = np.abs(cell['depthwise']).sum(3) > 0
  assert used.sum((1, 2)).tolist() == [9, 9] + [0] * 8
  assert used[:2, 2:5, 2:5].all()


@pytest.mark.parametrize('jit', [True, False])
@pytest.mark.parametrize('number', [lambda cells: cells, graph.canonical])
def test_a_wired_cell_by_hand(jit, number):
  """The reduction cell: its entries, and the layers that are left."""
  reduction = graph.cells(number(MIXED))[1]

  def wire(cell):
    return nasnet_program.wire(cell, OPERATIONS, True)

  wiring = (jax.jit(wire) if jit else wire)(reduction)
  entries = wiring.entries
  assert entries.number == 3
  live = entries.order[:3]
  names = [nasnet_ops.ENTRIES[i].name for i in entries.branch[live]]
  sources = entries.source[live].tolist()
  assert set(zip(names, sources, strict=True)) == {
    ('conv_1x1', 1),
    ('sep_conv_5x5', 0),
    ('max_pool_5x5', 1),
  }
  assert wiring.layers.num_layers == 4
  names = [nasnet_ops.INNER[i].name for i in wiring.layers.branch[:4]]
  assert names == ['sep_conv_5x5', 'add', 'dil_conv_3x3', 'concat']
  assert wiring.states.tolist() == [0, 1, 7, 9], 'six entries come first'
  assert wiring.leaves.number == 1 and wiring.leaves.nodes[0] == 3


def test_every_operation_has_its_branches():
  for operation in nasnet.BLOCK_OPERATIONS:
    for name in nasnet_ops.layers_of(operation):
      nasnet_ops.find(nasnet_ops.INNER, name)
    nasnet_ops.find(
      nasnet_ops.ENTRIES, nasnet_ops.layers_of(operation, entry=True)[0]
    )
  assert nasnet_plan.MERGES == nasnet.MERGES


def test_in_bfloat16_a_step_has_types_of_float32(padded):
  network = _network((2, 4), (1, 1))
  variables = network.init(jax.random.key(0), LOOSE)
  images = jnp.ones((2, 4, 4, 3), jnp.bfloat16)
  half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), variables['params'])

  def loss(params):
    logits, stats = network.apply(
      variables | {'params': params}, LOOSE, images, True
    )
    return jnp.square(logits).mean(), stats

  grads, stats = jax.eval_shape(jax.grad(loss, has_aux=True), half)
  assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.bfloat16.dtype}
  assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {np.dtype('f4')}


def test_what_the_network_cannot_have_is_refused():
  macro = block.Macro((8, 16), (1, 1), imagenet=True)
  with pytest.raises(ValueError, match='plain Flax module'):
    padded_nasnet.padded_network(OPERATIONS, macro, 10, 3)
  one = graph.cells(MIXED)[0]
  with pytest.raises(ValueError, match='two cells'):
    plain.network(one, OPERATIONS, macro, 10)
