"""The block space against its rules, written again in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.spaces import block

SINGLES = {
  'dense': [('conv', 1), ('conv', 3), ('conv', 5)],
  'separable': [('sep_conv', 1), ('sep_conv', 3), ('sep_conv', 5)],
}
for _rows in SINGLES.values():
  _rows += [('max_pool', 1), ('max_pool', 3), ('avg_pool', 1), ('avg_pool', 3)]
  _rows += [('identity', 0)]
SPACES = [(t, ops) for t in (1, 3, 6, 23) for ops in SINGLES]


def _layers(operations, index):
  """What layer `index` (from 1) may be, by the rules: a set of choices."""
  singles = {
    (name, kernel, (p,))
    for name, kernel in SINGLES[operations]
    for p in range(index)
  }
  merges = {
    (name, 0, (q, p))
    for name in ('add', 'concat')
    for p in range(index)
    for q in range(p)
  }
  return singles | merges


def _blocks(num_layers, operations, n):
  """Random blocks of every length, as lists of choices."""
  rng = np.random.default_rng(num_layers)
  options = [sorted(_layers(operations, t + 1)) for t in range(num_layers)]
  return [
    [options[t][rng.integers(len(options[t]))] for t in range(length)]
    for length in rng.integers(1, num_layers + 1, size=n)
  ]


def _actions(blocks, num_layers, operations):
  """The table's row of every layer, 0 after the last: [n, T] int32."""
  table = block.choices(num_layers, operations)
  row = {tuple(choice): action for action, choice in enumerate(table, 1)}
  actions = np.zeros((len(blocks), num_layers), np.int32)
  for i, layers in enumerate(blocks):
    actions[i, : len(layers)] = [row[layer] for layer in layers]
  return actions


def _graph(layers, num_layers):
  """ops, kernels, edges and outputs of a block, node by node."""
  ops, kernels = np.full(num_layers + 1, -1), np.zeros(num_layers + 1, int)
  edges = np.zeros((num_layers + 1, num_layers + 1), bool)
  ops[0] = 0
  for v, (name, kernel, preds) in enumerate(layers, start=1):
    ops[v], kernels[v] = block.OPERATIONS.index(name), kernel
    for pred in preds:
      edges[pred, v] = True
  read = {pred for _, _, preds in layers for pred in preds}
  outputs = [v <= len(layers) and v not in read for v in range(num_layers + 1)]
  return ops, kernels[:, None], edges, np.array(outputs)


@pytest.mark.parametrize('num_layers, operations', SPACES)
def test_exactly_the_layers_of_the_rules_are_legal(num_layers, operations):
  """8 t single-input layers and t (t - 1) merges at index t, and the end."""
  space = block.block(num_layers, operations)
  table = [None, *map(tuple, block.choices(num_layers, operations))]
  assert len(set(table)) == space.num_actions
  legal = jax.jit(space.legal)
  actions = jnp.ones(num_layers, jnp.int32)  # nothing has ended
  for t in range(num_layers):
    allowed = np.flatnonzero(legal(actions, t))
    expected = _layers(operations, t + 1)
    assert {table[a] for a in allowed if a} == expected
    assert (0 in allowed) == (t > 0), 'a block has at least one layer'
    index = t + 1
    assert len(expected) == 8 * index + index * (index - 1)


@pytest.mark.parametrize('jit', [True, False])
def test_after_the_terminal_only_the_terminal_is_legal(jit):
  space = block.block(4, 'dense')
  legal = jax.jit(space.legal) if jit else space.legal
  actions = jnp.array([3, 0, 0, 0])
  for t in (2, 3):
    np.testing.assert_array_equal(np.flatnonzero(legal(actions, t)), [0])


@pytest.mark.parametrize('num_layers, operations', SPACES)
def test_random_blocks_are_legal_at_every_step(num_layers, operations):
  blocks = _blocks(num_layers, operations, 100)
  actions = _actions(blocks, num_layers, operations)
  space = block.block(num_layers, operations)
  steps = jnp.arange(num_layers)
  masks = jax.vmap(jax.vmap(space.legal, (None, 0)), (0, None))
  allowed = np.asarray(jax.jit(masks)(actions, steps))
  assert np.take_along_axis(allowed, actions[..., None], 2).all()


