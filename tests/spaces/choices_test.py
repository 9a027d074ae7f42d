"""Independent choices, against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.policies import sampling
from irlas_jax.spaces import choices, genotypes

pytestmark = pytest.mark.usefixtures('quick_compiles')
SIZES = (3, 1, 4)
EVERYTHING = np.array(list(itertools.product(*map(range, SIZES))), np.int32)


@pytest.fixture(name='space', scope='module')
def fixture_space():
  return choices.choices(SIZES)


def test_the_graph_is_a_chain_of_what_was_chosen(space):
  found = space.decode(np.array([2, 0, 3]))
  assert found.ops.tolist() == [0, 1, 2, 3]
  assert found.attrs.tolist() == [[0], [2], [0], [3]]
  assert np.argwhere(found.edges).tolist() == [[0, 1], [1, 2], [2, 3]]
  assert found.outputs.tolist() == [0, 0, 0, 1]
  assert [str(field.dtype) for field in found] == [
    'int32', 'int32', 'bool', 'int8'
  ]  # fmt: skip
  assert space.operations[1:] == ('step 0', 'step 1', 'step 2')


@pytest.mark.parametrize('jit', (True, False))
def test_encode_undoes_decode(space, jit):
  both = jax.vmap(lambda actions: space.encode(space.decode(actions)))
  found = (jax.jit(both) if jit else both)(EVERYTHING)
  np.testing.assert_array_equal(found, EVERYTHING)


def test_every_step_has_its_own_choices_whatever_came_before(space):
  masks = jax.jit(jax.vmap(lambda a: sampling.legal_masks(space, a)))
  expected = [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]]
  for found in masks(EVERYTHING):
    np.testing.assert_array_equal(found, expected)


def test_a_value_table_tells_step_and_previous_action_apart(space):
  """Two of these in one row would share what was learnt of either."""
  states = jax.jit(jax.vmap(jax.vmap(space.state, (None, 0)), (0, None)))(
    EVERYTHING, jnp.arange(3)
  )
  known: dict[int, set] = {}
  for actions, row in zip(EVERYTHING.tolist(), states.tolist(), strict=True):
    for t, state in enumerate(row):
      known.setdefault(state, set()).add((t, actions[t - 1] if t else None))
  assert all(len(prefixes) == 1 for prefixes in known.values())
  assert sorted(known) == [0, 4, 5, 6, 8]
  assert max(known) < space.num_states == 12


def test_the_state_reads_no_later_action(space):
  """Before step 0 there is none: the last one must not stand in for it."""
  for actions in EVERYTHING:
    assert int(space.state(jnp.asarray(actions), 0)) == 0


def test_samples_are_spread_over_everything(space):
  """12 architectures, each in a twelfth of 3,000 draws."""
  sample = jax.jit(sampling.uniform_actions, static_argnums=(1, 2))
  found = sample(jax.random.key(0), space, 3000)
  codes = np.ravel_multi_index(np.asarray(found).T, SIZES)
  counts = np.bincount(codes, minlength=12)
  np.testing.assert_allclose(counts, 250, atol=75)  # five deviations


def test_text_and_graph_say_the_same(space):
  for actions in EVERYTHING:
    text = '-'.join(map(str, actions))
    parsed = choices.parse(text, SIZES)
    assert choices.text_of(parsed) == text
    for found, expected in zip(parsed, space.decode(actions), strict=True):
      assert isinstance(found, np.ndarray) and found.dtype == expected.dtype
      np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  'text',
  ['', '-', '0-0', '0-0-0-0', '3-0-0', '0-1-0', '0-0-4', '0--0', 'a-0-0',
   '-1-0-0', '0-0-1.0', '1 -0-0'],
)  # fmt: skip
def test_other_texts_are_refused_with_the_largest_choices(text):
  with pytest.raises(genotypes.GenotypeError, match='2-0-3') as error:
    choices.parse(text, SIZES)
  assert repr(text) in str(error.value)


@pytest.mark.parametrize('sizes', [(), (2, 0), (-1,)])
def test_a_step_without_a_choice_is_refused(sizes):
  with pytest.raises(ValueError, match='one step or more'):
    choices.choices(sizes)
