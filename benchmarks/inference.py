r"""How fast IRLAS's published network is beside hand-designed ones, here.

python -m benchmarks.inference --output=benchmarks/results/inference_cpu.md

IRLAS (https://arxiv.org/abs/1812.05285) gives milliseconds a batch of 16 images
of 224x224 in 32-bit floating point, normalisations folded, by TensorRT on a
TITAN Xp. This is the same on the present device by XLA, with random weights,
for IRLAS-mobile, MobileNetV2, ResNeXt-50 and NASNet-A mobile. Calls are timed
in rounds, each network once a round: what else the machine does moves
milliseconds, but all of a round alike, so that the ratios of a round are what
to read.

Each round also times every operation of the networks once, alone: convolutions
(with a bias and a ReLU), poolings, sums over pixels, matrix products,
concatenations. Their sum is a network's prediction; other operations on single
numbers are left out, for the compiler makes them part of these. A second table
says how well the pieces of `evaluators.latency` predict random architectures.
--tiny measures small images and networks, to see that everything runs.
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from benchmarks import output
from irlas_jax import experts
from irlas_jax import graph as graphs
from irlas_jax.evaluators import latency
from irlas_jax.networks import (
  block,
  cost,
  irlas_mobile,
  mobilenet_v2,
  nasbench201,
  nasnet,
  nasnet_plan,
  resnext,
)
from irlas_jax.policies import sampling
from irlas_jax.reports import records, table
from irlas_jax.spaces import block as block_space
from irlas_jax.spaces import nasbench201 as cell_space
from irlas_jax.spaces import nasnet as nasnet_space
from irlas_jax.types import Graph

_BATCHES = flags.DEFINE_list('batches', '1,16,32', 'Images a call.')
_ROUNDS = flags.DEFINE_integer('rounds', 30, 'Rounds at most.')
_SECONDS = flags.DEFINE_float(
  'seconds', 60.0, 'Time for the rounds of one batch size.'
)
_ARCHITECTURES = flags.DEFINE_integer(
  'architectures', 20, 'Architectures of a space to predict; 0 leaves them out.'
)

SIDE, TINY_SIDE = 224, 32
REFERENCE = 'IRLAS-mobile'
NUM_LAYERS = 7  # of random blocks
PREDICTED_BATCH = 16
MACRO = block.cifar(16, 3, 1)
CIFAR_IMAGE = 32, 32, 3


def main(argv):
  """Measures, and prints the tables."""
  del argv
  side = TINY_SIDE if output.TINY.value else SIDE
  parts = [
    f'# Milliseconds a batch, images of {side}x{side}',
    about(),
    table.markdown_table(
      network_rows(networks(output.TINY.value), side), COLUMNS
    ),
  ]
  if _ARCHITECTURES.value:
    parts += [
      f'## Predicted by pieces, batches of {PREDICTED_BATCH}',
      table.markdown_table(prediction_rows(), PREDICTION_COLUMNS),
    ]
  text = '\n\n'.join(parts)
  output.show(text)


def networks(tiny: bool) -> dict[str, nn.Module]:
  """What is compared, by name; the reference first."""
  if tiny:
    return {
      REFERENCE: irlas_mobile.network(10),
      'ResNeXt-8 (2x4d)': resnext.network(10, (1, 1), 2, 4),
    }
  return {
    REFERENCE: irlas_mobile.network(),
    'MobileNetV2 1.0': mobilenet_v2.network(),
    'MobileNetV2 1.4': mobilenet_v2.network(multiplier=1.4),
    'ResNeXt-50 (32x4d)': resnext.network(),
    'NASNet-A mobile': _nasnet_a(4, 1056),
  }


def _nasnet_a(number: int, penultimate: int) -> nn.Module:
  """The released NASNet-A for ImageNet; the paper's `number @ penultimate`."""
  cells = nasnet_space.parse(experts.NASNET_CELLS['nasnet_a_released'])
  macro = nasnet_plan.sized(cells, number, penultimate, imagenet=True)
  return nasnet.network(cells, nasnet_space.OPERATIONS, macro, 1000)


