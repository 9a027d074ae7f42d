"""Training and scoring one network: pure functions of data on the device.

The network is a function (variables, images, step) -> (logits, batch_stats),
so the padded program of a space and a plain Flax module train alike. `step` is
None at evaluation, and in training says where that is; there the logits may be
a pair, of the network and of an auxiliary head.

The loops are an argument: compiled ones keep the host out, host ones run one
compiled step at a time, which XLA's CPU backend needs for `lax.conv` (its fast
path ends at a loop). Both give the same numbers.

Batch `B`, images [B, H, W, C], `E` evaluations on validation data.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from irlas_jax.training import augment, averaging
from irlas_jax.training import data as datasets
from irlas_jax.training import history as histories
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


class Step(NamedTuple):
  """What a network may know of the step of training that it is called in."""

  key: jax.Array  # for what the network itself draws
  progress: jax.Array  # [] float32 in [0, 1), share of all steps that are done


class Learner(NamedTuple):
  """What a step of training changes."""

  variables: dict  # {'params', 'batch_stats'}
  opt_state: optax.OptState
  average: dict | tuple  # of the variables so far; () if none is asked for
  done: jax.Array  # [] int32 steps


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


class State(NamedTuple):
  """A training between two evaluations."""

  key: jax.Array
  learner: Learner
  history: histories.History
  stale: jax.Array  # [] int32 evaluations since the best one
  restarts: Any = ()  # [] int32 so far; () if none are asked for


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
    logits, _ = network(variables, images, None)
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


def start(variables, tx, recipe: recipes.Recipe) -> Learner:
  """A learner before its first step."""
  average = variables if recipe.ema_decay else ()
  opt_state = tx.init(variables['params'])
  return Learner(variables, opt_state, average, jnp.int32(0))


def cross_entropy(logits, images, target_fn, recipe: recipes.Recipe):
  """The loss [] that trainings have: of the labels alone.

  logits [B, classes], or a pair of them and an auxiliary head's; images as the
  network saw them; target_fn (num_classes) -> targets [B, classes].
  """
  del images
  return _loss(logits, target_fn, recipe)


def make_step(
  network: Callable,
  tx,
  data: Data,
  recipe: recipes.Recipe,
  loss: Callable = cross_entropy,
):
  """One optimiser step: (key, Learner, index [B]) -> (Learner, loss)."""
  num_train = data.train.labels.shape[0]
  num_steps = recipe.epochs * (num_train // recipe.batch_size)
  update = make_update(
    network, tx, data.mean, data.std, num_steps, recipe, loss
  )

  def run(key, learner: Learner, index):
    images, labels = data.train.images[index], data.train.labels[index]
    return update(key, learner, images, labels)

  return run


def make_update(
  network: Callable,
  tx,
  mean,
  std,
  num_steps: int,
  recipe: recipes.Recipe,
  loss: Callable = cross_entropy,
):
  """One optimiser step, wherever its images come from.

  (key, Learner, images [B, H, W, C], labels [B]) -> (Learner, loss), of
  `num_steps` in all. Images are as the data have them, not normalised yet.
  `loss` has the arguments of `cross_entropy`.
  """

  def loss_fn(params, batch_stats, images, target_fn, step):
    if recipe.bfloat16:
      params, images = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16), (params, images)
      )
    variables = {'params': params, 'batch_stats': batch_stats}
    logits, batch_stats = network(variables, images, step)
    return loss(logits, images, target_fn, recipe), batch_stats

  def run(key, learner: Learner, images, labels):
    # Augmentation splits this key, which gives those of 0 to 2.
    key_mixup, key_network = (jax.random.fold_in(key, n) for n in (3, 4))
    images = augment.normalise(images, mean, std)
    images, target_fn = _examples(key, key_mixup, images, labels, recipe)
    step = Step(key_network, learner.done / num_steps)
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    params = learner.variables['params']
    (value, batch_stats), grads = grad_fn(
      params, learner.variables['batch_stats'], images, target_fn, step
    )
    updates, opt_state = tx.update(grads, learner.opt_state, params)
    params = optax.apply_updates(params, updates)
    variables = {'params': params, 'batch_stats': batch_stats}
    average = learner.average
    if recipe.ema_decay:
      average = averaging.update(
        average, variables, recipe.ema_decay, learner.done
      )
    return Learner(variables, opt_state, average, learner.done + 1), value

  return run


def _examples(key, key_mixup, images, labels, recipe):
  """Changed images [B, H, W, C], and (num_classes) -> targets [B, classes]."""
  images = augment.augment(
    key,
    images,
    pad=recipe.pad,
    mirror=recipe.mirror,
    cutout_size=recipe.cutout,
  )
  if not recipe.mixup:
    return images, lambda count: jax.nn.one_hot(labels, count)
  images, partner, share = augment.mixup(key_mixup, images, recipe.mixup)

  def mixed(count):
    targets = jax.nn.one_hot(labels, count)
    return share * targets + (1 - share) * targets[partner]

  return images, mixed


def _loss(logits, target_fn, recipe) -> jax.Array:
  """Mean cross-entropy, plus that of an auxiliary head by its weight."""
  heads = logits if isinstance(logits, tuple) else (logits,)

  def cross_entropy(logits):
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    targets = target_fn(logits.shape[-1])
    targets = optax.smooth_labels(targets, recipe.label_smoothing)
    return optax.softmax_cross_entropy(logits, targets).mean()

  loss, *others = map(cross_entropy, heads)
  return loss + recipe.auxiliary * others[0] if others else loss


def begin(
  key: jax.Array,
  variables,
  recipe: recipes.Recipe,
  data: Data,
  restarts: jax.Array | int = 0,
) -> State:
  """A training before its first step, after so many that came to nothing."""
  tx = recipes.optimizer(recipe, _steps_per_epoch(data, recipe))
  history = histories.blank(recipe.evaluations)
  learner = start(variables, tx, recipe)
  if not recipe.restarts:
    return State(key, learner, history, jnp.int32(0))
  count = jnp.int32(restarts)
  opt_state = recipes.slowed(learner.opt_state, recipe, count)
  learner = learner._replace(opt_state=opt_state)
  return State(key, learner, history, jnp.int32(0), count)


def make_advance(
  network: Callable,
  data: Data,
  recipe: recipes.Recipe,
  loops: Loops = COMPILED,
  loss: Callable = cross_entropy,
) -> Callable:
  """State -> State, trained up to its next evaluation, and evaluated."""
  size = data.train.labels.shape[0]
  steps_per_epoch = _steps_per_epoch(data, recipe)
  tx = recipes.optimizer(recipe, steps_per_epoch)
  step = make_step(network, tx, data, recipe, loss)
  evaluate = make_evaluate(network, data.valid, data.mean, data.std)

  def run_step(learner, inputs):
    return step(inputs[0], learner, inputs[1])

  def run_epoch(learner, key):
    key_order, key_steps = jax.random.split(key)
    order = jax.random.permutation(key_order, size)
    rows = order[: steps_per_epoch * recipe.batch_size]
    keys = jax.random.split(key_steps, steps_per_epoch)
    return loops.steps(
      run_step, learner, (keys, rows.reshape(steps_per_epoch, -1))
    )

  def advance(state: State) -> State:
    key, key_round = jax.random.split(state.key)
    keys = jax.random.split(key_round, recipe.epochs // recipe.evaluations)
    learner, losses = loops.epochs(run_epoch, state.learner, keys)
    accuracy, valid_loss = evaluate(averaged(learner), loops.steps)
    history, stale = histories.record(
      state.history, state.stale, accuracy, valid_loss, losses.mean()
    )
    return State(key, learner, history, stale, state.restarts)

  return advance


def comes_to_nothing(state: State, recipe: recipes.Recipe) -> jax.Array:
  """[] bool, whether a training is at chance and may begin again.

  Chance is no more than `recipe.restart_below` at the first evaluation. What
  begins again is for the caller to do, by `begin`.
  """
  history = state.history
  learnt = history.accuracy[0] > recipe.restart_below
  first = (history.finished == 1) & ~learnt
  return first & (state.restarts < recipe.restarts)


def goes_on(state: State, recipe: recipes.Recipe, bar=-jnp.inf) -> jax.Array:
  """[] bool, whether a training is not over; see `history.goes_on`."""
  return histories.goes_on(state.history, state.stale, recipe, bar)


def finish(state: State):
  """What came out of a training: (variables, History)."""
  return averaged(state.learner), state.history


def train(
  key: jax.Array,
  network: Callable,
  variables,
  data: Data,
  recipe: recipes.Recipe,
  loops: Loops = COMPILED,
  loss: Callable = cross_entropy,
):
  """Trains a network by a recipe: (variables, History).

  Every epoch visits the training images in a new order; a last incomplete
  batch is left out. Training ends early when a loss is not finite, or when
  `recipe.patience` evaluations in a row were no better than the best. With
  `recipe.ema_decay` it is averaged variables that are evaluated and returned.
  Jittable with compiled loops.
  """
  state = loops.rounds(
    lambda state: goes_on(state, recipe),
    make_advance(network, data, recipe, loops, loss),
    begin(key, variables, recipe, data),
  )
  return finish(state)


def _steps_per_epoch(data: Data, recipe: recipes.Recipe) -> int:
  return data.train.labels.shape[0] // recipe.batch_size


def averaged(learner: Learner):
  """The averaged variables if there are any, else the last ones."""
  return learner.average or learner.variables
