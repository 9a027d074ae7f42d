r"""How many networks of NAS-Bench cells cost what their graphs say.

python -m benchmarks.nasbench_counts --cells=1000

Counts from the graph (networks.nasbench201_cost, networks.nasbench101_cost) are
compared with the parameters that the benchmarks publish, for all cells, and
with the Flax networks of random ones (all without --cells), traced and not run,
by as many processes as there are cores: 0.06 s a network and core. Modules that
repeat are traced once (nn.jit), which changes no count. The tables are read
from $IRLAS_DATA_DIR; --tables=ecnas_4v,ecnas_5v picks some.

A NAS-Bench-101 cell that is known up to isomorphism may have the published
parameters under another numbering only: where the output reads three vertices,
128 channels do not split evenly, and the first ones get one more.
"""

import concurrent.futures
import functools
import itertools
import multiprocessing
import os
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tqdm
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
_TABLES = flags.DEFINE_list('tables', None, 'Which tables; all by default.')

IMAGE = (32, 32, 3)
NUM_CLASSES = 10
MACRO_201 = block.cifar(16, 3, 5)
MACRO_101 = block.cifar(128, 3, 3)
# How the table of NAS-Bench-101 writes the space's operations, then padding.
CODES_101 = (-1, 0, 1, 2, -2, -3)
CHUNK = 100  # networks that a process takes at once


class Cells(NamedTuple):
  """The cells of a benchmark's table, and what is made of them."""

  graph: Graph  # leading axis n
  params: np.ndarray  # [n] as published
  cost: Callable  # Graph -> block_cost.Cost
  network: Callable  # one Graph -> module


def data_dir() -> pathlib.Path:
  """Where the tables are."""
  return pathlib.Path(os.environ['IRLAS_DATA_DIR'])


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


TABLES = {'nasbench201': lambda: cells_201(data_dir())} | {
  name: functools.partial(lambda name: cells_101(data_dir(), name), name)
  for name in ('ecnas_4v', 'ecnas_5v', 'nasbench101_sample30001')
}


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


def traced_cost(module) -> tuple[int, int]:
  """Parameters and multiply-adds of a Flax network, in one trace."""
  params = []

  def init(images):
    logits, variables = module.init_with_output(
      jax.random.key(0), images, False
    )
    params.append(cost.count_parameters(variables))
    return logits

  image = jax.ShapeDtypeStruct((1, *IMAGE), jnp.float32)
  madds = cost.count_multiply_adds(init, image)
  return params[0], madds


# What repeats in a network, and from network to network.
REPEATED = (
  (nasbench201, 'Cell'),
  (nasbench201, 'ResidualReduction'),
  (nasbench101, 'Cell'),
  (block, 'ReluConvBN'),
  (nasbench101, 'ConvBNRelu'),
)


@functools.cache
def trace_repeated_once() -> None:
  """Makes this process trace each module that repeats once for its shape."""
  for module, name in REPEATED:
    setattr(module, name, nn.jit(getattr(module, name), static_argnums=2))


def traced_costs(name: str, chosen: np.ndarray) -> list[tuple[int, int]]:
  """The costs of the networks of some rows of a table."""
  trace_repeated_once()
  jax.clear_caches()  # traces of many cells slow the interpreter down
  cells = TABLES[name]()
  return [
    traced_cost(cells.network(Graph(*(field[i] for field in cells.graph))))
    for i in chosen
  ]


def count_agreeing(name: str, num_cells: int | None) -> block_cost.Cost:
  """[m] bool each: whether networks cost what their graphs say.

  Of `num_cells` random cells of a table, or of all.
  """
  cells = TABLES[name]()
  n = len(cells.params)
  chosen = np.random.default_rng(0).permutation(n)[:num_cells]
  chunks = [chosen[i : i + CHUNK] for i in range(0, len(chosen), CHUNK)]
  with concurrent.futures.ProcessPoolExecutor(
    mp_context=multiprocessing.get_context('spawn')
  ) as pool:
    parts = pool.map(functools.partial(traced_costs, name), chunks)
    rows = list(
      itertools.chain.from_iterable(
        tqdm.tqdm(parts, total=len(chunks), desc=name)
      )
    )
  counted = cells.cost(jax.tree.map(lambda field: field[chosen], cells.graph))
  params, madds = np.array(rows).T
  return block_cost.Cost(params == counted.params, madds == counted.madds)


def main(argv):
  """Prints how many of how many agree."""
  del argv
  if not os.environ.get('IRLAS_DATA_DIR'):
    raise app.UsageError('Set IRLAS_DATA_DIR to the folder of the tables.')
  for name in _TABLES.value or TABLES:
    cells = TABLES[name]()
    as_numbered = cells.cost(cells.graph).params == cells.params
    renumbered = agree_renumbered(cells)
    print(
      f'{name}: published parameters agree for {as_numbered.sum()} of '
      f'{len(as_numbered)} cells, in some numbering for {renumbered.sum()}.',
      flush=True,
    )
  for name in _TABLES.value or TABLES:
    params, madds = count_agreeing(name, _CELLS.value)
    print(
      f'{name}: networks have the parameters of {params.sum()} and the '
      f'multiply-adds of {madds.sum()} of {len(params)} graphs.',
      flush=True,
    )


if __name__ == '__main__':
  app.run(main)
