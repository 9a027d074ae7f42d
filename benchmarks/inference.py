r"""How fast IRLAS's published network is beside hand-designed ones, here.

python -m benchmarks.inference --output=benchmarks/results/inference.md

IRLAS (https://arxiv.org/abs/1812.05285) gives milliseconds a batch of 16 images
of 224x224 in 32-bit floating point, normalisations folded, by TensorRT on a
TITAN Xp. This is the same on the present device by XLA, with random weights,
for IRLAS-mobile, MobileNetV2 and ResNeXt-50. A second table says how well a sum
over pieces, each measured alone, predicts the latency of random architectures.
--tiny measures small images and networks, to see that everything runs.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from benchmarks import output
from irlas_jax import graph as graphs
from irlas_jax.evaluators import latency
from irlas_jax.networks import (
  block,
  cost,
  irlas_mobile,
  mobilenet_v2,
  nasbench201,
  resnext,
)
from irlas_jax.policies import sampling
from irlas_jax.reports import records, table
from irlas_jax.spaces import block as block_space
from irlas_jax.spaces import nasbench201 as cell_space
from irlas_jax.types import Graph

_BATCHES = flags.DEFINE_list('batches', '1,16,32', 'Images a call.')
_CALLS = flags.DEFINE_integer('calls', 30, 'Timed calls at most.')
_SECONDS = flags.DEFINE_float(
  'seconds', 30.0, 'Time for the calls of a network at one batch size.'
)
_ARCHITECTURES = flags.DEFINE_integer(
  'architectures', 20, 'Architectures of a space to predict; 0 leaves them out.'
)
_TINY = flags.DEFINE_bool('tiny', False, 'Small images and networks.')

SIDE, TINY_SIDE = 224, 32
REFERENCE = 'IRLAS-mobile'
NUM_LAYERS = 7  # of random blocks
PREDICTED_BATCH = 16
MACRO = block.cifar(16, 3, 1)
CIFAR_IMAGE = 32, 32, 3


def main(argv):
  """Measures, and prints the tables."""
  del argv
  side = TINY_SIDE if _TINY.value else SIDE
  parts = [
    f'# Milliseconds a batch, images of {side}x{side}',
    about(),
    table.markdown_table(network_rows(networks(_TINY.value), side), COLUMNS),
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
  }


COLUMNS = {
  'batch': '',
  'network': '',
  'parameters, M': '.2f',
  'multiply-adds, M': ',.0f',
  'ms a batch': '.2f',
  'quartiles': '',
  'calls': '',
  f'times {REFERENCE}': '.2f',
}


def network_rows(
  modules: Mapping[str, nn.Module], side: int
) -> list[dict[str, Any]]:
  """A row of each network at each batch size."""
  rows = []
  counts = {name: costs(module, side) for name, module in modules.items()}
  for batch in map(int, _BATCHES.value):
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)
    found = {name: _measure(name, modules[name], images) for name in modules}
    reference = found[REFERENCE].median
    for name, (params, madds) in counts.items():
      values = (
        *(batch, name, params / 1e6, madds / 1e6),
        *_spread(found[name]),
        found[name].median / reference,
      )
      rows.append(dict(zip(COLUMNS, values, strict=True)))
  return rows


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


def _measure(name, module, images) -> latency.Latency:
  logging.info('Measuring %s on %s', name, images.shape)
  return latency.measure_module(module, images, **_how())


def _how() -> dict[str, Any]:
  return {'repeats': _CALLS.value, 'seconds': _SECONDS.value}


def _spread(found):
  """Median and quartiles in milliseconds, and the calls that they are from."""
  low, high = 1e3 * found.low, 1e3 * found.high
  return 1e3 * found.median, f'{low:.2f} to {high:.2f}', found.repeats


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
  measured = np.array(
    [_measure(name, module, images).median for module in modules]
  )
  known = latency.measure_pieces(
    [piece for pieces in wanted for piece in pieces],
    PREDICTED_BATCH,
    **_how(),
  )
  predicted = np.array([latency.predict(known, pieces) for pieces in wanted])
  error = latency.prediction_error(predicted, measured)
  values = (
    *(name, len(modules), len(known), _range(measured), _range(predicted)),
    *error,
  )
  return dict(zip(PREDICTION_COLUMNS, values, strict=True))


def _range(seconds) -> str:
  return f'{1e3 * seconds.min():.2f} to {1e3 * seconds.max():.2f}'


def about() -> str:
  """What was measured, where, and with which versions."""
  versions = ', '.join(f'{k} {v}' for k, v in records.versions().items())
  return (
    f'{os.cpu_count()} cores, device {jax.devices()[0].device_kind}; 32-bit '
    'floating point, normalisations folded, random weights; medians of at most '
    f'{_CALLS.value} calls within {_SECONDS.value:g} s. {versions}.'
  )


if __name__ == '__main__':
  app.run(main)
