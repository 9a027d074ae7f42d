"""What the sections of `benchmarks.child_engine` share: cells, data, timing.

All times are of contestants that take turns: each is run once to warm up, and
then once a round, so that other load of the machine meets all alike; ratios are
taken within a round.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import devices
from irlas_jax.evaluators import slots as queue
from irlas_jax.evaluators import trained
from irlas_jax.networks import block, nasbench201, padded_nasbench201
from irlas_jax.networks.padded_block import PaddedNetwork
from irlas_jax.spaces import nasbench201 as space
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import Graph

# Rows of the table of NAS-Bench-201, np.random.RandomState(7).randint(0, 15625,
# 5), written out so that no table is needed.
CELLS = {
  12463: '|none~0|+|none~0|avg_pool_3x3~1|+'
  '|none~0|avg_pool_3x3~1|nor_conv_3x3~2|',
  9412: '|avg_pool_3x3~0|+|none~0|skip_connect~1|+'
  '|none~0|skip_connect~1|nor_conv_1x1~2|',
  537: '|nor_conv_1x1~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+'
  '|avg_pool_3x3~0|skip_connect~1|skip_connect~2|',
  10742: '|avg_pool_3x3~0|+|nor_conv_3x3~0|none~1|+'
  '|none~0|skip_connect~1|nor_conv_1x1~2|',
  5699: '|nor_conv_1x1~0|+|skip_connect~0|skip_connect~1|+'
  '|nor_conv_1x1~0|nor_conv_3x3~1|nor_conv_1x1~2|',
}
DENSE = 5699  # the dearest of them
NUM_CLASSES = 10
_VALID = 10  # images; what is timed includes one evaluation on them


class Sizes(NamedTuple):
  """How large the networks are, and how long they are trained."""

  macro: block.Macro
  side: int  # of the images, pixels
  batch: int
  steps: int  # of one run
  rounds: int  # timed runs of each contestant
  bfloat16: bool = False


class Spent(NamedTuple):
  """Seconds by two clocks."""

  wall: float = 0.0
  cpu: float = 0.0  # of all threads: what other load changes least


class Contestant(NamedTuple):
  """Something that trains, and what it took to compile."""

  name: str
  run: Callable  # (), makes the steps of one run
  compile: Spent = Spent()  # tracing and lowering included


def recipe(sizes: Sizes) -> recipes.Recipe:
  """One epoch of plain training; weight decay as NAS-Bench-201's."""
  return recipes.Recipe(
    epochs=1,
    batch_size=sizes.batch,
    weight_decay=5e-4,
    bfloat16=sizes.bfloat16,
  )


def make_data(sizes: Sizes) -> loop.Data:
  """Random images, normalised, for the steps of one run."""
  rng = np.random.default_rng(0)
  shape = (sizes.steps * sizes.batch, sizes.side, sizes.side, 3)
  images = jnp.asarray(rng.normal(size=shape), jnp.float32)
  labels = jnp.asarray(rng.integers(NUM_CLASSES, size=shape[0]), jnp.int32)
  valid = loop.Arrays(images[:_VALID], labels[:_VALID])
  train = loop.Arrays(images, labels)
  return loop.Data(train, valid, jnp.zeros(3), jnp.ones(3))


def padded_network(sizes: Sizes) -> PaddedNetwork:
  """The one program of all cells."""
  return padded_nasbench201.padded_network(
    space.OPERATIONS, sizes.macro, NUM_CLASSES, 3
  )


def engine(network: PaddedNetwork, sizes: Sizes, slots: int = 1):
  """(children, Data) -> results: the evaluator's program, over the devices."""
  work = queue.work(trained.make_job(network, recipe(sizes)), slots)

  def run(children, data):
    live = jnp.ones(len(children[0]), bool)
    return work(children, live, trained.Shared(data, jnp.full(1, -jnp.inf)))

  return devices.spread_shares(run)


def items(graph: Graph, number: int):
  """So many children of one architecture, each with a key of its own."""
  keys = jax.random.split(jax.random.key(0), number)
  return keys, jax.tree.map(
    lambda x: jnp.broadcast_to(jnp.asarray(x), (number, *np.shape(x))), graph
  )


