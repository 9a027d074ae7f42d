"""Where the weights of a plain NASNet lie in the padded one."""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from flax import traverse_util

from irlas_jax.networks import block, nasnet, nasnet_ops, nasnet_plan
from irlas_jax.networks.nasnet_program import Wiring


class Part(NamedTuple):
  """Padded parameters and their statistics; of one cell, or one layer."""

  params: dict
  stats: dict

  def of(self, name) -> 'Part':
    return Part(self.params[name], self.stats[name])

  def row(self, index) -> 'Part':
    return jax.tree.map(lambda x: x[index], self)


def _norm(path, part: Part) -> Iterator[tuple]:
  for name in ('scale', 'bias'):
    yield ('params', *path, name), part.params['norm'][name]
  for name, value in zip(('mean', 'var'), part.stats, strict=True):
    yield ('batch_stats', *path, name), value


def _kernel(path, array) -> tuple:
  return ('params', *path, 'kernel'), array


def _matrix(path, array) -> tuple:
  """A 1x1 convolution's kernel."""
  return _kernel(path, array[None, None])


def _factorized(path, matrix, part: Part) -> Iterator[tuple]:
  half = matrix.shape[-1] // 2
  yield _matrix((*path, 'even'), matrix[:, :half])
  yield _matrix((*path, 'odd'), matrix[:, half:])
  yield from _norm((*path, 'bn'), part)


def _enter(path, part: Part, leaves, halved) -> Iterator[tuple]:
  kernel = part.params['kernel'][list(leaves)]
  matrix = kernel.reshape(-1, kernel.shape[-1])
  if halved:
    yield from _factorized(path, matrix, part)
  else:
    yield _matrix((*path, 'conv0'), matrix)
    yield from _norm((*path, 'bn'), part)


def _dense(part: Part, shape):
  """Kernel [*shape, C, C] of as many taps."""
  dense = part.params['kernels']['dense']
  return dense[: np.prod(shape)].reshape(*shape, *dense.shape[1:])


def _separable(path, index, kernel, part: Part) -> Iterator[tuple]:
  span = nasnet_ops.middle(kernel)
  depthwise = part.params['kernels']['depthwise'][span, span]
  yield _kernel((*path, f'depthwise{index}'), depthwise[:, :, None])
  yield _kernel((*path, f'pointwise{index}'), _dense(part, (1, 1)))
  yield from _norm((*path, f'bn{index}'), part)


# Sides of the kernels of a convolution's layers.
_SHAPES = {
  'conv_1x1': (1, 1),
  'conv_3x3': (3, 3),
  'dil_conv_3x3': (3, 3),
  'conv_1x3': (1, 3),
  'conv_3x1': (3, 1),
  'conv_1x7': (1, 7),
  'conv_7x1': (7, 1),
}


def _operation(path, names, parts) -> Iterator[tuple]:
  """The layers of one operation, each with its part."""
  for index, (name, part) in enumerate(zip(names, parts, strict=True)):
    if name.startswith('sep_conv'):
      yield from _separable(path, index, int(name[-1]), part)
    elif name in _SHAPES:
      kernel = _dense(part, _SHAPES[name])
      yield _kernel((*path, f'conv{index}'), kernel)
      if index == len(names) - 1:
        yield from _norm((*path, 'bn'), part)


def _block(path, b, block_plan, cell: Part, wiring: Wiring, reduction):
  sides = zip(('first', 'second'), block_plan.operands, strict=True)
  for i, (side, operand) in enumerate(sides):
    enters = reduction and operand.state < 2
    names = nasnet_ops.layers_of(operand.operation, enters)
    rows = wiring.places[b, 2 * i : 2 * i + len(names)]
    parts = [cell.of('layers').row(row) for row in rows]
    if enters:
      parts[0] = cell.of('entries').row(2 + 2 * b + i)
    yield from _operation((path, f'block{b}_{side}'), names, parts)
  if block_plan.merge == 'concat':
    part = cell.of('layers').row(wiring.places[b, 4])
    pair = _dense(part, (1, 2))[0]
    yield _matrix((path, f'block{b}_concat'), pair.reshape(-1, pair.shape[-1]))


def _cell(path, cell: Part, plan, wiring, leaves, halved) -> Iterator[tuple]:
  """One cell, from the leaves of x and of `previous`."""
  yield from _enter((path, 'input'), cell.of('input'), leaves[0], False)
  yield from _enter((path, 'previous'), cell.of('previous'), leaves[1], halved)
  for b, block_plan in enumerate(plan.blocks):
    yield from _block(path, b, block_plan, cell, wiring, plan.reduction)
  for state in plan.outputs:
    if plan.reduction and state < 2:
      part = cell.of('entries').row(state)
      matrix = part.params['kernels']['dense'][0]
      yield from _factorized((path, f'output{state}'), matrix, part)


def _cells(whole: Part, macro: block.Macro) -> Iterator[Part]:
  """The parts of the cells in the order of the stack."""
  for stage, number in enumerate(macro.blocks):
    part = Part(whole.params['stages'][stage], whole.stats['stages'][stage])
    peeled = 0
    if stage > 0:
      yield part.of('reduce')
      yield part.of('first')
      peeled = 1
    for i in range(number - peeled):
      yield part.of('rest').row(i)


def _arrays(whole: Part, plans, wirings, macro) -> Iterator[tuple]:
  """Path and array of everything in the Flax variables."""
  yield _kernel(('stem',), whole.params['stem']['kernel'])
  yield from _norm(('stem_bn',), whole.of('stem'))
  stem = tuple(range(nasnet.STEM_FACTOR))
  leaves = [stem, stem]  # of x and of `previous`
  after_reduction = False
  for place, cell in zip(
    nasnet_plan.places(macro), _cells(whole, macro), strict=True
  ):
    plan, wiring = plans[place.reduction], wirings[place.reduction]
    yield from _cell(place.name, cell, plan, wiring, leaves, after_reduction)
    leaves = [plan.outputs, leaves[0]]
    after_reduction = place.reduction
  head = whole.params['head']
  kernel = head['kernel'][list(leaves[0])]
  yield _kernel(('head',), kernel.reshape(-1, kernel.shape[-1]))
  yield ('params', 'head', 'bias'), head['bias']


def to_flax(variables, plans, wirings, macro: block.Macro):
  """Variables of the plain network of `plans` from padded ones.

  `wirings` are those of the same cells in the program, as NumPy arrays.
  """
  whole = Part(variables['params'], variables['batch_stats'])
  whole = jax.tree.map(np.asarray, whole)
  return traverse_util.unflatten_dict(
    dict(_arrays(whole, plans, wirings, macro))
  )
