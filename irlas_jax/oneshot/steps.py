"""What one-shot methods share: their contract, batches and the loss.

Shapes: batch `B`, `S` steps an epoch, images [B, H, W, C].
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from irlas_jax.networks import padded_weights
from irlas_jax.training import augment, loop
from irlas_jax.training import recipe as recipes


class Method(NamedTuple):
  """A way to learn an architecture and its weights together.

  Functions jit, and data is an argument, so that all seeds share a program.
  """

  init: Callable  # (key) -> state, a pytree of arrays
  # (key, loop.Data, state) -> (state, {name: []}), one pass over the images
  epoch: Callable
  score: Callable  # (loop.Data, state) -> accuracy, loss on its `valid`


# What a recipe may say beyond the loss, the optimiser and the augmentation.
_UNUSED = (
  *('bfloat16', 'patience', 'mixup', 'ema_decay', 'drop_path', 'auxiliary'),
  'restarts',
)


def check_recipe(recipe: recipes.Recipe, num_train: int) -> None:
  """Refuses a recipe that a one-shot training cannot follow.

  Raises:
    ValueError: naming the field.
  """
  recipes.check(recipe, num_train)
  for name in _UNUSED:
    if getattr(recipe, name):
      raise ValueError(
        f'train.{name} is {getattr(recipe, name)}: one-shot methods do not '
        'have it. Set it to 0; the full training of what they found may have '
        'it.'
      )
  if recipe.evaluations != 1:
    raise ValueError(
      f'train.evaluations is {recipe.evaluations}: one-shot methods look at '
      'the validation images after every epoch. Leave it out.'
    )
  if recipe.optimizer == 'muon':
    raise ValueError(
      "train.optimizer is 'muon', which knows the kernels of plain networks: "
      'choose sgd or adam.'
    )


_CONSTANTS = {'scale': 1.0, 'var': 1.0, 'bias': 0.0, 'mean': 0.0}


def variables(
  key: jax.Array, shapes: Mapping, stacked: Mapping[str, int] = {}
) -> Any:
  """A network's first variables, as Flax draws them: LeCun's normal.

  All by one call, because each takes long to compile. `shapes` is what
  `jax.eval_shape` has of the module's `init`; `stacked` says how many leading
  axes of the weights of a name are none of a layer's.
  """

  def plan(path, leaf):
    name = path[-1].key
    if name in _CONSTANTS:
      return jnp.full(leaf.shape, _CONSTANTS[name], leaf.dtype)
    fan_in = math.prod(leaf.shape[stacked.get(name, 0) : -1])
    return padded_weights.Weight(leaf.shape, fan_in)

  return padded_weights.draw(
    key, jax.tree_util.tree_map_with_path(plan, shapes)
  )


def num_steps(num_train: int, recipe: recipes.Recipe) -> int:
  """S; a last incomplete batch is left out."""
  return num_train // recipe.batch_size


def rows(key: jax.Array, size: int, steps: int, batch_size: int) -> jax.Array:
  """Which images each step sees: [S, B], in a new order, from the start again
  where there are fewer than S * B.
  """
  order = jax.random.permutation(key, size)
  needed = steps * batch_size
  return jnp.resize(order, (needed,)).reshape(steps, batch_size)


def batch(
  key: jax.Array,
  data: loop.Data,
  split: loop.Arrays,
  index: jax.Array,
  recipe: recipes.Recipe,
):
  """Images [B, H, W, C] of a split, normalised and changed, and labels [B]."""
  images = augment.normalise(split.images[index], data.mean, data.std)
  images = augment.augment(
    key,
    images,
    pad=recipe.pad,
    mirror=recipe.mirror,
    cutout_size=recipe.cutout,
  )
  return images, split.labels[index]


def cross_entropy(logits, labels, smoothing: float = 0.0) -> jax.Array:
  """Mean cross-entropy [] of logits [B, classes], labels [B]."""
  targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
  targets = optax.smooth_labels(targets, smoothing)
  return optax.softmax_cross_entropy(logits, targets).mean()
