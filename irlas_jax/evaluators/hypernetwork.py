"""Scores architectures by weights that a graph hypernetwork makes for them.

The hypernetwork is trained once, before the first score: each step draws
architectures, makes their weights, and takes the gradient of their loss on a
batch of training images (Zhang et al., 2019, arXiv 1810.05749; several
architectures a step as GHN-2, arXiv 2110.13100). Then an architecture is scored
by its accuracy on validation images, with the weights made for it. Both are one
compiled program each, to which architectures are data.

Normalisations use the statistics of the batch, when scoring too. Isomorphic
architectures have the same score up to rounding. No chance is in a score but
that of the hypernetwork's training.

Shapes: `n` proposals, `K` architectures in one call, `M` in one step of
training, batch `B`.
"""

import functools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from irlas_jax import devices
from irlas_jax.evaluators.trained import Trained
from irlas_jax.networks import hypernetwork as hypernetworks
from irlas_jax.networks import padded_block
from irlas_jax.training import augment, checkpoint, loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import (
  DIVERGED,
  OK,
  Array,
  Graph,
  Proposals,
  Scores,
  Space,
)


class HyperNetworkError(ValueError):
  """A file with a hypernetwork of something else."""


class Child(NamedTuple):
  """Networks with weights that are made for them: functions of a space."""

  init: Callable  # (key) -> params of the hypernetwork
  generate: Callable  # (params, Graph) -> weights
  logits: Callable  # (weights, Graph, images [B, ...]) -> [B, classes]


class Budget(NamedTuple):
  """How many architectures and images are looked at."""

  meta_batch: int = 8  # M
  images: int = 0  # validation images of a score, the first ones; 0: all
  image_batch: int = 100  # that share the statistics of normalisations
  slots: int = 1  # networks that a device runs at once


def make_child(
  space: Space,
  network: padded_block.PaddedNetwork,
  make_layout: Callable,
  macro,
  sizes: hypernetworks.Sizes,
) -> Child:
  """The networks of a space with weights from a hypernetwork.

  Args:
    space: whose architectures.
    network: its padded program.
    make_layout: (operations, parameters as shape structs) -> Layout.
    macro: the macro-architecture of the program.
    sizes: of the hypernetwork.

  Raises:
    ValueError: for sizes that make no network.
  """
  example = space.decode(jnp.ones(space.num_steps, jnp.int32))
  like = jax.eval_shape(network.init, jax.random.key(0), example)
  hyper = hypernetworks.hypernetwork(
    make_layout(space.operations, like['params']), macro, sizes
  )

  def logits(weights, graph, images):
    stats = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype), like['batch_stats']
    )
    variables = {'params': weights, 'batch_stats': stats}
    return network.apply(variables, graph, images, True)[0]

  return Child(lambda key: hyper.init(key, example), hyper.generate, logits)


def run_all(child: Child, params, graphs: Graph, slots: int, fn: Callable):
  """fn(weights, Graph) of architectures [K], `slots` at a time."""
  weights = jax.vmap(child.generate, in_axes=(None, 0))(params, graphs)
  return jax.lax.map(
    lambda one: fn(*one),
    (weights, graphs),
    batch_size=slots if slots > 1 else None,
  )


