"""The full training of one found network, with a single look at the test data.

The network is a plain Flax module, so that what comes out is what people read
and export. Paths that are dropped and an auxiliary head are the training's: the
network that is returned, counted and tested has neither.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from irlas_jax.networks import cost
from irlas_jax.training import augment, loop
from irlas_jax.training import data as datasets
from irlas_jax.training import recipe as recipes


class Inference(NamedTuple):
  """A trained network as a function of images as the data set has them."""

  logits: Callable  # (variables, images [B, H, W, C]) -> [B, classes]
  image: jax.ShapeDtypeStruct  # [H, W, C] uint8 or float32


class Retrained(NamedTuple):
  """A trained network and its figures; accuracies in [0, 1]."""

  variables: Any  # {'params', 'batch_stats'}
  history: loop.History
  test_accuracy: float
  test_loss: float
  params: int
  madds: int  # multiply-adds of one image
  seconds: float
  inference: Inference | None = None


def retrain(
  key: jax.Array,
  module: nn.Module,
  dataset: datasets.Dataset,
  recipe: recipes.Recipe,
) -> Retrained:
  """Trains `module` (images, train) on the training images, then tests it once.

  Raises:
    ValueError: if the recipe does not fit the data or the module.
  """
  recipes.check(recipe, len(dataset.train.labels))
  trainee = _trainee(module, recipe)
  began = time.monotonic()
  key_init, key_train = jax.random.split(key)
  data = loop.on_device(dataset)
  example = jnp.zeros((1, *dataset.train.images.shape[1:]))
  variables = jax.jit(trainee.init, static_argnums=2)(key_init, example, False)
  network = _network(module, trainee, recipe)
  loops = loop.HOST if jax.default_backend() == 'cpu' else loop.COMPILED
  train = loop.train
  if loops is loop.COMPILED:
    train = jax.jit(train, static_argnums=(1, 4, 5))
  variables, history = train(key_train, network, variables, data, recipe, loops)
  variables = _without_auxiliary(variables)
  test = loop.Arrays(*map(jnp.asarray, dataset.test))
  evaluate = loop.make_evaluate(network, test, data.mean, data.std)
  accuracy, loss = evaluate(variables, loops.steps)
  return Retrained(
    variables,
    history,
    float(accuracy),
    float(loss),
    cost.count_parameters(variables),
    cost.count_multiply_adds(
      lambda x: module.apply(variables, x, False), example
    ),
    time.monotonic() - began,
    _inference(module, dataset),
  )


def _trainee(module: nn.Module, recipe: recipes.Recipe) -> nn.Module:
  """The module with what the recipe adds to it for the training."""
  added: dict[str, Any] = {
    'drop_path': recipe.drop_path,
    'auxiliary': recipe.auxiliary > 0,
  }
  added = {name: value for name, value in added.items() if value}
  known = {field.name for field in dataclasses.fields(module)}
  for name in sorted(set(added) - known):
    raise ValueError(
      f'train.{name} is {getattr(recipe, name)}: a {type(module).__name__} '
      'does not have it; set it to 0.'
    )
  return module.clone(**added)


def _network(module, trainee, recipe: recipes.Recipe) -> Callable:
  """The two modules as the one function that the loop trains."""

  def network(variables, images, step):
    if step is None:
      return module.apply(variables, images, False), variables['batch_stats']
    options = {}
    if recipe.drop_path:
      options = {'progress': step.progress, 'rngs': {'drop_path': step.key}}
    logits, changed = trainee.apply(
      variables, images, True, mutable=['batch_stats'], **options
    )
    return logits, changed['batch_stats']

  return network


def _without_auxiliary(variables):
  return {
    collection: {k: v for k, v in tree.items() if k != 'auxiliary'}
    for collection, tree in variables.items()
  }


def _inference(module: nn.Module, dataset: datasets.Dataset) -> Inference:
  def logits(variables, images):
    images = augment.normalise(images, dataset.mean, dataset.std)
    return module.apply(variables, images, False)

  images = dataset.train.images
  return Inference(logits, jax.ShapeDtypeStruct(images.shape[1:], images.dtype))
