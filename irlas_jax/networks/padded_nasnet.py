"""NASNet networks with the architecture as data: one program for the space.

The same networks as `networks.nasnet` (CIFAR), of both cells at any width and
depth. Every layer of a cell has the weights that any operation could need and
picks its branch at run time; equal normal cells of a stage are one scan.

Parameters are the `stem`, the `head` and of each stage the cells: `reduce` and
the `first` normal cell behind it, which reads an image twice as large, where
there is a stage before; and `rest`, the other normal cells, stacked.

Shapes: as in nasnet_program.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from irlas_jax.networks import (
  block,
  block_ops,
  block_program,
  nasnet,
  nasnet_mapping,
  nasnet_ops,
  nasnet_plan,
  nasnet_program,
  padded_weights,
)
from irlas_jax.networks.nasnet_program import Output
from irlas_jax.networks.padded_block import PaddedNetwork
from irlas_jax.types import Graph


def check_macro(macro: block.Macro):
  """Raises ValueError if the macro-architecture is not padded."""
  if macro.imagenet:
    raise ValueError(
      'The padded program has the CIFAR macro-architecture only: train an '
      'ImageNet network as its plain Flax module (networks.nasnet).'
    )


def _wire(graph: Graph, operations):
  """Both cells of an architecture [2, V]."""
  return tuple(
    nasnet_program.wire(
      Graph(*(field[cell] for field in graph)), operations, cell == 1
    )
    for cell in (0, 1)
  )


def _plan_layers(branches, index, repeats, width):
  """Layers whose branches are `index` [T], `repeats` cells of them stacked."""
  taps = jnp.array([branch.taps for branch in branches])
  areas = jnp.array([max(branch.kernel, 1) ** 2 for branch in branches])
  shape = (*repeats, len(index))
  return {
    'kernels': {
      'dense': padded_weights.Weight(
        (*shape, nasnet_ops.TAPS, width, width),
        (width * taps[index])[:, None, None, None],
      ),
      'depthwise': padded_weights.Weight(
        (*shape, nasnet_ops.LARGEST, nasnet_ops.LARGEST, width),
        areas[index][:, None, None, None],
      ),
    },
    'norm': padded_weights.norm(*shape, width),
  }


def _plan_cell(wiring: nasnet_program.Wiring, before, width, fan_in):
  """A cell, or several stacked; `before` and fan-ins of its x and `previous`.

  Fan-ins are numbers, or [n] of n cells.
  """
  num_states, repeats = len(wiring.states), jnp.shape(fan_in[0])

  def enter(width_before, inputs):
    shape = (*repeats, num_states, width_before, width)
    return {
      'kernel': padded_weights.Weight(shape, inputs[..., None, None, None]),
      'norm': padded_weights.norm(*repeats, width),
    }

  cell = {
    'input': enter(before[0], fan_in[0]),
    'previous': enter(before[1], fan_in[1]),
    'layers': _plan_layers(
      nasnet_ops.INNER, wiring.layers.branch, repeats, width
    ),
  }
  if wiring.entries is not None:
    cell['entries'] = _plan_layers(
      nasnet_ops.ENTRIES, wiring.entries.branch, repeats, width
    )
  return cell


def _plan_stage(wirings, macro, stage):
  """The cells of a stage; a number's fan-in is how much a cell reads."""
  normal, reduction = wirings
  width, number = macro.widths[stage], macro.blocks[stage]
  own, halved = (wiring.leaves.number * width for wiring in wirings)
  if stage == 0:
    stem = jnp.full((), nasnet.STEM_FACTOR * width)
    read = [stem, stem] + [own] * (number - 1)
    fan_in = jnp.stack(read[1 : number + 1]), jnp.stack(read[:number])
    return {'rest': _plan_cell(normal, (width, width), width, fan_in)}
  before = macro.widths[stage - 1]
  last = normal.leaves.number * before
  older = last
  if macro.blocks[stage - 1] == 1:
    older = reduction.leaves.number * before
    if stage == 1:
      older = jnp.full((), nasnet.STEM_FACTOR * before)
  plan = {
    'reduce': _plan_cell(reduction, (before, before), width, (last, older)),
    'first': _plan_cell(normal, (width, before), width, (halved, last)),
  }
  if number > 1:
    read = [halved] + [own] * (number - 1)
    fan_in = jnp.stack(read[1:]), jnp.stack(read[:-1])
    plan['rest'] = _plan_cell(normal, (width, width), width, fan_in)
  return plan


