"""One cell of a NASNet as a program to which the cell is data.

Its operations become layers (see nasnet_ops), five a block at most, that
`block_program`'s loop runs in turn; those that are not there take no time. What
reads an input of a reduction cell comes first, in a loop of its own: it halves
the image, so that everything after it has one size.

The result of a cell are its states. What is concatenated of them is read by a
sum over these leaves, so the width of a concatenation is data too.

Shapes: `B` blocks, `S` = B + 2 states, `T` = 5B layers, `E` = 2B + 2 entries of
a reduction cell, batch `N`, image sides `H`, `W`, width `C`, `D` the width
before.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block_program, nasnet_ops, nasnet_plan
from irlas_jax.types import Graph


class Entries(NamedTuple):
  """What reads the inputs of a reduction cell.

  Entry 0 and 1 make an input part of the output, entry 2 + 2b + i is what
  operation i of block b begins with.
  """

  number: jax.Array  # [] int32, how many there are
  order: jax.Array  # [E] int32, those first
  branch: jax.Array  # [E] int32, of nasnet_ops.ENTRIES
  normalised: jax.Array  # [E] bool
  source: jax.Array  # [E] int32, input 0 or 1


class Wiring(NamedTuple):
  """A cell as the program reads it.

  The layers' nodes begin with the inputs, or with the entries.
  """

  layers: block_program.Layers  # of nasnet_ops.INNER
  places: jax.Array  # [B, 5] int32, rows of the layers: of both operations the
  # first and the second, then the merge; meaningless where there is none
  states: jax.Array  # [S] int32, their nodes
  leaves: block_program.Leaves  # the states that are concatenated
  entries: Entries | None  # of a reduction cell


class Output(NamedTuple):
  """What a cell leaves behind: the concatenation of some states."""

  states: jax.Array  # [S, N, H, W, C]
  leaves: block_program.Leaves


def _table(operations, make) -> np.ndarray:
  """make(operation) of each row that is an operation of a block; else 0."""
  others = ('input', 'previous', *nasnet_plan.MERGES)
  return np.array(
    [0 if name in others else make(name) for name in operations], np.int32
  )


def _layer_tables(operations):
  """Number of layers, and branches of the first and second: each [rows]."""

  def branch(index, operation):
    layers = nasnet_ops.layers_of(operation)
    if index >= len(layers):
      return 0
    return nasnet_ops.find(nasnet_ops.INNER, layers[index])

  number = _table(operations, lambda name: len(nasnet_ops.layers_of(name)))
  return number, *(
    _table(operations, functools.partial(branch, index)) for index in (0, 1)
  )


def wire(graph: Graph, operations: tuple[str, ...], reduction: bool) -> Wiring:
  """Reads one cell (traced or not), in any numbering of its nodes."""
  cell = nasnet_plan.read(graph, operations)
  number, first_branch, second_branch = map(
    jnp.asarray, _layer_tables(operations)
  )
  merge_branch = _find_merges(operations)
  num_blocks = len(cell.merges)
  enters = reduction & (cell.states < 2)  # [B, 2]
  has_first = (number[cell.rows] > 0) & ~enters
  has_second = number[cell.rows] > 1
  live = jnp.ones((num_blocks, 5), bool)
  live = live.at[:, 0:4:2].set(has_first).at[:, 1:4:2].set(has_second)
  places = (jnp.cumsum(live.ravel()) - 1).reshape(live.shape)
  entry = 2 + jnp.arange(2 * num_blocks).reshape(num_blocks, 2)
  begin = 2 + 2 * num_blocks * reduction  # nodes before the layers
  states = jnp.concatenate([jnp.arange(2), begin + places[:, 4]])
  source = states[cell.states]
  first = jnp.where(has_first, begin + places[:, 0:4:2], source)
  first = jnp.where(enters, entry, first)
  second = jnp.where(has_second, begin + places[:, 1:4:2], first)
  preds = jnp.stack([source, source, first, first], -1)
  preds = jnp.concatenate(
    [preds.reshape(num_blocks, 4, 2), second[:, None]], axis=1
  )
  branch = jnp.stack([first_branch[cell.rows], second_branch[cell.rows]], -1)
  branch = jnp.concatenate(
    [branch.reshape(num_blocks, 4), merge_branch[cell.merges][:, None]], axis=1
  )
  layers = _compact(live.ravel(), branch.ravel(), preds.reshape(-1, 2))
  leaves = block_program.Leaves(
    jnp.argsort(~cell.outputs).astype(jnp.int32),
    jnp.sum(cell.outputs, dtype=jnp.int32),
  )
  entries = _wire_entries(cell, enters, operations) if reduction else None
  return Wiring(layers, places, states, leaves, entries)


def _find_merges(operations) -> jax.Array:
  """The branch of each row of the operations that is a merge."""
  found = np.zeros(len(operations), np.int32)
  for name in nasnet_plan.MERGES:
    found[operations.index(name)] = nasnet_ops.find(nasnet_ops.INNER, name)
  return jnp.asarray(found)


def _is_normalised(branches, index) -> jax.Array:
  return jnp.array([branch.normalised for branch in branches])[index]


def _compact(live, branch, preds) -> block_program.Layers:
  """The layers that are live [T], in their order, then what is padding."""
  order = jnp.argsort(~live)
  branch = branch[order]
  return block_program.Layers(
    jnp.sum(live),
    branch,
    _is_normalised(nasnet_ops.INNER, branch),
    preds[order],
  )


def _wire_entries(cell: nasnet_plan.Reading, enters, operations) -> Entries:
  def begins(operation):
    layers = nasnet_ops.layers_of(operation, entry=True)
    return nasnet_ops.find(nasnet_ops.ENTRIES, layers[0])

  keep = nasnet_ops.find(nasnet_ops.ENTRIES, 'factorized')
  branch = jnp.asarray(_table(operations, begins))[cell.rows]
  branch = jnp.concatenate([jnp.full(2, keep), branch.ravel()])
  live = jnp.concatenate([cell.outputs[:2], enters.ravel()])
  source = jnp.concatenate([jnp.arange(2), cell.states.ravel()])
  return Entries(
    jnp.sum(live),
    jnp.argsort(~live),
    branch,
    _is_normalised(nasnet_ops.ENTRIES, branch),
    jnp.minimum(source, 1),  # of what is no entry it does not matter
  )


_NOTHING = np.zeros(())  # what an entry reads in place of a second node


def _run_entries(layers, inputs, entries: Entries, running):
  """Entries of inputs [2, N, 2H, 2W, C]: outputs, z, statistics; all [E, ...].

  Those that are not there are zero.
  """
  height, width = (-(-side // 2) for side in inputs.shape[2:4])
  number, channels = len(entries.order), inputs.shape[-1]
  shape = (number, inputs.shape[1], height, width, channels)
  z = jnp.zeros(shape, inputs.dtype)

  def step(i, carry):
    nodes, z, stats = carry
    e = entries.order[i]
    out, z_e, used = block_program.run_layer(
      nasnet_ops.ENTRIES,
      block_program.at(layers, e),
      entries.branch[e],
      entries.normalised[e],
      block_program.at(inputs, entries.source[e]),
      jnp.asarray(_NOTHING, inputs.dtype),
      None if running is None else block_program.at(running, e),
    )
    stats = block_program.put(stats, e, used)
    return nodes.at[e].set(out), z.at[e].set(z_e), stats

  carry = z, z, block_program.no_stats(layers)
  return jax.lax.fori_loop(0, entries.number, step, carry)


@jax.custom_vjp
def _train_entries(layers, inputs, entries: Entries):
  """`_run_entries` with the statistics of the batch: nodes, statistics."""
  nodes, _, stats = _run_entries(layers, inputs, entries, None)
  return nodes, stats


def _train_entries_fwd(layers, inputs, entries):
  nodes, z, stats = _run_entries(layers, inputs, entries, None)
  return (nodes, stats), (layers, inputs, z, entries)


def _train_entries_bwd(residuals, cotangents):
  layers, inputs, z, entries = residuals

  def step(i, carry):
    d_inputs, d_layers = carry
    e = entries.order[i]
    source = entries.source[e]
    row, d_x, _ = block_program.pull_layer(
      nasnet_ops.ENTRIES,
      block_program.at(layers, e),
      entries.branch[e],
      entries.normalised[e],
      block_program.at(inputs, source),
      jnp.asarray(_NOTHING, inputs.dtype),
      block_program.at(z, e),
      block_program.at(cotangents[0], e),
    )
    return d_inputs.at[source].add(d_x), block_program.put(d_layers, e, row)

  zeros = jax.tree.map(jnp.zeros_like, (inputs, layers))
  d_inputs, d_layers = jax.lax.fori_loop(0, entries.number, step, zeros)
  return d_layers, d_inputs, None


_train_entries.defvjp(_train_entries_fwd, _train_entries_bwd)


def _project(weights, x):
  return jax.nn.relu(x) @ weights


def _reduce(weights, x):
  return nasnet_ops.factorized(weights, jax.nn.relu(x))


def _enter(part, source: Output, halved: bool, running):
  """An input of a cell: ReLU, 1x1 or factorised reduction, normalisation.

  Of the concatenation of the source's leaves; kernel [S, D, C].
  """
  apply = _reduce if halved else _project
  z = block_program.sum_over_leaves(apply, part['kernel'], *source)
  return block_program.batch_norm(part['norm'], z, running, True)


def run_cell(
  cell, wiring: Wiring, previous: Output, x: Output, running
) -> tuple[Output, dict]:
  """One cell: its output, and the statistics used; `running` None: training.

  `cell` has the parts `input`, `previous`, `layers` and, of a reduction cell,
  `entries`. Where `previous` has larger images than x, it is halved.
  """
  running = running or dict.fromkeys(cell)
  halved = previous.states.shape[2:4] != x.states.shape[2:4]
  here, used_here = _enter(cell['input'], x, False, running['input'])
  before, used_before = _enter(
    cell['previous'], previous, halved, running['previous']
  )
  nodes, used = jnp.stack([here, before]), {}
  if wiring.entries is not None:
    nodes, used['entries'] = _apply_entries(
      cell['entries'], nodes, wiring.entries, running['entries']
    )
  nodes, used['layers'] = _apply_layers(
    cell['layers'], nodes, wiring.layers, running['layers']
  )
  used |= {'input': used_here, 'previous': used_before}
  return Output(nodes[wiring.states], wiring.leaves), used


def _apply_entries(layers, inputs, entries, running):
  if running is None:
    return _train_entries(layers, inputs, entries)
  nodes, _, used = _run_entries(layers, inputs, entries, running)
  return nodes, used


def _apply_layers(layers, start, wiring, running):
  made = nasnet_ops.INNER
  if running is None:
    return block_program.train_layers(made, layers, start, wiring)
  nodes, _, used = block_program.run_layers(
    made, layers, start, wiring, running
  )
  return nodes, used
