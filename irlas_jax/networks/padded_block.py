"""Block networks with the architecture as data: one program for a space.

The same networks as `networks.block` (CIFAR macro-architecture), padded to the
space's largest block, so that one compiled function initialises, trains and
scores any of them. Each layer holds the weights that any operation could need
and picks its branch at run time.

Shapes: `T` layers, `V` = T + 1 nodes, batch `N`, image sides `H`, `W`, block
width `C`, `D` the width before.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block, block_init, block_mapping, block_ops
from irlas_jax.types import Graph


class PaddedNetwork(NamedTuple):
  """The functions of all networks of a space, architecture as data."""

  init: Callable  # (key, Graph) -> {'params', 'batch_stats'}
  apply: Callable  # (variables, Graph, images, train) -> (logits, batch_stats)
  to_flax: Callable  # (variables, Graph) -> variables of block.network(Graph)
  from_flax: Callable  # (Flax variables, Graph) -> padded variables


class Wiring(NamedTuple):
  """A graph as the program reads it."""

  branch: jax.Array  # [T] int32 which operation, 0 padding
  normalised: jax.Array  # [T] bool, batch normalisation follows
  preds: jax.Array  # [T, 2] int32 nodes read; equal where only one is
  leaves: jax.Array  # [V] bool, part of the block's output


def wire(graph: Graph, operations, made) -> Wiring:
  """Reads a Graph (traced or not) with respect to a tuple of branches."""
  table = np.zeros((len(operations), 6), np.int32)
  for i, branch in enumerate(made[1:], start=1):
    table[operations.index(branch.operation), branch.kernel] = i
  normalised = np.array([b.operation in block_ops.NORMALISED for b in made])
  ops, kernels = graph.ops[1:], graph.attrs[1:, 0]
  branch = jnp.where(ops >= 0, jnp.asarray(table)[ops, kernels], 0)
  columns = graph.edges[:, 1:]
  first = jnp.argmax(columns, axis=0)
  last = columns.shape[0] - 1 - jnp.argmax(columns[::-1], axis=0)
  preds = jnp.stack([first, jnp.where(ops >= 0, last, 0)], axis=1)
  return Wiring(
    branch, jnp.asarray(normalised)[branch], preds, graph.outputs > 0
  )


def _batch_norm(norm, z, stats, on):
  """Batch normalisation of z [..., C] where `on`; stats None: of the batch.

  Returns the result, of the type of z, and the (mean, variance) used.
  """
  if stats is None:
    axes = tuple(range(z.ndim - 1))
    # The difference of two squares has no digits left in bfloat16.
    wide = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    mean = jnp.mean(wide, axes)
    variance = jnp.mean(jnp.square(wide), axes) - jnp.square(mean)
    stats = mean, jnp.maximum(variance, 0.0)
  factor = norm['scale'] * jax.lax.rsqrt(stats[1] + block.BN_EPSILON)
  shift = norm['bias'] - stats[0] * factor
  result = z * jnp.where(on, factor, 1.0) + jnp.where(on, shift, 0.0)
  return result.astype(z.dtype), stats


def _run_layers(made, layers, x, wiring, running):
  """All layers of one block, in order.

  Returns every node's output [V, N, H, W, C], every layer's value before
  normalisation [T, N, H, W, C], and the statistics used, 2 x [T, C].
  """
  num_layers = wiring.branch.shape[0]
  nodes = jnp.zeros((num_layers + 1, *x.shape), x.dtype).at[0].set(x)

  def step(nodes, inputs):
    t, layer, branch, on, preds, stats = inputs
    applies = [branch.apply for branch in made]
    reads = nodes[preds[0]], nodes[preds[1]]
    z = jax.lax.switch(branch, applies, layer['kernels'], *reads)
    out, stats = _batch_norm(layer['norm'], z, stats, on)
    return nodes.at[t + 1].set(out), (z, stats)

  steps = jnp.arange(num_layers)
  inputs = (steps, layers, wiring.branch, wiring.normalised, wiring.preds)
  nodes, (z, stats) = jax.lax.scan(step, nodes, (*inputs, running))
  return nodes, z, stats


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _train_layers(made, layers, x, wiring):
  """`_run_layers` with batch statistics: (nodes, statistics).

  Differentiated by hand: the outputs and the values before normalisation are
  all that a branch's own gradient needs, so no branch writes residuals, and
  cotangents of nodes are added in place.
  """
  nodes, _, stats = _run_layers(made, layers, x, wiring, None)
  return nodes, stats


def _train_layers_fwd(made, layers, x, wiring):
  nodes, z, stats = _run_layers(made, layers, x, wiring, None)
  return (nodes, stats), (layers, nodes, z, wiring)


def _train_layers_bwd(made, residuals, cotangents):
  layers, nodes, z, wiring = residuals
  gradients = [functools.partial(_gradient, branch.apply) for branch in made]

  def step(d_nodes, inputs):
    t, layer, z, branch, on, preds = inputs
    _, norm_vjp = jax.vjp(
      lambda norm, z: _batch_norm(norm, z, None, on)[0], layer['norm'], z
    )
    d_norm, d_z = norm_vjp(d_nodes[t + 1])
    reads = nodes[preds[0]], nodes[preds[1]]
    d_kernels, d_x, d_y = jax.lax.switch(
      branch, gradients, layer['kernels'], *reads, d_z
    )
    d_nodes = d_nodes.at[preds[0]].add(d_x).at[preds[1]].add(d_y)
    return d_nodes, {'kernels': d_kernels, 'norm': d_norm}

  steps = jnp.arange(wiring.branch.shape[0])
  inputs = (steps, layers, z, wiring.branch, wiring.normalised, wiring.preds)
  d_nodes, d_layers = jax.lax.scan(step, cotangents[0], inputs, reverse=True)
  return d_layers, d_nodes[0], None


def _gradient(apply, kernels, x, y, d_z):
  return jax.vjp(apply, kernels, x, y)[1](d_z)


_train_layers.defvjp(_train_layers_fwd, _train_layers_bwd)


def _enter(params, leaves, nodes, stats):
  """ReLU, 1x1 convolution of the concatenated leaves, normalisation.

  nodes [V, N, H, W, D], kernel [V, D, C]; nodes that are no leaves have no
  part in the sum, as if they were not concatenated.
  """
  kernel = params['kernel'] * leaves[:, None, None]
  z = jnp.einsum('vnhwd,vdc->nhwc', jax.nn.relu(nodes), kernel)
  return _batch_norm(params['norm'], z, stats, True)


def _block(made, params, wiring, leaves, nodes, stats):
  """One block from its predecessor's nodes; stats None means training."""
  running = (None, None) if stats is None else (stats['enter'], stats['layers'])
  x, enter_stats = _enter(params['enter'], leaves, nodes, running[0])
  if stats is None:
    nodes, used = _train_layers(made, params['layers'], x, wiring)
  else:
    nodes, _, used = _run_layers(made, params['layers'], x, wiring, running[1])
  return nodes, {'enter': enter_stats, 'layers': used}


