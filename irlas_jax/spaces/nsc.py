"""The text form of a network structure code, and genotype files.

  (1, Conv, 3, 0, 0)(2, Add, -, 0, 1)(3, Terminal)

Layer i is (i, type, kernel, pred1, pred2). Types are written in any case, with
or without underscores; a kernel without meaning is 0 or -; a predecessor that
is not read is 0. Add and concat read two different earlier layers, written in
either order and kept in ascending order.
"""

import re

import jax
import numpy as np

from irlas_jax import graph as graphs
from irlas_jax.spaces import block, genotypes
from irlas_jax.types import Graph, Space

NAMES = {
  'conv': 'Conv',
  'sep_conv': 'SepConv',
  'max_pool': 'MaxPool',
  'avg_pool': 'AvgPool',
  'identity': 'Identity',
  'add': 'Add',
  'concat': 'Concat',
}
_BY_NAME = {name.lower(): operation for operation, name in NAMES.items()}


def parse(text: str, max_layers: int = block.MAX_LAYERS):
  """Reads the text form into a tuple of `block.Choice`, checking every rule.

  Raises:
    GenotypeError: naming the layer and the rule.
  """
  bodies = re.findall(r'\(([^()]*)\)', text)
  if re.sub(r'\([^()]*\)', '', text).strip(' ,;\n\t') or not bodies:
    raise genotypes.GenotypeError(
      f'Not a network structure code: {text[:60]!r}. Write layers as '
      '(1, Conv, 3, 0, 0)(2, Terminal).'
    )
  rows = [[field.strip() for field in body.split(',')] for body in bodies]
  terminals = [i for i, row in enumerate(rows) if _is_terminal(row)]
  if not terminals:
    raise genotypes.GenotypeError(
      f'No terminal after layer {len(rows)}: a code ends with '
      f'({len(rows) + 1}, Terminal).'
    )
  if terminals[0] != len(rows) - 1:
    raise genotypes.GenotypeError(
      f'Layer {terminals[0] + 2} stands after the terminal: nothing may '
      'follow it.'
    )
  if len(rows) == 1:
    raise genotypes.GenotypeError(
      'Layer 1 is the terminal: a block has a layer.'
    )
  if len(rows) - 1 > max_layers:
    raise genotypes.GenotypeError(
      f'Layer {max_layers + 1} is one too many: {len(rows) - 1} layers, and '
      f'at most {max_layers} are allowed.'
    )
  layers = tuple(
    _parse_layer(row, index) for index, row in enumerate(rows[:-1], start=1)
  )
  _check_terminal(rows[-1], len(rows))
  return layers


def _is_terminal(row):
  return len(row) > 1 and row[1].lower() == 'terminal'


def _check_index(row, index):
  if row[0] != str(index):
    raise genotypes.GenotypeError(
      f'Layer {index} has index {row[0]!r}: indices count 1, 2, 3 ...'
    )


def _check_terminal(row, index):
  _check_index(row, index)
  if row[2:] not in ([], ['0', '0', '0']):
    raise genotypes.GenotypeError(
      f'The terminal, layer {index}, reads {", ".join(row[2:])}: write '
      f'({index}, Terminal).'
    )