def train(
  key: jax.Array,
  child: Child,
  draw: Callable,
  data: loop.Data,
  recipe: recipes.Recipe,
  budget: Budget,
):
  """Trains a hypernetwork by a recipe: (params, losses [evaluations]).

  Args:
    key: of all chance; consumed.
    child: what it is to make weights for.
    draw: (key, M) -> Graph with a leading M.
    data: of which only the training images are read.
    recipe: of the hypernetwork; its `evaluations` are only looks at the loss.
    budget: how many architectures a step has.

  Raises:
    ValueError: for a recipe that does not fit the data.
  """
  size = len(data.train.labels)
  recipes.check(recipe, size)
  recipes.check_padded(recipe)
  _check_recipe(recipe)
  key_init, key_train = jax.random.split(key)

  def network(variables, images, step):
    graphs = draw(step.key, budget.meta_batch)

    def one(weights, graph):
      return child.logits(weights, graph, images)

    logits = run_all(child, variables['params'], graphs, budget.slots, one)
    return logits, {}

  tx = recipes.optimizer(recipe, size // recipe.batch_size)
  step = loop.make_step(network, tx, data, recipe)
  advance = jax.jit(_epochs_fn(step, size, recipe))
  variables = {'params': jax.jit(child.init)(key_init), 'batch_stats': {}}
  learner = loop.start(variables, tx, recipe)
  epochs = recipe.epochs // recipe.evaluations
  losses = []
  for i in range(recipe.evaluations):
    keys = jax.random.split(jax.random.fold_in(key_train, i), epochs)
    learner, loss = advance(learner, keys)
    losses.append(float(loss))
    logging.info(
      'Hypernetwork: %d of %d epochs, loss %.3f',
      *((i + 1) * epochs, recipe.epochs, losses[-1]),
    )
  return loop.averaged(learner)['params'], np.array(losses)


def _check_recipe(recipe: recipes.Recipe) -> None:
  """Refuses what the training of a hypernetwork does not have."""
  for name in ('bfloat16', 'patience', 'restarts'):
    if getattr(recipe, name):
      raise ValueError(
        f'train.{name} is {getattr(recipe, name)}: a hypernetwork is trained '
        'in float32, once and to the end. Leave it out.'
      )


def _epochs_fn(step: Callable, size: int, recipe: recipes.Recipe) -> Callable:
  """(Learner, keys [epochs]) -> Learner, mean loss of the last epoch."""
  steps = size // recipe.batch_size

  def epoch(learner, key):
    key_order, key_steps = jax.random.split(key)
    order = jax.random.permutation(key_order, size)
    rows = order[: steps * recipe.batch_size].reshape(steps, -1)
    return jax.lax.scan(
      lambda learner, inputs: step(inputs[0], learner, inputs[1]),
      learner,
      (jax.random.split(key_steps, steps), rows),
    )

  def run(learner, keys):
    learner, losses = jax.lax.scan(epoch, learner, keys)
    return learner, losses[-1].mean()

  return run


def make_score(child: Child, data: loop.Data, budget: Budget) -> Callable:
  """(graphs [K], (params, Data)) -> accuracies [K], losses [K].

  Raises:
    ValueError: for more images than there are.
  """
  count, batch = _check_images(budget, len(data.valid.labels))

  def score(graphs, shared):
    params, data = shared

    def split(x):
      return x[:count].reshape(count // batch, batch, *x.shape[1:])

    def one(weights, graph):
      def on_batch(rows):
        images, labels = rows
        images = augment.normalise(images, data.mean, data.std)
        logits = child.logits(weights, graph, images)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(jnp.argmax(logits, -1) == labels), losses.mean()

      found = jax.lax.map(on_batch, jax.tree.map(split, tuple(data.valid)))
      return jax.tree.map(jnp.mean, found)

    return run_all(child, params, graphs, budget.slots, one)

  return score


def _check_images(budget: Budget, available: int) -> tuple[int, int]:
  """(images that are looked at, a batch of them)."""
  count = budget.images or available
  if not 1 <= count <= available:
    raise ValueError(
      f'evaluator.images is {budget.images}: there are {available} validation '
      'images; 0 is all of them.'
    )
  batch = min(budget.image_batch, count)
  if batch < 1:
    raise ValueError(
      f'evaluator.image_batch is {budget.image_batch}: at least 1.'
    )
  return count // batch * batch, batch


def hypernetwork(
  space: Space,
  child: Child,
  find_params: Callable,
  cost: Callable,
  data: loop.Data,
  budget: Budget,
  population: int,
) -> Trained:
  """An evaluator that scores up to `population` architectures a call.

  Args:
    space: decodes proposals.
    child: the networks of its architectures.
    find_params: () -> parameters of the hypernetwork; called once.
    cost: (Graph with leading axis) -> (parameters [n], multiply-adds [n]).
    data: of which only the validation images are read.
    budget: how many of them, and networks that a device runs at once.
    population: architectures a compiled call, a multiple of the devices.

  Raises:
    ValueError: for a population or images that do not fit.
  """
  if population < 1 or population % devices.count():
    raise ValueError(
      f'evaluator.population is {population}: it has to be a multiple of the '
      f'{devices.count()} devices.'
    )
  decode = jax.jit(jax.vmap(space.decode))
  program = devices.spread_shares(make_score(child, data, budget))

  @functools.cache
  def shared():
    return devices.replicate((find_params(), data))

  def evaluate(key: jax.Array, proposals: Proposals, bar: Array) -> Scores:
    del key, bar  # there is no chance, and no second evaluation
    count = len(proposals.actions)
    if count > population:
      raise ValueError(f'{count} proposals: at most {population} a call.')
    known = shared()
    began = time.monotonic()
    filled = np.pad(
      np.asarray(proposals.actions),
      ((0, population - count), (0, 0)),
      mode='edge',
    )
    graphs = jax.device_get(decode(filled))
    found = devices.gather(program(devices.share(graphs), known))
    seconds = (time.monotonic() - began) / count
    accuracy, loss = (np.asarray(x)[:count] for x in found)
    return _scores(
      accuracy, loss, cost(Graph(*(x[:count] for x in graphs))), seconds
    )

  return Trained(shared, evaluate)


def _scores(accuracy, loss, cost, seconds) -> Scores:
  count, diverged = len(loss), ~np.isfinite(loss)
  accuracy = np.where(diverged, np.nan, accuracy).astype(np.float32)
  params, madds = (np.asarray(x, np.float32) for x in cost)
  return Scores(
    accuracy=accuracy,
    loss=np.where(diverged, np.nan, loss).astype(np.float32),
    params=params,
    madds=madds,
    latency=np.full(count, np.nan, np.float32),
    seconds=np.full(count, seconds, np.float32),
    epochs=np.zeros(count, np.float32),
    curve=accuracy[:, None],
    index=np.zeros(count, np.int32),
    failure=np.where(diverged, DIVERGED, OK).astype(np.int32),
  )


def kept_in(file: str, settings: Mapping[str, Any], make: Callable) -> Callable:
  """() -> parameters: those in `file`, or made and then written there.

  Args:
    file: an Orbax checkpoint; '' is none, and they are made each time.
    settings: JSON of all that they depend on; kept beside them.
    make: () -> parameters.

  Raises:
    HyperNetworkError: when called, if the file has those of other settings.
  """
  if not file:
    return make
  text = json.dumps(settings, sort_keys=True, default=list)

  def find():
    if not checkpoint.exists(file):
      params = make()
      encoded = np.frombuffer(text.encode(), np.uint8)
      checkpoint.save(file, {'params': params, 'settings': encoded})
      return params
    found = checkpoint.load(file)
    if 'settings' not in found or 'params' not in found:
      raise HyperNetworkError(
        f'{file} holds no hypernetwork: name another evaluator.file.'
      )
    known = json.loads(np.asarray(found['settings'], np.uint8).tobytes())
    wanted = json.loads(text)
    names = sorted(
      name for name in {*known, *wanted} if known.get(name) != wanted.get(name)
    )
    if names:
      raise HyperNetworkError(
        f'{file} holds a hypernetwork of other settings; they differ in '
        f'{", ".join(names)}: set these as they were, or name another '
        'evaluator.file.'
      )
    return jax.tree.map(jnp.asarray, found['params'])

  return find
