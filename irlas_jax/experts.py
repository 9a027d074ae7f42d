"""Hand-designed networks as blocks: what the mirror stimuli are learnt from.

The codes are reconstructions (the paper's are not published): ResNeXt, which
the structure code cannot say with groups, is unrolled with two branches.
Convolutions stand for whichever kind the space has. A further expert is a JSON
file with a `genotype`, as a search writes in `best.json`.
"""

from irlas_jax.spaces import block, genotypes, nsc

EXPERTS = {
  # He et al. 2016: two 3x3 convolutions beside an identity.
  'resnet': (
    '(1, Conv, 3, 0, 0)(2, Conv, 3, 1, 0)(3, Add, 0, 0, 2)(4, Terminal)'
  ),
  'resnet_bottleneck': (
    '(1, Conv, 1, 0, 0)(2, Conv, 3, 1, 0)(3, Conv, 1, 2, 0)(4, Add, 0, 0, 3)'
    '(5, Terminal)'
  ),
  # Xie et al. 2017, cardinality 2.
  'resnext': (
    '(1, Conv, 1, 0, 0)(2, Conv, 3, 1, 0)(3, Conv, 1, 0, 0)(4, Conv, 3, 3, 0)'
    '(5, Concat, 0, 2, 4)(6, Conv, 1, 5, 0)(7, Add, 0, 0, 6)(8, Terminal)'
  ),
  # Huang et al. 2017.
  'densenet': (
    '(1, Conv, 1, 0, 0)(2, Conv, 3, 1, 0)(3, Concat, 0, 0, 2)'
    '(4, Conv, 1, 3, 0)(5, Conv, 3, 4, 0)(6, Concat, 0, 3, 5)(7, Terminal)'
  ),
  # Szegedy et al. 2015.
  'inception': (
    '(1, Conv, 1, 0, 0)(2, Conv, 1, 0, 0)(3, Conv, 3, 2, 0)(4, Conv, 1, 0, 0)'
    '(5, Conv, 5, 4, 0)(6, MaxPool, 3, 0, 0)(7, Conv, 1, 6, 0)(8, Terminal)'
  ),
}

# He et al. 2016 as NAS-Bench-201's authors put it into their space.
NASBENCH201_CELLS = {
  'resnet': (
    '|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|'
    'skip_connect~2|'
  ),
}

# Two of the cells that NAS-Bench-101's authors compare with.
NASBENCH101_CELLS = {
  'resnet': 'conv3x3 conv3x3 | 0-1 0-3 1-2 2-3',
  'inception': (
    'conv1x1 conv3x3 conv3x3 conv3x3 maxpool3x3 | 0-1 0-2 0-3 0-5 1-6 2-6 '
    '3-4 4-6 5-6'
  ),
}

_NASNET_A = (
  'add(sep_conv_5x5 0, sep_conv_3x3 1) add(sep_conv_5x5 1, sep_conv_3x3 1) '
  'add(avg_pool_3x3 0, identity 1) add(avg_pool_3x3 1, avg_pool_3x3 1) '
  'add(sep_conv_3x3 0, identity 0)',
  'add(sep_conv_5x5 0, sep_conv_7x7 1) add(max_pool_3x3 0, sep_conv_7x7 1) '
  'add(avg_pool_3x3 0, sep_conv_5x5 1) add(identity 3, avg_pool_3x3 2) '
  'add(sep_conv_3x3 2, max_pool_3x3 0)',
)
# Zoph et al. 2018. The released networks, whose sizes are the published ones,
# concatenate a state more in each cell than those that nobody reads.
NASNET_CELLS = {
  'nasnet_a': f'normal: {_NASNET_A[0]}; reduction: {_NASNET_A[1]}',
  'nasnet_a_released': (
    f'normal: {_NASNET_A[0]} -> 1 2 3 4 5 6; '
    f'reduction: {_NASNET_A[1]} -> 3 4 5 6'
  ),
}

# Hochreiter & Schmidhuber 1997, without biases: the trees of eight leaves whose
# forget gate has the sum of two leaves' matrices, and whose output gate that of
# four, compute just what an LSTM does.
RECURRENT_CELLS = {
  'lstm': (
    'add identity, add identity, add sigmoid, add tanh, '
    'add identity, add identity, add identity, add identity, '
    'add sigmoid, elem_mult identity, add identity, add identity, '
    'add tanh, add sigmoid, elem_mult identity; '
    'inject: elem_mult identity into 8; cell: 12'
  ),
}


def genotype(name: str, cells: dict[str, str]) -> str:
  """The text of one of `cells`, of a JSON file's genotype, or `name` itself.

  Raises:
    GenotypeError: for a file that is not there or has no genotype.
  """
  if name.endswith('.json'):
    return genotypes.read(name)
  return cells.get(name, name)


def load(name: str, operations: str):
  """The layers of a built-in expert, or of a JSON file ending in `.json`.

  `operations` is the block space's operation set: convolutions become its
  kind. Returns a tuple of `block.Choice`.

  Raises:
    GenotypeError: for an unknown name or a file that is not a block.
  """
  if name.endswith('.json'):
    layers = nsc.read(name)
  elif name in EXPERTS:
    layers = nsc.parse(EXPERTS[name])
  else:
    raise genotypes.GenotypeError(
      f'expert is {name!r}: choose one of {", ".join(EXPERTS)}, or the path of '
      'a JSON file with a genotype.'
    )
  kinds = ('conv', 'sep_conv')
  kind = next(op for op in block.OPERATION_SETS[operations] if op in kinds)
  return tuple(
    layer._replace(operation=kind) if layer.operation in kinds else layer
    for layer in layers
  )