def _stage(made, params, wiring, leaves, nodes, stats):
  """The blocks of one stage: the first, then a scan over the equal others."""
  stats = stats or {'first': None, 'rest': None}
  nodes, first = _block(
    made, params['first'], wiring, leaves, nodes, stats['first']
  )
  if 'rest' not in params:
    return nodes, {'first': first}

  def step(nodes, inputs):
    return _block(made, inputs[0], wiring, wiring.leaves, nodes, inputs[1])

  nodes, rest = jax.lax.scan(step, nodes, (params['rest'], stats['rest']))
  return nodes, {'first': first, 'rest': rest}


def _halve(x):
  """2x2 max pooling of stride 2 on [..., H, W, C]; a tie keeps the first."""
  height, width = x.shape[-3] // 2 * 2, x.shape[-2] // 2 * 2
  best = x[..., 0:height:2, 0:width:2, :]
  for i, j in ((0, 1), (1, 0), (1, 1)):
    other = x[..., i:height:2, j:width:2, :]
    best = jnp.where(other > best, other, best)
  return best


def _apply(made, operations, variables, graph, images, train):
  """Logits [N, classes] and the batch statistics after this call."""
  wiring = wire(graph, operations, made)
  params, running = variables['params'], variables['batch_stats']
  no_stats: Any = {'stem': None, 'stages': [None] * len(params['stages'])}
  stats = no_stats if train else running
  x = block_ops.convolve(images, params['stem']['kernel'])
  x, used_stem = _batch_norm(params['stem']['norm'], x, stats['stem'], True)
  nodes, leaves = x[None], jnp.ones(1, bool)
  used_stages = []
  for stage, stage_params in enumerate(params['stages']):
    nodes = _halve(nodes) if stage else nodes
    nodes, used_stage = _stage(
      made, stage_params, wiring, leaves, nodes, stats['stages'][stage]
    )
    used_stages.append(used_stage)
    leaves = wiring.leaves
  pooled = jax.nn.relu(nodes).mean(axis=(2, 3))
  kernel = params['head']['kernel'] * leaves[:, None, None]
  logits = jnp.einsum('vnc,vck->nk', pooled, kernel) + params['head']['bias']
  momentum = block.BN_MOMENTUM if train else 1.0

  def mix(old, new):
    return momentum * old + (1 - momentum) * new

  used = {'stem': used_stem, 'stages': used_stages}
  return logits, jax.tree.map(mix, running, used)


def padded_network(
  choices, operations, macro: block.Macro, num_classes: int, channels: int
) -> PaddedNetwork:
  """The program of all blocks made of `choices`.

  Args:
    choices: the (operation, kernel) pairs that a layer may be.
    operations: names of the rows that `Graph.ops` points to.
    macro: the CIFAR macro-architecture; the ImageNet one is not padded.
    num_classes: number of classes.
    channels: of the images.

  Raises:
    ValueError: for an ImageNet macro-architecture.
  """
  if macro.imagenet:
    raise ValueError(
      'The padded program has the CIFAR macro-architecture only: train an '
      'ImageNet network as its plain Flax module (networks.block).'
    )
  made = block_ops.branches(choices)
  init = functools.partial(block_init.init, made, macro, num_classes, channels)

  def to_flax(variables, graph):
    layers = block.layers_of(graph, operations)
    return block_mapping.to_flax(variables, layers, macro)

  def from_flax(variables, graph):
    template = jax.eval_shape(init, jax.random.key(0), graph)
    layers = block.layers_of(graph, operations)
    return block_mapping.from_flax(variables, layers, macro, template)

  return PaddedNetwork(
    init,
    functools.partial(_apply, made, operations),
    to_flax,
    from_flax,
  )
