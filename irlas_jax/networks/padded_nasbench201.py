"""NAS-Bench-201 networks with the cell as data: one program for all 15,625.

The same networks as `networks.nasbench201`. Each edge of a cell holds the
weights that any operation could need and picks its branch at run time; the
cells of a stage are one scan.

Parameters are `kernels`, `norms` and the `bias` of the classifier. The first
two have a part for the stem, the head and each stage: of a stage the `cells`,
stacked, and but for the first the residual block before them, `reduce`.

Shapes: batch `N`, image sides `H`, `W`, width `C`, `n` cells a stage, `E` = 6
edges.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import flatten_util

from irlas_jax.networks import (
  block,
  block_ops,
  block_program,
  convolution,
  nasbench201,
  nasbench201_mapping,
  nasbench201_program,
  padded_weights,
)
from irlas_jax.networks.padded_block import PaddedNetwork
from irlas_jax.types import Graph


def _norms(macro: block.Macro, make):
  """make(shape) in the place of every normalisation."""
  stages = []
  for stage, (width, number) in enumerate(
    zip(macro.widths, macro.blocks, strict=True)
  ):
    part = {'cells': make((number, len(nasbench201_program.EDGES), width))}
    if stage > 0:
      part['reduce'] = {'conv1': make((width,)), 'conv2': make((width,))}
    stages.append(part)
  head = make((macro.widths[-1],))
  return {'stem': make((macro.widths[0],)), 'stages': stages, 'head': head}


def _kernels(macro: block.Macro, num_classes, channels, areas):
  """Arrays of each kernel's shape that hold the inputs of one output.

  `areas` [E]: how many of a kernel's 3 x 3 an edge uses.
  """
  before, stages = macro.widths[0], []
  full = functools.partial(jnp.full, dtype=float)
  stem = full((3, 3, channels, before), 9 * channels)
  for stage, (width, number) in enumerate(
    zip(macro.widths, macro.blocks, strict=True)
  ):
    shape = (number, len(areas), 3, 3, width, width)
    fan_in = width * areas[:, None, None, None, None]
    part: dict[str, Any] = {'cells': full(shape, fan_in)}
    if stage > 0:
      part['reduce'] = {
        'conv1': full((3, 3, before, width), 9 * before),
        'conv2': full((3, 3, width, width), 9 * width),
        'shortcut': full((before, width), before),
      }
    stages.append(part)
    before = width
  head = full((before, num_classes), before)
  return {'stem': stem, 'stages': stages, 'head': head}


def _init(operations, macro, num_classes, channels, key, graph: Graph):
  """Variables drawn as Flax draws them: LeCun's normal, cut at two deviations.

  All by one call, because each takes long to compile.
  """
  sizes = nasbench201_program.CONVOLUTIONS
  table = [sizes.get(name, 1) ** 2 for name in nasbench201_program.BRANCHES]
  branches = nasbench201_program.branches_of(graph, operations)
  fan_in, unravel = flatten_util.ravel_pytree(
    _kernels(macro, num_classes, channels, jnp.asarray(table)[branches])
  )
  drawn = jax.random.truncated_normal(key, -2, 2, fan_in.shape, fan_in.dtype)
  deviation = jnp.sqrt(1.0 / fan_in) / padded_weights.TRUNCATED_DEVIATION
  params = {
    'kernels': unravel(drawn * deviation),
    'norms': _norms(
      macro, lambda shape: {'scale': jnp.ones(shape), 'bias': jnp.zeros(shape)}
    ),
    'bias': jnp.zeros(num_classes),
  }
  stats = _norms(macro, lambda shape: (jnp.zeros(shape), jnp.ones(shape)))
  return {'params': params, 'batch_stats': stats}


def _halving_conv(x, kernel):
  """Convolution 3x3 of stride 2: x [N, H, W, C], kernel [3, 3, C, D]."""
  if jax.default_backend() == 'cpu':
    return convolution.halve(x, kernel)
  moved = [shift[:, ::2, ::2] for shift in block_ops.shifts(x, 3, 0.0)]
  return block_ops.multiply(moved, kernel)


def _halving_mean(x):
  """Means [N, H / 2, W / 2, C] of 2 x 2 pixels of x [N, H, W, C]."""
  count, height, width, channels = x.shape
  shape = (count, height // 2, 2, width // 2, 2, channels)
  return x.reshape(shape).mean(axis=(2, 4))


def _reduce(kernels, norms, x, stats):
  """The residual block between two stages; stats None means training."""
  stats = stats or {'conv1': None, 'conv2': None}
  y = _halving_conv(jax.nn.relu(x), kernels['conv1'])
  y, first = block_program.batch_norm(norms['conv1'], y, stats['conv1'], True)
  y = block_ops.convolve(jax.nn.relu(y), kernels['conv2'])
  y, second = block_program.batch_norm(norms['conv2'], y, stats['conv2'], True)
  shortcut = convolution.pointwise(_halving_mean(x), kernels['shortcut'])
  return shortcut + y, {'conv1': first, 'conv2': second}


def _cells(kernels, norms, x, stats, branches):
  """The cells of a stage, one after another; stats None means training."""

  def step(x, inputs):
    cell, running = inputs
    if running is None:
      return nasbench201_program.train_cell(cell, x, branches)
    return nasbench201_program.run_cell(cell, x, branches, running)

  return jax.lax.scan(step, x, ({'kernels': kernels, 'norms': norms}, stats))


def _stage(kernels, norms, x, stats, branches):
  """A residual block if there is one, and cells: x, statistics used."""
  used = {}
  stats = stats or {'reduce': None, 'cells': None}
  if 'reduce' in kernels:
    x, used['reduce'] = _reduce(
      kernels['reduce'], norms['reduce'], x, stats['reduce']
    )
  x, used['cells'] = _cells(
    kernels['cells'], norms['cells'], x, stats['cells'], branches
  )
  return x, used


def _apply(operations, macro, variables, graph, images, train):
  """Logits [N, classes] and the batch statistics after this call."""
  nasbench201.check_image(macro, images.shape[1:])
  branches = nasbench201_program.needed(
    nasbench201_program.branches_of(graph, operations)
  )
  params, running = variables['params'], variables['batch_stats']
  kernels, norms = params['kernels'], params['norms']
  blank: list = [None] * len(macro.widths)
  no_stats: Any = {'stem': None, 'stages': blank, 'head': None}
  stats = no_stats if train else running
  x = block_ops.convolve(images, kernels['stem'])
  x, used_stem = block_program.batch_norm(norms['stem'], x, stats['stem'], True)
  used_stages = []
  for stage, parts in enumerate(
    zip(kernels['stages'], norms['stages'], strict=True)
  ):
    x, used = _stage(*parts, x, stats['stages'][stage], branches)
    used_stages.append(used)
  x, used_head = block_program.batch_norm(norms['head'], x, stats['head'], True)
  features = jax.nn.relu(x).mean(axis=(1, 2))
  momentum = block.BN_MOMENTUM if train else 1.0

  def mix(old, new):
    return momentum * old + (1 - momentum) * new

  used = {'stem': used_stem, 'stages': used_stages, 'head': used_head}
  logits = features @ kernels['head'] + params['bias']
  return logits, jax.tree.map(mix, running, used)


def padded_network(
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
  channels: int,
) -> PaddedNetwork:
  """The program of all cells of the NAS-Bench-201 space.

  Graphs are the space's, in any numbering; nothing may be pruned from them.

  Args:
    operations: names of the rows that `Graph.ops` points to.
    macro: the macro-architecture, as block.cifar makes it.
    num_classes: number of classes.
    channels: of the images.

  Raises:
    ValueError: for an ImageNet macro-architecture; when applied, for images
      that do not halve between the stages.
  """
  nasbench201.check_macro(macro)
  init = functools.partial(_init, operations, macro, num_classes, channels)

  def to_flax(variables, graph):
    return nasbench201_mapping.to_flax(variables, graph, operations)

  def from_flax(variables, graph):
    template = jax.eval_shape(init, jax.random.key(0), graph)
    read = functools.partial(to_flax, graph=graph)
    return padded_weights.from_flax(variables, read, template)

  return PaddedNetwork(
    init,
    functools.partial(_apply, operations, macro),
    to_flax,
    from_flax,
  )
