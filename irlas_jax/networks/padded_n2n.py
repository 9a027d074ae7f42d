"""N2N's students with the student as data: one program for a teacher.

The same networks as `networks.n2n`. Layers, channels and kernels are those of
the teacher, so a student costs as much as the teacher's layers that it kept:
that is the price of one compiled program. Every shortcut has the weights of a
projection, since what was removed before it may leave it with two widths.

Parameters are `layer0`, `layer1` ... by the teacher's layers, `shortcut` with
the number of the layer that it ends after, and the `head`.

Shapes: as in n2n_program.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from irlas_jax.networks import (
  block,
  metaqnn,
  n2n,
  n2n_program,
  padded_weights,
)
from irlas_jax.networks.n2n_program import Slot
from irlas_jax.networks.padded_block import PaddedNetwork
from irlas_jax.types import Graph


class Limits(NamedTuple):
  """What the students of a space have at most."""

  teacher: tuple[n2n.Layer, ...]
  image_size: int


def _init(plan, channels: int, num_classes: int, key, graph: Graph):
  """Variables drawn as Flax draws them."""
  wiring = n2n_program.wire(graph, plan, channels)

  def weight(shape, fan_in):
    return padded_weights.Weight(shape, jnp.maximum(fan_in, 1))

  parts: dict[str, dict] = {}
  for i, slot in enumerate(plan):
    size, kernel = slot.layer.size, slot.layer.kernel
    if slot.layer.operation == 'conv':
      fan_in = wiring.kernels[i] ** 2 * wiring.reads[i]
      shape = kernel, kernel, slot.reads, size
      parts[slot.name] = {
        'kernel': weight(shape, fan_in),
        'norm': padded_weights.norm(size),
      }
    elif slot.layer.operation == 'fully_connected':
      parts[slot.name] = _dense(
        slot.sides[0], slot.reads, size, wiring.reads[i]
      )
    if slot.first >= 0:
      reads = plan[slot.first].reads
      parts[n2n_program.shortcut_name(i)] = {
        'kernel': weight((1, 1, reads, slot.makes), wiring.reads[slot.first]),
        'norm': padded_weights.norm(slot.makes),
      }
  last = plan[-1]
  parts['head'] = _dense(
    last.sides[1], last.makes, num_classes, wiring.reads[-1]
  )
  params = padded_weights.draw(key, parts)
  stats = {
    name: (jnp.zeros_like(part['norm']['bias']), part['norm']['scale'])
    for name, part in params.items()
    if 'norm' in part
  }
  return {'params': params, 'batch_stats': stats}


def _dense(side: int, reads: int, size: int, width):
  """The plan of a dense layer, of images of which `width` channels count."""
  return {
    'kernel': padded_weights.Weight((side, side, reads, size), side**2 * width),
    'bias': jnp.zeros(size),
  }


def _apply(
  plan: tuple[Slot, ...], channels: int, variables, graph, images, train
):
  """Logits [N, classes] and the batch statistics after this call."""
  metaqnn.check_image(images.shape[1:])
  if images.shape[1] != plan[0].sides[0]:
    raise ValueError(
      f'Images of {images.shape[1]} pixels a side: this space is for '
      f'{plan[0].sides[0]}; set space.image_size or data.image_size.'
    )
  wiring = n2n_program.wire(graph, plan, channels)
  params, running = variables['params'], variables['batch_stats']
  x, used = n2n_program.run_layers(plan, params, running, wiring, images, train)
  head = params['head']
  kernel = head['kernel'].reshape(-1, head['kernel'].shape[-1])
  logits = x.reshape(len(x), -1) @ kernel + head['bias']
  momentum = block.BN_MOMENTUM if train else 1.0

  def mix(old, new):
    return momentum * old + (1 - momentum) * new

  return logits, jax.tree.map(mix, running, used)


def _normalised(params, stats, names, cuts) -> Iterator[tuple]:
  """A convolution and its normalisation by their Flax paths."""
  conv, norm = names
  yield ('params', conv, 'kernel'), params['kernel'][cuts]
  for field in ('scale', 'bias'):
    yield ('params', norm, field), params['norm'][field][cuts[-1]]
  for field, array in zip(('mean', 'var'), stats, strict=True):
    yield ('batch_stats', norm, field), array[cuts[-1]]


def _arrays(variables, plan, layers, channels: int) -> Iterator[tuple]:
  """Path and array of everything in the Flax variables of these layers."""
  params, stats = variables['params'], variables['batch_stats']
  width, entry, side = channels, (channels, 0), plan[0].sides[0]
  for v, layer in enumerate(layers, start=1):
    slot, name = plan[layer.place], f'layer{v}'
    if layer.skip_start:
      entry = width, slot.sides[0]
    before, width = width, layer.size or width
    side = slot.sides[1]
    if layer.operation == 'conv':
      first = n2n_program.first_row(layer.kernel, slot.layer.kernel)
      middle = slice(first, first + layer.kernel)
      yield from _normalised(
        params[slot.name],
        stats[slot.name],
        (f'{name}_conv', f'{name}_bn'),
        (middle, middle, slice(before), slice(width)),
      )
    if layer.operation == 'fully_connected':
      yield from _dense_arrays(params[slot.name], name, before, width)
    if layer.skip_end and entry != (width, side):
      end = next(i for i in range(layer.place, len(plan)) if plan[i].first >= 0)
      own = n2n_program.shortcut_name(end)
      names = f'{name}_shortcut_conv', f'{name}_shortcut_bn'
      cuts = slice(None), slice(None), slice(entry[0]), slice(width)
      yield from _normalised(params[own], stats[own], names, cuts)
  classes = len(params['head']['bias'])
  yield from _dense_arrays(params['head'], 'head', width, classes)


def _dense_arrays(part, name: str, reads: int, makes: int) -> Iterator[tuple]:
  kernel = part['kernel'][:, :, :reads, :makes].reshape(-1, makes)
  yield ('params', name, 'kernel'), kernel
  yield ('params', name, 'bias'), part['bias'][:makes]


def padded_network(
  limits: Limits,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
  channels: int,
) -> PaddedNetwork:
  """The program of all students of a teacher.

  Args:
    limits: the teacher.
    operations: names of the rows that `Graph.ops` points to.
    macro: one stage of one block of width 1.
    num_classes: number of classes.
    channels: of the images.

  Raises:
    ValueError: for another macro-architecture; when applied, for images of
      another size than the space's.
  """
  n2n.check_macro(macro)
  plan = n2n_program.slots(limits.teacher, limits.image_size, channels)
  init = functools.partial(_init, plan, channels, num_classes)

  def to_flax(variables, graph):
    layers = n2n.layers_of(graph, operations)
    variables = jax.tree.map(np.asarray, variables)
    found = _arrays(variables, plan, layers, channels)
    return traverse_util.unflatten_dict(dict(found))

  def from_flax(variables, graph):
    template = jax.eval_shape(init, jax.random.key(0), graph)
    read = functools.partial(to_flax, graph=graph)
    return padded_weights.from_flax(variables, read, template)

  return PaddedNetwork(
    init, functools.partial(_apply, plan, channels), to_flax, from_flax
  )