def _parse_layer(row, index):
  if len(row) != 5:
    raise genotypes.GenotypeError(
      f'Layer {index} has {len(row)} fields: (index, type, kernel, pred1, '
      'pred2) has five.'
    )
  _check_index(row, index)
  name = row[1].lower().replace('_', '')
  if name not in _BY_NAME:
    raise genotypes.GenotypeError(
      f'Layer {index} has the unknown operation {row[1]!r}: choose one of '
      f'{", ".join(NAMES.values())}, Terminal.'
    )
  operation = _BY_NAME[name]
  kernel, pred1, pred2 = (_number(field, index) for field in row[2:])
  kernels = block.KERNELS[operation]
  if kernel not in kernels:
    raise genotypes.GenotypeError(
      f'Layer {index} has kernel {kernel}: {NAMES[operation]} takes '
      f'{" or ".join(map(str, kernels))}.'
    )
  for pred in (pred1, pred2):
    if not 0 <= pred < index:
      raise genotypes.GenotypeError(
        f'Layer {index} reads layer {pred}: predecessors are 0 (the input) to '
        f'{index - 1}, the layers before it.'
      )
  if operation in block.MERGES:
    if pred1 == pred2:
      raise genotypes.GenotypeError(
        f'Layer {index} reads layer {pred1} twice: {NAMES[operation]} takes '
        'two different predecessors.'
      )
    return block.Choice(
      operation, kernel, (min(pred1, pred2), max(pred1, pred2))
    )
  if pred2 != 0:
    raise genotypes.GenotypeError(
      f'Layer {index} has a second predecessor {pred2}: {NAMES[operation]} '
      'reads one layer; write 0.'
    )
  return block.Choice(operation, kernel, (pred1,))


def _number(field, index):
  if field == '-':
    return 0
  if not re.fullmatch(r'-?\d+', field):
    raise genotypes.GenotypeError(
      f'Layer {index} has {field!r} where a whole number belongs.'
    )
  return int(field)


def text_of(layers) -> str:
  """Writes a tuple of `block.Choice` in the text form."""
  rows = [
    f'({i}, {NAMES[op]}, {kernel}, {preds[0]}, {(preds + (0,))[1]})'
    for i, (op, kernel, preds) in enumerate(layers, start=1)
  ]
  return ''.join(rows) + f'({len(layers) + 1}, Terminal)'


def to_graph(layers, num_layers: int = block.MAX_LAYERS) -> Graph:
  """A tuple of `block.Choice` as a NumPy Graph padded to num_layers + 1."""
  nodes = num_layers + 1
  graph = Graph(
    np.full(nodes, -1, np.int32),
    np.zeros((nodes, 1), np.int32),
    np.zeros((nodes, nodes), bool),
    np.zeros(nodes, np.int8),
  )
  graph.ops[0] = block.OPERATIONS.index('input')
  for v, (operation, kernel, preds) in enumerate(layers, start=1):
    graph.ops[v] = block.OPERATIONS.index(operation)
    graph.attrs[v, 0] = kernel
    graph.edges[list(preds), v] = True
  used = slice(0, len(layers) + 1)
  graph.outputs[used] = ~graph.edges[used].any(axis=1)
  return graph


def from_graph(graph: Graph):
  """A Graph of blocks as a tuple of `block.Choice`, in its own numbering."""
  edges = np.asarray(graph.edges)
  return tuple(
    block.Choice(
      block.OPERATIONS[int(graph.ops[v])],
      int(graph.attrs[v, 0]),
      tuple(np.flatnonzero(edges[:, v]).tolist()),
    )
    for v in range(1, graphs.size(graph))
  )


def to_actions(layers, space: Space) -> jax.Array:
  """A tuple of `block.Choice` as the actions [T] of a block space.

  Raises:
    GenotypeError: where the space is too small or lacks an operation.
  """
  if len(layers) > space.num_steps:
    raise genotypes.GenotypeError(
      f'Layer {space.num_steps + 1} is one too many: {len(layers)} layers, '
      f'and the space has {space.num_steps} (space.num_layers).'
    )
  actions = space.encode(to_graph(layers, space.num_steps))
  for index, action in enumerate(np.asarray(actions), start=1):
    if action < 0:
      raise genotypes.GenotypeError(
        f'Layer {index} is a {NAMES[layers[index - 1].operation]}: the space '
        'does not have it (space.operations).'
      )
  return actions


def read(path, max_layers: int = block.MAX_LAYERS):
  """Reads the `genotype` of a JSON file, such as a search's `best.json`.

  Raises:
    GenotypeError: naming the file, the layer and the rule.
  """
  try:
    return parse(genotypes.read(path), max_layers)
  except genotypes.GenotypeError as error:
    raise genotypes.GenotypeError(f'{path}: {error}') from error
