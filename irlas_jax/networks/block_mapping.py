"""Where each weight of a plain block network lies in the padded one.

One table of addresses serves both directions, so they cannot disagree.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from irlas_jax.networks import block, block_ops


class Address(NamedTuple):
  """One array of the Flax network and its place in the padded variables."""

  flax: tuple[str, ...]  # path, collection first
  padded: tuple[Any, ...]  # path, collection first
  place: tuple  # index into the padded array
  shape: tuple[int, ...] | None  # of the Flax array; None: as indexed


def _norm(flax, padded, index) -> Iterator[Address]:
  """The four arrays of a batch normalisation; `padded` leads to its owner."""
  collection = 'batch_stats'
  for name in ('scale', 'bias'):
    path = ('params', *padded, 'norm', name)
    yield Address(('params', *flax, name), path, index, None)
  for i, name in enumerate(('mean', 'var')):
    path = (collection, *padded, i)
    yield Address((collection, *flax, name), path, index, None)


def _layer(layer, t, flax, padded, at, width) -> Iterator[Address]:
  """The arrays of one layer; `at` is the index of its block in a stage."""
  kernels = ('params', *padded, 'layers', 'kernels')
  first = block_ops.REACH - layer.kernel // 2
  span = slice(first, first + layer.kernel)
  area = (layer.kernel, layer.kernel)
  cut = (*at, t, span, span)
  whole = (*at, t)
  arrays: dict[str, list[tuple]] = {
    'conv': [(('conv',), 'conv', cut, (*area, width, width))],
    'sep_conv': [
      (('depthwise',), 'depthwise', cut, (*area, 1, width)),
      (('pointwise',), 'pointwise', whole, (1, 1, width, width)),
    ],
    'concat': [((), 'concat', whole, (1, 1, 2 * width, width))],
  }
  for module, name, index, shape in arrays.get(layer.operation, ()):
    path = ('params', *flax, *module, 'kernel')
    yield Address(path, (*kernels, name), index, shape)
  if layer.operation in block_ops.NORMALISED:
    yield from _norm((*flax, 'bn'), (*padded, 'layers'), whole)


def _block(layers, flax, padded, at, leaves, before, width):
  """The arrays of one block that reads nodes `leaves` of width `before`."""
  yield Address(
    ('params', flax, 'enter', 'conv', 'kernel'),
    ('params', *padded, 'enter', 'kernel'),
    (*at, list(leaves)),
    (1, 1, len(leaves) * before, width),
  )
  yield from _norm((flax, 'enter', 'bn'), (*padded, 'enter'), at)
  for t, layer in enumerate(layers):
    path = (flax, f'layer{t + 1}')
    yield from _layer(layer, t, path, padded, at, width)


def addresses(layers, macro: block.Macro) -> Iterator[Address]:
  """Every array of the Flax network of `layers` (CIFAR macro-architecture)."""
  path = ('params', 'stem', 'kernel')
  yield Address(path, path, (), None)
  yield from _norm(('stem_bn',), ('stem',), ())
  leaves: tuple[int, ...] = (0,)  # of what comes before a block
  before = macro.widths[0]
  for stage, width in enumerate(macro.widths):
    for i in range(macro.blocks[stage]):
      place = ('stages', stage, 'rest' if i else 'first')
      at = (i - 1,) if i else ()
      name = f'stage{stage}_block{i}'
      yield from _block(layers, name, place, at, leaves, before, width)
      leaves, before = block.leaves_of(layers), width
  kernel, bias = (('params', 'head', name) for name in ('kernel', 'bias'))
  rows = (len(leaves) * before, -1)
  yield Address(kernel, kernel, (list(leaves),), rows)
  yield Address(bias, bias, (), None)


def to_flax(variables, layers, macro: block.Macro):
  """Flax variables of the network of `layers` from padded ones."""
  result: dict = {}
  for address in addresses(layers, macro):
    value = np.asarray(_get(variables, address.padded))[address.place]
    if address.shape is not None:
      value = value.reshape(address.shape)
    *parents, name = address.flax
    node = result
    for parent in parents:
      node = node.setdefault(parent, {})
    node[name] = value
  return result


def from_flax(variables, layers, macro: block.Macro, template):
  """Padded variables holding the Flax ones; unused weights are zero.

  `template` gives structure, shapes and dtypes (arrays or shape structs).
  """
  result = _zeros(template)
  for address in addresses(layers, macro):
    target = _get(result, address.padded)
    value = np.asarray(_get(variables, address.flax))
    target[address.place] = value.reshape(target[address.place].shape)
  return result


def _get(tree, path):
  for key in path:
    tree = tree[key]
  return tree


def _zeros(template):
  if isinstance(template, dict):
    return {name: _zeros(part) for name, part in template.items()}
  if isinstance(template, (list, tuple)):
    return type(template)(_zeros(part) for part in template)
  return np.zeros(template.shape, template.dtype)
