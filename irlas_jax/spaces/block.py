"""The block space: network structure codes (NSC), one layer a step.

Zhong et al., "Practical block-wise neural network architecture generation"
(Block-QNN), CVPR 2018; IRLAS searches the same codes with depthwise-separable
convolutions. Layer i is (i, type, kernel, pred1, pred2); predecessors are
earlier layers, 0 is the block's input. The outputs of layers that nobody reads
are concatenated as the block's output.

Actions are rows of one table, ordered by their later predecessor, so the
legal ones at step t (layer t + 1) are a prefix of it:

  0                       terminal
  for p = 0 ... T - 1     each single-input choice reading p,
                          then add and concat of (q, p) for q < p

Shapes: `T` layers at most, `A` actions, `V` = T + 1 nodes (node 0 the input).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from irlas_jax.types import Graph, Space

OPERATIONS = (
  'input',
  'conv',  # ReLU, convolution, batch normalisation
  'sep_conv',  # ReLU, depthwise, pointwise, batch normalisation
  'max_pool',
  'avg_pool',
  'identity',
  'add',
  'concat',
)
ATTRIBUTES = ('kernel',)
MERGES = ('add', 'concat')
FAMILIES = {
  'input': ('input',),
  'convolution': ('conv', 'sep_conv'),
  'pooling': ('max_pool', 'avg_pool'),
  'identity': ('identity',),
  'merge': MERGES,
}
KERNELS = {
  'conv': (1, 3, 5),
  'sep_conv': (1, 3, 5),
  'max_pool': (1, 3),
  'avg_pool': (1, 3),
  'identity': (0,),
  'add': (0,),
  'concat': (0,),
}
OPERATION_SETS = {
  'dense': ('conv', 'max_pool', 'avg_pool', 'identity', *MERGES),
  'separable': ('sep_conv', 'max_pool', 'avg_pool', 'identity', *MERGES),
}
MAX_LAYERS = 23  # Block-QNN's largest layer index


class Choice(NamedTuple):
  """One layer without its index; predecessors in ascending order."""

  operation: str
  kernel: int
  preds: tuple[int, ...]  # one, or two different ones for a merge


def choices(num_layers: int, operations: str) -> tuple[Choice, ...]:
  """The layers behind actions 1, 2, ... of the space."""
  singles = [
    (op, kernel)
    for op in OPERATION_SETS[operations]
    if op not in MERGES
    for kernel in KERNELS[op]
  ]
  return tuple(
    choice
    for p in range(num_layers)
    for choice in (
      *(Choice(op, kernel, (p,)) for op, kernel in singles),
      *(Choice(op, 0, (q, p)) for q in range(p) for op in MERGES),
    )
  )


def block(num_layers: int = MAX_LAYERS, operations: str = 'separable') -> Space:
  """Blocks of 1 to `num_layers` layers; `operations` is a name of a set.

  A value table tells apart the step and the previous action, as Block-QNN's
  does: row t * A + a_{t-1}.

  Raises:
    ValueError: for a number of layers outside 1 ... 23 or an unknown set.
  """
  if not 1 <= num_layers <= MAX_LAYERS:
    raise ValueError(
      f'space.num_layers is {num_layers}: blocks have 1 to {MAX_LAYERS} layers.'
    )
  if operations not in OPERATION_SETS:
    raise ValueError(
      f'space.operations is {operations!r}: choose one of '
      f'{", ".join(OPERATION_SETS)}.'
    )
  table = choices(num_layers, operations)
  num_actions = len(table) + 1
  latest = np.array([-1] + [choice.preds[-1] for choice in table])
  rows = _action_rows(table)
  lookup = _action_lookup(table, num_layers)

  def legal(actions, t):
    started = t > 0
    ended = started & (actions[t - 1] == 0)
    layers = jnp.asarray(latest <= np.arange(num_layers)[:, None])[t]
    layers = layers.at[0].set(started)  # a block has at least one layer
    return jnp.where(ended, jnp.arange(num_actions) == 0, layers)

  def state(actions, t):
    previous = jnp.where(t > 0, actions[t - 1], 0)
    return jnp.asarray(t * num_actions + previous, jnp.int32)

  def decode(actions):
    return _decode(jnp.asarray(actions, jnp.int32), *map(jnp.asarray, rows))

  def encode(graph):
    return _encode(graph, jnp.asarray(lookup))

  return Space(
    num_layers,
    num_actions,
    num_layers * num_actions,
    legal,
    state,
    decode,
    encode,
    OPERATIONS,
    ATTRIBUTES,
    terminal=True,
  )


def _action_rows(table):
  """Operation [A], kernel [A], predecessors [A, 2] of each action; -1: none."""
  ops = [-1] + [OPERATIONS.index(choice.operation) for choice in table]
  kernels = [0] + [choice.kernel for choice in table]
  preds = [(-1, -1)] + [(choice.preds + (-1,))[:2] for choice in table]
  return tuple(np.array(x, np.int32) for x in (ops, kernels, preds))


def _action_lookup(table, num_layers):
  """Action by (operation, kernel, first, second predecessor + 1); -1: none."""
  shape = (len(OPERATIONS), 6, num_layers, num_layers + 1)
  lookup = np.full(shape, -1, np.int32)
  for action, choice in enumerate(table, start=1):
    second = choice.preds[1] + 1 if len(choice.preds) > 1 else 0
    op = OPERATIONS.index(choice.operation)
    lookup[op, choice.kernel, choice.preds[0], second] = action
  return lookup


def _decode(actions, op_rows, kernel_rows, pred_rows):
  """Actions [T] to a Graph of T + 1 nodes."""
  nodes = jnp.arange(actions.shape[0] + 1)
  ops = jnp.concatenate([jnp.zeros(1, jnp.int32), op_rows[actions]])
  kernels = jnp.concatenate([jnp.zeros(1, jnp.int32), kernel_rows[actions]])
  reads = (nodes[:, None, None] == pred_rows[actions]).any(-1)  # [V, T]
  edges = jnp.pad(reads, ((0, 0), (1, 0)))
  unread = (ops >= 0) & ~edges.any(1)
  return Graph(ops, kernels[:, None], edges, unread.astype(jnp.int8))


def _encode(graph, lookup):
  """The inverse of `_decode`, for a graph of this space."""
  num_layers = lookup.shape[2]
  columns = jnp.asarray(graph.edges)[:num_layers, 1:]  # [T sources, T layers]
  first = jnp.argmax(columns, axis=0)
  last = num_layers - 1 - jnp.argmax(columns[::-1], axis=0)
  second = jnp.where(last > first, last + 1, 0)
  ops = jnp.asarray(graph.ops)[1:]
  kernels = jnp.asarray(graph.attrs)[1:, 0]
  found = lookup[ops, kernels, first, second]
  return jnp.where(ops >= 0, found, 0).astype(jnp.int32)
