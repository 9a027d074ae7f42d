"""Section `compiles`: what a search of many blocks spends on compiling."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from benchmarks import child_engine_common as common
from irlas_jax import devices
from irlas_jax import graph as graphs
from irlas_jax.evaluators import trained
from irlas_jax.networks import block, block_cost, padded_block
from irlas_jax.policies import sampling
from irlas_jax.reports import table
from irlas_jax.spaces import block as space
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import Graph, Proposals

OPERATIONS = 'separable'
MACRO = block.Macro((2, 4), (1, 1))
IMAGE = 8, 8, 1
RECIPE = recipes.Recipe(epochs=1, batch_size=10)
IMAGES = 20  # two steps
GOAL_PROGRAMS, GOAL_SHARE = 5, 0.05


class Search(NamedTuple):
  """What a search compiled; seconds of wall time."""

  blocks: int
  programs: devices.Compiles  # all, small host-side ones too
  later: devices.Compiles  # after the first call
  seconds: float


class Alone(NamedTuple):
  """What it takes to compile networks one by one."""

  networks: int
  seconds: np.ndarray  # [networks] tracing, lowering and compiling


def random_blocks(num_layers: int, count: int) -> tuple[np.ndarray, list]:
  """Actions [count, T] and graphs of blocks, no two of them isomorphic.

  Raises:
    ValueError: if the space does not have so many.
  """
  kind = space.block(num_layers, OPERATIONS)
  decode = jax.jit(jax.vmap(kind.decode))
  found: dict[str, tuple] = {}
  for seed in range(20):
    drawn = sampling.uniform_lengths(jax.random.key(seed), kind, count)
    rows, batch = np.asarray(drawn), jax.device_get(decode(drawn))
    for i, row in enumerate(rows):
      graph = Graph(*(field[i] for field in batch))
      found.setdefault(graphs.digest(graph), (row, graph))
    if len(found) >= count:
      rows, blocks = zip(*list(found.values())[:count], strict=True)
      return np.stack(rows), list(blocks)
  raise ValueError(
    f'There are only {len(found)} different blocks of {num_layers} layers.'
  )


def make_data() -> loop.Data:
  """Random images: what is learnt is of no consequence."""
  rng = np.random.default_rng(0)
  images = jnp.asarray(rng.normal(size=(IMAGES, *IMAGE)), jnp.float32)
  labels = jnp.arange(IMAGES, dtype=jnp.int32) % common.NUM_CLASSES
  arrays = loop.Arrays(images, labels)
  return loop.Data(arrays, arrays, jnp.zeros(1), jnp.ones(1))


def search(num_layers: int, actions: np.ndarray, population: int) -> Search:
  """Evaluates all blocks by the engine's evaluator, so many a call."""
  kind = space.block(num_layers, OPERATIONS)
  layers = sorted(
    {(c.operation, c.kernel) for c in space.choices(num_layers, OPERATIONS)}
  )
  network = padded_block.padded_network(
    layers, space.OPERATIONS, MACRO, common.NUM_CLASSES, IMAGE[-1]
  )

  def cost(graph):
    return block_cost.cost(
      graph, space.OPERATIONS, MACRO, IMAGE, common.NUM_CLASSES
    )

  calls = [
    actions[i : i + population] for i in range(0, len(actions), population)
  ]
  data, counter = make_data(), devices.CompileCounter()
  began = time.perf_counter()
  evaluator = trained.trained(kind, network, cost, data, RECIPE, population)
  evaluator.prepare()
  first = counter.total()
  for i, rows in enumerate(calls):
    evaluator.evaluate(jax.random.key(0), Proposals(rows, rows, ()), -np.inf)
    if i == 0:
      first = counter.total()
      logging.info('The first %d blocks are evaluated', len(rows))
  seconds, total = time.perf_counter() - began, counter.total()
  later = devices.Compiles(
    total.number - first.number, total.seconds - first.seconds
  )
  return Search(len(actions), total, later, seconds)


def alone(blocks: list[Graph]) -> Alone:
  """Compiles a training step of each block's own Flax network."""
  data, seconds = make_data(), []
  for graph in blocks:
    module = block.network(graph, space.OPERATIONS, MACRO, common.NUM_CLASSES)
    variables = jax.eval_shape(
      lambda module=module: module.init(
        jax.random.key(0), jnp.zeros((1, *IMAGE)), False
      )
    )
    variables = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), variables)
    began = time.perf_counter()
    network = common.plain_network(module)
    common.compile_step(network, variables, RECIPE, data)
    seconds.append(time.perf_counter() - began)
  return Alone(len(blocks), np.array(seconds))


def section(found: Search, other: Alone) -> list[str]:
  """The section's paragraphs."""
  return [
    f'## Compiles of a search of {found.blocks} different blocks',
    f'Random blocks through the evaluator that searches use, {IMAGES} images '
    f'of {IMAGE[0]}x{IMAGE[1]}, {IMAGES // RECIPE.batch_size} steps, widths '
    f'{" and ".join(map(str, MACRO.widths))}: next to no training, so the '
    'share of compiling is the largest that a search of so many can have. All '
    'programs that XLA compiled are counted, those of single operations on the '
    'host too. The own networks: only a training step of each is compiled, no '
    f'initialisation and no evaluation; {other.networks} of them, '
    'extrapolated.',
    table.markdown_table(rows(found, other)),
    _needed(found),
  ]


def rows(found: Search, other: Alone) -> list[dict[str, Any]]:
  """The program of the space beside a program a block."""
  share = found.programs.seconds / found.seconds
  each = float(np.median(other.seconds))
  total = float(other.seconds.mean()) * found.blocks
  return [
    {
      'what': 'one program for all blocks',
      'programs': str(found.programs.number),
      'after the first call': str(found.later.number),
      'compiling, s': f'{found.programs.seconds:.1f}',
      'search, s': f'{found.seconds:.1f}',
      'compiling, share': f'{share:.1%}',
    },
    {
      'what': f'a program a block, {each:.1f} s each',
      'programs': str(found.blocks),
      'after the first call': '-',
      'compiling, s': f'{total:.0f}',
      'search, s': '-',
      'compiling, share': '-',
    },
  ]


def _needed(found: Search) -> str:
  """How long a child has to train for the goal to be met."""
  spent = found.programs.seconds
  least = spent * (1 / GOAL_SHARE - 1) / found.blocks
  actual = (found.seconds - spent) / found.blocks
  return (
    f'Compiling is at most {GOAL_SHARE:.0%} of a search of {found.blocks} '
    f'children if each takes {least:.2f} s or more; here one took '
    f'{actual:.3f} s.'
  )


def findings(found: Search, other: Alone) -> list[str]:
  """What the section says, in sentences."""
  share = found.programs.seconds / found.seconds
  times = other.seconds.mean() * found.blocks / found.programs.seconds
  number = 'met' if found.programs.number <= GOAL_PROGRAMS else 'not met'
  part = 'met' if share <= GOAL_SHARE else 'not met'
  return [
    f'A search of {found.blocks} different blocks compiles '
    f'{found.programs.number} programs, single operations counted (goal of '
    f'at most {GOAL_PROGRAMS}: {number}), {found.later.number} of them after '
    f'its first call, in {found.programs.seconds:.0f} s, {share:.0%} of '
    f'its time (goal of at most {GOAL_SHARE:.0%}: {part}, with next to no '
    'training). A program a block '
    f'would cost {times:.0f} times as much compiling.'
  ]
