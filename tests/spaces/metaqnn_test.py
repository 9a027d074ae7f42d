"""MetaQNN's chains: all of a small space, against the rules written again."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import graph
from irlas_jax.policies import sampling
from irlas_jax.spaces import genotypes, metaqnn

SMALL = metaqnn.Sizes(
  image_size=8,
  num_layers=3,
  filters=(4,),
  kernels=(1, 3),
  pools=((5, 3), (3, 2)),
  units=(16, 8),
)
# Actions: 0 SM, 1-2 C, 3 P(5,3), 4 P(3,2), 5 FC(16), 6 FC(8), 7 GAP.
WORDS = ('SM', 'C(4,1)', 'C(4,3)', 'P(5,3)', 'P(3,2)', 'FC(16)', 'FC(8)', 'GAP')
BEST = 'C(512,5) C(256,3) C(256,5) C(256,3) P(5,3) C(512,3) C(512,5) P(2,2) SM'


def _continuations(words, size):
  """Every way to go on after words: the rules, in another form."""
  last = words[-1] if words else ''
  if last:
    yield (*words, 'SM')
  if last.startswith('FC'):
    if len(words) < 3 and not words[-2].startswith('FC'):
      for units in (16, 8):
        if units <= int(last[3:-1]):
          yield (*words, f'FC({units})', 'SM')
    return
  if last:
    yield (*words, 'GAP')
  if len(words) == 3:
    return
  for kernel in (1, 3):
    if kernel <= size:
      yield from _continuations((*words, f'C(4,{kernel})'), size)
  if last.startswith('C'):
    for kernel, stride in ((5, 3), (3, 2)):
      if kernel <= size:
        smaller = -(-(size - kernel + 1) // stride)
        yield from _continuations((*words, f'P({kernel},{stride})'), smaller)
  if last and size < 8:
    for units in (16, 8):
      yield from _continuations((*words, f'FC({units})'), 1)


@pytest.fixture(scope='module')
def space():
  return metaqnn.metaqnn(SMALL)


@pytest.fixture(scope='module')
def every(space):
  """All action sequences [M, T], and which of them are legal [M]."""
  size = space.num_actions
  actions = np.array(list(itertools.product(range(size), repeat=4)), np.int32)
  masks = jax.jit(jax.vmap(lambda row: sampling.legal_masks(space, row)))
  taken = np.take_along_axis(np.asarray(masks(actions)), actions[..., None], 2)
  return actions, taken[..., 0].all(1)


@pytest.fixture(scope='module')
def legal(space, every):
  """Legal sequences [M, T], and their graphs."""
  actions = every[0][every[1]]
  return actions, jax.device_get(jax.jit(jax.vmap(space.decode))(actions))


def _graphs(batch):
  return [graph.Graph(*row) for row in zip(*batch, strict=True)]


def test_the_legal_sequences_are_those_of_the_rules(space, every, legal):
  """None too many and none missing; texts say which."""
  assert space.num_actions == len(WORDS) and space.num_steps == 4
  texts = [metaqnn.text_of(one) for one in _graphs(legal[1])]
  expected = {' '.join(words) for words in _continuations((), 8)}
  assert len(texts) == len(set(texts)) == np.sum(every[1])
  assert set(texts) == expected
  assert len(expected) > 50


def test_a_sequence_is_its_words(legal):
  """Text by text the names of its actions up to the end."""
  for row, one in zip(legal[0], _graphs(legal[1]), strict=True):
    words = [WORDS[action] for action in row if action]
    words += [] if words[-1] == 'GAP' else ['SM']
    assert metaqnn.text_of(one) == ' '.join(words)


def test_encode_is_the_inverse_of_decode(space, legal):
  encoded = jax.jit(jax.vmap(space.encode))(legal[1])
  np.testing.assert_array_equal(encoded, legal[0])


def test_a_chain_is_one_path_and_its_hash_tells_it_apart(legal):
  """Each node reads the one before; the last is the output."""
  for one in _graphs(legal[1]):
    count = graph.size(one)
    assert (one.ops[:count] >= 0).all() and (one.ops[count:] == -1).all()
    np.testing.assert_array_equal(
      np.argwhere(one.edges), [(v, v + 1) for v in range(count - 1)]
    )
    np.testing.assert_array_equal(np.flatnonzero(one.outputs), [count - 1])
    np.testing.assert_array_equal(graph.canonical_order(one), np.arange(count))
  digests = {graph.digest(one) for one in _graphs(legal[1])}
  assert len(digests) == len(legal[0])


def test_texts_read_back(legal):
  for one in _graphs(legal[1])[::40]:
    parsed = metaqnn.parse(metaqnn.text_of(one), SMALL)
    jax.tree.map(np.testing.assert_array_equal, parsed, one)


def test_a_step_without_a_choice_is_only_after_the_end(space, every, legal):
  """A space with a dead end could not be sampled from."""
  masks = jax.jit(jax.vmap(lambda row: sampling.legal_masks(space, row)))
  found = np.asarray(masks(legal[0]))
  assert found.any(-1).all()
  ended = np.cumsum(legal[0] == 0, axis=1) - (legal[0] == 0) > 0
  np.testing.assert_array_equal(found[ended].sum(1), 1)
  assert found[ended][:, 0].all()


def test_the_value_table_knows_step_layer_and_bin(space, legal):
  """Two prefixes share a row exactly if those three are equal.

  Of equal rows what is legal may differ by the size within a bin.
  """
  rows_of = jax.jit(jax.vmap(jax.vmap(space.state, (None, 0)), (0, None)))
  rows = np.asarray(rows_of(legal[0], jnp.arange(4)))
  assert rows.min() >= 0 and rows.max() < space.num_states
  seen = {}
  for actions, row in zip(legal[0].tolist(), rows.tolist(), strict=True):
    size = 8
    for t in range(4):
      seconds = actions[max(t - 2, 0) : t]
      second = len(seconds) == 2 and set(seconds) <= {5, 6}
      bin_ = 0 if size >= 8 else 1 if size >= 4 else 2
      told = (t, actions[t - 1] if t else None, second, bin_)
      assert seen.setdefault(row[t], told) == told
      word = WORDS[actions[t]]
      if word[0] == 'P':
        kernel, stride = int(word[2]), int(word[4])
        size = (size - kernel) // stride + 1
      elif word[0] in 'FG':
        size = 1
  assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize('jit', [True, False])
def test_legal_reads_only_what_came_before(space, jit):
  """A sampler's actions are not there yet."""
  mask_fn = jax.jit(space.legal) if jit else space.legal
  for t in range(4):
    one, other = jnp.array([2, 3, 1, 1]), jnp.array([2, 3, 1, 1])
    other = jnp.where(jnp.arange(4) < t, other, 5)
    np.testing.assert_array_equal(mask_fn(one, t), mask_fn(other, t))


