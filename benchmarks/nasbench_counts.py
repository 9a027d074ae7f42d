r"""How many networks of NAS-Bench cells cost what their graphs say.

python -m benchmarks.nasbench_counts --cells=1000

Counts from the graph (networks.nasbench201_cost, networks.nasbench101_cost) are
compared with the parameters that the benchmarks publish, for all cells, and
with the Flax networks of random ones (all without --cells), traced and not run:
0.2 s a network. The tables are read from $IRLAS_DATA_DIR.

A NAS-Bench-101 cell that is known up to isomorphism may have the published
parameters under another numbering only: where the output reads three vertices,
128 channels do not split evenly, and the first ones get one more.
"""

import itertools
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from irlas_jax.networks import (
  block,
  block_cost,
  cost,
  nasbench101,
  nasbench101_cost,
  nasbench201,
  nasbench201_cost,
)
from irlas_jax.spaces import nasbench101 as space_101
from irlas_jax.spaces import nasbench201 as space_201
from irlas_jax.types import Graph

_CELLS = flags.DEFINE_integer('cells', None, 'How many networks to trace.')

IMAGE = (32, 32, 3)
NUM_CLASSES = 10
MACRO_201 = block.cifar(16, 3, 5)
MACRO_101 = block.cifar(128, 3, 3)
# How the table of NAS-Bench-101 writes the space's operations, then padding.
CODES_101 = (-1, 0, 1, 2, -2, -3)


class Cells(NamedTuple):
  """The cells of a benchmark's table, and what is made of them."""

  graph: Graph  # leading axis n
  params: np.ndarray  # [n] as published
  cost: Callable  # Graph -> block_cost.Cost
  network: Callable  # one Graph -> module


def cells_201(folder: pathlib.Path) -> Cells:
  """All cells of NAS-Bench-201, with the networks for CIFAR-10."""
  table = np.load(folder / 'nas-bench-201' / 'nasbench201.npz')
  rest = space_201.OPERATIONS, MACRO_201
  return Cells(
    graphs_201(table['ops']),
    # Published in millions, as float32: exact after rounding to an integer.
    np.rint(1e6 * table['params_m'][:, 0].astype(float)),
    lambda graph: nasbench201_cost.cost(graph, *rest, IMAGE, NUM_CLASSES),
    lambda graph: nasbench201.network(graph, *rest, NUM_CLASSES),
  )


def cells_101(folder: pathlib.Path, name: str) -> Cells:
  """The cells of a NAS-Bench-101 table, e.g. 'nasbench101_sample30001'."""
  table = np.load(folder / 'nas-bench-101' / f'{name}.npz')
  rest = space_101.OPERATIONS, MACRO_101
  return Cells(
    graphs_101(table['ops'], table['adj']),
    table['params'],
    lambda graph: nasbench101_cost.cost(graph, *rest, IMAGE, NUM_CLASSES),
    lambda graph: nasbench101.network(graph, *rest, NUM_CLASSES),
  )


def graphs_201(ops: np.ndarray) -> Graph:
  """Cells [n] from rows of the five operations [n, 6], in official order."""
  decode = space_201.nasbench201().decode
  return jax.tree.map(np.asarray, jax.vmap(decode)(ops.astype(np.int32)))


def graphs_101(ops: np.ndarray, adjacency: np.ndarray) -> Graph:
  """Cells [n] from the table's operation codes [n, V] and edges [n, V, V]."""
  rows = np.argmax(ops[..., None] == CODES_101, axis=-1).astype(np.int32)
  rows[rows == len(space_101.OPERATIONS)] = -1
  return Graph(
    rows,
    np.zeros((*rows.shape, 0), np.int32),
    adjacency.astype(bool),
    (rows == space_101.OUTPUT).astype(np.int8),
  )


def agree_renumbered(cells: Cells) -> np.ndarray:
  """[n] whether a cell has the published parameters in some numbering."""
  agree = cells.cost(cells.graph).params == cells.params
  for order in itertools.permutations(range(1, cells.graph.ops.shape[-1])):
    left = np.flatnonzero(~agree)
    if not len(left):
      break
    order = (0, *order)
    moved = Graph(
      cells.graph.ops[left][:, order],
      cells.graph.attrs[left],
      cells.graph.edges[left][:, order][:, :, order],
      cells.graph.outputs[left][:, order],
    )
    legal = ~np.any(np.tril(moved.edges), axis=(1, 2))
    found = cells.cost(jax.tree.map(lambda field: field[legal], moved)).params  # noqa: B023
    agree[left[legal]] = found == cells.params[left[legal]]
  return agree


def traced_cost(module) -> block_cost.Cost:
  """Counts of a Flax network, traced once and not run."""

  def init(key, images):
    return module.init_with_output(key, images, False)

  image = jax.ShapeDtypeStruct((1, *IMAGE), jnp.float32)
  key = jax.random.key(0)
  _, variables = jax.eval_shape(init, key, image)
  return block_cost.Cost(
    np.asarray(cost.count_parameters(variables)),
    np.asarray(cost.count_multiply_adds(init, key, image)),
  )


def count_agreeing(cells: Cells, num_cells: int | None) -> block_cost.Cost:
  """[m] bool each: whether networks cost what their graphs say.

  Of `num_cells` random cells, or of all.
  """
  n = len(cells.params)
  chosen = np.random.default_rng(0).permutation(n)[:num_cells]
  rows = []
  for i in chosen:
    graph = jax.tree.map(lambda field: field[i], cells.graph)  # noqa: B023
    rows.append(traced_cost(cells.network(graph)))
  counted = cells.cost(jax.tree.map(lambda field: field[chosen], cells.graph))
  params, madds = np.array(rows).T
  return block_cost.Cost(params == counted.params, madds == counted.madds)


def main(argv):
  """Prints how many of how many agree."""
  del argv
  if not os.environ.get('IRLAS_DATA_DIR'):
    raise app.UsageError('Set IRLAS_DATA_DIR to the folder of the tables.')
  folder = pathlib.Path(os.environ['IRLAS_DATA_DIR'])
  tables = {'NAS-Bench-201': cells_201(folder)}
  for name in ('nasbench101_sample30001', 'ecnas_4v', 'ecnas_5v'):
    tables[f'NAS-Bench-101, {name}'] = cells_101(folder, name)
  for name, cells in tables.items():
    as_numbered = cells.cost(cells.graph).params == cells.params
    renumbered = agree_renumbered(cells)
    print(
      f'{name}: published parameters agree for {as_numbered.sum()} of '
      f'{len(as_numbered)} cells, in some numbering for {renumbered.sum()}.'
    )
  for name, cells in tables.items():
    params, madds = count_agreeing(cells, _CELLS.value)
    print(
      f'{name}: networks have the parameters of {params.sum()} and the '
      f'multiply-adds of {madds.sum()} of {len(params)} graphs.',
      flush=True,
    )


if __name__ == '__main__':
  app.run(main)
