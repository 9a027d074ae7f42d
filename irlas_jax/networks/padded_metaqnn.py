"""MetaQNN's networks with the chain as data: one program for the space.

The same networks as `networks.metaqnn`. Filters, kernels, images and layers are
padded to the space's largest, so a child costs as much as if all its filters
were the most that there are: that is the price of one compiled program. There
is no dropout: a padded program has no key to draw with.

Parameters are the `layers` of the loop over convolutions and pools, stacked;
the two fully connected layers, `dense1` and `dense2`; and the `head`.

Shapes: as in metaqnn_program; `U` units at most, `D` the larger of C and U.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from irlas_jax.networks import (
  block,
  metaqnn,
  metaqnn_program,
  padded_weights,
)
from irlas_jax.networks.metaqnn_program import Limits, Wiring
from irlas_jax.networks.padded_block import PaddedNetwork
from irlas_jax.types import Graph


def _widths(limits: Limits, channels, multiplier) -> tuple[int, int]:
  """C, which the image's channels fit into, and U."""
  filters = multiplier * limits.largest('conv', 'size')
  units = multiplier * limits.largest('fully_connected', 'size')
  return max(filters, channels), units


def _ending(wiring: Wiring):
  """Side and width of what the head reads, [] each."""
  first, second = wiring.units
  dense = first > 0
  side = jnp.where(dense | wiring.averages, 1, wiring.sides[-1])
  units = jnp.where(second > 0, second, first)
  return side, jnp.where(dense, units, wiring.widths[-1])


def _init(wire, limits: Limits, widths, num_classes, key, graph: Graph):
  """Variables drawn as Flax draws them."""
  wiring, (width, units) = wire(graph), widths
  kernel = limits.largest('conv', 'kernel')
  most, side = limits.num_layers, limits.dense_size
  first, read = wiring.units[0], wiring.sides[-1] ** 2 * wiring.widths[-1]
  last_side, last_width = _ending(wiring)
  shape = (limits.image_size, limits.image_size, max(width, units), num_classes)
  weight = padded_weights.Weight
  plan = {
    'layers': {
      'kernel': weight(
        (most, kernel, kernel, width, width),
        wiring.fan_in[:, None, None, None, None],
      ),
      'norm': padded_weights.norm(most, width),
    },
    'dense1': {
      'kernel': weight((side, side, width, units), read),
      'bias': jnp.zeros(units),
    },
    'dense2': {
      'kernel': weight((units, units), jnp.maximum(first, 1)),
      'bias': jnp.zeros(units),
    },
    'head': {
      'kernel': weight(shape, last_side**2 * last_width),
      'bias': jnp.zeros(num_classes),
    },
  }
  params = padded_weights.draw(key, plan)
  stats = jnp.zeros((most, width)), jnp.ones((most, width))
  return {'params': params, 'batch_stats': {'layers': stats}}


def _pad_channels(x, width):
  """[..., C] with further channels of 0."""
  pads = [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])]
  return jnp.pad(x, pads)


def _dense(params, read, units):
  """Dense layer and ReLU: what the kernel reads [N, ...] to [N, U]."""
  kernel = params['kernel']
  y = read.reshape(len(read), -1) @ kernel.reshape(-1, kernel.shape[-1])
  y = jax.nn.relu(y + params['bias'])
  return jnp.where(jnp.arange(y.shape[-1]) < units, y, 0)


def _finish(params, x, wiring: Wiring, limits: Limits):
  """Logits from the last convolution or pool, [N, S, S, C]."""
  first, second = wiring.units
  kernel = params['head']['kernel']
  mean = (jnp.sum(x, (1, 2)) / wiring.sides[-1] ** 2).astype(x.dtype)
  corner = x[:, : limits.dense_size, : limits.dense_size]
  hidden = _dense(params['dense1'], corner, first)
  hidden = jnp.where(
    second > 0, _dense(params['dense2'], hidden, second), hidden
  )
  mean, hidden, x = (
    _pad_channels(y, kernel.shape[2]) for y in (mean, hidden, x)
  )
  vector = jnp.where(first > 0, hidden, mean)
  alone = jnp.zeros_like(x).at[:, 0, 0].set(vector)
  x = jnp.where((first > 0) | wiring.averages, alone, x)
  flat = kernel.reshape(-1, kernel.shape[-1])
  return x.reshape(len(x), -1) @ flat + params['head']['bias']


