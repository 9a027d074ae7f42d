"""NAS-RL's recurrent cells: the paper's example, graphs, texts and steps."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import experts, graph
from irlas_jax.policies import sampling
from irlas_jax.spaces import genotypes
from irlas_jax.spaces import nas_rl_recurrent as cells

pytestmark = pytest.mark.usefixtures('quick_compiles')
SPACE = cells.nas_rl_recurrent()
# Section 3.4 of the paper, with base number 2.
PAPER = (
  'add tanh, elem_mult relu, elem_mult sigmoid; inject: add relu into 0; '
  'cell: 1'
)


@pytest.fixture(name='sampled', scope='module')
def fixture_sampled():
  """Actions [24, T] and their graphs; every injection among them."""

  @jax.jit
  def sample(key):
    actions = sampling.uniform_actions(key, SPACE, 24)
    actions = actions.at[:, -1].set(jnp.arange(24) % 15)
    return actions, jax.vmap(SPACE.decode)(actions)

  actions, graphs = jax.device_get(sample(jax.random.key(0)))
  return actions, graph.cells(graph.Graph(*graphs))


def test_the_papers_example_has_the_papers_equations():
  assert cells.equations(cells.parse(PAPER, 2)) == [
    'a0 = tanh(W1 x + W2 h)',
    "a0' = relu(a0 + c)",
    'a1 = relu((W3 x) * (W4 h))',
    "a2 = sigmoid(a0' * a1)",
    'h_t = a2',
    'c_t = (W3 x) * (W4 h)',
  ]


def test_the_papers_example_is_these_steps_in_the_papers_order():
  """Add Tanh, ElemMult ReLU, ElemMult Sigmoid, inject Add ReLU, index 1 0."""
  space = cells.nas_rl_recurrent(2)
  found = np.asarray(space.encode(cells.parse(PAPER, 2)))
  assert found.tolist() == [0, 1, 1, 3, 1, 2, 0, 3, 1, 0]


def test_the_papers_example_as_a_graph():
  found = cells.parse(PAPER, 2)
  names = [cells.OPERATIONS[op] for op in found.ops]
  assert names == [
    *('input', 'hidden', 'cell', 'add', 'tanh'),
    *('add', 'relu', 'elem_mult', 'relu', 'elem_mult', 'sigmoid'),
  ]
  edges = {(0, 3), (1, 3), (3, 4), (2, 5), (4, 5), (5, 6)}
  edges |= {(0, 7), (1, 7), (7, 8), (6, 9), (8, 9), (9, 10)}
  assert set(map(tuple, np.argwhere(found.edges).tolist())) == edges
  assert found.outputs.tolist() == [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1]


def test_the_space_is_as_large_as_the_paper_says():
  """About 6 x 10^16 with base 8."""
  masks = sampling.legal_masks(SPACE, jnp.zeros(SPACE.num_steps, jnp.int32))
  sizes = np.asarray(masks).sum(1)
  assert sizes.tolist() == 16 * [2, 4] + [15, 15]
  assert math.prod(sizes.tolist()) == pytest.approx(6e16, rel=0.06)
  assert (SPACE.num_steps, SPACE.num_actions) == (34, 15)


def test_a_value_table_tells_steps_and_previous_actions_apart():
  actions = jnp.arange(34) % 2
  rows = [int(SPACE.state(actions, t)) for t in range(34)]
  assert len(set(rows)) == 34 and max(rows) < SPACE.num_states


def test_graphs_encode_back(sampled):
  actions, graphs = sampled
  batch = graph.Graph(*map(np.stack, zip(*graphs, strict=True)))
  encoded = jax.jit(jax.vmap(SPACE.encode))(batch)
  np.testing.assert_array_equal(encoded, actions)


def test_every_graph_is_a_tree_with_one_injection(sampled):
  _, graphs = sampled
  for one in graphs:
    assert not np.tril(one.edges).any() and (one.ops >= 0).all()
    names = np.array(cells.OPERATIONS)[one.ops]
    reads = one.edges.sum(0)
    assert (reads[np.isin(names, cells.COMBINERS)] == 2).all()
    assert (reads[np.isin(names, cells.ACTIVATIONS)] == 1).all()
    assert one.edges.sum(1)[:3].tolist() == [8, 8, 1]
    assert sorted(one.outputs.tolist())[-2:] == [1, 2]
    assert one.edges.sum(1)[one.outputs == 1] == 0
    assert names[one.outputs == 2] in cells.COMBINERS


def test_text_reads_back_in_any_numbering(sampled):
  for one in sampled[1]:
    text = cells.text_of(one)
    again = cells.parse(text)
    jax.tree.map(np.testing.assert_array_equal, again, one)
    canonical = graph.canonical(one)
    renumbered = cells.parse(cells.text_of(canonical))
    assert graph.digest(renumbered) == graph.digest(one)
    assert cells.text_of(graph.canonical(renumbered)) == cells.text_of(
      canonical
    )


def test_siblings_have_no_order_and_all_else_has():
  """Swapped leaves are the same cell; another choice is another one."""
  name = graph.digest(cells.parse(PAPER, 2))
  swapped = (
    'elem_mult relu, add tanh, elem_mult sigmoid; inject: add relu into 1; '
    'cell: 0'
  )
  assert graph.digest(cells.parse(swapped, 2)) == name
  others = [
    PAPER.replace('sigmoid', 'tanh'),
    PAPER.replace('add tanh', 'elem_mult tanh'),
    PAPER.replace('into 0', 'into 2'),
    PAPER.replace('cell: 1', 'cell: 0'),
    PAPER.replace('inject: add', 'inject: elem_mult'),
  ]
  names = {graph.digest(cells.parse(text, 2)) for text in others}
  assert len(names) == 5 and name not in names


def test_all_cells_of_one_injection_have_other_texts():
  """Base 2: 8^3 trees, and as many texts."""
  space = cells.nas_rl_recurrent(2)
  rows = [
    (*row, 0, 1, 2, 1)
    for row in itertools.product((0, 1), (0, 1, 2, 3), (1,), (2,), (0,), (0, 3))
  ]
  decode = jax.jit(jax.vmap(space.decode))
  graphs = jax.device_get(decode(np.array(rows, np.int32)))
  texts = {cells.text_of(one) for one in graph.cells(graph.Graph(*graphs))}
  assert len(texts) == len(rows) == 16


def test_the_expert_is_an_lstm():
  """Its equations, but for the sums of matrices that make a gate."""
  lines = cells.equations(cells.parse(experts.RECURRENT_CELLS['lstm']))
  assert lines[8:] == [
    'a8 = sigmoid(a0 + a1)',
    "a8' = a8 * c",
    'a9 = a2 * a3',
    'a10 = a4 + a5',
    'a11 = a6 + a7',
    "a12 = tanh(a8' + a9)",
    'a13 = sigmoid(a10 + a11)',
    'a14 = a12 * a13',
    'h_t = a14',
    "c_t = a8' + a9",
  ]


@pytest.mark.parametrize(
  'text, words',
  [
    ('nonesuch', ["'nonesuch'", 'written like add tanh']),
    (PAPER.replace('add tanh, ', ''), ['2 nodes', 'space.base=2', '3']),
    (PAPER.replace('add tanh', 'tanh'), ["node 0, 'tanh'"]),
    (PAPER.replace('elem_mult relu', 'sub relu'), ['node 1', "'sub'", 'add']),
    (PAPER.replace('sigmoid', 'swish'), ['node 2', "'swish'", 'identity']),
    (PAPER.replace('add relu into', 'add add into'), ['injection', "'add'"]),
    (PAPER.replace('into 0', 'into 3'), ['inject names node 3', '0 to 2']),
    (PAPER.replace('cell: 1', 'cell: 9'), ['cell names node 9', '0 to 2']),
  ],
)
def test_what_is_no_cell_is_refused_with_its_place(text, words):
  with pytest.raises(genotypes.GenotypeError) as error:
    cells.parse(text, 2)
  message = str(error.value)
  assert all(word in message for word in words), message
  assert '\n' not in message


@pytest.mark.parametrize('base', [0, 1, 3, 6])
def test_a_tree_that_is_not_complete_is_refused(base):
  with pytest.raises(ValueError, match=f'space.base is {base}'):
    cells.nas_rl_recurrent(base)
