"""Sections `populations` and `devices`: many children, on many devices.

All children are of one cell, so that rates of different numbers compare.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from benchmarks import child_engine_common as common
from irlas_jax import devices
from irlas_jax.networks import block, nasbench201, nasbench201_cost
from irlas_jax.reports import table
from irlas_jax.spaces import nasbench201 as space

WAYS = ('one after another', 'together')  # one slot, and a slot a child
# Data sheets, dense and without sparsity: FLOP/s in bfloat16 and in float32 (on
# NVIDIA's, TF32, which XLA takes by default), and bytes/s.
CHIPS = {
  'NVIDIA A100-SXM4-80GB': (312e12, 156e12, 2.04e12),
  'NVIDIA H100 80GB HBM3': (989e12, 494e12, 3.35e12),
  'NVIDIA H200': (989e12, 494e12, 4.8e12),
  'TPU v4': (275e12, None, 1.23e12),
  'TPU v5 lite': (197e12, None, 0.82e12),
  'TPU v5p': (459e12, None, 2.77e12),
  'TPU v6 lite': (918e12, None, 1.64e12),
}


class Peak(NamedTuple):
  """What a device can do at most, as measured in this run."""

  flops: float  # a second, of a large matrix product
  bytes: float  # a second, read and written by a large copy


class Work(NamedTuple):
  """What one training step of one child needs at least."""

  flops: float  # multiply-adds x 2 x 3: forward, and twice that backward
  bytes: float  # that XLA counts for the cell's own step


class Rate(NamedTuple):
  """Children x steps a second."""

  children: int
  way: str
  rate: float
  compile: float


def measure_peak(sizes: common.Sizes, side: int, length: int) -> Peak:
  """By a matrix product of this side, in the type that children train in, and
  a copy of so many float32."""
  dtype = jnp.bfloat16 if sizes.bfloat16 else jnp.float32
  matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
  vector = jnp.arange(length, dtype=jnp.float32)
  product = jax.jit(lambda x: x @ x)
  copy = jax.jit(lambda x: x + 1)
  return Peak(
    2 * side**3 / _seconds(lambda: product(matrix)),
    2 * vector.nbytes / _seconds(lambda: copy(vector)),
  )


def _seconds(call, repeats: int = 5) -> float:
  """The median of some calls after the first."""
  times = []
  for _ in range(repeats + 1):
    began = time.perf_counter()
    jax.block_until_ready(call())
    times.append(time.perf_counter() - began)
  return float(np.median(times[1:]))


def work(cell: int, sizes: common.Sizes) -> Work:
  """Counted from the graph, and from the cell's own compiled step."""
  graph = space.parse(common.CELLS[cell])
  image = sizes.side, sizes.side, 3
  rest = space.OPERATIONS, sizes.macro
  madds = nasbench201_cost.cost(graph, *rest, image, common.NUM_CLASSES).madds
  module = nasbench201.network(graph, *rest, common.NUM_CLASSES)
  variables = jax.jit(module.init, static_argnums=2)(
    jax.random.key(0), jnp.zeros((1, *image)), False
  )
  step, _ = common.compile_step(
    common.plain_network(module),
    variables,
    common.recipe(sizes),
    common.make_data(sizes),
  )
  analysis = step.cost_analysis() or {}
  moved = float(analysis.get('bytes accessed', np.nan))
  return Work(6 * float(madds) * sizes.batch, moved)


def rate(cell: int, sizes: common.Sizes, children: int, way: str) -> Rate:
  """Trains so many children of a cell by one call."""
  logging.info('Measuring %d children, %s', children, way)
  graph = space.parse(common.CELLS[cell])
  data = common.make_data(sizes)
  slots = 1 if way == WAYS[0] else children // devices.count()
  mapped = common.engine(common.padded_network(sizes), sizes, slots)
  program, spent = common.compile_spread(mapped, graph, children, data)
  run = common.run_program(program, graph, children, data)
  times = common.race([common.Contestant(way, run)], sizes).wall
  return Rate(children, way, children / float(np.median(times)), spent.wall)


def population_section(
  rates: list[Rate], peak: Peak, needed: Work, sizes: common.Sizes
) -> list[str]:
  """The section's paragraphs."""
  rows = [
    {
      'children': found.children,
      'way': found.way,
      'children x steps/s': f'{found.rate:.2f}',
      'share of peak FLOP/s': f'{found.rate * needed.flops / peak.flops:.1%}',
      'share of peak bytes/s': f'{found.rate * needed.bytes / peak.bytes:.0%}',
      'compile, s': f'{found.compile:.1f}',
    }
    for found in rates
  ]
  return [
    '## Populations',
    f'{_about(sizes)} A step needs {needed.flops / 1e9:.1f} GFLOP '
    '(multiply-adds of the cell x 2 x 3) and, by what XLA counts for the own '
    f'static network, {needed.bytes / 1e9:.2f} GB of memory traffic. '
    f'{_about_peak(peak)}',
    table.markdown_table(rows),
  ]


