"""The full training of one found network, with a single look at the test data.

The network is a plain Flax module, so that what comes out is what people read
and export. Paths that are dropped and an auxiliary head are the training's: the
network that is returned, counted and tested has neither.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from irlas_jax import devices
from irlas_jax.networks import cost
from irlas_jax.training import augment, checkpoint, feed, full, stream
from irlas_jax.training import data as datasets
from irlas_jax.training import history as histories
from irlas_jax.training import recipe as recipes

STATE = 'training'  # the folder in a workdir, beside its .json

Stopped = full.Stopped


class Inference(NamedTuple):
  """A trained network as a function of images as the data set has them."""

  logits: Callable  # (variables, images [B, H, W, C]) -> [B, classes]
  image: jax.ShapeDtypeStruct  # [H, W, C] uint8 or float32


class Retrained(NamedTuple):
  """A trained network and its figures; accuracies in [0, 1]."""

  variables: Any  # {'params', 'batch_stats'}
  history: histories.History
  test_accuracy: float
  test_loss: float
  params: int
  madds: int  # multiply-adds of one image
  seconds: float
  inference: Inference | None = None


def _see_nothing(history: histories.History, test: Callable[[], float]) -> None:
  del history, test


def retrain(
  key: jax.Array,
  module: nn.Module,
  dataset: datasets.Dataset | stream.Stream,
  recipe: recipes.Recipe,
  *,
  mesh: jax.sharding.Mesh | None = None,
  workdir: str | os.PathLike | None = None,
  settings: Mapping = {},
  should_stop: Callable[[], bool] = lambda: False,
  watch: Callable[
    [histories.History, Callable[[], float]], None
  ] = _see_nothing,
) -> Retrained:
  """Trains `module` (images, train) on the training images, then tests it once.

  Every batch is split over the devices of `mesh`; the result is that of one
  device but for rounding.

  Args:
    key: of all that is drawn.
    module: what is trained.
    dataset: in memory, or streamed.
    recipe: how.
    mesh: see `devices.row`; by default all devices of all processes.
    workdir: where the training is kept at every evaluation and before a stop,
      in `training/`, and taken up again. Without it nothing is kept.
    settings: JSON of all that the result depends on; a kept training of others
      is refused.
    should_stop: asked at every evaluation and every 64 steps.
    watch: told of every evaluation; its second argument gives the accuracy on
      the test images, for a report that chooses nothing by it.

  Raises:
    ValueError: if the recipe does not fit the data, the module or the devices,
      or the workdir has a training with other settings.
    Stopped: if `should_stop` said so before the end.
  """
  mesh = devices.row() if mesh is None else mesh
  check(dataset, recipe)
  recipes.check_split(recipe, mesh.size)
  trainee = _trainee(module, recipe)
  image = image_of(dataset)
  key_init, key_train = jax.random.split(key)
  example = jnp.zeros((1, *image.shape))
  variables = jax.jit(trainee.init, static_argnums=2)(key_init, example, False)
  network = _network(module, trainee, recipe)
  data = _feed(dataset, recipe, mesh)
  score = full.make_score(network, data, mesh)

  def tell(history, variables):
    watch(history, lambda: score(variables, data.test, data.test_batches())[0])

  keeper = make_keeper(workdir, settings, should_stop, mesh)
  keeper = keeper._replace(watch=tell)
  variables, history, seconds = full.train(
    key_train, network, variables, data, recipe, mesh, keeper
  )
  variables = _without_auxiliary(variables)
  copies = devices.copied_to(mesh, variables)
  accuracy, loss = score(copies, data.test, data.test_batches())
  return Retrained(
    variables,
    history,
    accuracy,
    loss,
    cost.count_parameters(variables),
    cost.count_multiply_adds(
      lambda x: module.apply(variables, x, False), example
    ),
    seconds,
    inference(module, dataset, image),
  )


def _feed(dataset, recipe: recipes.Recipe, mesh) -> feed.Feed:
  streamed = isinstance(dataset, stream.Stream)
  make = stream.streamed if streamed else feed.resident
  return make(dataset, recipe.batch_size, mesh)


def check(
  dataset: datasets.Dataset | stream.Stream, recipe: recipes.Recipe
) -> None:
  """Raises ValueError if a recipe does not fit the data."""
  recipes.check_whole(recipe)
  if isinstance(dataset, stream.Stream):
    recipes.check(recipe, len(dataset.train.rows))
  else:
    recipes.check(recipe, len(dataset.train.labels))


def image_of(dataset: datasets.Dataset | stream.Stream) -> jax.ShapeDtypeStruct:
  """One image as the data set has it."""
  if isinstance(dataset, stream.Stream):
    return jax.ShapeDtypeStruct(dataset.image_shape, jnp.uint8)
  images = dataset.train.images
  return jax.ShapeDtypeStruct(images.shape[1:], images.dtype)


def make_keeper(workdir, settings: Mapping, should_stop, mesh) -> full.Keeper:
  """Keeps a training in `workdir`, and refuses one of other settings."""
  _, num_processes = devices.processes_of(mesh)
  if num_processes > 1:  # one that works alone would wait for the others
    should_stop = devices.told_by_first(should_stop)
  if workdir is None:
    return full.FORGETFUL._replace(should_stop=should_stop)
  folder = pathlib.Path(workdir) / STATE
  devices.told_by_first(_check_settings)(folder, settings)

  def load(position):
    if not devices.told_by_first(checkpoint.exists)(folder):
      return position
    return checkpoint.load(folder, position)

  def save(position) -> None:
    checkpoint.save(folder, position)

  return full.Keeper(load, save, should_stop)


def _check_settings(folder: pathlib.Path, settings: Mapping) -> None:
  """Notes the settings of a training, or compares them with what is noted."""
  path = folder.with_suffix('.json')
  settings = json.loads(json.dumps(settings))
  if not checkpoint.exists(folder):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings, indent=2))
    return
  noted = json.loads(path.read_text())
  different = sorted(_differences(noted, settings))
  if different:
    raise ValueError(
      f'{folder} has a training with other settings: {", ".join(different)}. '
      'Choose another workdir, or remove it to begin anew.'
    )


def _differences(one, other, place=''):
  """Dotted names of what differs between two JSON values."""
  if not (isinstance(one, dict) and isinstance(other, dict)):
    if one != other:
      yield place.removesuffix('.')
    return
  for name in {*one, *other}:
    yield from _differences(one.get(name), other.get(name), f'{place}{name}.')


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


def inference(module: nn.Module, dataset, image) -> Inference:
  """A trained module of a data set's images; `image` is one of them."""

  def logits(variables, images):
    images = augment.normalise(images, dataset.mean, dataset.std)
    return module.apply(variables, images, False)

  return Inference(logits, image)
