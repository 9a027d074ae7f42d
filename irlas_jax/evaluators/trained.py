"""Scores architectures by training them: one program for a whole space.

A child is initialised, trained and validated inside one compiled function to
which architectures are data. It is trained in its canonical numbering, with a
key made from the run's key and the hash of its canonical form, so that
isomorphic proposals are one child, and computing a score again gives the same
number.

A child may be stopped after any of its evaluations; its slot on the device is
then free for the next one, in the same compiled program.

Shapes: `n` proposals, `K` children in one call, `E` evaluations of one child.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from irlas_jax import devices
from irlas_jax import graph as graphs
from irlas_jax.evaluators import slots as slots_lib
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


class Shared(NamedTuple):
  """What all children of a call have in common."""

  data: Any  # that the job trains on: `loop.Data`, or another's
  bar: Array  # [E] least accuracy to go on after an evaluation


class Result(NamedTuple):
  """What a job says of one child; see `Scores`."""

  accuracy: Array
  loss: Array
  curve: Array  # [E]
  epochs: Array
  diverged: Array


class _Program(NamedTuple):
  run: Callable
  slots: int


def child_keys(key: jax.Array, digests: Sequence[str]) -> jax.Array:
  """The run's key folded with the hash of each child's canonical form: [K]."""
  words = [[int(name[i : i + 8], 16) for i in (0, 8)] for name in digests]
  return _fold(key, np.array(words, np.uint32))


@jax.jit
def _fold(key, words):
  """Keys [K], folded with both of words [K, 2]."""

  def one(pair):
    return jax.random.fold_in(jax.random.fold_in(key, pair[0]), pair[1])

  return jax.vmap(one)(words)


def make_job(
  network: padded_block.PaddedNetwork,
  recipe: recipes.Recipe,
  loss: Callable = loop.cross_entropy,
) -> slots_lib.Job:
  """The training of one child: items (key, Graph), shared a `Shared`.

  Its accuracy is that of the last evaluation that it reached. A child that
  comes to nothing begins again, with other weights and a lower learning rate,
  as often as the recipe says; what it leaves is of its last beginning. `loss`
  has the arguments of `loop.cross_entropy`.
  """

  def begin(item, shared: Shared, restarts: Array | int = 0) -> loop.State:
    key, graph = item
    key_init, key_train = jax.random.split(key)
    variables = network.init(key_init, graph)
    return loop.begin(key_train, variables, recipe, shared.data, restarts)

  def advance(item, state: loop.State, shared: Shared) -> loop.State:
    _, graph = item

    def apply(variables, images, step):
      return network.apply(variables, graph, images, step is not None)

    train = loop.make_advance(apply, shared.data, recipe, loss=loss)
    state = train(state)
    return begin_again(item, state, shared) if recipe.restarts else state

  def begin_again(item, state: loop.State, shared: Shared) -> loop.State:
    key, graph = item
    restarts = state.restarts + 1
    return jax.lax.cond(
      loop.comes_to_nothing(state, recipe),
      lambda: begin(
        (jax.random.fold_in(key, restarts), graph), shared, restarts
      ),
      lambda: state,
    )

  def goes_on(state: loop.State, shared: Shared) -> Array:
    return loop.goes_on(state, recipe, shared.bar)

  def result(state: loop.State) -> Result:
    _, history = loop.finish(state)
    last = history.finished - 1
    return Result(
      history.accuracy[last],
      history.loss[last],
      history.accuracy,
      history.finished * (recipe.epochs // recipe.evaluations),
      history.diverged,
    )

  return slots_lib.Job(begin, advance, goes_on, result)


def trained(
  space: Space,
  network: padded_block.PaddedNetwork,
  cost: Callable,
  data: loop.Data,
  recipe: recipes.Recipe,
  population: int,
  slots: int = 1,
) -> Trained:
  """An evaluator that trains up to `population` children a call.

  Args:
    space: decodes proposals.
    network: the space's padded program.
    cost: (Graph with leading axis) -> (parameters [n], multiply-adds [n]).
    data: what children are trained and validated on.
    recipe: how; checked against the data.
    population: children a compiled call, a multiple of the local devices.
    slots: how many a device trains at once; fewer if memory does not suffice.

  Raises:
    ValueError: for a recipe or a population that does not fit;
      MemoryTooSmall, from `prepare`, if a single child will not fit into
      memory.
  """
  recipes.check(recipe, data.train.labels.shape[0])
  recipes.check_padded(recipe)
  job = make_job(network, recipe)
  return by_job(space, job, cost, data, recipe.evaluations, population, slots)


def by_job(
  space: Space,
  job: slots_lib.Job,
  cost: Callable,
  data: Any,
  evaluations: int,
  population: int,
  slots: int = 1,
) -> Trained:
  """As `trained`, for any job: items (key, Graph), shared a `Shared` of `data`.

  Its results are `Result`s with curves of so many `evaluations`.

  Raises:
    ValueError: as `trained`.
  """
  _check_counts(population, slots)
  decode = jax.jit(jax.vmap(space.decode))
  data = devices.replicate(data)
  most = slots

  @functools.cache
  def compiled(slots: int) -> Callable:
    first = np.ones((1, space.num_steps), np.int32)  # any legal block
    items, live, _ = _items(jax.random.key(0), decode, first, population)
    program = devices.spread_shares(
      lambda queue, shared: slots_lib.work(job, slots)(*queue, shared)
    )
    shared = Shared(data, devices.replicate(_bar(-np.inf, evaluations)))
    return program.lower(devices.share((items, live)), shared).compile()

  @functools.cache
  def fitting(most: int) -> _Program:
    run = compiled(most)
    needed = devices.predicted_bytes(run)
    available = devices.available_bytes()
    if most > 1 and available is not None and needed > available:
      logging.info(
        '%d children at once need %.2f GB a device, which has %.2f GB free: '
        'half as many.',
        most,
        needed / 1e9,
        available / 1e9,
      )
      return fitting(most // 2)
    check_memory(needed, available)
    return _Program(run, most)

  def evaluate(key: jax.Array, proposals: Proposals, bar: Array) -> Scores:
    nonlocal most
    count = len(proposals.actions)
    if count > population:
      raise ValueError(f'{count} proposals: at most {population} a call.')
    items, live, graph = _items(key, decode, proposals.actions, population)
    began = time.monotonic()
    shared = Shared(data, devices.replicate(_bar(bar, evaluations)))
    program = fitting(most)
    result = _run(program.run, (items, live), shared)
    while result is None and program.slots > 1:
      program = fitting(program.slots // 2)
      result = _run(program.run, (items, live), shared)
    most = program.slots
    failure = OUT_OF_MEMORY if result is None else OK
    seconds = (time.monotonic() - began) / count
    params, madds = cost(graph)
    back = np.argsort(_order(population))[:count]
    result = result or _blank(population, evaluations)
    return _scores(
      jax.tree.map(lambda x: np.asarray(x)[back], result),
      failure,
      np.asarray(params)[back],
      np.asarray(madds)[back],
      seconds,
    )

  return Trained(lambda: fitting(most), evaluate)


def _bar(bar: Array, evaluations: int) -> np.ndarray:
  """A number or [E] as [E]."""
  return np.full(evaluations, bar, np.float32)


def _check_counts(population: int, slots: int) -> None:
  if population < 1 or population % devices.count():
    raise ValueError(
      f'evaluator.population is {population}: it has to be a multiple of the '
      f'{devices.count()} devices.'
    )
  share = population // devices.count()
  if not 1 <= slots <= share:
    raise ValueError(
      f'evaluator.slots is {slots}: of a population of {population} a device '
      f'has {share}, so it can train 1 to {share} at once.'
    )


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


def _order(population: int) -> np.ndarray:
  """Which item stands at each place [K]: dealt out to the devices in turn."""
  return np.arange(population).reshape(-1, devices.count()).T.ravel()


def _items(key, decode, actions, population):
  """((keys [K], canonical graphs [K]), which are live [K], the graphs again).

  All in the order of `_order`; the last one is repeated to fill the call.
  """
  order, count = _order(population), len(actions)
  filled = np.pad(
    np.asarray(actions), ((0, population - count), (0, 0)), mode='edge'
  )
  decoded = jax.device_get(decode(filled))
  singles = [
    graphs.canonical(Graph(*(field[i] for field in decoded)))
    for i in range(count)
  ]
  digests = [graphs.digest(single) for single in singles]
  places = np.minimum(order, count - 1)
  keys = child_keys(key, [digests[i] for i in places])
  stacked = Graph(
    *(np.stack(field)[places] for field in zip(*singles, strict=True))
  )
  return (keys, stacked), order < count, stacked


def _run(program, queue, shared) -> Result | None:
  """The result of one call; None if memory ran out."""
  try:
    return devices.gather(program(devices.share(queue), shared))
  except jax.errors.JaxRuntimeError as error:
    if 'RESOURCE_EXHAUSTED' not in str(error):
      raise
    logging.warning('Out of memory: %s', error)
  return None


def _blank(population: int, evaluations: int) -> Result:
  """What is known of children that did not fit into memory."""
  nothing = np.full(population, np.nan, np.float32)
  curve = np.full((population, evaluations), np.nan, np.float32)
  return Result(nothing, nothing, curve, np.zeros(population), nothing == 0)


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
    epochs=np.asarray(result.epochs, np.float32),
    curve=result.curve,
    index=np.zeros(count, np.int32),
    failure=np.where(result.diverged, DIVERGED, failure).astype(np.int32),
  )
