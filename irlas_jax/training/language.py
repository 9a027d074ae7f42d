"""Training and scoring one language model: pure functions of tokens.

Zaremba, Sutskever & Vinyals (arXiv 1409.2329): a text is cut into B sequences
that are read side by side, S words at a time; what is remembered goes on from
one such window to the next, gradients do not. Plain gradient descent, by a rate
that falls after some epochs. Epochs and evaluations are loops on the device.

Shapes: `B` sequences, `S` steps of a window, `W` windows, `N` words of the
vocabulary, `E` evaluations.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irlas_jax.training import history as histories
from irlas_jax.training import recipe as recipes
from irlas_jax.training import text as texts


class Recipe(NamedTuple):
  """Hyper-parameters of one training; the defaults are Zaremba's medium."""

  epochs: int = 39
  evaluations: int = 1  # on validation text, evenly spaced; a divisor of epochs
  batch_size: int = 20  # sequences side by side
  unroll: int = 35  # steps that a gradient goes back
  learning_rate: float = 1.0  # of a loss that is summed over these steps
  full_epochs: int = 6  # at that rate; from then on it falls every epoch
  decay: float = 1 / 1.2  # to this share of what it was
  clip_norm: float = 5.0  # global norm of the gradient; 0 does not clip
  patience: int = 0  # evaluations without a better one before a stop; 0 never

  def stopping(self) -> recipes.Recipe:
    """What `history.goes_on` asks of a recipe."""
    return recipes.Recipe(evaluations=self.evaluations, patience=self.patience)


class Windows(NamedTuple):
  """A text as a model reads it, on the device."""

  inputs: Any  # [W, S, B] int32
  targets: Any  # [W, S, B] int32, the next tokens
  counted: Any  # [W, S, B] bool, not filled up


class Data(NamedTuple):
  """What a model is trained and validated on; there is no test text here."""

  train: Windows
  valid: Windows


class Model(NamedTuple):
  """A language model as two functions."""

  start: Callable  # batch -> carry
  # (variables, tokens [S, B], carry, key or None) -> (logits [S, B, N], carry);
  # a key is for training
  apply: Callable


class State(NamedTuple):
  """A training between two evaluations."""

  key: Any
  variables: Any
  opt_state: optax.OptState
  history: histories.History
  stale: jax.Array  # [] int32 evaluations since the best one


def check(recipe: Recipe, num_train: int) -> None:
  """Refuses a recipe that cannot be run on so many tokens, before any work.

  Raises:
    ValueError: naming the field.
  """
  for name in ('epochs', 'evaluations', 'batch_size', 'unroll'):
    if getattr(recipe, name) < 1:
      raise ValueError(f'train.{name} is {getattr(recipe, name)}: at least 1.')
  if recipe.epochs % recipe.evaluations:
    raise ValueError(
      f'train.evaluations is {recipe.evaluations}: it has to divide '
      f'train.epochs, {recipe.epochs}.'
    )
  least = recipe.batch_size * (recipe.unroll + 1)
  if num_train < least:
    raise ValueError(
      f'train.batch_size is {recipe.batch_size} and train.unroll '
      f'{recipe.unroll}: that takes {least} tokens to train on, and there are '
      f'{num_train}. Lower one of them, or raise text.num_tokens.'
    )
  if not 0 < recipe.decay <= 1:
    raise ValueError(f'train.decay is {recipe.decay}: above 0, at most 1.')


def whole_windows(tokens: np.ndarray, batch: int, steps: int) -> Windows:
  """Windows that are full: what is left over at the ends is not read."""
  length = len(tokens) // batch
  count = (length - 1) // steps
  rows = np.asarray(tokens)[: batch * length].reshape(batch, length)
  inputs, targets = (rows[:, first : first + count * steps] for first in (0, 1))
  return _cut(inputs, targets, np.ones_like(inputs, bool), steps)