def compile_spread(mapped, graph: Graph, number: int, data: loop.Data):
  """A spread function, compiled for `number` children: (program, Spent)."""
  arguments = devices.share(items(graph, number)), devices.replicate(data)
  return timed(lambda: mapped.lower(*arguments).compile())


def timed(call: Callable):
  """(what a call returns, Spent)."""
  wall, cpu = time.perf_counter(), time.process_time()
  result = call()
  return result, Spent(time.perf_counter() - wall, time.process_time() - cpu)


def run_program(program, graph: Graph, number: int, data) -> Callable:
  """() calls a compiled spread function, and waits for it."""
  arguments = devices.share(items(graph, number)), devices.replicate(data)
  return lambda: jax.block_until_ready(program(*arguments))


def plain_network(module) -> Callable:
  """A Flax module as the training loop's function."""

  def network(variables, images, step):
    if step is None:
      return module.apply(variables, images, False), variables['batch_stats']
    logits, changed = module.apply(
      variables, images, True, mutable=['batch_stats']
    )
    return logits, changed['batch_stats']

  return network


def static(graph: Graph, sizes: Sizes, data: loop.Data) -> Contestant:
  """A cell's own Flax network, compiled alone.

  The network is that of what the cell computes. On CPU the host runs one
  compiled step after another, which is the fast way for `lax.conv` there;
  elsewhere the whole training is compiled.
  """
  module = nasbench201.network(
    space.effective(graph), space.OPERATIONS, sizes.macro, NUM_CLASSES
  )
  shape = (1, sizes.side, sizes.side, 3)
  variables = jax.jit(module.init, static_argnums=2)(
    jax.random.key(0), jnp.zeros(shape), False
  )
  make = _host_run if jax.default_backend() == 'cpu' else _compiled_run
  network = plain_network(module)
  run, spent = timed(lambda: make(network, variables, sizes, data))
  return Contestant('static', run, spent)


def compile_step(network: Callable, variables, settings, data: loop.Data):
  """One training step, compiled alone: (step, the learner before it)."""
  size = settings.batch_size
  tx = recipes.optimizer(settings, data.train.labels.shape[0] // size)
  learner = loop.start(variables, tx, settings)
  step = jax.jit(loop.make_step(network, tx, data, settings))
  key, index = jax.random.key(0), jnp.arange(size)
  return step.lower(key, learner, index).compile(), learner


def _host_run(network, variables, sizes: Sizes, data):
  step, first = compile_step(network, variables, recipe(sizes), data)

  def run():
    rows = np.arange(sizes.steps * sizes.batch).reshape(sizes.steps, -1)
    keys = jax.random.split(jax.random.key(0), sizes.steps)
    learner = first
    for key, index in zip(keys, rows, strict=True):
      learner, _ = step(key, learner, index)
    jax.block_until_ready(learner)

  return run


def _compiled_run(network, variables, sizes: Sizes, data):
  def train(key, variables, data):
    return loop.train(key, network, variables, data, recipe(sizes))

  arguments = jax.random.key(0), variables, data
  program = jax.jit(train).lower(*arguments).compile()
  return lambda: jax.block_until_ready(program(*arguments))


class Times(NamedTuple):
  """Seconds a step [rounds, contestants]."""

  wall: np.ndarray
  cpu: np.ndarray


def race(contestants: Sequence[Contestant], sizes: Sizes) -> Times:
  """Runs all in turns, after one to warm up."""
  for contestant in contestants:
    contestant.run()
  rounds = [
    [timed(contestant.run)[1] for contestant in contestants]
    for _ in range(sizes.rounds)
  ]
  found = np.array(rounds) / sizes.steps
  return Times(found[..., 0], found[..., 1])


def spread_of(values: np.ndarray) -> str:
  """Median and range of the rounds."""
  median, low, high = np.median(values), values.min(), values.max()
  return f'{median:.2f} ({low:.2f} to {high:.2f})'
