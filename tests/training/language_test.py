"""Training a language model: windows, gradients, rates, and how it ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.training import language
from irlas_jax.training import text as texts

pytestmark = pytest.mark.usefixtures('quick_compiles')
RECIPE = language.Recipe(
  epochs=4,
  evaluations=2,
  batch_size=2,
  unroll=3,
  learning_rate=0.5,
  full_epochs=2,
  decay=0.5,
  clip_norm=0.0,
)
# Words in a cycle: which comes next depends on the last one only.
CYCLE = np.arange(61, dtype=np.int32) % 4
TEXT = texts.Text('cycle', CYCLE, CYCLE[:14], CYCLE[1:20], tuple('abcd'))


def _bigrams():
  """Logits are a table's row of the token; carry counts the steps."""

  def apply(variables, tokens, carry, key):
    del key
    table = variables['params']['table']
    return table[tokens], carry + len(tokens)

  return language.Model(lambda batch: jnp.zeros(batch, jnp.int32), apply)


def _start(recipe=RECIPE, value=0.0):
  data = language.on_device(TEXT, recipe)
  variables = {'params': {'table': jnp.full((4, 4), value)}}
  return data, language.begin(jax.random.key(0), variables, recipe, data)


def test_windows_go_on_where_the_last_one_ended():
  """Ten tokens in two sequences of five; the last of each is a target."""
  found = language.whole_windows(np.arange(11), 2, 2)
  np.testing.assert_array_equal(
    found.inputs, [[[0, 5], [1, 6]], [[2, 7], [3, 8]]]
  )
  np.testing.assert_array_equal(found.targets, found.inputs + 1)
  assert found.counted.all()


@pytest.mark.parametrize('size', [2, 5, 14, 27])
@pytest.mark.parametrize('batch, steps', [(1, 1), (3, 2), (4, 5)])
def test_every_token_but_the_first_is_scored_once(size, batch, steps):
  found = language.all_windows(np.arange(size), batch, steps)
  targets = found.targets[found.counted]
  assert sorted(targets.tolist()) == list(range(1, size))
  inputs = found.inputs[found.counted]
  np.testing.assert_array_equal(inputs + 1, targets)
  rows = found.inputs.transpose(2, 0, 1).reshape(batch, -1)
  for row, counted in zip(
    rows, found.counted.transpose(2, 0, 1).reshape(batch, -1), strict=True
  ):
    assert (np.diff(row[counted]) == 1).all(), 'a sequence has a gap'


def test_scores_are_means_over_all_tokens():
  """Uniform logits: ln 4 nats, and the first word is always guessed."""
  windows = language.all_windows(CYCLE[:14], 3, 4)
  evaluate = jax.jit(language.make_evaluate(_bigrams()))
  variables = {'params': {'table': jnp.zeros((4, 4))}}
  accuracy, loss = evaluate(variables, windows)
  assert loss == pytest.approx(np.log(4))
  assert accuracy == pytest.approx(3 / 13)
  sharp = jnp.roll(100.0 * jnp.eye(4), 1, axis=1)
  accuracy, loss = evaluate({'params': {'table': sharp}}, windows)
  assert accuracy == 1 and loss < 1e-6


def test_a_step_goes_down_the_sum_over_steps():
  """By hand: mean over sequences, sum over steps, of softmax less target."""
  recipe = RECIPE._replace(epochs=1, evaluations=1)
  tokens = np.array([0, 1, 2, 3, 0, 2, 1, 3], np.int32)  # one window of 2 x 3
  text = TEXT._replace(train=tokens)
  data = language.on_device(text, recipe)
  variables = {'params': {'table': jnp.zeros((4, 4))}}
  state = language.begin(jax.random.key(0), variables, recipe, data)
  advance = jax.jit(language.make_advance(_bigrams(), data, recipe))
  expected = np.zeros((4, 4))
  for row in (tokens[:4], tokens[4:]):
    for word, after in zip(row[:-1], row[1:], strict=True):
      expected[word] -= 0.5 * (0.25 - np.eye(4)[after]) / 2
  found = advance(state).variables['params']['table']
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_gradients_are_clipped_by_their_norm():
  _, state = _start()
  tx = language.optimizer(RECIPE._replace(clip_norm=2.0), 9)
  grads = {'table': jnp.full((4, 4), 3.0)}  # of norm 12
  params = state.variables['params']
  updates, _ = tx.update(grads, tx.init(params), params)
  np.testing.assert_allclose(updates['table'], -0.5 * 0.5, rtol=1e-6)


def test_the_rate_falls_after_the_full_epochs():
  """Two epochs at 0.5, then half of it in each."""
  tx = language.optimizer(RECIPE, 3)
  params = {'table': jnp.ones(())}
  state, rates = tx.init(params), []
  for _ in range(12):
    updates, state = tx.update(params, state)
    rates.append(-float(updates['table']))
  assert rates == pytest.approx(6 * [0.5] + 3 * [0.25] + 3 * [0.125])


def test_a_training_learns_the_cycle_and_says_so():
  data, state = _start()
  advance = jax.jit(language.make_advance(_bigrams(), data, RECIPE))
  losses = []
  while language.goes_on(state, RECIPE):
    state = advance(state)
    losses.append(float(state.history.loss[len(losses)]))
  assert len(losses) == 2 == state.history.finished
  assert losses[1] < losses[0] < np.log(4)
  assert state.history.accuracy[1] == 1
  assert not state.history.diverged


def test_the_carry_starts_anew_each_epoch_and_not_in_between():
  """A model whose logits are finite only while it counts to an epoch's end."""
  data, state = _start()
  steps = data.train.inputs.shape[0] * RECIPE.unroll

  def apply(variables, tokens, carry, key):
    logits = variables['params']['table'][tokens]
    late = (carry[0] + len(tokens) > steps) & (key is not None)
    first = (carry[0] == 0) | (carry[0] % RECIPE.unroll == 0)
    return jnp.where(late | ~first, jnp.nan, logits), carry + len(tokens)

  model = _bigrams()._replace(apply=apply)
  after = jax.jit(language.make_advance(model, data, RECIPE))(state)
  assert not after.history.diverged


def test_what_is_not_finite_has_diverged():
  data, state = _start(value=jnp.inf)
  after = jax.jit(language.make_advance(_bigrams(), data, RECIPE))(state)
  assert after.history.diverged
  assert not language.goes_on(after, RECIPE)


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('epochs', 0, 'train.epochs is 0'),
    ('unroll', 0, 'train.unroll is 0'),
    ('evaluations', 3, 'evaluations is 3: it has to divide'),
    ('batch_size', 20, '80 tokens .* there are 61.* text.num_tokens'),
    ('decay', 0.0, 'train.decay is 0.0'),
  ],
)
def test_a_recipe_that_cannot_run_is_refused(field, value, words):
  language.check(RECIPE, 61)
  with pytest.raises(ValueError, match=words):
    language.check(RECIPE._replace(**{field: value}), 61)