@pytest.mark.parametrize('jit', [True, False])
def test_legal_and_state_read_earlier_actions_only(jit):
  """A sampler holds anything in the entries that are not chosen yet."""
  space = block.block(6, 'separable')

  def both(actions, t):
    return space.legal(actions, t), space.state(actions, t)

  both = jax.jit(both) if jit else both
  rng = np.random.default_rng(0)
  for actions in _actions(_blocks(6, 'separable', 10), 6, 'separable'):
    for t in range(6):
      changed = actions.copy()
      changed[t:] = rng.integers(space.num_actions, size=6 - t)
      before, after = both(jnp.array(actions), t), both(jnp.array(changed), t)
      np.testing.assert_array_equal(before[0], after[0])
      assert before[1] == after[1]


@pytest.mark.parametrize('num_layers, operations', SPACES)
def test_decode_gives_the_block_and_encode_its_actions(num_layers, operations):
  """Outputs are the layers that nobody reads; under jit and vmap."""
  space = block.block(num_layers, operations)
  blocks = _blocks(num_layers, operations, 200)
  actions = _actions(blocks, num_layers, operations)
  graphs = jax.jit(jax.vmap(space.decode))(actions)
  for i, layers in enumerate(blocks):
    rows = [field[i] for field in graphs]
    for field, row, want in zip(
      graphs._fields, rows, _graph(layers, num_layers), strict=True
    ):
      np.testing.assert_array_equal(row, want, err_msg=f'{field} of {layers}')
  back = jax.jit(jax.vmap(space.encode))(graphs)
  np.testing.assert_array_equal(back, actions)
  again = jax.vmap(space.decode)(back)
  for field, want in zip(again, graphs, strict=True):
    np.testing.assert_array_equal(field, want)
    assert field.dtype == want.dtype


def test_decode_and_encode_without_jit():
  space = block.block(6, 'dense')
  for actions in _actions(_blocks(6, 'dense', 5), 6, 'dense'):
    np.testing.assert_array_equal(space.encode(space.decode(actions)), actions)


def test_dtypes_are_those_of_the_contract():
  space = block.block(3)
  graph = space.decode(jnp.array([1, 2, 0]))
  dtypes = [field.dtype for field in graph]
  assert dtypes == [jnp.int32, jnp.int32, jnp.bool_, jnp.int8]
  assert space.encode(graph).dtype == jnp.int32
  assert space.state(jnp.array([1, 2, 0]), 1).dtype == jnp.int32


@pytest.mark.parametrize('num_layers, operations', SPACES)
def test_every_step_and_previous_action_has_its_own_state(
  num_layers, operations
):
  space = block.block(num_layers, operations)
  previous = jnp.arange(space.num_actions)

  def at(t):
    return jax.vmap(
      lambda a: space.state(jnp.full(num_layers, a, jnp.int32), t)
    )(previous)

  states = np.asarray(jax.jit(jax.vmap(at))(jnp.arange(num_layers)))
  assert states.min() >= 0 and states.max() < space.num_states
  assert len(set(states[0])) == 1, 'nothing comes before the first step'
  later = states[1:].ravel().tolist()
  assert len({states[0, 0], *later}) == len(later) + 1


def test_an_operation_that_the_space_lacks_encodes_as_minus_one():
  """What the parser needs to name the layer."""
  graph = block.block(3, 'dense').decode(jnp.array([4, 1, 0]))
  actions = block.block(3, 'separable').encode(graph)
  np.testing.assert_array_equal(actions, [4, -1, 0])  # max_pool 1, conv


def test_sizes_of_the_largest_space():
  """8 * 23 single-input choices, 23 * 22 merges and the terminal."""
  space = block.block()
  assert (space.num_steps, space.num_actions) == (23, 691)
  assert space.num_states == 23 * 691
  assert space.attributes == ('kernel',)
  assert space.operations[0] == 'input'


@pytest.mark.parametrize('num_layers', [-1, 0, 24])
def test_a_number_of_layers_out_of_range_is_refused(num_layers):
  with pytest.raises(ValueError, match=f'num_layers is {num_layers}.*1 to 23'):
    block.block(num_layers)


def test_an_unknown_operation_set_is_refused_with_the_known_ones():
  with pytest.raises(ValueError, match="'mixed'.*dense, separable"):
    block.block(4, 'mixed')