def all_windows(tokens: np.ndarray, batch: int, steps: int) -> Windows:
  """Windows in which each token but the first is a target once."""
  number = len(tokens) - 1
  length = -(-number // batch)
  width = -(-length // steps) * steps
  place = np.arange(batch)[:, None] * length + np.arange(width)
  counted = (np.arange(width) < length) & (place < number)
  place = np.minimum(place, number - 1)
  tokens = np.asarray(tokens)
  return _cut(tokens[place], tokens[place + 1], counted, steps)


def _cut(inputs, targets, counted, steps: int) -> Windows:
  """[B, W * S] each to [W, S, B]."""
  return Windows(
    *(
      x.reshape(len(x), -1, steps).transpose(1, 2, 0)
      for x in (inputs, targets, counted)
    )
  )


def on_device(text: texts.Text, recipe: Recipe) -> Data:
  """What training may see of a text, as device arrays."""
  sizes = recipe.batch_size, recipe.unroll
  train = whole_windows(text.train, *sizes)
  return jax.tree.map(jnp.asarray, Data(train, all_windows(text.valid, *sizes)))


def optimizer(recipe: Recipe, steps_per_epoch: int):
  """Clipped gradient descent; its rate falls by epochs."""

  def rate(step):
    epoch = step // steps_per_epoch + 1
    late = jnp.maximum(epoch - recipe.full_epochs, 0)
    return recipe.learning_rate * recipe.decay**late

  tx = optax.sgd(rate)
  if recipe.clip_norm:
    tx = optax.chain(optax.clip_by_global_norm(recipe.clip_norm), tx)
  return tx


def begin(key: jax.Array, variables, recipe: Recipe, data: Data) -> State:
  """A training before its first step."""
  tx = optimizer(recipe, len(data.train.inputs))
  history = histories.blank(recipe.evaluations)
  opt_state = tx.init(variables['params'])
  return State(key, variables, opt_state, history, jnp.int32(0))


def make_evaluate(model: Model) -> Callable:
  """(variables, Windows) -> accuracy, mean cross-entropy of what counts."""

  def evaluate(variables, windows: Windows):
    def step(carry, window: Windows):
      kept, total = carry
      logits, kept = model.apply(variables, window.inputs, kept, None)
      losses = _losses(logits, window.targets)
      correct = jnp.argmax(logits, -1) == window.targets
      rows = jnp.stack([correct, losses, jnp.ones_like(losses)])
      sums = jnp.where(window.counted, rows, 0).sum((1, 2))
      return (kept, total + sums), ()

    kept = model.start(windows.inputs.shape[-1])
    (_, total), _ = jax.lax.scan(step, (kept, jnp.zeros(3)), windows)
    return total[0] / total[2], total[1] / total[2]

  return evaluate


def make_advance(model: Model, data: Data, recipe: Recipe) -> Callable:
  """State -> State, trained up to its next evaluation, and evaluated."""
  num_windows, _, batch = data.train.inputs.shape
  tx = optimizer(recipe, num_windows)
  evaluate = make_evaluate(model)

  def loss_fn(params, window: Windows, kept, key):
    variables = {'params': params}
    logits, kept = model.apply(variables, window.inputs, kept, key)
    losses = _losses(logits, window.targets)
    # Zaremba's rates and norms are for sums over steps.
    return losses.sum(0).mean(), (kept, losses.mean())

  def step(carry, row):
    variables, opt_state, kept = carry
    window, key = row
    grads, (kept, loss) = jax.grad(loss_fn, has_aux=True)(
      variables['params'], window, kept, key
    )
    updates, opt_state = tx.update(grads, opt_state)
    params = optax.apply_updates(variables['params'], updates)
    return ({'params': params}, opt_state, kept), loss

  def epoch(carry, key):
    keys = jax.random.split(key, num_windows)
    carry = (*carry, model.start(batch))
    carry, losses = jax.lax.scan(step, carry, (data.train, keys))
    return carry[:2], losses.mean()

  def advance(state: State) -> State:
    key, key_round = jax.random.split(state.key)
    keys = jax.random.split(key_round, recipe.epochs // recipe.evaluations)
    (variables, opt_state), losses = jax.lax.scan(
      epoch, (state.variables, state.opt_state), keys
    )
    accuracy, loss = evaluate(variables, data.valid)
    history, stale = histories.record(
      state.history, state.stale, accuracy, loss, losses.mean()
    )
    return State(key, variables, opt_state, history, stale)

  return advance


def goes_on(state: State, recipe: Recipe, bar=-jnp.inf) -> jax.Array:
  """[] bool, whether a training is not over; see `history.goes_on`."""
  return histories.goes_on(state.history, state.stale, recipe.stopping(), bar)


def _losses(logits, targets):
  """Cross-entropies [S, B] in nats."""
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  return optax.softmax_cross_entropy_with_integer_labels(logits, targets)