def _apply(wire, limits: Limits, width, variables, graph, images, train):
  """Logits [N, classes] and the batch statistics after this call."""
  if images.shape[1:3] != (limits.image_size,) * 2:
    raise ValueError(
      f'Images of {images.shape[1]} x {images.shape[2]}: this space is for '
      f'{limits.image_size} x {limits.image_size}; set space.image_size or '
      'data.image_size.'
    )
  wiring, windows = wire(graph), metaqnn_program.branches(limits)
  params, running = variables['params'], variables['batch_stats']
  x, used = metaqnn_program.run_layers(
    windows,
    params['layers'],
    _pad_channels(images, width),
    wiring,
    None if train else running['layers'],
  )
  momentum = block.BN_MOMENTUM if train else 1.0

  def mix(old, new):
    return momentum * old + (1 - momentum) * new

  stats = jax.tree.map(mix, running, {'layers': used})
  return _finish(params, x, wiring, limits), stats


def _arrays(variables, places) -> Iterator[tuple]:
  """Path and array of everything in the Flax variables."""
  params, stats = variables['params'], variables['batch_stats']['layers']
  dense = 0
  for v, ((layer, side, width), (_, _, after)) in enumerate(
    zip(places, places[1:], strict=False)
  ):
    name = f'layer{v + 1}'
    if layer.operation == 'conv':
      whole = params['layers']['kernel'][v]
      cut = metaqnn_program.span(layer.kernel, len(whole))
      kernel = whole[cut, cut, :width, :after]
      yield ('params', f'{name}_conv', 'kernel'), kernel
      norm = f'{name}_bn'
      for field in ('scale', 'bias'):
        array = params['layers']['norm'][field][v, :after]
        yield ('params', norm, field), array
      yield ('batch_stats', norm, 'mean'), stats[0][v, :after]
      yield ('batch_stats', norm, 'var'), stats[1][v, :after]
    if layer.operation == 'fully_connected':
      dense += 1
      part = params[f'dense{dense}']
      cut = part['kernel'][:width]
      if dense == 1:
        cut = part['kernel'][:side, :side, :width]
      kernel = cut[..., :after].reshape(-1, after)
      yield ('params', name, 'kernel'), kernel
      yield ('params', name, 'bias'), part['bias'][:after]
  _, side, width = places[-1]
  kernel = params['head']['kernel'][:side, :side, :width]
  kernel = kernel.reshape(-1, kernel.shape[-1])
  yield ('params', 'head', 'kernel'), kernel
  yield ('params', 'head', 'bias'), params['head']['bias']


def padded_network(
  limits: Limits,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
  channels: int,
) -> PaddedNetwork:
  """The program of all chains of a space.

  Args:
    limits: of the space.
    operations: names of the rows that `Graph.ops` points to.
    macro: one stage of one block; its width multiplies filters and units.
    num_classes: number of classes.
    channels: of the images.

  Raises:
    ValueError: for another macro-architecture; when applied, for images of
      another size than the space's.
  """
  metaqnn.check_macro(macro)
  (multiplier,) = macro.widths
  widths = _widths(limits, channels, multiplier)

  def wire(graph):
    return metaqnn_program.wire(graph, operations, limits, channels, multiplier)

  init = functools.partial(_init, wire, limits, widths, num_classes)

  def to_flax(variables, graph):
    layers = metaqnn.layers_of(graph, operations)
    places = metaqnn.places(layers, limits.image_size, channels, multiplier)
    variables = jax.tree.map(np.asarray, variables)
    return traverse_util.unflatten_dict(dict(_arrays(variables, tuple(places))))

  def from_flax(variables, graph):
    template = jax.eval_shape(init, jax.random.key(0), graph)
    read = functools.partial(to_flax, graph=graph)
    return padded_weights.from_flax(variables, read, template)

  return PaddedNetwork(
    init,
    functools.partial(_apply, wire, limits, widths[0]),
    to_flax,
    from_flax,
  )
