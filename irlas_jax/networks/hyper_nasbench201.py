"""Of which nodes of a NAS-Bench-201 cell the weights of its networks are.

The hypernetwork sees what a cell computes: `none`, and what does not lie
between input and output, is not there. So cells that compute the same get the
same weights.

Shapes: `V` = 10 nodes, `E` = 6 edges of the cell, `n` cells of a stage, `H`
numbers a state.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import graph_propagation, nasbench201_program
from irlas_jax.networks.hyper_block import RECTIFIED
from irlas_jax.networks.hypernetwork import Layout, Nodes, States
from irlas_jax.networks.weight_decoder import Decode
from irlas_jax.types import Graph


def _read(operations, graph: Graph) -> Nodes:
  """Operations, and what lies between input and output without `none`."""
  ops = jnp.asarray(graph.ops)
  kept = (ops >= 0) & (ops != operations.index('none'))
  edges = jnp.asarray(graph.edges, bool) & kept[:, None] & kept
  reached = jnp.isfinite(graph_propagation.distances(edges))
  outputs = jnp.asarray(graph.outputs) > 0
  live = kept & reached[0] & (reached & outputs).any(1)
  # Of a cell that computes nothing, input and output stay.
  ends = (jnp.arange(len(ops)) == 0) | outputs
  return Nodes(jax.nn.one_hot(ops, len(operations)), edges, live | ends)


def _areas(operations, graph: Graph, nodes) -> jax.Array:
  """How many of a kernel's 3 x 3 each edge uses: [E]."""
  sizes = nasbench201_program.CONVOLUTIONS
  table = np.array([sizes.get(name, 1) ** 2 for name in operations])
  return jnp.asarray(table)[jnp.asarray(graph.ops)[nodes]]


def _reduction(decode: Decode, template, state):
  """(kernels, norms) of the residual block before a stage."""
  before, width = template['shortcut'].shape
  kernels = {
    'conv1': ('reduction 1', 9 * before, RECTIFIED),
    'conv2': ('reduction 2', 9 * width, RECTIFIED),
    'shortcut': ('reduction shortcut', before, 1.0),
  }
  return {
    name: decode.kernel(output, state, template[name].shape, *normalised)
    for name, (output, *normalised) in kernels.items()
  }, {
    name: decode.norm(kernels[name][0], state, width)
    for name in ('conv1', 'conv2')
  }


def _cells(decode: Decode, template, own, areas, live):
  """(kernels, norms) of the cells of a stage from states `own` [n, E, H]."""
  shape = template.shape[2:]
  width = shape[-1]
  kernels = decode.kernel('conv', own, shape, width * areas, RECTIFIED)
  norms = decode.norm('conv', own, width)
  # A convolution that is not there would add its bias.
  return kernels, jax.tree.map(lambda x: x * live[:, None], norms)


def _assemble(operations, template, decode: Decode, states: States, graph):
  """The parameters of the padded program, in the shapes of `template`."""
  nodes = nasbench201_program.edge_nodes(graph, operations)
  areas = _areas(operations, graph, nodes)
  live = _read(operations, graph).live[nodes]
  shapes = template['kernels']
  stem, head = shapes['stem'].shape, shapes['head'].shape
  kernels, norms = [], []
  for stage, part in enumerate(shapes['stages']):
    own = states.blocks[stage][:, nodes]
    found = _cells(decode, part['cells'], own, areas, live)
    kernel, norm = ({'cells': half} for half in found)
    if 'reduce' in part:
      state = states.reductions[stage - 1]
      kernel['reduce'], norm['reduce'] = _reduction(
        decode, part['reduce'], state
      )
    kernels.append(kernel)
    norms.append(norm)
  return {
    'kernels': {
      'stem': decode.kernel('stem', states.stem, stem, 9 * stem[2], 1.0),
      'stages': kernels,
      'head': decode.kernel('head', states.head, head, head[0], 1.0),
    },
    'norms': {
      'stem': decode.norm('stem', states.stem, stem[-1]),
      'stages': norms,
      'head': decode.norm('last', states.head, head[0]),
    },
    'bias': decode.bias('head', states.head, head[-1]),
  }


def layout(operations: tuple[str, ...], template) -> Layout:
  """The layout of the NAS-Bench-201 space, as `hyper_block.layout`."""
  return Layout(
    functools.partial(_read, operations),
    functools.partial(_assemble, operations, template),
  )
