"""How long the blocks of `search_quality` take: forward passes on one core.

Every block is compiled by itself, as plain Flax, in evaluation mode. What is
timed is the processor time of a process on one core, and of the repeats the
least: other processes then hardly matter.

Shapes: `n` blocks, `R` rounds.
"""

import os
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from scipy import stats

from benchmarks import search_quality_report as reports
from irlas_jax import kinds, sections
from irlas_jax.networks import block as plain
from irlas_jax.reports import records
from irlas_jax.types import Graph

IMAGES = (16, 16, 16, 3)
NUM_CLASSES = 10
MACRO = plain.Macro((32,), (1,))
ROUNDS = 5
_TOGETHER = 50  # blocks that are in memory at a time


def use_one_core() -> None:
  """Keeps this process on one core; call before any computation."""
  os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def compile_block(kind: kinds.SpaceKind, block: Graph) -> Callable:
  """A call that runs the network of one block."""
  module = plain.network(block, kind.space.operations, MACRO, NUM_CLASSES)
  images = np.random.default_rng(0).normal(size=IMAGES).astype(np.float32)
  shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), images, False))
  # The time does not depend on the values.
  variables = jax.tree.map(lambda x: np.full(x.shape, 0.1, x.dtype), shapes)
  apply = jax.jit(lambda variables: module.apply(variables, images, False))
  compiled = apply.lower(variables).compile()
  return lambda: compiled(variables)


def measure(calls: Sequence[Callable], rounds: int) -> np.ndarray:
  """Seconds [n, R] of processor time; each round is in another order.

  Interleaved, so that what disturbs the machine for a while disturbs all
  alike. Every call is made once more, untimed, just before.
  """
  seconds = np.empty((len(calls), rounds))
  rng = np.random.default_rng(0)
  for r in range(rounds):
    for i in rng.permutation(len(calls)):
      jax.block_until_ready(calls[i]())
      began = time.process_time()
      jax.block_until_ready(calls[i]())
      seconds[i, r] = time.process_time() - began
  return seconds


def write(folder: pathlib.Path) -> str:
  """Times every block of a results folder into its latency file.

  Returns what was done in words. Raises ValueError if there are no results.
  """
  results = reports.read_results(folder)
  kind = _kind(results[0]['config'])
  genotypes = {
    name: block['genotype']
    for result in results
    for name, block in result['blocks'].items()
  }
  blocks = [kind.parse(text) for text in genotypes.values()]
  parts = [
    measure([compile_block(kind, b) for b in blocks[i : i + _TOGETHER]], ROUNDS)
    for i in range(0, len(blocks), _TOGETHER)
  ]
  seconds = np.concatenate(parts)
  content = {
    'images': IMAGES,
    'macro': MACRO._asdict(),
    'rounds': ROUNDS,
    'environment': reports.environment(),
    'seconds': dict(
      zip(genotypes, seconds.min(1).round(7).tolist(), strict=True)
    ),
  }
  records.write_json(folder / reports.LATENCY, content)
  return (
    f'{len(blocks)} blocks, {_range(seconds)}; two halves of the rounds order '
    f'them with a rank correlation of {repeatability(seconds):.3f}.'
  )


def _kind(config) -> kinds.SpaceKind:
  return sections.choose(config, 'space', kinds.SPACES)()


def _range(seconds) -> str:
  least = 1e3 * seconds.min(1)
  return f'{least.min():.1f} to {least.max():.1f} ms'


def repeatability(seconds) -> float:
  """Rank correlation of the blocks [n, R] by two halves of the rounds."""
  halves = seconds[:, ::2].min(1), seconds[:, 1::2].min(1)
  return float(stats.spearmanr(*halves).statistic)
