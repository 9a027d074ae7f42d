r"""How far the padded program and plain Flax networks differ, at the worst.

python -m benchmarks.padded_equality --blocks=50 --num_layers=6
python -m benchmarks.padded_equality --space=nasbench201 --blocks=50

Random blocks of each operation set, or random cells, with random weights
(unused ones too), are compared in the loss, its gradients, the batch statistics
after a training step, and the logits in evaluation mode. With --x64 all of it
is below 1e-10: the networks are the same. In float32 what is left is rounding.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import optax
from absl import app, flags
from flax import traverse_util

from irlas_jax import graph as graphs
from irlas_jax.networks import block as plain
from irlas_jax.networks import nasbench101 as plain_nasbench101
from irlas_jax.networks import nasbench201 as plain_nasbench201
from irlas_jax.networks import (
  padded_block,
  padded_nasbench101,
  padded_nasbench201,
)
from irlas_jax.policies import sampling
from irlas_jax.spaces import block, nasbench101, nasbench201, nsc
from irlas_jax.types import Graph, Space

_SPACE = flags.DEFINE_enum(
  'space', 'block', ['block', 'nasbench201', 'nasbench101'], 'Whose networks.'
)
_BLOCKS = flags.DEFINE_integer('blocks', 50, 'Blocks of each set, or cells.')
_NUM_LAYERS = flags.DEFINE_integer('num_layers', 6, 'Layers at most.')
_X64 = flags.DEFINE_bool('x64', False, 'Compute in float64.')

NUM_CLASSES = 10
IMAGES = (8, 9, 7, 3)  # odd sides: pooling leaves pixels over
EVEN_IMAGES = (8, 8, 6, 3)  # for the networks that need even sides
MACRO = plain.Macro((4, 8), (2, 1))  # a scanned block, and a stage after it
CELL_MACRO = plain.Macro((5, 8), (2, 1))  # a channel for each of 5 vertices


class Program(NamedTuple):
  """A padded network, the plain ones, and what is measured of both."""

  network: padded_block.PaddedNetwork
  measure: Callable  # jitted (variables, Graph, images, labels) -> _measure
  to_graph: Callable  # of an architecture as it was drawn
  plain: Callable  # Graph -> Flax module
  images: tuple[int, ...]  # [N, H, W, C]


class Differences(NamedTuple):
  """Largest absolute differences between the networks of one architecture."""

  loss: float
  gradients: float
  unused: float  # gradient of weights that the plain network does not have
  # running means and variances after a training step, where they are read
  statistics: float
  evaluation: float  # logits
  round_trip: float  # loss with from_flax(to_flax(variables))


def random_blocks(seed: int, operations: str, num_layers: int, count: int):
  """Random blocks of 1 to `num_layers` layers: lists of `block.Choice`."""
  rng = np.random.default_rng(seed)
  table = block.choices(num_layers, operations)
  options = [[c for c in table if c.preds[-1] <= t] for t in range(num_layers)]
  return [
    [choices[rng.integers(len(choices))] for choices in options[:length]]
    for length in rng.integers(1, num_layers + 1, size=count)
  ]


def program(operations: str, num_layers: int, compiler_options=None) -> Program:
  """The program of an operation set, compiled when it is first called."""
  table = block.choices(num_layers, operations)
  kinds = sorted({(choice.operation, choice.kernel) for choice in table})
  network = padded_block.padded_network(
    kinds, block.OPERATIONS, MACRO, NUM_CLASSES, IMAGES[-1]
  )
  return Program(
    network,
    _jit_measure(network, compiler_options),
    lambda layers: nsc.to_graph(layers, num_layers),
    lambda graph: plain.network(graph, block.OPERATIONS, MACRO, NUM_CLASSES),
    IMAGES,
  )


class Cells(NamedTuple):
  """A space of cells and its networks."""

  space: Space
  padded: Callable  # (operations, Macro, num_classes, channels)
  plain: Callable  # (Graph, operations, Macro, num_classes) -> Flax module


NASBENCH201 = Cells(
  nasbench201.nasbench201(),
  padded_nasbench201.padded_network,
  plain_nasbench201.network,
)
NASBENCH101 = Cells(
  nasbench101.nasbench101(),
  padded_nasbench101.padded_network,
  plain_nasbench101.network,
)
CELLS = {'nasbench201': NASBENCH201, 'nasbench101': NASBENCH101}


def random_cells(seed: int, cells: Cells, count: int) -> list[Graph]:
  """Random cells in their canonical numbering."""
  actions = sampling.uniform_lengths(jax.random.key(seed), cells.space, count)
  return [
    graphs.canonical(jax.device_get(cells.space.decode(row))) for row in actions
  ]


def cell_program(cells: Cells, compiler_options=None) -> Program:
  """The program of a space of cells, compiled when it is first called."""
  operations = cells.space.operations
  network = cells.padded(operations, CELL_MACRO, NUM_CLASSES, EVEN_IMAGES[-1])
  return Program(
    network,
    _jit_measure(network, compiler_options),
    lambda graph: graph,
    lambda graph: cells.plain(graph, operations, CELL_MACRO, NUM_CLASSES),
    EVEN_IMAGES,
  )


def _jit_measure(network, compiler_options):
  def measure(variables, graph, images, labels):
    def apply(variables, images, train):
      return network.apply(variables, graph, images, train)

    return _measure(apply, variables, images, labels)

  return jax.jit(measure, compiler_options=compiler_options)


def compare(
  program: Program, architecture, seed: int, dtype, compiler_options=None
) -> Differences:
  """Compares the networks of one architecture in `dtype`, all else drawn.

  `compiler_options` are XLA's for the plain network, one compile each.
  """
  rng = np.random.default_rng(seed)
  graph = program.to_graph(architecture)
  template = jax.eval_shape(
    lambda graph: program.network.init(jax.random.key(0), graph), graph
  )
  variables = _draw(rng, template, dtype)
  images = rng.normal(size=program.images).astype(dtype)
  labels = rng.integers(NUM_CLASSES, size=program.images[0])
  measured = program.measure(variables, graph, images, labels)
  loss, gradients, statistics, logits = jax.device_get(measured)

  to_flax = functools.partial(program.network.to_flax, graph=graph)
  from_flax = functools.partial(program.network.from_flax, graph=graph)
  flax_variables = to_flax(variables)
  plain_loss, plain_gradients, plain_statistics, plain_logits = jax.jit(
    functools.partial(_measure, _plain_apply(program.plain(graph))),
    compiler_options=compiler_options,
  )(flax_variables, images, labels)

  found = to_flax({'params': gradients, 'batch_stats': statistics})
  used = from_flax(found)['params']
  returned = jax.tree.map(
    lambda array: array.astype(dtype), from_flax(flax_variables)
  )
  again = program.measure(returned, graph, images, labels)[0]
  return Differences(
    loss=_worst(loss, plain_loss),
    gradients=_worst(found['params'], plain_gradients),
    unused=_worst(gradients, used),
    statistics=_worst(
      _read(found['batch_stats'], plain_gradients),
      _read(plain_statistics, plain_gradients),
    ),
    evaluation=_worst(logits, plain_logits),
    round_trip=_worst(loss, again),
  )


def _read(statistics, gradients):
  """The statistics of normalisations that the loss depends on, by path."""
  slopes = traverse_util.flatten_dict(gradients)
  return {
    path: values
    for path, values in traverse_util.flatten_dict(statistics).items()
    if np.any(slopes[*path[:-1], 'bias'])
  }


def _draw(rng, template, dtype):
  """Random arrays of the template's shapes; variances are positive."""

  def draw(path, leaf):
    values = rng.normal(scale=0.3, size=leaf.shape)
    positive = path[0].key == 'batch_stats'
    return (np.exp(values) if positive else values).astype(dtype)

  return jax.tree_util.tree_map_with_path(draw, template)