COLUMNS = {
  'batch': '',
  'network': '',
  'parameters, M': '.2f',
  'multiply-adds, M': ',.0f',
  'ms a batch': '.2f',
  'quartiles': '',
  'rounds': '',
  f'times {REFERENCE}': '.2f',
  'quartiles of it': '',
  'predicted, ms': '.2f',
  'error, %': '+.0f',
}


def network_rows(
  modules: Mapping[str, nn.Module], side: int
) -> list[dict[str, Any]]:
  """A row of each network at each batch size."""
  rows = []
  counts = [costs(module, side) for module in modules.values()]
  for batch in map(int, _BATCHES.value):
    logging.info('Measuring at batch size %d', batch)
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)
    found = time_networks(list(modules.values()), images)
    for i, (params, madds) in enumerate(counts):
      seconds = found.measured[:, i]
      predicted = found.predicted[:, i]
      ratio = seconds / found.measured[:, 0]
      values = (
        *(batch, list(modules)[i], params / 1e6, madds / 1e6),
        *(1e3 * np.median(seconds), _quartiles(1e3 * seconds), len(seconds)),
        *(np.median(ratio), _quartiles(ratio), 1e3 * np.median(predicted)),
        100 * np.median(predicted / seconds - 1),
      )
      rows.append(dict(zip(COLUMNS, values, strict=True)))
  return rows


def _quartiles(values) -> str:
  low, high = np.percentile(values, [25, 75])
  return f'{low:.2f} to {high:.2f}'


class Rounds(NamedTuple):
  """Seconds [R, n] of n networks in R rounds."""

  measured: np.ndarray
  predicted: np.ndarray  # from what was measured in the same round


def time_networks(modules: Sequence[nn.Module], images) -> Rounds:
  """Times networks and all their operations, each once a round."""
  calls = [latency.for_inference(module, images) for module in modules]
  wanted = [operations_of(*call) for call in calls]
  known = {key: one for found in wanted for key, (one, _) in found.items()}
  example = functools.cache(_example)
  parts = {
    key: latency.timer(
      _alone(one), tuple(example(x.shape, x.dtype) for x in _avals(one))
    )
    for key, one in known.items()
  }
  keys = [
    [key for key, (_, number) in found.items() for _ in range(number)]
    for found in wanted
  ]
  return in_rounds([latency.timer(*call) for call in calls], parts, keys)


def _example(shape, dtype) -> jax.Array:
  return jnp.full(shape, 0.1, dtype)


COUNTED = (
  *('conv_general_dilated', 'dot_general', 'concatenate', 'reduce_sum'),
  *('reduce_window_max', 'reduce_window_sum'),
)


def operations_of(fn: Callable, example: tuple) -> dict[str, tuple]:
  """Of every operation that counts, its equation and how often it is done."""
  found: dict[str, tuple] = {}
  for one in _equations(jax.make_jaxpr(fn)(*example).jaxpr):
    shapes = [aval.shape for aval in _avals(one)]
    key = f'{one.primitive.name} {one.params} {shapes}'
    found[key] = one, found.get(key, (one, 0))[1] + 1
  return found


def _avals(one):
  return [variable.aval for variable in one.invars]


def _equations(jaxpr) -> Iterator[Any]:
  """Those that count, of functions called within as well."""
  for one in jaxpr.eqns:
    if one.primitive.name in COUNTED:
      yield one
    for value in one.params.values():
      if isinstance(value, jax.extend.core.ClosedJaxpr):
        yield from _equations(value.jaxpr)


def _alone(one) -> Callable:
  """An equation as a function; a convolution has a bias and a ReLU."""

  def fn(*args):
    out = one.primitive.bind(*args, **one.params)
    conv = one.primitive.name == 'conv_general_dilated'
    return jax.nn.relu(out + 0.1) if conv else out

  return fn