def _about(sizes: common.Sizes) -> str:
  widths = ', '.join(map(str, sizes.macro.widths))
  return (
    f'Cell {common.DENSE} for all children; stages of width {widths}, '
    f'{sizes.macro.blocks[0]} cell a stage, images {sizes.side}x{sizes.side}, '
    f'batch {sizes.batch}, {sizes.steps} steps a call.'
  )


def _about_peak(peak: Peak) -> str:
  text = (
    'Shares are of what this device did in this run: '
    f'{peak.flops / 1e9:,.0f} GFLOP/s in a large matrix product, '
    f'{peak.bytes / 1e9:,.1f} GB/s in a large copy'
  )
  sheet = CHIPS.get(jax.devices()[0].device_kind)
  if not sheet:
    return f'{text}.'
  half, single, moved = (None if x is None else x / 1e9 for x in sheet)
  flops = f'{half:,.0f}' + (f' (TF32 {single:,.0f})' if single else '')
  return (
    f"{text}. The chip's data sheet says {flops} GFLOP/s in bfloat16 and "
    f'{moved:,.0f} GB/s.'
  )


def population_findings(rates: list[Rate]) -> list[str]:
  """What the section says, in sentences."""
  largest = max(found.children for found in rates)
  best = {
    way: max((r for r in rates if r.way == way), key=lambda r: r.rate)
    for way in {found.way: None for found in rates}
  }
  parts = [
    f'{found.rate:.2f} {way} (best with {found.children})'
    for way, found in best.items()
  ]
  return [
    f'Populations of up to {largest}, children x steps a second: '
    f'{"; ".join(parts)}.'
  ]


def device_rates(
  cell: int, sizes: common.Sizes, counts: list[int]
) -> list[Rate]:
  """The same children on each number of devices, in processes of their own.

  On CPU the devices are simulated; elsewhere they are the first ones, and
  numbers that there are not are left out.
  """
  on_cpu = jax.default_backend() == 'cpu'
  counts = [n for n in counts if on_cpu or n <= jax.local_device_count()]
  children = max(counts)
  return [_in_process(cell, sizes, children, n, on_cpu) for n in counts]


def _in_process(cell, sizes, children, count, on_cpu) -> Rate:
  logging.info('Measuring %d devices', count)
  environment = {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
  if not on_cpu:
    environment['CUDA_VISIBLE_DEVICES'] = ','.join(map(str, range(count)))
  request = [cell, sizes, children, count if on_cpu else None]
  done = subprocess.run(
    [sys.executable, '-m', __spec__.name, json.dumps(request)],
    env=os.environ | environment,
    check=True,
    stdout=subprocess.PIPE,
    text=True,
  )
  found = Rate(*json.loads(done.stdout.splitlines()[-1]))
  return found._replace(way=str(count))


def device_section(rates: list[Rate], sizes: common.Sizes) -> list[str]:
  """The section's paragraphs."""
  first = rates[0].rate
  rows = [
    {
      'devices': found.way,
      'children x steps/s': f'{found.rate:.2f}',
      'times one device': f'{found.rate / first:.2f}',
      'compile, s': f'{found.compile:.1f}',
    }
    for found in rates
  ]
  text = (
    f'{_about(sizes)} {rates[0].children} children on each number of devices.'
  )
  if jax.default_backend() == 'cpu':
    text += (
      f' The devices are simulated and share {os.cpu_count()} cores: no '
      'speed-up beyond those is to be expected. Processes follow each other, '
      'and beside other load more devices get a larger part of the cores, so '
      'only a quiet machine tells more than that devices cost nothing.'
    )
  return ['## Devices', text, table.markdown_table(rows)]


def device_findings(rates: list[Rate]) -> list[str]:
  """What the section says, in sentences."""
  last, times = rates[-1], rates[-1].rate / rates[0].rate
  return [
    f'{last.way} devices train {times:.2f} times as many children a second as '
    f'{rates[0].way}'
    + (
      f'; on CPU they share {os.cpu_count()} cores.'
      if jax.default_backend() == 'cpu'
      else '.'
    )
  ]


def _serve(request: str) -> Any:
  """A rate, in a process whose devices are chosen before all else."""
  cell, sizes, children, count = json.loads(request)
  if count:
    devices.use_cpu_devices(count)
  (widths, blocks, imagenet), *rest = sizes
  macro = block.Macro(tuple(widths), tuple(blocks), imagenet)
  return rate(cell, common.Sizes(macro, *rest), children, 'one after another')


if __name__ == '__main__':
  print(json.dumps(_serve(sys.argv[1])))