def _plain_apply(model):
  def apply(variables, images, train):
    logits, updated = model.apply(
      variables, images, train, mutable=['batch_stats']
    )
    return logits, updated['batch_stats']

  return apply


def _measure(apply, variables, images, labels):
  """Loss, gradients and statistics of a training step; evaluation logits."""

  def loss_fn(params):
    logits, statistics = apply(variables | {'params': params}, images, True)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.mean(), statistics

  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  (loss, statistics), gradients = grad_fn(variables['params'])
  return loss, gradients, statistics, apply(variables, images, False)[0]


def _worst(tree, other) -> float:
  """Largest absolute difference of two trees of the same structure."""
  differences = jax.tree.map(
    lambda x, y: float(np.max(np.abs(np.asarray(x) - np.asarray(y)))),
    tree,
    other,
  )
  return max(jax.tree.leaves(differences))


def _programs():
  """Name, program and architectures of each comparison."""
  count = _BLOCKS.value
  if _SPACE.value in CELLS:
    cells = CELLS[_SPACE.value]
    yield _SPACE.value, cell_program(cells), random_cells(0, cells, count)
    return
  for operations in block.OPERATION_SETS:
    size = _NUM_LAYERS.value
    blocks = random_blocks(0, operations, size, count)
    yield operations, program(operations, size), blocks


def main(argv):
  """Prints the worst differences of each comparison."""
  del argv
  jax.config.update('jax_enable_x64', _X64.value)
  dtype = np.float64 if _X64.value else np.float32
  for name, network, architectures in _programs():
    rows = [
      compare(network, architecture, seed, dtype)
      for seed, architecture in enumerate(architectures)
    ]
    worst = Differences(*np.max(rows, axis=0).tolist())
    figures = ', '.join(f'{k} {v:.1e}' for k, v in worst._asdict().items())
    print(f'{name}, {len(rows)} networks, {dtype.__name__}: {figures}')


if __name__ == '__main__':
  app.run(main)
