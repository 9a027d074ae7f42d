"""Scores architectures by training them: one program for a whole space.

A child is initialised, trained and validated inside one compiled function to
which architectures are data. It is trained in its canonical numbering, with a
key made from the run's key and the hash of its canonical form, so that
isomorphic proposals are one child, and computing a score again gives the same
number.

Shapes: `n` proposals, `K` children in one call, `E` evaluations of one child.
"""

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from irlas_jax import devices
from irlas_jax import graph as graphs
from irlas_jax.networks import padded_block
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import (
  DIVERGED,
  OK,
  OUT_OF_MEMORY,
  Array,
  Evaluator,
  Graph,
  Proposals,
  Scores,
  Space,
)


class MemoryTooSmall(ValueError):
  """One call is predicted to need more memory than a device has free."""


class Trained(NamedTuple):
  """An evaluator, and what has to happen once before it is first called."""

  prepare: Callable  # (): compiles, and predicts whether memory suffices
  evaluate: Evaluator


class _Result(NamedTuple):
  accuracy: Array
  loss: Array
  curve: Array
  diverged: Array


def child_key(key: jax.Array, digest: str) -> jax.Array:
  """The run's key folded with the hash of a child's canonical form."""
  words = (int(digest[i : i + 8], 16) for i in range(0, 16, 8))
  for word in words:
    key = jax.random.fold_in(key, word)
  return key


def make_child(
  network: padded_block.PaddedNetwork, recipe: recipes.Recipe
) -> Callable:
  """The pure function ((key, Graph), Data) -> result of training one child.

  Its accuracy is that of the last evaluation that it reached.
  """

  def child(item, data: loop.Data) -> _Result:
    key, graph = item
    key_init, key_train = jax.random.split(key)

    def apply(variables, images, step):
      return network.apply(variables, graph, images, step is not None)

    variables = network.init(key_init, graph)
    _, history = loop.train(key_train, apply, variables, data, recipe)
    last = history.finished - 1
    return _Result(
      history.accuracy[last],
      history.loss[last],
      history.accuracy,
      history.diverged,
    )

  return child


def trained(
  space: Space,
  network: padded_block.PaddedNetwork,
  cost: Callable,
  data: loop.Data,
  recipe: recipes.Recipe,
  population: int,
) -> Trained:
  """An evaluator that trains up to `population` children a call.

  Args:
    space: decodes proposals.
    network: the space's padded program.
    cost: (Graph with leading axis) -> (parameters [n], multiply-adds [n]).
    data: what children are trained and validated on.
    recipe: how; checked against the data.
    population: children a compiled call, a multiple of the local devices.

  Raises:
    ValueError: for a recipe or a population that does not fit;
      MemoryTooSmall, from `prepare`, if a call will not fit into memory.
  """
  recipes.check(recipe, data.train.labels.shape[0])
  recipes.check_padded(recipe)
  if population < 1 or population % devices.count():
    raise ValueError(
      f'evaluator.population is {population}: it has to be a multiple of the '
      f'{devices.count()} devices.'
    )
  program = devices.spread(make_child(network, recipe))
  shared = devices.replicate(data)

  @functools.cache
  def prepare():
    first = jnp.ones((1, space.num_steps), jnp.int32)  # any legal block
    example, _ = _items(jax.random.key(0), space, first, population)
    compiled = program.lower(devices.share(example), shared).compile()
    check_memory(devices.predicted_bytes(compiled), devices.available_bytes())
    return compiled

  def evaluate(key: jax.Array, proposals: Proposals) -> Scores:
    count = len(proposals.actions)
    if count > population:
      raise ValueError(f'{count} proposals: at most {population} a call.')
    items, graph = _items(key, space, proposals.actions, population)
    began = time.monotonic()
    result, failure = _run(prepare(), items, shared, recipe)
    seconds = (time.monotonic() - began) / count
    params, madds = cost(graph)
    return _scores(
      jax.tree.map(lambda x: np.asarray(x)[:count], result),
      failure,
      np.asarray(params)[:count],
      np.asarray(madds)[:count],
      seconds,
    )

  return Trained(prepare, evaluate)


def check_memory(needed: int, available: int | None) -> None:
  """Refuses a program that will not fit.

  Raises:
    MemoryTooSmall: with both numbers and the remedy.
  """
  logging.info('One call is predicted to need %.2f GB a device.', needed / 1e9)
  if available is not None and needed > available:
    raise MemoryTooSmall(
      f'A child is predicted to need {needed / 1e9:.2f} GB, and a device has '
      f'{available / 1e9:.2f} GB free: lower train.batch_size, network.width, '
      'network.blocks_per_stage or space.num_layers.'
    )


def _items(key, space, actions, population):
  """Keys [K] and canonical graphs with leading K; the last one repeated."""
  decoded = jax.device_get(jax.vmap(space.decode)(jnp.asarray(actions)))
  singles = [
    graphs.canonical(Graph(*(field[i] for field in decoded)))
    for i in range(len(actions))
  ]
  keys = [child_key(key, graphs.digest(single)) for single in singles]
  missing = population - len(singles)
  keys, singles = keys + keys[-1:] * missing, singles + singles[-1:] * missing
  stacked = Graph(*(np.stack(field) for field in zip(*singles, strict=True)))
  return (jnp.stack(keys), stacked), stacked


def _run(compiled, items, shared, recipe):
  """The result of one call and its failure code; memory may run out."""
  try:
    return devices.gather(compiled(devices.share(items), shared)), OK
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    logging.warning('Out of memory: %s', error)
  blank = np.full(len(items[0]), np.nan, np.float32)
  curve = np.full((len(blank), recipe.evaluations), np.nan, np.float32)
  return _Result(blank, blank, curve, blank == 0), OUT_OF_MEMORY


def _scores(result, failure, params, madds, seconds) -> Scores:
  count = len(params)
  nothing = np.full(count, np.nan, np.float32)
  return Scores(
    accuracy=np.where(result.diverged, np.nan, result.accuracy),
    loss=np.where(result.diverged, np.nan, result.loss),
    params=params.astype(np.float32),
    madds=madds.astype(np.float32),
    latency=nothing,
    seconds=np.full(count, seconds, np.float32),
    curve=result.curve,
    index=np.zeros(count, np.int32),
    failure=np.where(result.diverged, DIVERGED, failure).astype(np.int32),
  )
