"""One cell of NAS-Bench-201 as a program to which its operations are data.

Differentiated by hand: the values of the nodes, and those of the convolutions
before normalisation, are all that a gradient needs. So no branch writes the
residuals that `lax.switch` would keep for every one of them.

A cell's parameters are its kernels [E, 3, 3, C, C] and its norms, `scale` and
`bias` [E, C], one an edge. Shapes: `E` = 6 edges, batch `N`, image sides `H`,
`W`, width `C`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block_ops, block_program
from irlas_jax.types import Graph

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OUTPUT = 3
LARGEST = 3  # all kernels are stored with this size


def _none(x):
  return jnp.zeros_like(x)


def _skip(x):
  return x


def _avg_pool(x):
  ones = jnp.ones((1, *x.shape[1:3], 1), x.dtype)
  count = sum(block_ops.shifts(ones, 3, 0.0))
  return sum(block_ops.shifts(x, 3, 0.0)) / count


# What an edge may be, in the order of the branches: the size of a kernel, or a
# function without weights.
CONVOLUTIONS = {'nor_conv_1x1': 1, 'nor_conv_3x3': 3}
PLAIN = {'none': _none, 'skip_connect': _skip, 'avg_pool_3x3': _avg_pool}
BRANCHES = (*PLAIN, *CONVOLUTIONS)
NONE = BRANCHES.index('none')
OF_NOTHING = len(BRANCHES)  # a convolution whose input is zeros


def edge_nodes(graph: Graph, operations: tuple[str, ...]) -> jax.Array:
  """The graph's nodes [E] that are the operations of the edges, in order.

  The graph (traced or not) may have any numbering of the space's ten nodes: the
  cell's node j > 0 is the sum that reads j operations.
  """
  edges = jnp.asarray(graph.edges, bool)
  is_sum = jnp.asarray(graph.ops) == operations.index('sum')
  reads = edges.sum(0) * is_sum
  is_node = is_sum | (jnp.arange(len(is_sum)) == 0)
  cell_node = jnp.argmax(
    is_node & (reads == jnp.arange(OUTPUT + 1)[:, None]), axis=1
  )
  sources, targets = np.array(EDGES).T
  between = edges[cell_node[sources]] & edges[:, cell_node[targets]].T
  return jnp.argmax(between, axis=1)


def branches_of(graph: Graph, operations: tuple[str, ...]) -> jax.Array:
  """Which of `BRANCHES` each edge is: [E] int32."""
  table = np.zeros(len(operations), np.int32)
  for branch, name in enumerate(BRANCHES):
    table[operations.index(name)] = branch
  nodes = edge_nodes(graph, operations)
  return jnp.asarray(table)[jnp.asarray(graph.ops)[nodes]]


def needed(branches: jax.Array) -> jax.Array:
  """The branches [E] to run so that no edge computes what is known or unread.

  What nobody reads is `NONE`, as is what makes zeros of zeros. The convolutions
  of zeros are `OF_NOTHING`: of them the bias is left.
  """
  run = [branches[e] for e in range(len(EDGES))]
  some = [jnp.bool_(True)] + [jnp.bool_(False)] * OUTPUT
  for e, (source, target) in enumerate(EDGES):
    nothing = jnp.where(run[e] >= len(PLAIN), OF_NOTHING, NONE)
    run[e] = jnp.where(some[source], run[e], nothing)
    some[target] |= run[e] != NONE
  read = [jnp.bool_(False)] * OUTPUT + [jnp.bool_(True)]
  for e, (source, target) in reversed(list(enumerate(EDGES))):
    run[e] = jnp.where(read[target], run[e], NONE)
    read[source] |= run[e] != NONE
  return jnp.stack(run)


def middle(kernel_size: int) -> slice:
  """Where a kernel lies, in both directions, in one of the largest size."""
  first = (LARGEST - kernel_size) // 2
  return slice(first, first + kernel_size)


def _convolve(size, kernel, x):
  span = middle(size)
  return block_ops.convolve(jax.nn.relu(x), kernel[span, span])


def _forward(name):
  """(edge, x, stats) -> output, value before normalisation, statistics used."""

  def conv(edge, x, stats):
    z = _convolve(CONVOLUTIONS[name], edge['kernels'], x)
    out, stats = block_program.batch_norm(edge['norms'], z, stats, True)
    return out, z, stats

  def plain(edge, x, stats):
    return PLAIN[name](x), jnp.zeros_like(x), _or_zeros(stats, edge, x)

  return conv if name in CONVOLUTIONS else plain


def _or_zeros(stats, edge, x):
  """The running statistics if there are any, else those of zeros."""
  precision = jnp.promote_types(x.dtype, jnp.float32)
  zeros = (jnp.zeros_like(edge['norms']['bias'], precision),) * 2
  return zeros if stats is None else stats


def _forward_of_nothing(edge, x, stats):
  z = jnp.zeros_like(x)
  stats = _or_zeros(stats, edge, x)
  out, _ = block_program.batch_norm(edge['norms'], z, stats, True)
  return out, z, stats


def _gradient_of_nothing(edge, x, z, d_out):
  del z
  d_edge = jax.tree.map(jnp.zeros_like, edge)
  d_bias = d_out.sum((0, 1, 2), dtype=edge['norms']['bias'].dtype)
  norms = d_edge['norms'] | {'bias': d_bias}
  return d_edge | {'norms': norms}, jnp.zeros_like(x)


def _gradient(name):
  """(edge, x, z, d_out) -> d_edge, d_x; a branch has only its own."""

  def conv(edge, x, z, d_out):
    _, norm_vjp = jax.vjp(
      lambda norm, z: block_program.batch_norm(norm, z, None, True)[0],
      edge['norms'],
      z,
    )
    d_norm, d_z = norm_vjp(d_out)
    convolve = functools.partial(_convolve, CONVOLUTIONS[name])
    d_kernel, d_x = jax.vjp(convolve, edge['kernels'], x)[1](d_z)
    return {'kernels': d_kernel, 'norms': d_norm}, d_x

  def plain(edge, x, z, d_out):
    del z
    (d_x,) = jax.vjp(PLAIN[name], x)[1](d_out)
    return jax.tree.map(jnp.zeros_like, edge), d_x

  return conv if name in CONVOLUTIONS else plain


_FORWARD = [*map(_forward, BRANCHES), _forward_of_nothing]
_GRADIENT = [*map(_gradient, BRANCHES), _gradient_of_nothing]


def _at(tree, e):
  return jax.tree.map(lambda x: x[e], tree)


def _stack(trees):
  return jax.tree.map(lambda *rows: jnp.stack(rows), *trees)


def _run(cell, x, branches, running):
  """Values of the four nodes, of each edge's z, and statistics 2 x [E, C]."""
  values = [x] + [jnp.zeros_like(x)] * OUTPUT
  z, stats = [], []
  for e, (source, target) in enumerate(EDGES):
    out, z_e, used = jax.lax.switch(
      branches[e], _FORWARD, _at(cell, e), values[source], _at(running, e)
    )
    values[target] += out
    z.append(z_e)
    stats.append(used)
  return values, z, _stack(stats)


def run_cell(cell, x, branches, running):
  """A cell with running statistics: x [N, H, W, C] -> the same, statistics."""
  values, _, stats = _run(cell, x, branches, running)
  return values[OUTPUT], stats


@jax.custom_vjp
def train_cell(cell, x, branches):
  """As `run_cell`, with the statistics of the batch."""
  return run_cell(cell, x, branches, None)


def _train_cell_fwd(cell, x, branches):
  values, z, stats = _run(cell, x, branches, None)
  return (values[OUTPUT], stats), (cell, values[:OUTPUT], z, branches)


def _train_cell_bwd(residuals, cotangents):
  cell, values, z, branches = residuals
  d_values = [jnp.zeros_like(values[0])] * OUTPUT + [cotangents[0]]
  d_edges = []
  for e, (source, target) in reversed(list(enumerate(EDGES))):
    arguments = _at(cell, e), values[source], z[e], d_values[target]
    d_edge, d_x = jax.lax.switch(branches[e], _GRADIENT, *arguments)
    d_values[source] += d_x
    d_edges.append(d_edge)
  return _stack(d_edges[::-1]), d_values[0], None


train_cell.defvjp(_train_cell_fwd, _train_cell_bwd)