def test_the_paper_s_space_by_hand():
  """12 convolutions, 3 pools, 3 sizes of fully connected layers, GAP, SM."""
  space = metaqnn.metaqnn()
  assert (space.num_steps, space.num_actions) == (19, 20)
  # Steps, layers before (actions, second fully connected, the image), bins.
  assert space.num_states == 19 * (20 + 3 + 1) * 3
  best = metaqnn.parse(BEST)
  assert metaqnn.text_of(best) == BEST
  actions = space.encode(best)
  masks = jax.jit(lambda row: sampling.legal_masks(space, row))(actions)
  masks = np.asarray(masks)
  np.testing.assert_array_equal(np.flatnonzero(masks[0]), np.arange(1, 13))
  # After P(5,3), 32 pixels are 10, and after P(2,2) 5: fully connected layers.
  assert not masks[5, 13:19].any() and masks[5, [0, 19]].all()
  assert not masks[8, 13:16].any() and masks[8, 16:20].all()
  assert masks[8, 1:13].all(), 'a 5x5 kernel fits 5 pixels'


@pytest.mark.parametrize(
  'text, words',
  [
    ('', ['no chain', 'SM or GAP']),
    ('C(4,1)', ['no chain', 'last word']),
    ('C(4,1) D(3) SM', ["layer 2, 'D(3)', is no layer;", 'P(5,3)', 'GAP']),
    ('C(8,1) SM', ["layer 1, 'C(8,1)', is no layer of this space"]),
    ('C(4,1) SM SM', ["layer 2, 'SM'"]),
    ('SM', ["layer 1, 'SM', may not"]),
    ('P(3,2) SM', ["layer 1, 'P(3,2)', may not"]),
    ('C(4,1) P(3,2) P(3,2) SM', ["layer 3, 'P(3,2)', may not"]),
    ('C(4,1) P(5,3) C(4,3) SM', ["layer 3, 'C(4,3)', may not", 'window']),
    ('C(4,1) FC(8) SM', ["layer 2, 'FC(8)', may not"]),
    ('C(4,1) GAP GAP', ["layer 3, 'GAP', may not"]),
    (4 * 'C(4,1) ' + 'SM', ["layer 4, 'C(4,1)', may not"]),
    (6 * 'C(4,1) ' + 'SM', ['6 layers', 'at most 3']),
  ],
)
def test_what_is_no_chain_is_refused_with_its_place(text, words):
  with pytest.raises(genotypes.GenotypeError) as error:
    metaqnn.parse(text, SMALL)
  message = str(error.value)
  assert all(word in message for word in [repr(text), *words]), message
  assert '\n' not in message


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('num_layers', 0, 'space.num_layers is 0: at least 1'),
    ('pools', ((2, 0),), r'space.pools is \(\(2, 0\),\)'),
    ('filters', (), 'one number of filters or more'),
    ('kernels', (3, 5), 'with 1 among them'),
    ('kernels', (1, 2), 'odd ones'),
    ('bins', (4, 8), 'from the largest down'),
    ('units', (8, 8), 'given twice'),
  ],
)
def test_sizes_that_make_no_space_are_refused(field, value, words):
  with pytest.raises(ValueError, match=words):
    metaqnn.metaqnn(SMALL._replace(**{field: value}))