def _init(operations, macro, num_classes, channels, key, graph: Graph):
  """Variables drawn as Flax draws them."""
  wirings = _wire(graph, operations)
  width = nasnet.STEM_FACTOR * macro.widths[0]
  normal, last = wirings[0], macro.widths[-1]
  plan = {
    'stem': {
      'kernel': padded_weights.Weight((3, 3, channels, width), 9 * channels),
      'norm': padded_weights.norm(width),
    },
    'stages': [
      _plan_stage(wirings, macro, stage) for stage in range(len(macro.widths))
    ],
    'head': {
      'kernel': padded_weights.Weight(
        (len(normal.states), last, num_classes), normal.leaves.number * last
      ),
      'bias': jnp.zeros(num_classes),
    },
  }
  params = padded_weights.draw(key, plan)
  return {'params': params, 'batch_stats': padded_weights.initial_stats(params)}


def _stem(part, images, running, num_states):
  """The stem's channels as leaves of the first width: output, statistics."""
  z = block_ops.convolve(images, part['kernel'])
  x, used = block_program.batch_norm(part['norm'], z, running, True)
  count = nasnet.STEM_FACTOR
  leaves = jnp.moveaxis(x.reshape(*x.shape[:3], count, -1), 3, 0)
  missing = ((0, num_states - count),) + ((0, 0),) * 4
  leading = block_program.Leaves(
    jnp.arange(num_states, dtype=jnp.int32), jnp.int32(count)
  )
  return Output(jnp.pad(leaves, missing), leading), used


def _stage(params, wirings, previous, x, running):
  """The cells of a stage: the last two outputs, the statistics used."""
  normal, reduction = wirings
  running = running or dict.fromkeys(params)
  used = {}
  for name, wiring in (('reduce', reduction), ('first', normal)):
    if name in params:
      out, used[name] = nasnet_program.run_cell(
        params[name], wiring, previous, x, running[name]
      )
      previous, x = x, out
  if 'rest' not in params:
    return previous, x, used

  def step(carry, inputs):
    (previous, x), (cell, stats) = carry, inputs
    out, used = nasnet_program.run_cell(cell, normal, previous, x, stats)
    return (x, out), used

  (previous, x), used['rest'] = jax.lax.scan(
    step, (previous, x), (params['rest'], running['rest'])
  )
  return previous, x, used


def _classify(weights, x):
  """One leaf's share of the logits: mean over the image, then a matrix."""
  return jax.nn.relu(x).mean(axis=(1, 2)) @ weights


def _apply(operations, macro, variables, graph, images, train):
  """Logits [N, classes] and the batch statistics after this call."""
  wirings = _wire(graph, operations)
  params, running = variables['params'], variables['batch_stats']
  no_stats: Any = {'stem': None, 'stages': [None] * len(macro.widths)}
  stats = no_stats if train else running
  x, used_stem = _stem(
    params['stem'], images, stats['stem'], len(wirings[0].states)
  )
  previous, used_stages = x, []
  for part, given in zip(params['stages'], stats['stages'], strict=True):
    previous, x, used_stage = _stage(part, wirings, previous, x, given)
    used_stages.append(used_stage)
  head = params['head']
  logits = head['bias'] + block_program.sum_over_leaves(
    _classify, head['kernel'], *x
  )
  momentum = block.BN_MOMENTUM if train else 1.0

  def mix(old, new):
    return momentum * old + (1 - momentum) * new

  used = {'stem': used_stem, 'stages': used_stages}
  return logits, jax.tree.map(mix, running, used)


def padded_network(
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
  channels: int,
) -> PaddedNetwork:
  """The program of all architectures [2, V] of the NASNet space.

  The nodes of a cell may have any numbering, and any states may be its output.

  Args:
    operations: names of the rows that `Graph.ops` points to.
    macro: the macro-architecture, as block.cifar makes it.
    num_classes: number of classes.
    channels: of the images.

  Raises:
    ValueError: for an ImageNet macro-architecture.
  """
  check_macro(macro)
  init = functools.partial(_init, operations, macro, num_classes, channels)
  wire = jax.jit(functools.partial(_wire, operations=operations))

  def to_flax(variables, graph):
    plans = nasnet_plan.plans_of(graph, operations)
    wirings = jax.device_get(wire(graph))
    return nasnet_mapping.to_flax(variables, plans, wirings, macro)

  def from_flax(variables, graph):
    template = jax.eval_shape(init, jax.random.key(0), graph)
    read = functools.partial(to_flax, graph=graph)
    return padded_weights.from_flax(variables, read, template)

  return PaddedNetwork(
    init, functools.partial(_apply, operations, macro), to_flax, from_flax
  )
