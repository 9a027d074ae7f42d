"""The layers of one block as a program to which the block is data.

Loops run over the layers and leaves that there are, so padding costs nothing.
Such loops have no automatic reverse, so both are differentiated by hand, which
also saves the residuals that `lax.switch` would write for every branch.

The loop over layers serves other spaces too: it starts from any number of
nodes, and each layer adds one.

Shapes: `T` layers, `K` nodes to start from (of a block 1, its input), `V` =
K + T nodes, batch `N`, image sides `H`, `W`, width `C`.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block, block_ops
from irlas_jax.types import Graph


class Leaves(NamedTuple):
  """Which nodes of a block are concatenated, in their order."""

  nodes: jax.Array  # [V] int32, the leaves first
  number: jax.Array  # [] int32


class Layers(NamedTuple):
  """What the loop over layers reads of an architecture."""

  num_layers: jax.Array  # [] int32, the others are padding
  branch: jax.Array  # [T] int32 which operation
  normalised: jax.Array  # [T] bool, batch normalisation follows
  preds: jax.Array  # [T, 2] int32 nodes read; equal where only one is


class Wiring(NamedTuple):
  """A graph as the program reads it; the first fields are its `Layers`."""

  num_layers: jax.Array  # [] int32
  branch: jax.Array  # [T] int32
  normalised: jax.Array  # [T] bool
  preds: jax.Array  # [T, 2] int32
  leaves: Leaves  # the block's output

  @property
  def layers(self) -> Layers:
    return Layers(*self[:-1])


def wire(graph: Graph, operations, made) -> Wiring:
  """Reads a Graph (traced or not) with respect to a tuple of branches."""
  table = np.zeros((len(operations), 6), np.int32)
  for i, branch in enumerate(made):
    table[operations.index(branch.operation), branch.kernel] = i
  normalised = np.array([b.operation in block_ops.NORMALISED for b in made])
  ops, kernels = graph.ops[1:], graph.attrs[1:, 0]
  branch = jnp.asarray(table)[ops, kernels]
  columns = graph.edges[:, 1:]
  first = jnp.argmax(columns, axis=0)
  last = columns.shape[0] - 1 - jnp.argmax(columns[::-1], axis=0)
  return Wiring(
    jnp.sum(ops >= 0),
    branch,
    jnp.asarray(normalised)[branch],
    jnp.stack([first, last], axis=1),
    Leaves(jnp.argsort(graph.outputs == 0), jnp.sum(graph.outputs > 0)),
  )


def batch_norm(norm, z, stats, on):
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


def at(tree, t):
  """Row t of every array."""
  return jax.tree.map(
    lambda x: jax.lax.dynamic_index_in_dim(x, t, keepdims=False), tree
  )


def put(tree, t, row):
  """The arrays with another row t."""
  return jax.tree.map(lambda x, y: x.at[t].set(y), tree, row)


def no_stats(layers):
  """Where the statistics of all layers are put: 2 x [T, C] of zeros."""
  scale = layers['norm']['scale']
  precision = jnp.promote_types(scale.dtype, jnp.float32)
  return (jnp.zeros_like(scale, precision),) * 2


def run_layer(made, layer, branch, on, x, y, given):
  """One layer: its output, its value before normalisation, statistics used."""
  applies = [one.apply for one in made]
  z = jax.lax.switch(branch, applies, layer['kernels'], x, y)
  out, used = batch_norm(layer['norm'], z, given, on)
  return out, z, used


def pull_layer(made, layer, branch, on, x, y, z, d_out):
  """Its gradient with statistics of the batch: of the layer, of x, of y."""
  _, norm_vjp = jax.vjp(
    lambda norm, z: batch_norm(norm, z, None, on)[0], layer['norm'], z
  )
  d_norm, d_z = norm_vjp(d_out)
  gradients = [functools.partial(_gradient, one.apply) for one in made]
  d_kernels, d_x, d_y = jax.lax.switch(
    branch, gradients, layer['kernels'], x, y, d_z
  )
  return {'kernels': d_kernels, 'norm': d_norm}, d_x, d_y


def run_layers(made, layers, start, wiring: Layers, running):
  """All layers of one block, in order; padding costs nothing.

  Layer t adds node K + t to the nodes `start` [K, N, H, W, C].

  Returns every node's output [V, N, H, W, C], every layer's value before
  normalisation [T, N, H, W, C], and the statistics used, 2 x [T, C].
  """
  z = jnp.zeros((len(wiring.branch), *start.shape[1:]), start.dtype)
  nodes = jnp.concatenate([start, z])

  def step(t, carry):
    nodes, z, stats = carry
    x, y = (at(nodes, pred) for pred in wiring.preds[t])
    given = None if running is None else at(running, t)
    out, z_t, used = run_layer(
      made, at(layers, t), wiring.branch[t], wiring.normalised[t], x, y, given
    )
    nodes = nodes.at[len(start) + t].set(out)
    return nodes, z.at[t].set(z_t), put(stats, t, used)

  carry = nodes, z, no_stats(layers)
  return jax.lax.fori_loop(0, wiring.num_layers, step, carry)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def train_layers(made, layers, start, wiring: Layers):
  """`run_layers` with batch statistics: (nodes, statistics).

  Differentiated by hand: the outputs and the values before normalisation are
  all that a branch's own gradient needs, so no branch writes residuals, and
  cotangents of nodes are added in place.
  """
  nodes, _, stats = run_layers(made, layers, start, wiring, None)
  return nodes, stats


def _train_layers_fwd(made, layers, start, wiring):
  nodes, z, stats = run_layers(made, layers, start, wiring, None)
  return (nodes, stats), (layers, nodes, z, wiring)


def _train_layers_bwd(made, residuals, cotangents):
  layers, nodes, z, wiring = residuals
  first_node = len(nodes) - len(z)

  def step(i, carry):
    d_nodes, d_layers = carry
    t = wiring.num_layers - 1 - i
    first, second = wiring.preds[t]
    row, d_x, d_y = pull_layer(
      made,
      at(layers, t),
      wiring.branch[t],
      wiring.normalised[t],
      at(nodes, first),
      at(nodes, second),
      at(z, t),
      at(d_nodes, first_node + t),
    )
    d_nodes = d_nodes.at[first].add(d_x).at[second].add(d_y)
    return d_nodes, put(d_layers, t, row)

  d_nodes, d_layers = jax.lax.fori_loop(
    0,
    wiring.num_layers,
    step,
    (cotangents[0], jax.tree.map(jnp.zeros_like, layers)),
  )
  return d_layers, d_nodes[:first_node], None


def _gradient(apply, kernels, x, y, d_z):
  return jax.vjp(apply, kernels, x, y)[1](d_z)


train_layers.defvjp(_train_layers_fwd, _train_layers_bwd)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def sum_over_leaves(apply, kernels, nodes, leaves: Leaves):
  """sum over leaves v of apply(kernels[v], nodes[v]): a concatenation times
  a matrix, without the nodes that are not concatenated.

  kernels [V, ...], nodes [V, ...]. Differentiated by hand, because the number
  of terms is data.
  """
  example = jax.eval_shape(
    apply, *jax.tree.map(lambda x: x[0], (kernels, nodes))
  )

  def step(i, total):
    v = leaves.nodes[i]
    return total + apply(at(kernels, v), at(nodes, v))

  start = jnp.zeros(example.shape, example.dtype)
  return jax.lax.fori_loop(0, leaves.number, step, start)


def _sum_over_leaves_fwd(apply, kernels, nodes, leaves):
  total = sum_over_leaves(apply, kernels, nodes, leaves)
  return total, (kernels, nodes, leaves)


def _sum_over_leaves_bwd(apply, residuals, cotangent):
  kernels, nodes, leaves = residuals

  def step(i, carry):
    v = leaves.nodes[i]
    _, vjp = jax.vjp(apply, at(kernels, v), at(nodes, v))
    return put(carry, v, vjp(cotangent))

  zeros = jax.tree.map(jnp.zeros_like, (kernels, nodes))
  d_kernels, d_nodes = jax.lax.fori_loop(0, leaves.number, step, zeros)
  return d_kernels, d_nodes, None


sum_over_leaves.defvjp(_sum_over_leaves_fwd, _sum_over_leaves_bwd)
