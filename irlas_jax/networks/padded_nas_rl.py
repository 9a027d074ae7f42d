"""NAS-RL's networks with the architecture as data: one program for the space.

The same networks as `networks.nas_rl`. Filters and kernels are padded to the
space's largest, so a child costs as much as if all its filters were the most
that there are; layers, skips and kernels that it does not have cost nothing.

Parameters are the `layers`, with a kernel for every layer and node before it,
and the `head`, with one for every node.

Shapes: as in nas_rl_program.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from irlas_jax.networks import (
  block,
  block_program,
  metaqnn,
  nas_rl,
  nas_rl_program,
  padded_weights,
)
from irlas_jax.networks.nas_rl_program import Limits
from irlas_jax.networks.padded_block import PaddedNetwork
from irlas_jax.types import Graph


def _init(wire, limits: Limits, width, num_classes, key, graph: Graph):
  """Variables drawn as Flax draws them."""
  wiring, most = wire(graph, (1, 1)), limits.num_layers
  layer = np.repeat(np.arange(most), np.arange(most) + 1)  # of each pair
  read = jnp.maximum(wiring.fan_in, 1)[layer, None, None, None, None]
  leaves = jnp.arange(most + 1) < wiring.leaves.number
  shape = (len(layer), *limits.largest, width, width)
  plan = {
    'layers': {
      'kernel': padded_weights.Weight(shape, read),
      'norm': padded_weights.norm(most, width),
    },
    'head': {
      'kernel': padded_weights.Weight(
        (most + 1, width, num_classes),
        jnp.sum(wiring.widths[wiring.leaves.nodes] * leaves),
      ),
      'bias': jnp.zeros(num_classes),
    },
  }
  stats = jnp.zeros((most, width)), jnp.ones((most, width))
  params = padded_weights.draw(key, plan)
  return {'params': params, 'batch_stats': {'layers': stats}}


def _mean(kernel, x):
  """A node's share of the logits, but for the size of the image."""
  return x.mean(axis=(1, 2)) @ kernel


def _apply(wire, limits: Limits, width, variables, graph, images, train):
  """Logits [N, classes] and the batch statistics after this call."""
  wiring = wire(graph, images.shape[1:3])
  params, running = variables['params'], variables['batch_stats']
  x = jnp.pad(images, [(0, 0)] * 3 + [(0, width - images.shape[-1])])
  if train:
    nodes, used = nas_rl_program.train_layers(
      limits, params['layers'], x, wiring
    )
  else:
    nodes, _, used = nas_rl_program.run_layers(
      limits, params['layers'], x, wiring, running['layers']
    )
  total = block_program.sum_over_leaves(
    _mean, params['head']['kernel'], nodes, wiring.leaves
  )
  classified = jnp.asarray(graph.outputs)[:, None] > 0
  sides = jnp.max(jnp.where(classified, wiring.sides, 0), axis=0)
  share = (images.shape[1] * images.shape[2] / jnp.prod(sides)).astype(x.dtype)
  logits = total * share + params['head']['bias']
  momentum = block.BN_MOMENTUM if train else 1.0

  def mix(old, new):
    return momentum * old + (1 - momentum) * new

  return logits, jax.tree.map(mix, running, {'layers': used})


def _arrays(variables, layers, outputs, widths) -> Iterator[tuple]:
  """Path and array of everything in the Flax variables."""
  params, stats = variables['params'], variables['batch_stats']['layers']
  for t, layer in enumerate(layers):
    name, after = f'layer{t + 1}', widths[t + 1]
    first = nas_rl_program.first_pair(t)
    cuts = tuple(
      nas_rl_program.span(side, largest)
      for side, largest in zip(
        layer.kernel, params['layers']['kernel'].shape[1:3], strict=True
      )
    )
    parts = [
      params['layers']['kernel'][first + v][(*cuts, slice(widths[v]))]
      for v in layer.sources
    ]
    kernel = np.concatenate(parts, axis=2)[..., :after]
    yield ('params', f'{name}_conv', 'kernel'), kernel
    for field in ('scale', 'bias'):
      array = params['layers']['norm'][field][t, :after]
      yield ('params', f'{name}_bn', field), array
    yield ('batch_stats', f'{name}_bn', 'mean'), stats[0][t, :after]
    yield ('batch_stats', f'{name}_bn', 'var'), stats[1][t, :after]
  head = params['head']
  kernel = np.concatenate([head['kernel'][v, : widths[v]] for v in outputs])
  yield ('params', 'head', 'kernel'), kernel
  yield ('params', 'head', 'bias'), head['bias']


def padded_network(
  limits: Limits,
  operations: tuple[str, ...],
  macro: block.Macro,
  num_classes: int,
  channels: int,
) -> PaddedNetwork:
  """The program of all networks of a space.

  Args:
    limits: of the space.
    operations: of the space; all its layers are convolutions.
    macro: one stage of one block; its width multiplies filters.
    num_classes: number of classes.
    channels: of the images.

  Raises:
    ValueError: for another macro-architecture.
  """
  del operations
  metaqnn.check_macro(macro)
  (multiplier,) = macro.widths
  width = max(multiplier * limits.filters, channels)

  def wire(graph, sides):
    shape = (*sides, channels)
    return nas_rl_program.wire(graph, limits, shape, multiplier)

  init = functools.partial(_init, wire, limits, width, num_classes)

  def to_flax(variables, graph):
    layers = nas_rl.layers_of(graph)
    widths = [channels, *(layer.filters * multiplier for layer in layers)]
    variables = jax.tree.map(np.asarray, variables)
    arrays = _arrays(variables, layers, nas_rl.classified(graph), widths)
    return traverse_util.unflatten_dict(dict(arrays))

  def from_flax(variables, graph):
    template = jax.eval_shape(init, jax.random.key(0), graph)
    read = functools.partial(to_flax, graph=graph)
    return padded_weights.from_flax(variables, read, template)

  return PaddedNetwork(
    init,
    functools.partial(_apply, wire, limits, width),
    to_flax,
    from_flax,
  )
