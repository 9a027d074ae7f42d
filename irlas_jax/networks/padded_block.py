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

from irlas_jax.networks import (
  block,
  block_init,
  block_mapping,
  block_ops,
  block_program,
)


class PaddedNetwork(NamedTuple):
  """The functions of all networks of a space, architecture as data."""

  init: Callable  # (key, Graph) -> {'params', 'batch_stats'}
  apply: Callable  # (variables, Graph, images, train) -> (logits, batch_stats)
  to_flax: Callable  # (variables, Graph) -> variables of block.network(Graph)
  from_flax: Callable  # (Flax variables, Graph) -> padded variables


def _enter(params, leaves, nodes, stats, pooled):
  """Concatenation of the leaves, pooling, ReLU, 1x1 convolution, normalisation.

  nodes [V, N, H, W, D], kernel [V, D, C]; `pooled` says whether 2x2 pooling
  comes first.
  """

  def project(kernel, x):
    return jax.nn.relu(_halve(x) if pooled else x) @ kernel

  z = block_program.sum_over_leaves(project, params['kernel'], nodes, leaves)
  return block_program.batch_norm(params['norm'], z, stats, True)


def _classify(kernel, x):
  """One leaf's share of the logits: mean over the image, then a matrix."""
  return jax.nn.relu(x).mean(axis=(1, 2)) @ kernel


def _block(made, params, wiring, leaves, nodes, stats, pooled):
  """One block from its predecessor's nodes; stats None means training."""
  running = (None, None) if stats is None else (stats['enter'], stats['layers'])
  x, enter_stats = _enter(params['enter'], leaves, nodes, running[0], pooled)
  if stats is None:
    nodes, used = block_program.train_layers(
      made, params['layers'], x[None], wiring.layers
    )
  else:
    nodes, _, used = block_program.run_layers(
      made, params['layers'], x[None], wiring.layers, running[1]
    )
  return nodes, {'enter': enter_stats, 'layers': used}


def _stage(made, params, wiring, leaves, nodes, stats, pooled):
  """The blocks of one stage: the first, then a scan over the equal others."""
  stats = stats or {'first': None, 'rest': None}
  nodes, first = _block(
    made, params['first'], wiring, leaves, nodes, stats['first'], pooled
  )
  if 'rest' not in params:
    return nodes, {'first': first}

  def step(nodes, inputs):
    params, stats = inputs
    return _block(made, params, wiring, wiring.leaves, nodes, stats, False)

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
  wiring = block_program.wire(graph, operations, made)
  params, running = variables['params'], variables['batch_stats']
  no_stats: Any = {'stem': None, 'stages': [None] * len(params['stages'])}
  stats = no_stats if train else running
  x = block_ops.convolve(images, params['stem']['kernel'])
  x, used_stem = block_program.batch_norm(
    params['stem']['norm'], x, stats['stem'], True
  )
  nodes = x[None]
  leaves = block_program.Leaves(jnp.zeros(1, jnp.int32), jnp.int32(1))
  used_stages = []
  for stage, stage_params in enumerate(params['stages']):
    nodes, used_stage = _stage(
      made,
      stage_params,
      wiring,
      leaves,
      nodes,
      stats['stages'][stage],
      stage > 0,
    )
    used_stages.append(used_stage)
    leaves = wiring.leaves
  logits = params['head']['bias'] + block_program.sum_over_leaves(
    _classify, params['head']['kernel'], nodes, leaves
  )
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
