"""Training and scoring one network: pure functions of data on the device.

The network is a function (variables, images, train) -> (logits, batch_stats),
so the padded program of a space and a plain Flax module train alike. The loops
are an argument: compiled ones keep the host out, host ones run one compiled
step at a time, which XLA's CPU backend needs for `lax.conv` (its fast path ends
at a loop). Both give the same numbers.

Batch `B`, images [B, H, W, C], `E` evaluations on validation data.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from irlas_jax.training import augment
from irlas_jax.training import data as datasets
from irlas_jax.training import recipe as recipes


class Arrays(NamedTuple):
  """Data as the loop reads it, on the device."""

  images: jax.Array  # [N, H, W, C] uint8, or float32
  labels: jax.Array  # [N] int32


class Data(NamedTuple):
  """What a network is trained and validated on; there is no test data here."""

  train: Arrays
  valid: Arrays
  mean: jax.Array  # [C]
  std: jax.Array  # [C]


def on_device(dataset: datasets.Dataset) -> Data:
  """What training may see of a data set, as device arrays."""
  train, valid = (
    Arrays(jnp.asarray(split.images), jnp.asarray(split.labels))
    for split in (dataset.train, dataset.valid)
  )
  return Data(train, valid, jnp.asarray(dataset.mean), jnp.asarray(dataset.std))


class History(NamedTuple):
  """What happened; evaluations not reached are NaN."""

  accuracy: jax.Array  # [E] on validation data
  loss: jax.Array  # [E] validation cross-entropy
  train_loss: jax.Array  # [E] mean over the steps since the last evaluation
  finished: jax.Array  # [] int32, evaluations reached
  diverged: jax.Array  # [] bool, a loss was not finite


class Loops(NamedTuple):
  """How the three nested loops of a training run."""

  rounds: Callable  # like lax.while_loop, from evaluation to evaluation
  epochs: Callable  # like lax.scan, over epochs
  steps: Callable  # like lax.scan, over batches


def _host_while(condition, body, state):
  while condition(state):
    state = body(state)
  return state


def _host_scan(body, carry, xs):
  length = len(jax.tree.leaves(xs)[0])
  outputs = []
  for i in range(length):
    carry, output = body(carry, jax.tree.map(lambda x: x[i], xs))  # noqa: B023
    outputs.append(output)
  return carry, jax.tree.map(lambda *rows: jnp.stack(rows), *outputs)


def _host_steps(body, carry, xs):
  return _host_scan(jax.jit(body), carry, xs)


COMPILED = Loops(jax.lax.while_loop, jax.lax.scan, jax.lax.scan)
HOST = Loops(_host_while, _host_scan, _host_steps)


class _State(NamedTuple):
  key: jax.Array
  variables: dict
  opt_state: optax.OptState
  history: History
  stale: jax.Array  # [] int32 evaluations since the best one


def make_evaluate(
  network: Callable, data: Arrays, mean, std, batch_size: int = 250
):
  """(variables, scan) -> accuracy and mean cross-entropy over all of `data`."""
  size = data.labels.shape[0]
  num_batches = -(-size // batch_size)
  batch_size = -(-size // num_batches)  # the least padding
  rows = jnp.arange(num_batches * batch_size).reshape(num_batches, batch_size)

  def step(carry, rows):
    variables, total = carry
    index = jnp.minimum(rows, size - 1)
    images = augment.normalise(data.images[index], mean, std)
    logits, _ = network(variables, images, False)
    labels = data.labels[index]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = jnp.argmax(logits, -1) == labels
    counted = rows < size
    sums = jnp.stack([correct * counted, losses * counted]).sum(-1)
    return (variables, total + sums), ()

  def evaluate(variables, scan=jax.lax.scan):
    (_, total), _ = scan(step, (variables, jnp.zeros(2)), rows)
    return total[0] / size, total[1] / size

  return evaluate


def make_step(network: Callable, tx, data: Data, recipe: recipes.Recipe):
  """One optimiser step: (key, variables, opt_state, index [B]) -> new, loss."""

  def loss_fn(params, batch_stats, images, labels):
    if recipe.bfloat16:
      params, images = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16), (params, images)
      )
    variables = {'params': params, 'batch_stats': batch_stats}
    logits, batch_stats = network(variables, images, True)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    targets = jax.nn.one_hot(labels, logits.shape[-1])
    targets = optax.smooth_labels(targets, recipe.label_smoothing)
    return optax.softmax_cross_entropy(logits, targets).mean(), batch_stats

  def step(key, variables, opt_state, index):
    images = augment.normalise(data.train.images[index], data.mean, data.std)
    images = augment.augment(
      key,
      images,
      pad=recipe.pad,
      mirror=recipe.mirror,
      cutout_size=recipe.cutout,
    )
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    params, labels = variables['params'], data.train.labels[index]
    (loss, batch_stats), grads = grad_fn(
      params, variables['batch_stats'], images, labels
    )
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    variables = {'params': params, 'batch_stats': batch_stats}
    return variables, opt_state, loss

  return step


def train(
  key: jax.Array,
  network: Callable,
  variables,
  data: Data,
  recipe: recipes.Recipe,
  loops: Loops = COMPILED,
):
  """Trains a network by a recipe: (variables, History).

  Every epoch visits the training images in a new order; a last incomplete
  batch is left out. Training ends early when a loss is not finite, or when
  `recipe.patience` evaluations in a row were no better than the best. Jittable
  with compiled loops.
  """
  size = data.train.labels.shape[0]
  steps_per_epoch = size // recipe.batch_size
  tx = recipes.optimizer(recipe, steps_per_epoch)
  step = make_step(network, tx, data, recipe)
  evaluate = make_evaluate(network, data.valid, data.mean, data.std)

  def run_step(carry, inputs):
    variables, opt_state, loss = step(inputs[0], *carry, inputs[1])
    return (variables, opt_state), loss

  def run_epoch(carry, key):
    key_order, key_steps = jax.random.split(key)
    order = jax.random.permutation(key_order, size)
    rows = order[: steps_per_epoch * recipe.batch_size]
    keys = jax.random.split(key_steps, steps_per_epoch)
    return loops.steps(
      run_step, carry, (keys, rows.reshape(steps_per_epoch, -1))
    )

  def run_round(state: _State) -> _State:
    key, key_round = jax.random.split(state.key)
    carry = state.variables, state.opt_state
    keys = jax.random.split(key_round, recipe.epochs // recipe.evaluations)
    (variables, opt_state), losses = loops.epochs(run_epoch, carry, keys)
    accuracy, loss = evaluate(variables, loops.steps)
    history = _record(state.history, accuracy, loss, losses.mean())
    better = accuracy > jnp.nan_to_num(state.history.accuracy, nan=-1.0).max()
    stale = jnp.where(better, 0, state.stale + 1)
    return _State(key, variables, opt_state, history, stale)

  def goes_on(state: _State):
    history = state.history
    going = (history.finished < recipe.evaluations) & ~history.diverged
    return going & ((recipe.patience == 0) | (state.stale < recipe.patience))

  opt_state = tx.init(variables['params'])
  history = _no_history(recipe.evaluations)
  state = _State(key, variables, opt_state, history, jnp.int32(0))
  state = loops.rounds(goes_on, run_round, state)
  return state.variables, state.history


def _no_history(evaluations: int) -> History:
  blank = jnp.full(evaluations, jnp.nan)
  return History(blank, blank, blank, jnp.int32(0), jnp.bool_(False))


def _record(history: History, accuracy, loss, train_loss) -> History:
  at = history.finished
  finite = jnp.isfinite(loss) & jnp.isfinite(train_loss)
  return History(
    history.accuracy.at[at].set(accuracy),
    history.loss.at[at].set(loss),
    history.train_loss.at[at].set(train_loss),
    at + 1,
    ~finite,
  )