def in_rounds(
  timers: Sequence[Callable[[], float]],
  parts: Mapping[Any, Callable[[], float]],
  wanted: Sequence[Sequence[Any]],
) -> Rounds:
  """Times networks and parts together; `wanted` are the parts of a network."""
  nothing = latency.timer(lambda x: x + 1, (np.float32(0),))
  parts = {latency.CALL: nothing, **parts}
  found = latency.interleave(
    [*timers, *parts.values()], 1, _ROUNDS.value, _SECONDS.value
  )
  tables: list[dict[Any, float]] = [
    dict(zip(parts, row[len(timers) :].tolist(), strict=True)) for row in found
  ]
  predicted = [[latency.predict(t, keys) for keys in wanted] for t in tables]
  return Rounds(found[:, : len(timers)], np.array(predicted))


def costs(module: nn.Module, side: int) -> tuple[int, int]:
  """Parameters of a network, and multiply-adds of one image."""
  image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  variables = jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x, False), image
  )
  madds = cost.count_multiply_adds(
    lambda variables, x: module.apply(variables, x, False), variables, image
  )
  return cost.count_parameters(variables), madds


PREDICTION_COLUMNS = {
  'networks': '',
  'number': '',
  'pieces': '',
  'measured, ms': '',
  'predicted, ms': '',
  'median error, %': '.0f',
  'rank correlation': '.2f',
}


def prediction_rows() -> list[dict[str, Any]]:
  """How well latencies are predicted, for random blocks and cells."""
  space = block_space.block(NUM_LAYERS)
  cells = cell_space.nasbench201()
  build_block = functools.partial(
    block.network, operations=space.operations, macro=MACRO, num_classes=10
  )
  build_cell = functools.partial(
    nasbench201.network,
    operations=cells.operations,
    macro=MACRO,
    num_classes=10,
  )
  return [
    _prediction_row('block space', random_graphs(space), build_block),
    _prediction_row(
      'NAS-Bench-201',
      [cell_space.effective(graph) for graph in random_graphs(cells)],
      build_cell,
    ),
  ]


def random_graphs(space) -> list[Graph]:
  """Random architectures, no two of them isomorphic, so many as are asked."""
  actions = sampling.uniform_actions(
    jax.random.key(0), space, 4 * _ARCHITECTURES.value
  )
  decoded = jax.device_get(jax.vmap(space.decode)(actions))
  found = [Graph(*(field[i] for field in decoded)) for i in range(len(actions))]
  different = {graphs.digest(graph): graph for graph in reversed(found)}
  return list(different.values())[-_ARCHITECTURES.value :]


def _prediction_row(name, found, build: Callable) -> dict[str, Any]:
  modules = [build(graph) for graph in found]
  wanted = [latency.pieces(module, CIFAR_IMAGE) for module in modules]
  logging.info('Measuring %d networks of %s', len(modules), name)
  images = jax.ShapeDtypeStruct((PREDICTED_BATCH, *CIFAR_IMAGE), jnp.float32)
  parts = {
    piece: _timer(*latency.alone(piece, PREDICTED_BATCH))
    for piece in dict.fromkeys(piece for pieces in wanted for piece in pieces)
  }
  timers = [_timer(module, images) for module in modules]
  rounds = in_rounds(timers, parts, wanted)
  measured, predicted = (np.median(seconds, axis=0) for seconds in rounds)
  error = latency.prediction_error(predicted, measured)
  values = (
    *(name, len(modules), len(parts), _range(measured), _range(predicted)),
    *error,
  )
  return dict(zip(PREDICTION_COLUMNS, values, strict=True))


def _timer(module, inputs):
  return latency.timer(*latency.for_inference(module, inputs))


def _range(seconds) -> str:
  return f'{1e3 * seconds.min():.2f} to {1e3 * seconds.max():.2f}'


def about() -> str:
  """What was measured, where, and with which versions."""
  versions = ', '.join(f'{k} {v}' for k, v in records.versions().items())
  return (
    f'{os.cpu_count()} cores, device {jax.devices()[0].device_kind}; 32-bit '
    'floating point, normalisations folded, random weights; medians over at '
    f'most {_ROUNDS.value} rounds within {_SECONDS.value:g} s. {versions}.'
  )


if __name__ == '__main__':
  app.run(main)
