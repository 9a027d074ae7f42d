"""Training one network on all devices at once, for hours, with interruptions.

Data parallel: images are split over the devices and variables are on each.
The program is written for the whole batch, so that gradients and batch
statistics are those of the whole batch, whatever the number of devices. The
host dispatches one compiled step after another and waits for none of them.

What `loop.train` does to a network on the device, this does with the same keys.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from irlas_jax import devices
from irlas_jax.training import augment, feed, loop
from irlas_jax.training import history as histories
from irlas_jax.training import recipe as recipes

_STEPS_BETWEEN_QUESTIONS = 64


class Stopped(RuntimeError):
  """A training that was asked to stop, and has kept what it had done."""


class Position(NamedTuple):
  """All that the rest of a training depends on, and the time spent."""

  key: Any  # key data, of the rounds to come
  learner: loop.Learner
  history: histories.History
  stale: Any  # [] int32 evaluations since the best one
  losses: Any  # [] sum over the steps since the last evaluation
  seconds: Any  # []


class Keeper(NamedTuple):
  """How a training survives the end of its process, and when it stops."""

  load: Callable  # (Position) -> Position, the one that was kept, if any
  save: Callable  # (Position), NumPy arrays
  should_stop: Callable  # () -> bool
  # (History, variables on the devices), told of every evaluation
  watch: Callable = lambda history, variables: None


FORGETFUL = Keeper(lambda position: position, lambda _: None, lambda: False)


def train(
  key: jax.Array,
  network: Callable,
  variables,
  data: feed.Feed,
  recipe: recipes.Recipe,
  mesh: jax.sharding.Mesh,
  keeper: Keeper = FORGETFUL,
):
  """Trains a network by a recipe: (variables, History, seconds), NumPy arrays.

  As `loop.train`. What is done is kept at every evaluation and before a stop;
  `keeper.should_stop` is asked then, and every 64 steps.

  Raises:
    Stopped: when `keeper.should_stop` says so before the end.
  """
  tx = recipes.optimizer(recipe, data.steps_per_epoch)
  run_steps = _make_run_steps(network, tx, data, recipe, mesh)
  score = make_score(network, data, mesh)
  position = keeper.load(_begin(key, variables, tx, recipe))
  began = time.monotonic() - float(position.seconds)
  position = position._replace(
    learner=devices.copied_to(mesh, position.learner)
  )

  def keep(position):
    position = position._replace(seconds=np.float64(time.monotonic() - began))
    position = jax.device_get(position)
    keeper.save(position)
    return position

  while _goes_on(position, recipe):
    position, whole = run_steps(position, keeper.should_stop)
    if whole:
      position = _evaluated(position, score, data, recipe)
      keeper.watch(position.history, loop.averaged(position.learner))
    kept = keep(position)
    if _goes_on(kept, recipe) and (not whole or keeper.should_stop()):
      raise Stopped(
        f'Stopped after step {int(kept.learner.done)}; the same call goes on '
        'from there.'
      )
  seconds = time.monotonic() - began
  variables = jax.device_get(loop.averaged(position.learner))
  return variables, position.history, seconds


def make_score(network: Callable, data: feed.Feed, mesh: jax.sharding.Mesh):
  """(variables, held, batches) -> accuracy, mean cross-entropy as floats."""

  def tally(total, variables, held, batch):
    images, labels, counted = devices.split_in(mesh, data.take(held, batch))
    images = augment.normalise(images, data.mean, data.std)
    logits, _ = network(variables, images, None)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    correct = jnp.argmax(logits, -1) == labels
    # What is not counted may not be a number.
    rows = jnp.stack([correct, losses, jnp.ones_like(losses)])
    return total + jnp.where(counted, rows, 0).sum(-1)

  tally = devices.copying(mesh, tally)

  def score(variables, held, batches):
    total = devices.copied_to(mesh, np.zeros(3, np.float32))
    for batch in batches:
      total = tally(total, variables, held, batch)
    correct, loss, count = np.asarray(total).tolist()
    return correct / count, loss / count

  return score


def _begin(key, variables, tx, recipe) -> Position:
  position = Position(
    jax.random.key_data(key),
    loop.start(variables, tx, recipe),
    histories.blank(recipe.evaluations),
    np.int32(0),
    np.float32(0),
    np.float64(0),
  )
  return jax.device_get(position)


def _goes_on(position: Position, recipe) -> bool:
  return bool(histories.goes_on(position.history, position.stale, recipe))


def _make_run_steps(network, tx, data: feed.Feed, recipe, mesh):
  """(Position, should_stop) -> Position, whether the round is done."""
  per_epoch = data.steps_per_epoch
  num_epochs = recipe.epochs // recipe.evaluations
  update = loop.make_update(
    network, tx, data.mean, data.std, recipe.epochs * per_epoch, recipe
  )

  def step(learner, losses, keys, held, batch):
    images, labels, _ = devices.split_in(mesh, data.take(held, batch))
    key = jax.random.wrap_key_data(keys[learner.done % per_epoch])
    learner, loss = update(key, learner, images, labels)
    return learner, losses + loss.astype(losses.dtype)

  step = devices.copying(mesh, step, donated=(0, 1))  # learner and losses

  def run_steps(position: Position, should_stop):
    _, key = _split(position.key)
    epoch_keys = jax.random.split(key, num_epochs)
    learner = position.learner
    losses = devices.copied_to(mesh, position.losses)
    done = int(learner.done)
    end = (int(position.history.finished) + 1) * num_epochs * per_epoch
    while done < end:
      epoch, first = divmod(done, per_epoch)
      key_order, key_steps = jax.random.split(epoch_keys[epoch % num_epochs])
      keys = jax.random.key_data(jax.random.split(key_steps, per_epoch))
      keys = devices.copied_to(mesh, keys)
      for batch in data.train_batches(key_order, first):
        learner, losses = step(learner, losses, keys, data.train, batch)
        done += 1
        asked = done % _STEPS_BETWEEN_QUESTIONS == 0 and done < end
        if asked and should_stop():
          return position._replace(learner=learner, losses=losses), False
    return position._replace(learner=learner, losses=losses), True

  return run_steps


def _split(key_data):
  """Key for the next rounds and key for this one, as `loop.train` has them."""
  return jax.random.split(jax.random.wrap_key_data(jnp.asarray(key_data)))


def _evaluated(position: Position, score, data: feed.Feed, recipe) -> Position:
  """After a round: its scores recorded, its sums begun anew."""
  learner, history = position.learner, position.history
  accuracy, loss = score(
    loop.averaged(learner), data.valid, data.valid_batches()
  )
  steps = recipe.epochs // recipe.evaluations * data.steps_per_epoch
  mean = float(position.losses) / steps
  history = jax.tree.map(jnp.asarray, history)
  history, stale = histories.record(
    history, position.stale, accuracy, loss, mean
  )
  return position._replace(
    key=np.asarray(jax.random.key_data(_split(position.key)[0])),
    history=history,
    stale=stale,
    losses=np.float32(0),
  )
