"""NASNet's cells: steps, graphs and texts, by hand and against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import experts, graph
from irlas_jax.policies import sampling
from irlas_jax.spaces import genotypes, nasnet

pytestmark = pytest.mark.usefixtures('quick_compiles')
SPACE = nasnet.nasnet(5)
# The state that nobody reads in the normal cell is the second block's; in the
# reduction cell also the previous input.
TEXT = (
  'normal: add(sep_conv_3x3 0, identity 1) concat(max_pool_7x7 2, conv_1x1 2); '
  'reduction: concat(identity 0, identity 0) add(avg_pool_3x3 0, conv_3x3 2)'
)


@pytest.fixture(name='sampled', scope='module')
def fixture_sampled():
  """Actions [30, T] and their architectures."""

  @jax.jit
  def sample(key):
    actions = sampling.uniform_actions(key, SPACE, 30)
    return actions, jax.vmap(SPACE.decode)(actions)

  actions, graphs = jax.device_get(sample(jax.random.key(0)))
  return actions, graphs


def test_there_are_fifty_predictions_over_thirteen_operations():
  """The paper's 2 x 5B softmaxes; a block may read all earlier ones."""
  assert SPACE.num_steps == 50
  assert len(nasnet.BLOCK_OPERATIONS) == SPACE.num_actions == 13
  masks = sampling.legal_masks(SPACE, jnp.zeros(50, jnp.int32))
  sizes = [5 * [0] for _ in range(5)]
  for b in range(5):
    sizes[b] = [2 + b, 2 + b, 13, 13, 2]
  assert masks.sum(1).tolist() == 2 * sum(sizes, [])
  assert nasnet.nasnet(12).num_actions == 13
  assert nasnet.nasnet(13).num_actions == 14, 'the last block reads 14 states'


def test_a_value_table_tells_steps_and_previous_actions_apart():
  actions = jnp.arange(50) % 3
  rows = [int(SPACE.state(actions, t)) for t in range(50)]
  assert len(set(rows)) == 50 and max(rows) < SPACE.num_states


def test_graphs_encode_back(sampled):
  actions, graphs = sampled
  encoded = jax.jit(jax.vmap(SPACE.encode))(graphs)
  np.testing.assert_array_equal(encoded, actions)


def test_a_graph_by_hand():
  parsed = nasnet.parse(TEXT)
  assert [nasnet.OPERATIONS[op] for op in parsed.ops[0]] == [
    *('input', 'previous', 'sep_conv_3x3', 'identity', 'add'),
    *('max_pool_7x7', 'conv_1x1', 'concat'),
  ]
  edges = {(0, 2), (1, 3), (2, 4), (3, 4), (4, 5), (4, 6), (5, 7), (6, 7)}
  assert set(map(tuple, np.argwhere(parsed.edges[0]).tolist())) == edges
  edges = {(0, 2), (0, 3), (2, 4), (3, 4), (0, 5), (4, 6), (5, 7), (6, 7)}
  assert set(map(tuple, np.argwhere(parsed.edges[1]).tolist())) == edges
  assert np.flatnonzero(parsed.outputs[0]).tolist() == [7]
  assert np.flatnonzero(parsed.outputs[1]).tolist() == [1, 7]
  np.testing.assert_array_equal(parsed.attrs[..., 0], [[0] * 8, [1] * 8])


def test_every_sampled_graph_is_topological_and_loses_no_state(sampled):
  _, graphs = sampled
  assert not np.tril(graphs.edges).any()
  reads = graphs.edges.sum(-2)
  assert (reads[..., 0] == 0).all() and (reads[..., 1] == 0).all()
  merges = graphs.ops >= nasnet.OPERATIONS.index('add')
  assert (reads[merges] == 2).all() and merges.sum() == 30 * 2 * 5
  assert (reads[~merges & (graphs.ops > 1)] == 1).all()
  np.testing.assert_array_equal(graphs.outputs > 0, ~graphs.edges.any(-1))


