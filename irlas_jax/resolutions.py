"""What the nodes of each space's graphs may be called, from coarse to fine."""

import itertools

from irlas_jax.rewards import features
from irlas_jax.spaces import block, metaqnn, nas_rl, nasnet


def by_operation(
  operations, families, attributes: tuple[int, ...] = ()
) -> dict[str, features.Labels]:
  """Family and operation of the operations that a family names.

  `attributes` are what else a pattern has, if nodes have attributes.
  """
  row = operations.index
  return {
    'family': features.labels(
      {
        family: [(row(operation), *attributes) for operation in members]
        for family, members in families.items()
      }
    ),
    'operation': features.labels(
      {
        operation: [(row(operation), *attributes)]
        for members in families.values()
        for operation in members
      }
    ),
  }


def of_blocks(layers) -> dict[str, features.Labels]:
  """From coarse to fine: what a block's nodes may be called."""
  row = block.OPERATIONS.index
  used = dict.fromkeys(['input', *(operation for operation, _ in layers)])
  return {
    'family': features.labels(
      {
        # A family of one is called after its member, whose features it has.
        members[0] if len(members) == 1 else family: [
          (row(operation), features.ANY) for operation in members
        ]
        for family, members in (
          (family, [operation for operation in whole if operation in used])
          for family, whole in block.FAMILIES.items()
        )
      }
    ),
    'operation': features.labels(
      {operation: [(row(operation), features.ANY)] for operation in used}
    ),
    'kind': features.labels(
      {
        f'{operation} {kernel}' if kernel else operation: [
          (row(operation), kernel)
        ]
        for operation, kernel in [('input', 0), *layers]
      }
    ),
  }


def of_nasnet() -> dict[str, features.Labels]:
  """From coarse to fine: family, operation, and operation in which cell."""
  row = nasnet.OPERATIONS.index
  families: dict[str, tuple[str, ...]] = {
    'input': nasnet.INPUTS,
    'identity': ('identity',),
    'convolution': tuple(
      name
      for name in nasnet.BLOCK_OPERATIONS
      if 'conv' in name and 'sep' not in name
    ),
    'separable': tuple(
      name for name in nasnet.BLOCK_OPERATIONS if 'sep_conv' in name
    ),
    'pooling': tuple(
      name for name in nasnet.BLOCK_OPERATIONS if 'pool' in name
    ),
    'merge': nasnet.MERGES,
  }
  cells = {
    f'{cell} {operation}': [(row(operation), i)]
    for i, cell in enumerate(nasnet.CELLS)
    for operation in nasnet.OPERATIONS
  }
  coarse = by_operation(nasnet.OPERATIONS, families, (features.ANY,))
  return coarse | {'cell': features.labels(cells)}


def of_metaqnn(sizes: metaqnn.Sizes) -> dict[str, features.Labels]:
  """Operations, and operations with their sizes and windows."""
  row = metaqnn.OPERATIONS.index
  names = {name: (name,) for name in metaqnn.OPERATIONS}
  coarse = by_operation(metaqnn.OPERATIONS, names, (features.ANY,) * 3)
  layers = [metaqnn.Layer('input'), *metaqnn.layers(sizes)]
  kind = features.labels(
    {
      ' '.join(map(str, filter(None, layer))): [
        (row(layer.operation), *layer[1:])
      ]
      for layer in layers
    }
  )
  return {'operation': coarse['operation'], 'kind': kind}


def of_nas_rl(sizes: nas_rl.Sizes) -> dict[str, features.Labels]:
  """Operations, kernels, and kernels with their filters."""
  any_row = (features.ANY,) * len(nas_rl.ATTRIBUTES)
  names = {name: (name,) for name in nas_rl.OPERATIONS}
  coarse = by_operation(nas_rl.OPERATIONS, names, any_row)
  conv = nas_rl.OPERATIONS.index('conv')
  others = {
    name: [(nas_rl.OPERATIONS.index(name), *any_row)]
    for name in ('input', 'concat')
  }
  kernels = list(itertools.product(sizes.heights, sizes.widths))
  kernel = {
    f'conv {height}x{width}': [(conv, height, width, *any_row[2:])]
    for height, width in kernels
  }
  kind = {
    f'conv {height}x{width} {filters}': [
      (conv, height, width, filters, *any_row[3:])
    ]
    for height, width in kernels
    for filters in sizes.filters
  }
  return {
    'operation': coarse['operation'],
    'kernel': features.labels(others | kernel),
    'kind': features.labels(others | kind),
  }
