"""Scores students by distilling a teacher into them, one program for all.

As `evaluators.trained`, with another loss: the logits of a teacher on the
images of a batch, as they were augmented. The teacher is data, shared by all
students of a call.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from irlas_jax.evaluators import retrained, trained
from irlas_jax.evaluators import slots as slots_lib
from irlas_jax.networks import cost as costs
from irlas_jax.networks import padded_block
from irlas_jax.training import data as datasets
from irlas_jax.training import distillation, loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import Space


class Teacher(NamedTuple):
  """A trained network, by the program that is fast inside of loops."""

  logits: Callable  # (variables, images [B, H, W, C] normalised) -> [B, K]
  variables: Any


class Lesson(NamedTuple):
  """What students are trained on."""

  data: loop.Data
  teacher: Any  # its variables


def make_job(
  network: padded_block.PaddedNetwork,
  recipe: recipes.Recipe,
  logits: Callable,
  weights: distillation.Weights,
) -> slots_lib.Job:
  """The distillation of one student: shared is a `Shared` of a `Lesson`."""
  plain = trained.make_job(network, recipe)

  def narrow(shared: trained.Shared) -> trained.Shared:
    return shared._replace(data=shared.data.data)

  def begin(item, shared: trained.Shared):
    return plain.begin(item, narrow(shared))

  def advance(item, state, shared: trained.Shared):
    teach = functools.partial(logits, shared.data.teacher)
    loss = distillation.make_loss(weights, teach)
    job = trained.make_job(network, recipe, loss)
    return job.advance(item, state, narrow(shared))

  return slots_lib.Job(begin, advance, plain.goes_on, plain.result)


def distilled(
  space: Space,
  network: padded_block.PaddedNetwork,
  cost: Callable,
  data: loop.Data,
  recipe: recipes.Recipe,
  population: int,
  slots: int = 1,
  *,
  teacher: Teacher,
  weights: distillation.Weights,
) -> trained.Trained:
  """As `trained.trained`, by a teacher of as many classes.

  Raises:
    ValueError: as `trained.trained`, and for weights that are no loss.
  """
  recipes.check(recipe, data.train.labels.shape[0])
  recipes.check_padded(recipe)
  distillation.check(weights)
  job = make_job(network, recipe, teacher.logits, weights)
  lesson = Lesson(data, teacher.variables)
  return trained.by_job(
    space, job, cost, lesson, recipe.evaluations, population, slots
  )


def accuracy(teacher: Teacher, split: loop.Arrays, mean, std) -> float:
  """The share of images of a split that the teacher is right about."""

  def network(variables, images, step):
    del step
    return teacher.logits(variables, images), ()

  evaluate = jax.jit(loop.make_evaluate(network, split, mean, std))
  return float(evaluate(teacher.variables)[0])


def check(recipe: recipes.Recipe, weights: distillation.Weights) -> None:
  """Refuses what a full distillation does not have.

  Raises:
    ValueError: naming the field.
  """
  distillation.check(weights)
  for name in ('drop_path', 'auxiliary'):
    if getattr(recipe, name):
      raise ValueError(
        f'train.{name} is {getattr(recipe, name)}: a distillation does not '
        'have it. Set it to 0.'
      )


def distil(
  key: jax.Array,
  module: nn.Module,
  teacher: Teacher,
  dataset: datasets.Dataset,
  recipe: recipes.Recipe,
  weights: distillation.Weights,
) -> retrained.Retrained:
  """Distils a teacher into a plain Flax module fully, and tests it once.

  On one device, step by step. Nothing is kept on the way.

  Raises:
    ValueError: for a recipe that does not fit, or weights that are no loss.
  """
  retrained.check(dataset, recipe)
  check(recipe, weights)
  began = time.monotonic()
  data = loop.on_device(dataset)
  key_init, key_train = jax.random.split(key)
  image = retrained.image_of(dataset)
  example = jnp.zeros((1, *image.shape))
  variables = jax.jit(module.init, static_argnums=2)(key_init, example, False)
  network = _network(module)
  teach = functools.partial(teacher.logits, teacher.variables)
  variables, history = loop.train(
    key_train,
    network,
    variables,
    data,
    recipe,
    loop.HOST,
    distillation.make_loss(weights, teach),
  )
  test = loop.Arrays(*map(jnp.asarray, dataset.test))
  score = jax.jit(loop.make_evaluate(network, test, data.mean, data.std))
  accuracy, loss = jax.device_get(score(variables))
  return retrained.Retrained(
    jax.device_get(variables),
    jax.device_get(history),
    float(accuracy),
    float(loss),
    costs.count_parameters(variables),
    costs.count_multiply_adds(
      lambda x: module.apply(variables, x, False), example
    ),
    time.monotonic() - began,
    retrained.inference(module, dataset, image),
  )


def _network(module: nn.Module) -> Callable:
  """A module without further parts as the loop has networks."""

  def network(variables, images, step):
    if step is None:
      return module.apply(variables, images, False), variables['batch_stats']
    logits, changed = module.apply(
      variables, images, True, mutable=['batch_stats']
    )
    return logits, changed['batch_stats']

  return network
