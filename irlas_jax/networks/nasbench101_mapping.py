"""Where the weights of a plain NAS-Bench-101 network lie in the padded one."""

from collections.abc import Iterator

import jax
import numpy as np
from flax import traverse_util

from irlas_jax.networks import block, nasbench101, nasbench101_program
from irlas_jax.networks import nasbench201 as cells
from irlas_jax.types import Graph


def _conv(path, part, stats, inputs=None, outputs=None) -> Iterator[tuple]:
  """A convolution and its norm, cut to `inputs` and `outputs` channels."""
  norm, channels = part['norm'], slice(outputs)
  kernel = part['kernel'][..., slice(inputs), channels]
  yield ('params', *path, 'conv', 'kernel'), kernel
  for name in ('scale', 'bias'):
    yield ('params', *path, 'bn', name), norm[name][channels]
  for name, value in zip(('mean', 'var'), stats, strict=True):
    yield ('batch_stats', *path, 'bn', name), value[channels]


def _cell(path, params, stats, nodes, channels) -> Iterator[tuple]:
  def at(name, slot):
    return jax.tree.map(lambda x: x[slot], (params[name], stats[name]))

  numbered = enumerate(zip(nodes, channels, strict=True), start=1)
  for v, (node, width) in numbered:
    if 0 in node.preds:  # the output's projection is the last one
      part, used = at('project', -1 if node.operation == 'output' else v - 1)
      part = part | {'kernel': part['kernel'][None, None]}
      yield from _conv((*path, f'project{v}'), part, used, None, width)
    size = nasbench101_program.CONVOLUTIONS.get(node.operation)
    if size:
      part, used = at('vertex', v - 1)
      span = nasbench101_program.middle(size)
      part = part | {'kernel': part['kernel'][span, span]}
      yield from _conv((*path, f'vertex{v}'), part, used, width, width)


def _arrays(variables, graph, operations, macro) -> Iterator[tuple]:
  """Path and array of everything in the Flax variables."""
  params, stats = variables['params'], variables['batch_stats']
  nodes = cells.nodes_of(graph, operations)
  yield from _conv(('stem',), params['stem'], stats['stem'])
  for stack, width in enumerate(macro.widths):
    channels = nasbench101.vertex_channels(graph, width)
    channels = channels[1 : len(nodes) + 1].tolist()
    both = params['stacks'][stack], stats['stacks'][stack]
    for i in range(macro.blocks[stack]):
      cell, used = (tree['first'] for tree in both)
      if i > 0:
        cell, used = jax.tree.map(
          lambda x: x[i - 1],  # noqa: B023
          tuple(tree['rest'] for tree in both),
        )
      path = (f'stack{stack}_cell{i}',)
      yield from _cell(path, cell, used, nodes, channels)
  for name in ('kernel', 'bias'):
    yield ('params', 'head', name), params['head'][name]


def to_flax(
  variables, graph: Graph, operations: tuple[str, ...], macro: block.Macro
):
  """Variables of `nasbench101.network(graph)` from padded ones."""
  variables = jax.tree.map(np.asarray, variables)
  return traverse_util.unflatten_dict(
    dict(_arrays(variables, graph, operations, macro))
  )
