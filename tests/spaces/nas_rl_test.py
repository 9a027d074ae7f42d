"""NAS-RL's space: all of a small one, against its rules written again."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import graph
from irlas_jax.policies import sampling
from irlas_jax.spaces import genotypes, nas_rl

SMALL = nas_rl.Sizes(
  num_layers=3, heights=(1,), widths=(1, 3), filters=(4,), pooled_layers=(2,)
)


@pytest.fixture(scope='module')
def space():
  return nas_rl.nas_rl(SMALL)


@pytest.fixture(scope='module')
def legal(space):
  """All legal sequences [M, T], and their graphs."""
  rows = np.zeros((1, space.num_steps), np.int32)
  masks = jax.jit(jax.vmap(space.legal, (0, None)))
  for t in range(space.num_steps):
    # Later actions are set, so that reading them would show.
    rows[:, t:] = 2
    which, action = np.nonzero(np.asarray(masks(rows, t)))
    rows = rows[which]
    rows[:, t] = action
  return rows, jax.device_get(jax.jit(jax.vmap(space.decode))(rows))


def _graphs(batch):
  return [graph.Graph(*row) for row in zip(*batch, strict=True)]


def _layers(i):
  """Texts of layer i, the rules in another form."""
  pool = ' P(2)' if i == 2 else ''
  subsets = itertools.product([False, True], repeat=i - 1)
  for width, chosen in itertools.product((1, 3), list(subsets)):
    read = [str(j) for j, yes in enumerate(chosen, start=1) if yes]
    yield f'C(1,{width},4){pool} from {" ".join(read or ["0"])}'


def test_the_legal_sequences_are_those_of_the_rules(legal):
  """None too many, none missing, and each another architecture."""
  texts = [nas_rl.text_of(one) for one in _graphs(legal[1])]
  expected = {
    '; '.join(words)
    for count in (1, 2, 3)
    for words in itertools.product(*(_layers(i + 1) for i in range(count)))
  }
  assert len(expected) == 2 + 2 * 4 + 2 * 4 * 8
  assert len(texts) == len(legal[0]) == len(expected)
  assert set(texts) == expected


def test_encode_is_the_inverse_of_decode(space, legal):
  encoded = jax.jit(jax.vmap(space.encode))(legal[1])
  np.testing.assert_array_equal(encoded, legal[0])


def test_texts_read_back(legal):
  for one in _graphs(legal[1])[::7]:
    parsed = nas_rl.parse(nas_rl.text_of(one), SMALL)
    jax.tree.map(np.testing.assert_array_equal, parsed, one)


def test_a_layer_without_an_input_reads_the_image(space, legal):
  """And no other layer does: the first repair of the paper."""
  for one in _graphs(legal[1]):
    for v in range(1, graph.size(one)):
      assert one.edges[0, v] == (not one.edges[1:, v].any())
    assert (one.edges[:, graph.size(one) :] == 0).all()


def test_layers_without_a_reader_are_classified(legal):
  """And no other node is: the second repair."""
  for one in _graphs(legal[1]):
    real = np.arange(4) < graph.size(one)
    unread = real & ~one.edges.any(axis=1)
    np.testing.assert_array_equal(one.outputs > 0, unread)
    assert not one.outputs[0] and one.outputs.any()


def test_an_architecture_by_hand():
  """Three layers; steps: sizes of layer 1, of 2, its skip, of 3, its skips."""
  sizes = nas_rl.Sizes(
    4, (1, 3), (5, 7), (24, 36, 48), strides=(1, 2), pooled_layers=(3,)
  )
  space = nas_rl.nas_rl(sizes)
  assert space.num_steps == 4 * 5 + 6 and space.anchors == (5, 10, 16, 23)
  first, second = [2, 1, 1, 2, 3], [1, 2, 1, 1, 1]
  third = [2, 2, 2, 2, 2]
  actions = [*first, *second, 1, *third, 2, 1, *7 * [0], 0]
  found = space.decode(jnp.array(actions))
  np.testing.assert_array_equal(found.ops, [0, 1, 1, 1, -1])
  np.testing.assert_array_equal(
    found.attrs[1:4],
    [[3, 5, 48, 1, 2, 1], [1, 7, 24, 1, 1, 1], [3, 7, 36, 2, 2, 2]],
  )
  np.testing.assert_array_equal(
    np.argwhere(found.edges), [(0, 1), (0, 2), (1, 3)]
  )
  np.testing.assert_array_equal(found.outputs, [0, 0, 1, 1, 0])
  assert nas_rl.text_of(jax.device_get(found)) == (
    'C(3,5,48) S(1,2) from 0; C(1,7,24) from 0; C(3,7,36) S(2,2) P(2) from 1'
  )


def test_random_architectures_of_every_size_come_back():
  """Strides, pools and all; shapes that enumeration does not reach."""
  sizes = nas_rl.Sizes(6, (1, 3), (1, 3, 5), (4, 6), (1, 2, 3), (2, 5))
  space = nas_rl.nas_rl(sizes)
  actions = sampling.uniform_lengths(jax.random.key(0), space, 200)
  graphs = jax.jit(jax.vmap(space.decode))(actions)
  again = jax.jit(jax.vmap(space.encode))(graphs)
  np.testing.assert_array_equal(again, actions)
  masks = jax.jit(jax.vmap(lambda row: sampling.legal_masks(space, row)))(again)
  own = np.take_along_axis(np.asarray(masks), np.asarray(again)[..., None], 2)
  assert own.all()
  # Where a layer could begin there is a choice; the end is the end.
  ended = np.cumsum(again == 0, axis=1) - (again == 0) > 0
  np.testing.assert_array_equal(np.asarray(masks)[ended].sum(1), 1)


def test_a_skip_is_legal_whatever_the_others_of_its_layer(space, legal):
  """A policy chooses them together, before any of them is known."""
  mask_fn = jax.jit(space.legal)
  deep = legal[0][(legal[0] > 0).all(axis=1)]
  for row in deep[:5]:
    for blank in (0, 1, 2):
      hidden = jnp.array(row).at[space.anchors[2] :].set(blank)
      for step in range(space.anchors[2], space.anchors[2] + 2):
        np.testing.assert_array_equal(mask_fn(hidden, step), [0, 1, 1])


def test_the_value_table_knows_step_and_last_action(space, legal):
  rows_of = jax.jit(jax.vmap(jax.vmap(space.state, (None, 0)), (0, None)))
  steps = np.arange(space.num_steps)
  rows = np.asarray(rows_of(legal[0], steps))
  last = np.pad(legal[0][:, :-1], ((0, 0), (1, 0)))
  np.testing.assert_array_equal(rows, steps * space.num_actions + last)
  assert rows.max() < space.num_states


def test_the_paper_s_space_by_hand():
  """Three sizes of four choices; 20 layers have 190 skips."""
  space = nas_rl.nas_rl()
  assert (space.num_steps, space.num_actions) == (20 * 3 + 190, 5)
  assert [nas_rl.num_steps(n, nas_rl.PAPER) for n in (1, 6)] == [3, 33]
  assert list(nas_rl.fields(nas_rl.PAPER)) == ['height', 'width', 'filters']
  assert list(nas_rl.fields(nas_rl.PAPER._replace(strides=(1, 2, 3)))) == [
    *('height', 'width', 'stride_height', 'stride_width', 'filters')
  ]


@pytest.mark.parametrize(
  'text, words',
  [
    ('', ["layer 1, '', is no layer"]),
    ('C(1,1,4)', ['is no layer; write one as']),
    ('C(1,1,4) from 0; C(1,5,4) P(2) from 1', ['layer 2', 'has 5', 'widths']),
    ('C(1,1,4) S(2,1) from 0', ['layer 1', 'has 2, and space.strides']),
    ('C(1,1,4) from 0; C(1,1,4) from 1', ['layer 2', 'is to have P(2)']),
    ('C(1,1,4) P(2) from 0', ['layer 1', 'is to have P(2)']),
    ('C(1,1,4) from 1', ['layer 1', 'reads what is not before it']),
    ('C(1,1,4) from 0; C(1,1,4) P(2) from 0 1', ['layer 2', '0 alone']),
    ('; '.join(4 * ['C(1,1,4) from 0']), ['4 layers: at most 3']),
  ],
)
def test_what_is_no_architecture_is_refused_with_its_place(text, words):
  with pytest.raises(genotypes.GenotypeError) as error:
    nas_rl.parse(text, SMALL)
  message = str(error.value)
  assert all(word in message for word in [repr(text), *words]), message
  assert '\n' not in message


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('num_layers', 0, 'space.num_layers is 0: at least 1'),
    ('heights', (), r'space.heights is \(\): give one or more'),
    ('widths', (1, 2), 'odd ones'),
    ('filters', (4, 4), 'none twice'),
    ('strides', (0, 1), 'at least 1'),
    ('pooled_layers', (4,), 'layers are 1 to 3'),
  ],
)
def test_sizes_that_make_no_space_are_refused(field, value, words):
  with pytest.raises(ValueError, match=words):
    nas_rl.nas_rl(SMALL._replace(**{field: value}))
