"""Students by hand: what may be removed and shrunk, and what follows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import graph as graphs
from irlas_jax.policies import sampling
from irlas_jax.spaces import genotypes, layer_table, n2n

pytestmark = pytest.mark.usefixtures('quick_compiles')

CHAIN = 'C(20,3) C(20,3) C(20,3) M(2,2) C(40,5,2) A(2,2) D(30)'
BLOCKS = 'C(20,3) [C(16,3) C(20,3)] [C(40,3,2) C(40,3)] GAP'
_ALL = len(n2n.PERCENTS) - 1


def _teacher(text):
  return layer_table.read(text)


def _text(space, actions):
  return n2n.text_of(jax.device_get(space.decode(jnp.asarray(actions))))


@pytest.mark.parametrize('text, free', [(CHAIN, [1, 2]), (BLOCKS, [1, 2, 4])])
def test_what_may_be_removed(text, free):
  """Not the first layer, pools, strides and dense layers."""
  space = n2n.n2n(_teacher(text), 'removal')
  masks = np.asarray(
    sampling.legal_masks(space, jnp.ones(space.num_steps, int))
  )
  assert masks[:, n2n.KEEP].all()
  assert np.flatnonzero(masks[:, n2n.REMOVE]).tolist() == free
  np.testing.assert_array_equal(n2n.removable(_teacher(text)), masks[:, 0])


@pytest.mark.parametrize(
  'actions, expected',
  [
    ([1, 1, 1, 1, 1, 1], BLOCKS),
    ([1, 0, 1, 1, 0, 1], 'C(20,3) - [C(20,3)] [C(40,3,2)] - GAP'),
    ([1, 1, 0, 1, 1, 1], 'C(20,3) [C(16,3)] - [C(40,3,2) C(40,3)] GAP'),
    ([1, 0, 0, 1, 1, 1], 'C(20,3) - - [C(40,3,2) C(40,3)] GAP'),
  ],
)
def test_shortcuts_follow_what_is_removed(actions, expected):
  """One goes around what is left; around nothing there is none."""
  space = n2n.n2n(_teacher(BLOCKS), 'removal')
  assert _text(space, actions) == expected


def test_the_edges_of_a_shortcut():
  space = n2n.n2n(_teacher(BLOCKS), 'removal')
  found = jax.device_get(space.decode(jnp.array([1, 1, 1, 1, 0, 1])))
  edges = set(map(tuple, np.argwhere(found.edges).tolist()))
  chain = {(v, v + 1) for v in range(5)}
  # Around one convolution it is the chain's own edge.
  assert edges == chain | {(1, 3)}
  assert found.attrs[:6, 3].tolist() == [0, 0, 1, 0, 1, 0]
  assert found.attrs[:6, 4].tolist() == [0, 0, 0, 1, 1, 0]
  assert found.outputs.tolist() == [0, 0, 0, 0, 0, 1, 0]
  assert found.ops[6] == -1


def test_equal_neighbours_are_told_apart_by_their_number_only():
  """Else one network would be trained twice under two names."""
  space = n2n.n2n(_teacher(CHAIN), 'removal')
  rows = [[1, 0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1, 1]]
  assert len({_text(space, row) for row in rows}) == 1
  assert _text(space, rows[0]) == CHAIN.replace('C(20,3) M', '- M')


def test_shrinkage_by_hand():
  """Kernel, then size, of each layer: 25, 60 and 90 % of them, rounded down."""
  space = n2n.n2n(_teacher(CHAIN), 'shrinkage')
  actions = [0, 0, 6, 6, 9, 9, _ALL, _ALL, 6, 1, _ALL, _ALL, _ALL, 8]
  assert space.num_steps == len(actions) == 2 * 7
  assert _text(space, actions) == (
    'C(10,1) C(12,1) C(18,2) M(2,2) C(20,3,2) A(2,2) D(24)'
  )


def test_what_may_be_shrunk():
  """In a chain kernels and sizes; with shortcuts blocks' first filters."""
  for text, expected in (
    (CHAIN, [0, 1, 2, 3, 4, 5, 8, 9, 13]),
    (BLOCKS, [3, 7]),
  ):
    space = n2n.n2n(_teacher(text), 'shrinkage')
    nothing = jnp.zeros(space.num_steps, jnp.int32)
    masks = np.asarray(sampling.legal_masks(space, nothing))
    assert masks[:, _ALL].all()
    assert np.flatnonzero(masks.sum(1) > 1).tolist() == expected


