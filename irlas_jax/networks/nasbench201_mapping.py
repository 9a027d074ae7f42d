"""Where the weights of a plain NAS-Bench-201 network lie in the padded one."""

from collections.abc import Iterator

import jax
import numpy as np
from flax import traverse_util

from irlas_jax.networks import nasbench201, nasbench201_program
from irlas_jax.types import Graph


def _norm(path, norm, stats) -> Iterator[tuple]:
  yield ('params', *path, 'scale'), norm['scale']
  yield ('params', *path, 'bias'), norm['bias']
  yield ('batch_stats', *path, 'mean'), stats[0]
  yield ('batch_stats', *path, 'var'), stats[1]


def _conv(path, kernel, norm, stats) -> Iterator[tuple]:
  yield ('params', *path, 'conv', 'kernel'), kernel
  yield from _norm((*path, 'bn'), norm, stats)


def _cell(path, kernels, norms, stats, graph, operations) -> Iterator[tuple]:
  nodes = np.asarray(nasbench201_program.edge_nodes(graph, operations)).tolist()
  for e, v in enumerate(nodes):
    size = nasbench201_program.CONVOLUTIONS.get(operations[int(graph.ops[v])])
    if size:
      span = nasbench201_program.middle(size)
      norm, used = jax.tree.map(lambda x: x[e], (norms, stats))  # noqa: B023
      yield from _conv((*path, f'node{v}'), kernels[e, span, span], norm, used)


def _reduction(path, kernels, norms, stats) -> Iterator[tuple]:
  for name in ('conv1', 'conv2'):
    yield from _conv((*path, name), kernels[name], norms[name], stats[name])
  yield (
    ('params', *path, 'shortcut', 'kernel'),
    kernels['shortcut'][None, None],
  )


def _arrays(variables, graph, operations) -> Iterator[tuple]:
  """Path and array of everything in the Flax variables."""
  params, stats = variables['params'], variables['batch_stats']
  kernels, norms = params['kernels'], params['norms']
  yield ('params', 'stem', 'kernel'), kernels['stem']
  yield from _norm(('stem_bn',), norms['stem'], stats['stem'])
  stages = zip(kernels['stages'], norms['stages'], stats['stages'], strict=True)
  for stage, parts in enumerate(stages):
    if stage > 0:
      reduction = (part['reduce'] for part in parts)
      yield from _reduction((f'stage{stage}_reduce',), *reduction)
    cells = tuple(part['cells'] for part in parts)
    for i in range(len(cells[0])):
      kernels_i, norms_i, used_i = jax.tree.map(
        lambda x: x[i],  # noqa: B023
        cells,
      )
      path = (f'stage{stage}_cell{i}',)
      yield from _cell(path, kernels_i, norms_i, used_i, graph, operations)
  yield from _norm(('head_bn',), norms['head'], stats['head'])
  yield ('params', 'head', 'kernel'), kernels['head']
  yield ('params', 'head', 'bias'), params['bias']


def to_flax(variables, graph: Graph, operations: tuple[str, ...]):
  """Variables of `nasbench201.network(graph)` from padded ones."""
  nasbench201.nodes_of(graph, operations)  # refuses what is no cell
  variables = jax.tree.map(np.asarray, variables)
  return traverse_util.unflatten_dict(
    dict(_arrays(variables, graph, operations))
  )
