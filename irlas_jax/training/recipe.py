"""How a network is trained: the recipe, its schedule and its optimiser."""

from typing import NamedTuple

import jax
import optax


class Recipe(NamedTuple):
  """Hyper-parameters of one training; sizes are static."""

  epochs: int = 20
  batch_size: int = 50
  evaluations: int = 1  # on validation data, evenly spaced; a divisor of epochs
  optimizer: str = 'sgd'  # sgd (Nesterov momentum) or adam
  learning_rate: float = 0.1
  schedule: str = 'cosine'  # cosine, step or constant
  warmup_epochs: float = 0.0  # linear from 0
  step_epochs: int = 5  # of the step schedule
  step_factor: float = 0.2
  momentum: float = 0.9
  weight_decay: float = 0.0  # of kernels; coupled for sgd, decoupled for adam
  label_smoothing: float = 0.0
  clip_norm: float = 0.0  # global norm of the gradient; 0 does not clip
  bfloat16: bool = False  # compute in bfloat16, keep weights in float32
  patience: int = 0  # evaluations without a better one before a stop; 0 never
  pad: int = 0  # random crops of images padded by so much
  mirror: bool = False  # random horizontal flips
  cutout: int = 0  # side of the square set to zero


def check(recipe: Recipe, num_train: int) -> None:
  """Refuses a recipe that cannot be run, before any work.

  Raises:
    ValueError: naming the field.
  """
  positive = ('epochs', 'batch_size', 'evaluations', 'step_epochs')
  for name in positive:
    if getattr(recipe, name) < 1:
      raise ValueError(f'train.{name} is {getattr(recipe, name)}: at least 1.')
  if recipe.epochs % recipe.evaluations:
    raise ValueError(
      f'train.evaluations is {recipe.evaluations}: it has to divide '
      f'train.epochs, {recipe.epochs}.'
    )
  if recipe.batch_size > num_train:
    raise ValueError(
      f'train.batch_size is {recipe.batch_size}: there are {num_train} '
      'training images.'
    )
  for name, table in (('optimizer', OPTIMIZERS), ('schedule', SCHEDULES)):
    if getattr(recipe, name) not in table:
      raise ValueError(
        f'train.{name} is {getattr(recipe, name)!r}: choose one of '
        f'{", ".join(table)}.'
      )


def _step_schedule(recipe, steps, steps_per_epoch):
  del steps
  return optax.exponential_decay(
    recipe.learning_rate,
    recipe.step_epochs * steps_per_epoch,
    recipe.step_factor,
    staircase=True,
  )


SCHEDULES = {
  'cosine': lambda recipe, steps, _: optax.cosine_decay_schedule(
    recipe.learning_rate, steps
  ),
  'step': _step_schedule,
  'constant': lambda recipe, *_: optax.constant_schedule(recipe.learning_rate),
}


def schedule(recipe: Recipe, steps_per_epoch: int) -> optax.Schedule:
  """Learning rate by optimiser step, after a linear warm-up."""
  warmup = round(recipe.warmup_epochs * steps_per_epoch)
  steps = max(recipe.epochs * steps_per_epoch - warmup, 1)
  main = SCHEDULES[recipe.schedule](recipe, steps, steps_per_epoch)
  if not warmup:
    return main
  rise = optax.linear_schedule(0.0, recipe.learning_rate, warmup)
  return optax.join_schedules([rise, main], [warmup])


def _kernels(params):
  """True for the weights that decay: not biases nor normalisation scales."""

  def decays(path, _):
    return path[-1].key not in ('bias', 'scale')

  return jax.tree_util.tree_map_with_path(decays, params)


def _sgd(recipe, rate):
  return optax.chain(
    optax.add_decayed_weights(recipe.weight_decay, mask=_kernels),
    optax.sgd(rate, momentum=recipe.momentum, nesterov=True),
  )


def _adam(recipe, rate):
  decay = recipe.weight_decay
  return optax.adamw(rate, weight_decay=decay, mask=_kernels)


OPTIMIZERS = {'sgd': _sgd, 'adam': _adam}


def optimizer(recipe: Recipe, steps_per_epoch: int):
  """The optax transformation of a recipe.

  Weights that no gradient reaches stay as they are but for their decay, so
  that a padded network learns what its plain one would.
  """
  rate = schedule(recipe, steps_per_epoch)
  tx = OPTIMIZERS[recipe.optimizer](recipe, rate)
  if recipe.clip_norm:
    tx = optax.chain(optax.clip_by_global_norm(recipe.clip_norm), tx)
  return tx