@pytest.mark.parametrize('stage', n2n.STAGES)
@pytest.mark.parametrize('text', [CHAIN, BLOCKS])
def test_codes_and_texts_come_back(stage, text):
  teacher = _teacher(text)
  space = n2n.n2n(teacher, stage)

  @jax.jit
  def both(key):
    actions = sampling.uniform_actions(key, space, 8)
    found = jax.vmap(space.decode)(actions)
    return found, jax.vmap(lambda g: space.decode(space.encode(g)))(found)

  found, again = jax.device_get(both(jax.random.key(0)))
  jax.tree.map(np.testing.assert_array_equal, found, again)
  for i in range(8):
    one = jax.tree.map(lambda x, i=i: x[i], found)
    parsed = n2n.parse(n2n.text_of(one), teacher)
    jax.tree.map(np.testing.assert_array_equal, parsed, one)
    # As it is trained: in its canonical numbering, which is its own.
    jax.tree.map(np.testing.assert_array_equal, graphs.canonical(one), one)


@pytest.mark.parametrize(
  'text, words',
  [
    ('C(20,3) C(20,3)', '2 layers, and its teacher 7'),
    (CHAIN.replace('C(20,3) M', 'C(21,3) M'), 'layer 3 is larger'),
    (CHAIN.replace('C(40,5,2)', 'C(40,7,2)'), 'layer 5 is larger'),
    (CHAIN.replace('C(40,5,2)', 'C(40,5)'), 'layer 5 is another one'),
    (CHAIN.replace('M(2,2)', '-'), 'layer 4 is removed, which it may not'),
    (CHAIN.replace('A(2,2)', 'A(1,2)'), 'layer 6 pools other windows'),
    (CHAIN.replace('C(40,5,2)', '[C(40,5,2)]'), 'brackets stand elsewhere'),
  ],
)
def test_what_is_no_student_is_refused_by_its_layer(text, words):
  with pytest.raises(genotypes.GenotypeError, match=words):
    n2n.parse(text, _teacher(CHAIN))


def test_what_is_no_space_is_refused():
  with pytest.raises(ValueError, match="stage is 'both'"):
    n2n.n2n(_teacher(CHAIN), 'both')
  with pytest.raises(ValueError, match='without removed layers'):
    n2n.n2n(_teacher('C(20,3) - D(5)'), 'removal')


def test_listed_students_are_chosen_by_number():
  teacher = _teacher(CHAIN)
  texts = layer_table.uniform(CHAIN, (50, 90))
  both = jax.tree.map(
    lambda *x: np.stack(x), *(n2n.parse(text, teacher) for text in texts)
  )
  space = n2n.listed(n2n.n2n(teacher, 'removal'), both)
  assert [_text(space, [i]) for i in (0, 1)] == texts


def test_what_a_policy_sees_of_a_layer():
  """The same layer looks the same in every teacher."""
  table = n2n.n2n(_teacher(BLOCKS), 'removal').layers
  assert np.shape(table) == (6, 10)
  expected = [1, 0, 0, 0, 0, 0.6, 0.5, np.log2(17) / 10, 1, 0]
  np.testing.assert_allclose(table[1], expected, rtol=1e-6)
  alone = n2n.n2n(_teacher('C(9,1) ' + BLOCKS), 'shrinkage').layers
  assert alone[1:] == table
