"""Section `mechanism`: what it costs that the architecture is data, and why.

The program as it is beside other ways to write it, which are put in place for
the time of compiling: differentiated automatically through `lax.switch`, with
convolutions whose derivatives are JAX's, and with a matrix product over shifts.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from absl import logging

from benchmarks import child_engine_common as common
from irlas_jax import devices
from irlas_jax.networks import block_ops, nasbench201_program
from irlas_jax.reports import table
from irlas_jax.spaces import nasbench201 as space


def _train_cell(cell, x, branches):
  """As nasbench201_program.train_cell, but for who differentiates it."""
  return nasbench201_program.run_cell(cell, x, branches, None)


def _convolution(x, weights):
  """As block_ops.convolve, by XLA's convolution as JAX differentiates it."""
  return jax.lax.conv_general_dilated(
    x, weights, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def _shifts(x, weights):
  """As block_ops.convolve, by a matrix product over shifts."""
  moved = block_ops.shifts(x, weights.shape[0], 0.0)
  return block_ops.multiply(moved, weights)


HAND = 'as the library has it'
WAYS: dict[str, Callable] = {
  HAND: contextlib.nullcontext,
  'autodiff through the switch': lambda: mock.patch.object(
    nasbench201_program, 'train_cell', _train_cell
  ),
  'lax.conv': lambda: mock.patch.object(block_ops, 'convolve', _convolution),
  'shifts': lambda: mock.patch.object(block_ops, 'convolve', _shifts),
}


class Costs(NamedTuple):
  """What the ways of writing the program cost, beside the own network."""

  seconds: dict[int, np.ndarray]  # by cell: [rounds, 1 + ways] static first
  compile: dict[str, float]  # seconds, by way
  memory: dict[str, int]  # bytes of one call that XLA predicts, by way


def measure(sizes: common.Sizes, cells: list[int], names: list[str]) -> Costs:
  """Compiles each way once, and trains all cells by all of them in turns."""
  data = common.make_data(sizes)
  graphs = {cell: space.parse(common.CELLS[cell]) for cell in cells}
  programs = {}
  for name in names:
    logging.info('Compiling: %s', name)
    with WAYS[name]():
      mapped = common.engine(common.padded_network(sizes), sizes)
      programs[name] = common.compile_spread(mapped, graphs[cells[0]], 1, data)
  found = {}
  for cell, graph in graphs.items():
    contestants = [common.static(graph, sizes, data)]
    for name, (program, _) in programs.items():
      run = common.run_program(program, graph, 1, data)
      contestants.append(common.Contestant(name, run))
    found[cell] = common.race(contestants, sizes).wall
  return Costs(
    found,
    {name: spent.wall for name, (_, spent) in programs.items()},
    {name: devices.predicted_bytes(p) for name, (p, _) in programs.items()},
  )


def section(costs: Costs, sizes: common.Sizes) -> list[str]:
  """The section's paragraphs."""
  widths = ', '.join(map(str, sizes.macro.widths))
  return [
    '## The program beside the own network, by how it is written',
    f'Stages of width {widths}, {sizes.macro.blocks[0]} cell a stage, images '
    f'{sizes.side}x{sizes.side}, batch {sizes.batch}. Times of a step, as '
    'multiples of the static network of the same cell; medians and ranges of '
    'the rounds. The library writes out the gradients of a cell, so that no '
    'branch keeps values for all others, and on CPU those of a convolution; '
    '`lax.conv` leaves these to JAX; `shifts` makes of a convolution a matrix '
    'product over shifted images.',
    table.markdown_table(rows(costs)),
  ]


def rows(costs: Costs) -> list[dict[str, Any]]:
  """A row a way of writing the program."""
  found = []
  for i, name in enumerate(costs.compile, start=1):
    row: dict[str, Any] = {'program': name}
    for cell, times in costs.seconds.items():
      ratio = common.spread_of(times[:, i] / times[:, 0])
      row[f'cell {cell}, static {np.median(times[:, 0]):.3f} s'] = ratio
    row['compile, s'] = f'{costs.compile[name]:.1f}'
    row['memory, MB'] = f'{costs.memory[name] / 1e6:.0f}'
    found.append(row)
  return found


def findings(costs: Costs) -> list[str]:
  """Which way is best on this backend, in sentences."""
  names = list(costs.compile)
  parts, other = [], 'times the static network'
  for cell, times in costs.seconds.items():
    ratios = np.median(times[:, 1:] / times[:, :1], axis=0)
    best = int(np.argmin(ratios))
    parts.append(f'cell {cell}: {names[best]} ({ratios[best]:.2f} {other})')
  backend = jax.default_backend()
  return [
    f'The fastest way to write the program on {backend}: {"; ".join(parts)}.'
  ]