def test_text_says_the_same_in_any_numbering(sampled):
  for one in graph.cells(graph.Graph(*sampled[1]))[:10]:
    again = nasnet.parse(nasnet.text_of(one))
    jax.tree.map(np.testing.assert_array_equal, again, one)
    canonical = graph.canonical(one)
    renumbered = nasnet.parse(nasnet.text_of(canonical))
    assert graph.digest(renumbered) == graph.digest(one)
  assert nasnet.text_of(nasnet.parse(TEXT)) == TEXT


def test_swapping_what_has_no_order_is_the_same_architecture():
  """And swapping the two cells, or two inputs, is not."""
  name = graph.digest(nasnet.parse(TEXT))
  same = TEXT.replace(
    'add(sep_conv_3x3 0, identity 1)', 'add(identity 1, sep_conv_3x3 0)'
  )
  assert graph.digest(nasnet.parse(same)) == name
  normal, reduction = TEXT.removeprefix('normal: ').split('; reduction: ')
  for other in (
    TEXT.replace('sep_conv_3x3 0, identity 1', 'sep_conv_3x3 1, identity 0'),
    f'normal: {reduction}; reduction: {normal}',
  ):
    assert graph.digest(nasnet.parse(other)) != name


def test_a_given_concatenation_is_kept():
  """As the released NASNet-A has one; states that nobody reads stay in it."""
  text = experts.NASNET_CELLS['nasnet_a_released']
  parsed = nasnet.parse(text, 5)
  assert nasnet.text_of(parsed) == text
  assert (parsed.outputs > 0).sum(1).tolist() == [6, 4]
  plain = nasnet.parse(experts.NASNET_CELLS['nasnet_a'], 5)
  assert (plain.outputs > 0).sum(1).tolist() == [5, 3]
  assert graph.digest(parsed) != graph.digest(plain)


def test_flat_is_both_cells_and_back(sampled):
  one = graph.cells(graph.Graph(*sampled[1]))[0]
  seen = jax.device_get(nasnet.flat(one))
  assert seen.ops.shape == (36,) and (seen.ops >= 0).all()
  assert seen.edges[:18, :18].sum() == one.edges[0].sum() + one.outputs[0].sum()
  assert not seen.edges[:18, 18:].any() and not seen.edges[18:, :18].any()
  assert np.flatnonzero(seen.outputs).tolist() == [17, 35]
  assert nasnet.OPERATIONS[seen.ops[17]] == 'concat'
  back = jax.device_get(nasnet.unflat(seen))
  jax.tree.map(np.testing.assert_array_equal, back, one)


BLOCK = 'add(identity 0, identity 1)'


@pytest.mark.parametrize(
  'text, words',
  [
    ('nonesuch', ['nonesuch', 'written like normal: ']),
    (f'normal: {BLOCK}', ['written like']),
    (f'normal: add(identity 0); reduction: {BLOCK}', ['normal cell, block 1']),
    (
      f'normal: {BLOCK}; reduction: add(conv_9x9 0, identity 1)',
      ['reduction cell, block 1', 'conv_9x9', 'sep_conv_7x7'],
    ),
    (
      f'normal: mul(identity 0, identity 0); reduction: {BLOCK}',
      ["'mul'", 'add, concat'],
    ),
    (
      f'normal: {BLOCK} add(identity 3, identity 0); reduction: {BLOCK}',
      ['normal cell, block 2', 'state 3', '0 to 2'],
    ),
    (f'normal: {BLOCK} {BLOCK}; reduction: {BLOCK}', ['2 and 1', 'as many']),
    (f'normal: {BLOCK} -> 0; reduction: {BLOCK}', ['normal cell', 'add all']),
    (f'normal: {BLOCK}; reduction: {BLOCK} -> 2 9', ['reduction', '0 to 2']),
  ],
)
def test_what_is_no_architecture_is_refused_with_place_and_remedy(text, words):
  with pytest.raises(genotypes.GenotypeError) as error:
    nasnet.parse(text)
  assert all(word in str(error.value) for word in words), error.value


def test_another_number_of_blocks_is_refused():
  with pytest.raises(genotypes.GenotypeError, match='num_blocks is 3'):
    nasnet.parse(TEXT, 3)
  with pytest.raises(ValueError, match='space.num_blocks is 0'):
    nasnet.nasnet(0)
