"""The padded program: every student is its plain network, in every respect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax import kinds
from irlas_jax.networks import block
from irlas_jax.spaces import layer_table, n2n

OPERATIONS = n2n.OPERATIONS
MACRO = block.Macro((1,), (1,))
# Kernels that become even, a stride of 3 x 3 and one of 5 x 5, both pools; a
# block that may lose all its layers where its ends differ, one with a stride.
CHAIN = 'C(12,3) C(14,3) M(2,2) C(12,5,2) A(2,1) D(12)'
BLOCKS = 'C(12,3) [C(12,3) C(14,3)] [C(16,3,2) C(16,3)] C(11,3) GAP'


def _kind(text, stage):
  return kinds.SPACES['n2n'].make(teacher=text, stage=stage, image_size=8)


def _network(kind, channels=3):
  return kind.network(OPERATIONS, MACRO, 10, channels)


def _program(kind, options):
  cells = padded_equality.Cells(
    kind.space,
    lambda operations, macro, classes, channels: _network(kind, channels),
    lambda graph, operations, macro, classes: kind.module(
      graph, operations, MACRO, classes
    ),
  )
  program = padded_equality.cell_program(cells, options)
  return program._replace(images=(6, 8, 8, 3)), cells


@pytest.mark.parametrize(
  'text, stage, dtype',
  [
    (CHAIN, 'shrinkage', np.float64),
    (BLOCKS, 'removal', np.float64),
    (BLOCKS, 'removal', np.float32),
  ],
)
def test_every_student_is_its_plain_network(padded, text, stage, dtype):
  kind = _kind(text, stage)
  program, cells = _program(kind, padded.fast)
  count = 5 if text == BLOCKS else 3
  students = padded_equality.random_cells(3, cells, count)
  assert len({kind.describe(one) for one in students}) > 2
  padded.check_equal(program, students, dtype)


@pytest.mark.parametrize(
  'text, kernels',
  [(BLOCKS, 9), (BLOCKS.replace('[C(12,3) C(14,3)]', '- -'), 6)],
)
def test_initial_weights_are_drawn_as_flax_draws_them(padded, text, kernels):
  """Convolutions, projections and the head; eight times as wide, for the test.

  Of the second block's shortcut and of the first's where its ends differ.
  """
  wide = _kind(_widened(BLOCKS), 'removal')
  student = wide.parse(_widened(text))
  assert padded.count_drawn_kernels(_network(wide), student) == kernels


def _widened(text):
  return layer_table.text_of(
    [
      layer and layer._replace(size=8 * layer.size)
      for layer in layer_table.read(text)
    ]
  )


def test_from_flax_restores_what_the_student_uses(padded):
  """The middle of a kernel, and the channels that there are."""
  kind = _kind(CHAIN, 'shrinkage')
  network = _network(kind)
  student = kind.parse('C(10,1) C(11,2) M(2,2) C(10,4,2) A(2,1) D(10)')
  flax = network.to_flax(padded.random_variables(network, student), student)
  back = network.from_flax(flax, student)
  again = network.to_flax(back, student)
  jax.tree.map(np.testing.assert_array_equal, again, flax)
  kernel = back['params']['layer1']['kernel']
  assert kernel.shape == (3, 3, 12, 14)
  assert kernel[1:, 1:, :10, :11].all()
  assert np.count_nonzero(kernel) == 4 * 10 * 11
  assert np.count_nonzero(back['params']['layer5']['kernel']) == 10 * 10


def test_several_students_at_once_are_each_what_they_are_alone(padded):
  """As an accelerator trains them: a removed layer becomes a choice."""
  kind = _kind('C(12,3) [C(14,3) C(12,3)] GAP', 'removal')
  network = _network(kind)
  texts = ('C(12,3) [C(14,3)] - GAP', 'C(12,3) - - GAP')
  students = [kind.parse(text) for text in texts]
  both = jax.tree.map(lambda *x: np.stack(x), *students)
  drawn = padded.random_variables(network, students[0])
  images = np.random.default_rng(1).normal(size=(4, 8, 8, 3))
  images = images.astype(np.float32)

  def loss(graph):
    logits, _ = network.apply(drawn, graph, images, True)
    return jnp.square(logits).mean()

  together = jax.jit(jax.vmap(loss), compiler_options=padded.fast)(both)
  alone = jax.jit(loss, compiler_options=padded.fast)
  np.testing.assert_allclose(together, [*map(alone, students)], rtol=1e-4)


def test_what_the_network_cannot_have_is_refused(padded):
  kind = _kind(CHAIN, 'removal')
  with pytest.raises(ValueError, match='network.width is 2'):
    kind.network(OPERATIONS, block.Macro((2,), (1,)), 10, 3)
  with pytest.raises(ValueError, match='network.num_stages=1'):
    kind.network(OPERATIONS, block.Macro((1, 2), (1, 1)), 10, 3)
  network, student = _network(kind), kind.parse(CHAIN)
  variables = padded.random_variables(network, student)
  with pytest.raises(ValueError, match='space is for 8'):
    network.apply(variables, student, jnp.zeros((1, 9, 9, 3)), True)
