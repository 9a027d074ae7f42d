"""How a network is trained: the recipe, its schedule and its optimiser."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib


class Recipe(NamedTuple):
  """Hyper-parameters of one training; sizes are static."""

  epochs: int = 20
  batch_size: int = 50
  evaluations: int = 1  # on validation data, evenly spaced; a divisor of epochs
  optimizer: str = 'sgd'  # sgd (Nesterov momentum), adam or muon
  learning_rate: float = 0.1
  schedule: str = 'cosine'  # cosine, step or constant
  warmup_epochs: float = 0.0  # linear from 0
  step_epochs: int = 5  # of the step schedule
  step_factor: float = 0.2
  momentum: float = 0.9
  weight_decay: float = 0.0  # of kernels; coupled for sgd, else decoupled
  label_smoothing: float = 0.0
  clip_norm: float = 0.0  # global norm of the gradient; 0 does not clip
  bfloat16: bool = False  # compute in bfloat16, keep weights in float32
  patience: int = 0  # evaluations without a better one before a stop; 0 never
  pad: int = 0  # random crops of images padded by so much
  mirror: bool = False  # random horizontal flips
  cutout: int = 0  # side of the square set to zero
  mixup: float = 0.0  # alpha of Beta(alpha, alpha); 0 does not mix
  ema_decay: float = 0.0  # of the averaged weights; 0 does not average
  drop_path: float = 0.0  # probability at the end, in the last block
  auxiliary: float = 0.0  # weight of the auxiliary head's loss; 0 has none
  restarts: int = 0  # of a child that is at chance at its first evaluation
  restart_factor: float = 0.4  # of the learning rate, with each restart
  restart_below: float = 0.15  # accuracy that is at chance, or below


def check(recipe: Recipe, num_train: int) -> None:
  """Refuses a recipe that cannot be run, before any work.

  Raises:
    ValueError: naming the field.
  """
  for name in ('epochs', 'evaluations', 'step_epochs'):
    if getattr(recipe, name) < 1:
      raise ValueError(f'train.{name} is {getattr(recipe, name)}: at least 1.')
  check_batch_size(recipe)
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
  if not recipe.mixup >= 0 or not recipe.auxiliary >= 0:
    raise ValueError(
      f'train.mixup is {recipe.mixup} and train.auxiliary '
      f'{recipe.auxiliary}: both 0, which is without, or more.'
    )
  for name in ('ema_decay', 'drop_path', 'restart_below'):
    if not 0 <= getattr(recipe, name) < 1:
      raise ValueError(
        f'train.{name} is {getattr(recipe, name)}: at least 0, below 1.'
      )
  if recipe.restarts < 0 or not recipe.restart_factor > 0:
    raise ValueError(
      f'train.restarts is {recipe.restarts} and train.restart_factor '
      f'{recipe.restart_factor}: at least 0, and above 0.'
    )


def check_batch_size(recipe: Recipe) -> None:
  """Raises ValueError for batches without images."""
  if recipe.batch_size < 1:
    raise ValueError(f'train.batch_size is {recipe.batch_size}: at least 1.')


def check_split(recipe: Recipe, num_devices: int) -> None:
  """Refuses batches that cannot be split evenly over the devices.

  Raises:
    ValueError: with the numbers.
  """
  if recipe.batch_size % num_devices:
    raise ValueError(
      f'train.batch_size is {recipe.batch_size}: it has to be a multiple of '
      f'the {num_devices} devices that train together.'
    )


def check_padded(recipe: Recipe) -> None:
  """Refuses what the padded program, which trains children, does not have.

  Raises:
    ValueError: naming the field.
  """
  for name in ('drop_path', 'auxiliary'):
    if getattr(recipe, name):
      raise ValueError(
        f'train.{name} is {getattr(recipe, name)}: children are trained by one '
        'padded program, which does not have it. Set it to 0; the full '
        'training of a found network may have it.'
      )
  if recipe.optimizer == 'muon':
    raise ValueError(
      "train.optimizer is 'muon', which knows the kernels of plain networks: "
      'children are trained by one padded program. Choose sgd or adam.'
    )


def check_whole(recipe: Recipe) -> None:
  """Refuses what only children have, not the full training of a network.

  Raises:
    ValueError: naming the field.
  """
  if recipe.restarts:
    raise ValueError(
      f'train.restarts is {recipe.restarts}: only children begin again. Set it '
      'to 0 for a full training.'
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


# Moonlight's scale (Liu et al., 2025): steps as large as Adam's.
_MUON_RMS = 0.2
_OUTER = ('stem', 'head', 'auxiliary')  # modules that are not hidden


_MATRIX = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)


def _rules(params):
  """'muon' for hidden kernels [H, W, in, out], else 'adam'.

  Depthwise kernels, whose `in` is 1, are no matrices.
  """

  def rule(path, leaf):
    names = [part.key for part in path]
    hidden = names[-1] == 'kernel' and names[0] not in _OUTER
    return 'muon' if hidden and leaf.ndim == 4 and leaf.shape[2] > 1 else 'adam'

  return jax.tree_util.tree_map_with_path(rule, params)


def _muon(recipe, rate):
  """Muon for hidden convolutions, as matrices; Adam for the rest."""
  muon = optax.contrib.muon(
    rate,
    beta=recipe.momentum,
    weight_decay=recipe.weight_decay,
    muon_weight_dimension_numbers=lambda params: jax.tree.map(
      lambda _: _MATRIX, params
    ),
    consistent_rms=_MUON_RMS,
  )
  return optax.partition({'muon': muon, 'adam': _adam(recipe, rate)}, _rules)


OPTIMIZERS = {'sgd': _sgd, 'adam': _adam, 'muon': _muon}


def optimizer(recipe: Recipe, steps_per_epoch: int):
  """The optax transformation of a recipe.

  Weights that no gradient reaches stay as they are but for their decay, so
  that a padded network learns what its plain one would.
  """
  rate = schedule(recipe, steps_per_epoch)
  tx = OPTIMIZERS[recipe.optimizer](recipe, rate)
  if recipe.clip_norm:
    tx = optax.chain(optax.clip_by_global_norm(recipe.clip_norm), tx)
  return optax.chain(tx, _slowable()) if recipe.restarts else tx


class Slowed(NamedTuple):
  """A factor of the learning rate that is data: no other one compiles anew."""

  factor: jax.Array  # [] float32


def _slowable() -> optax.GradientTransformation:
  """Scales steps, which are proportional to the rate, by its state."""

  def init(params):
    del params
    return Slowed(jnp.float32(1.0))

  def update(updates, state, params=None):
    del params
    return jax.tree.map(lambda step: step * state.factor, updates), state

  return optax.GradientTransformation(init, update)


def slowed(opt_state, recipe: Recipe, restarts: jax.Array):
  """The state of the recipe's optimiser after so many restarts []."""
  factor = jnp.power(jnp.float32(recipe.restart_factor), restarts)
  return (*opt_state[:-1], Slowed(factor))
