"""Of which nodes of a block the weights of its networks are.

A layer's weights are made from its node's state. What two nodes share, such as
the part of a 1x1 convolution that reads one of several nodes, is made from the
sum of their states: so the weights do not depend on how a block is numbered.

Shapes: `T` layers, `V` = T + 1 nodes, `H` numbers a state, widths `D`, `C`.
"""

import functools

import jax
import jax.numpy as jnp

from irlas_jax.networks import block_ops
from irlas_jax.networks.hypernetwork import Layout, Nodes, States
from irlas_jax.networks.weight_decoder import Decode
from irlas_jax.types import Graph

RECTIFIED = 2.0  # gain of what reads rectified values (He et al., 2015)
LARGEST = 2 * block_ops.REACH + 1


def _read(operations, graph: Graph) -> Nodes:
  """Operation, kernel and whether nobody reads it."""
  ops, kernels = jnp.asarray(graph.ops), jnp.asarray(graph.attrs)[:, 0]
  is_output = jnp.asarray(graph.outputs) > 0
  features = [
    jax.nn.one_hot(ops, len(operations)),
    jax.nn.one_hot(kernels, LARGEST + 1),
    is_output[:, None].astype(float),
  ]
  edges = jnp.asarray(graph.edges, bool)
  return Nodes(jnp.concatenate(features, axis=1), edges, ops >= 0)


def _preds(graph: Graph) -> jax.Array:
  """The nodes [T, 2] that each layer reads, in order; equal if it is one."""
  columns = jnp.asarray(graph.edges)[:, 1:]
  last = len(columns) - 1 - jnp.argmax(columns[::-1], axis=0)
  return jnp.stack([jnp.argmax(columns, axis=0), last], axis=1)


def _layers(decode: Decode, template, own, graph):
  """Weights of all layers from states `own` [V, H]."""
  layers, area = own[1:], jnp.maximum(jnp.asarray(graph.attrs)[1:, 0], 1) ** 2
  width = template['norm']['scale'].shape[-1]
  pairs = layers[:, None] + own[_preds(graph)]
  sources = {
    'conv': (layers, area * width, RECTIFIED),
    'depthwise': (layers, area, 1.0),
    'pointwise': (layers, width, 1.0),
    'concat': (pairs, 2 * width, 1.0),
  }
  kernels = {}
  for name, like in template['kernels'].items():
    states, fan_in, gain = sources[name]
    shape = like.shape[states.ndim - 1 :]
    kernels[name] = decode.kernel(name, states, shape, fan_in, gain)
  return {'kernels': kernels, 'norm': decode.norm('layer', layers, width)}


def _block(decode: Decode, template, graph, own, before, fan_in):
  """Weights of one block with states `own` [V, H]; it reads `before` [K, H]."""
  shape = template['enter']['kernel'].shape[1:]
  return {
    'enter': {
      'kernel': decode.kernel(
        'enter', own[0] + before, shape, fan_in, RECTIFIED
      ),
      'norm': decode.norm('enter', own[0], shape[-1]),
    },
    'layers': _layers(decode, template['layers'], own, graph),
  }


def _one(template):
  """The shapes of one of several blocks that are stacked."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), template
  )


def _assemble(template, decode: Decode, states: States, graph: Graph):
  """The parameters of the padded program, in the shapes of `template`."""
  stem, head = (
    template['stem']['kernel'].shape,
    template['head']['kernel'].shape,
  )
  num_leaves = jnp.sum(jnp.asarray(graph.outputs) > 0)
  before, fan_in = states.stem[None], stem[-1]
  stages = []
  for part, blocks in zip(template['stages'], states.blocks, strict=True):
    width = part['first']['enter']['kernel'].shape[-1]
    stage = {
      'first': _block(decode, part['first'], graph, blocks[0], before, fan_in)
    }
    fan_in = num_leaves * width
    if 'rest' in part:
      again = functools.partial(
        _block, decode, _one(part['rest']), graph, fan_in=fan_in
      )
      stage['rest'] = jax.vmap(again)(blocks[1:], blocks[:-1])
    stages.append(stage)
    before = blocks[-1]
  return {
    'stem': {
      'kernel': decode.kernel('stem', states.stem, stem, 9 * stem[2], 1.0),
      'norm': decode.norm('stem', states.stem, stem[-1]),
    },
    'stages': stages,
    'head': {
      'kernel': decode.kernel(
        'head', states.head + before, head[1:], fan_in, 1.0
      ),
      'bias': decode.bias('head', states.head, head[-1]),
    },
  }


def layout(operations: tuple[str, ...], template) -> Layout:
  """The layout of the block space.

  Args:
    operations: names of the rows that `Graph.ops` points to.
    template: parameters of the padded program, arrays or shape structs.
  """
  return Layout(
    functools.partial(_read, operations),
    functools.partial(_assemble, template),
  )
