"""The full training of one found network, with a single look at the test data.

The network is a plain Flax module, so that what comes out is what people read
and export.
"""

import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from irlas_jax.networks import cost
from irlas_jax.training import data as datasets
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes


class Retrained(NamedTuple):
  """A trained network and its figures; accuracies in [0, 1]."""

  variables: Any  # {'params', 'batch_stats'}
  history: loop.History
  test_accuracy: float
  test_loss: float
  params: int
  madds: int  # multiply-adds of one image
  seconds: float


def retrain(
  key: jax.Array,
  module: nn.Module,
  dataset: datasets.Dataset,
  recipe: recipes.Recipe,
) -> Retrained:
  """Trains `module` (images, train) on the training images, then tests it once.

  Raises:
    ValueError: if the recipe does not fit the data.
  """
  recipes.check(recipe, len(dataset.train.labels))
  began = time.monotonic()
  key_init, key_train = jax.random.split(key)
  data = loop.on_device(dataset)
  example = jnp.zeros((1, *dataset.train.images.shape[1:]))
  variables = jax.jit(module.init, static_argnums=2)(key_init, example, False)

  def network(variables, images, train):
    if not train:
      return module.apply(variables, images, False), variables['batch_stats']
    logits, changed = module.apply(
      variables, images, True, mutable=['batch_stats']
    )
    return logits, changed['batch_stats']

  loops = loop.HOST if jax.default_backend() == 'cpu' else loop.COMPILED
  train = loop.train
  if loops is loop.COMPILED:
    train = jax.jit(train, static_argnums=(1, 4, 5))
  variables, history = train(key_train, network, variables, data, recipe, loops)
  test = loop.Arrays(
    jnp.asarray(dataset.test.images), jnp.asarray(dataset.test.labels)
  )
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
  )
