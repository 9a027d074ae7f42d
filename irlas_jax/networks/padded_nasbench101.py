"""NAS-Bench-101 networks with the cell as data: one program for the space.

The same networks as `networks.nasbench101`. Every vertex has the weights that
any operation at the cell's full width could need and picks its branch at run
time; the cells of a stack but the first are one scan.

Shapes: batch `N`, image sides `H`, `W`, width `C`, `S` = V - 2 vertices between
input and output.
"""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

from irlas_jax.networks import (
  block,
  nasbench101_mapping,
  nasbench101_program,
  nasbench201,
  padded_weights,
)
from irlas_jax.networks.padded_block import PaddedNetwork
from irlas_jax.types import Graph

MOST_JOINED = 5  # vertices between input and output


def _cell(make, wiring, repeats, before, width):
  """One cell; with `repeats` (n,) instead of (), n equal ones stacked."""
  channels = nasbench101_program.channels_of(wiring, width)
  sizes = nasbench101_program.CONVOLUTIONS
  table = [sizes.get(name, 1) ** 2 for name in nasbench101_program.BRANCHES]
  fan_in = jnp.maximum(channels * jnp.asarray(table)[wiring.branches], 1)
  slots = len(channels)
  project = (*repeats, slots + 1)
  vertex = (*repeats, slots)
  return {
    'project': {
      'kernel': make((*project, before, width), before),
      'norm': padded_weights.norm(*project, width),
    },
    'vertex': {
      'kernel': make(
        (*vertex, 3, 3, width, width), fan_in[:, None, None, None, None]
      ),
      'norm': padded_weights.norm(*vertex, width),
    },
  }


def _params(make, operations, macro, num_classes, channels, graph):
  """All parameters; make(shape, fan_in) is a kernel."""
  wiring = nasbench101_program.wire(graph, operations)
  before, stacks = macro.widths[0], []
  stem = {
    'kernel': make((3, 3, channels, before), 9 * channels),
    'norm': padded_weights.norm(before),
  }
  for width, number in zip(macro.widths, macro.blocks, strict=True):
    stack = {'first': _cell(make, wiring, (), before, width)}
    if number > 1:
      stack['rest'] = _cell(make, wiring, (number - 1,), width, width)
    stacks.append(stack)
    before = width
  head = {
    'kernel': make((before, num_classes), before),
    'bias': jnp.zeros(num_classes),
  }
  return {'stem': stem, 'stacks': stacks, 'head': head}


def _init(operations, macro, num_classes, channels, key, graph: Graph):
  """Variables drawn as Flax draws them: LeCun's normal, cut at two deviations.

  All by one call, because each takes long to compile.
  """
  plan = functools.partial(
    _params,
    operations=operations,
    macro=macro,
    num_classes=num_classes,
    channels=channels,
    graph=graph,
  )
  sizes: list[int] = []
  plan(lambda shape, fan_in: sizes.append(math.prod(shape)))
  ends = list(itertools.accumulate(sizes))
  flat = jax.random.truncated_normal(key, -2, 2, (ends[-1],))
  pieces = iter(jnp.split(flat, ends[:-1]))

  def draw(shape, fan_in):
    deviation = jnp.sqrt(1.0 / fan_in) / padded_weights.TRUNCATED_DEVIATION
    return next(pieces).reshape(shape) * deviation

  params = plan(draw)
  return {'params': params, 'batch_stats': padded_weights.initial_stats(params)}


def _halve(x):
  """2x2 max pooling of stride 2 on [N, H, W, C]; an odd side is padded."""
  pads = [(0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)]
  x = jnp.pad(x, pads, constant_values=-jnp.inf)
  best = x[:, ::2, ::2]
  for i, j in ((0, 1), (1, 0), (1, 1)):  # a tie keeps the first
    other = x[:, i::2, j::2]
    best = jnp.where(other > best, other, best)
  return best


def _stack(params, x, stats, wiring):
  """The cells of one stack: the first, then a scan over the others."""
  stats = stats or {'first': None, 'rest': None}
  x, first = nasbench101_program.run_cell(
    params['first'], x, wiring, stats['first']
  )
  if 'rest' not in params:
    return x, {'first': first}

  def step(x, inputs):
    cell, running = inputs
    return nasbench101_program.run_cell(cell, x, wiring, running)

  x, rest = jax.lax.scan(step, x, (params['rest'], stats['rest']))
  return x, {'first': first, 'rest': rest}


def _apply(operations, variables, graph, images, train):
  """Logits [N, classes] and the batch statistics after this call."""
  wiring = nasbench101_program.wire(graph, operations)
  params, running = variables['params'], variables['batch_stats']
  no_stats: Any = {'stem': None, 'stacks': [None] * len(params['stacks'])}
  stats = no_stats if train else running
  x, _, used_stem = nasbench101_program.conv_bn_relu(
    params['stem'], images, stats['stem'], size=3
  )
  used_stacks = []
  for stack, part in enumerate(params['stacks']):
    x = _halve(x) if stack > 0 else x
    x, used = _stack(part, x, stats['stacks'][stack], wiring)
    used_stacks.append(used)
  head = params['head']
  logits = x.mean(axis=(1, 2)) @ head['kernel'] + head['bias']
  momentum = block.BN_MOMENTUM if train else 1.0

  def mix(old, new):
    return momentum * old + (1 - momentum) * new

  used = {'stem': used_stem, 'stacks': used_stacks}
  return logits, jax.tree.map(mix, running, used)


def padded_network(
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
  channels: int,
) -> PaddedNetwork:
  """The program of all cells of the NAS-Bench-101 space.

  Graphs are pruned cells padded to the space's number of vertices, their output
  after all other vertices.

  Args:
    operations: names of the rows that `Graph.ops` points to.
    macro: the macro-architecture, as block.cifar makes it.
    num_classes: number of classes.
    channels: of the images.

  Raises:
    ValueError: for an ImageNet macro-architecture, or a width that is less than
      the vertices that an output may read.
  """
  nasbench201.check_macro(macro)
  if min(macro.widths) < MOST_JOINED:
    raise ValueError(
      f'The width of the first stack is {macro.widths[0]}: an output may read '
      f'{MOST_JOINED} vertices and needs a channel of each, at least as many.'
    )
  init = functools.partial(_init, operations, macro, num_classes, channels)

  def to_flax(variables, graph):
    return nasbench101_mapping.to_flax(variables, graph, operations, macro)

  def from_flax(variables, graph):
    template = jax.eval_shape(init, jax.random.key(0), graph)
    read = functools.partial(to_flax, graph=graph)
    return padded_weights.from_flax(variables, read, template)

  return PaddedNetwork(
    init, functools.partial(_apply, operations), to_flax, from_flax
  )
