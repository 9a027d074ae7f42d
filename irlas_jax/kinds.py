"""Spaces, and what the other parts have to know of their architectures."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from irlas_jax import experts, resolutions, sections
from irlas_jax.networks import block as block_networks
from irlas_jax.networks import (
  block_cost,
  metaqnn_cost,
  metaqnn_program,
  n2n_cost,
  nas_rl_cost,
  nas_rl_program,
  nasbench101_cost,
  nasbench201_cost,
  nasnet_cost,
  padded_block,
  padded_metaqnn,
  padded_n2n,
  padded_nas_rl,
  padded_nasbench101,
  padded_nasbench201,
  padded_nasnet,
)
from irlas_jax.networks import metaqnn as metaqnn_networks
from irlas_jax.networks import n2n as n2n_networks
from irlas_jax.networks import nas_rl as nas_rl_networks
from irlas_jax.networks import nas_rl_recurrent as recurrent_networks
from irlas_jax.networks import nasbench101 as nasbench101_networks
from irlas_jax.networks import nasbench201 as nasbench201_networks
from irlas_jax.networks import nasnet as nasnet_networks
from irlas_jax.rewards import features
from irlas_jax.spaces import (
  block,
  choices,
  layer_table,
  metaqnn,
  n2n,
  nas_rl,
  nas_rl_recurrent,
  nasbench101,
  nasbench101_steps,
  nasbench201,
  nasnet,
  nsc,
)
from irlas_jax.types import Graph, Space


class SpaceKind(NamedTuple):
  """A space and what the other parts have to know of its graphs."""

  space: Space
  resolutions: dict[str, features.Labels]  # what nodes are called, by name
  join: int  # operation that several outputs amount to; -1: none
  view: Callable  # Graph -> Graph, what it computes: topology is read from this
  describe: Callable  # Graph -> genotype text
  parse: Callable  # genotype text -> Graph
  expert: Callable  # expert name -> Graph [V], its own size
  # (operations, Macro, num_classes, channels) -> PaddedNetwork, and the cost of
  # its networks, as block_cost.cost; None: they cannot be trained.
  network: Callable | None = None
  cost: Callable | None = None
  # (Graph, operations, Macro, num_classes) -> Flax module; None likewise.
  module: Callable | None = None
  # Layers, a number or traced -> steps before the end; a step each.
  steps: Callable = lambda layers: layers
  # Of recurrent cells: their language models, in place of the three above.
  language: recurrent_networks.Networks | None = None


def _as_it_is(graph: Graph) -> Graph:
  return graph


def _block(num_layers: int, operations: str) -> SpaceKind:
  space = block.block(num_layers, operations)
  layers = {
    (choice.operation, choice.kernel)
    for choice in block.choices(num_layers, operations)
  }
  return SpaceKind(
    space,
    resolutions.of_blocks(sorted(layers)),
    block.OPERATIONS.index('concat'),
    _as_it_is,
    lambda graph: nsc.text_of(nsc.from_graph(graph)),
    lambda text: nsc.to_graph(nsc.parse(text)),
    lambda name: nsc.to_graph(experts.load(name, operations)),
    functools.partial(padded_block.padded_network, sorted(layers)),
    block_cost.cost,
    block_networks.network,
  )


def _nasbench201() -> SpaceKind:
  families = {
    'input': ('input',),
    'convolution': ('nor_conv_1x1', 'nor_conv_3x3'),
    'pooling': ('avg_pool_3x3',),
    'skip_connect': ('skip_connect',),
    'sum': ('sum',),
  }
  return SpaceKind(
    nasbench201.nasbench201(),
    resolutions.by_operation(nasbench201.OPERATIONS, families),
    -1,
    nasbench201.effective,
    nasbench201.text_of,
    nasbench201.parse,
    lambda name: nasbench201.parse(
      experts.genotype(name, experts.NASBENCH201_CELLS)
    ),
    padded_nasbench201.padded_network,
    nasbench201_cost.cost,
    nasbench201_networks.network,
  )


ENCODINGS = {
  'direct': nasbench101.nasbench101,
  'steps': nasbench101_steps.nasbench101_steps,
}


def _nasbench101(
  max_vertices: int = nasbench101.MAX_VERTICES,
  max_edges: int = nasbench101.MAX_EDGES,
  encoding: str = 'direct',
) -> SpaceKind:
  if encoding not in ENCODINGS:
    raise sections.ConfigError(
      f'space.encoding is {encoding!r}: choose one of {", ".join(ENCODINGS)}.'
    )
  families = {
    'input': ('input',),
    'convolution': ('conv3x3', 'conv1x1'),
    'pooling': ('maxpool3x3',),
    'output': ('output',),
  }

  def parse(text):
    return nasbench101.parse(text, max_vertices, max_edges)

  return SpaceKind(
    ENCODINGS[encoding](max_vertices, max_edges),
    resolutions.by_operation(nasbench101.OPERATIONS, families),
    -1,
    _as_it_is,
    nasbench101.text_of,
    parse,
    lambda name: parse(experts.genotype(name, experts.NASBENCH101_CELLS)),
    padded_nasbench101.padded_network,
    nasbench101_cost.cost,
    nasbench101_networks.network,
  )


def _nasnet(num_blocks: int = nasnet.NUM_BLOCKS) -> SpaceKind:
  def parse(text):
    return nasnet.parse(text, num_blocks)

  def module(graph, *arguments):
    # An architecture, or what is seen of one.
    cells = graph if np.ndim(graph.ops) > 1 else nasnet.unflat(graph)
    return nasnet_networks.network(cells, *arguments)

  return SpaceKind(
    nasnet.nasnet(num_blocks),
    resolutions.of_nasnet(),
    -1,
    nasnet.flat,
    nasnet.text_of,
    parse,
    lambda name: parse(experts.genotype(name, experts.NASNET_CELLS)),
    padded_nasnet.padded_network,
    nasnet_cost.cost,
    module,
  )


def _metaqnn(**fields) -> SpaceKind:
  sizes = metaqnn.Sizes(**fields)
  space = metaqnn.metaqnn(sizes)
  limits = metaqnn_program.Limits(
    sizes.image_size,
    sizes.num_layers,
    metaqnn.dense_size(sizes),
    tuple(metaqnn_networks.Layer(*layer) for layer in metaqnn.layers(sizes)),
  )
  return SpaceKind(
    space,
    resolutions.of_metaqnn(sizes),
    -1,
    _as_it_is,
    metaqnn.text_of,
    lambda text: metaqnn.parse(text, sizes),
    lambda name: metaqnn.parse(experts.genotype(name, {}), sizes),
    functools.partial(padded_metaqnn.padded_network, limits),
    metaqnn_cost.cost,
    metaqnn_networks.network,
  )


def _nas_rl_recurrent(base: int = nas_rl_recurrent.BASE) -> SpaceKind:
  families = {
    'source': nas_rl_recurrent.SOURCES,
    'combiner': nas_rl_recurrent.COMBINERS,
    'activation': nas_rl_recurrent.ACTIVATIONS,
  }

  def parse(text):
    return nas_rl_recurrent.parse(text, base)

  return SpaceKind(
    nas_rl_recurrent.nas_rl_recurrent(base),
    resolutions.by_operation(nas_rl_recurrent.OPERATIONS, families),
    -1,
    _as_it_is,
    nas_rl_recurrent.text_of,
    parse,
    lambda name: parse(experts.genotype(name, experts.RECURRENT_CELLS)),
    language=recurrent_networks.networks(nas_rl_recurrent.OPERATIONS),
  )


def _nas_rl(**fields) -> SpaceKind:
  sizes = nas_rl.Sizes(**fields)
  limits = nas_rl_program.Limits(
    sizes.num_layers,
    tuple(itertools.product(sizes.heights, sizes.widths)),
    max(sizes.filters, default=1),
    strided=tuple(sizes.strides) != (1,),
    pooled=bool(sizes.pooled_layers),
  )
  return SpaceKind(
    nas_rl.nas_rl(sizes),
    resolutions.of_nas_rl(sizes),
    nas_rl.OPERATIONS.index('concat'),
    _as_it_is,
    nas_rl.text_of,
    lambda text: nas_rl.parse(text, sizes),
    lambda name: nas_rl.parse(experts.genotype(name, {}), sizes),
    functools.partial(padded_nas_rl.padded_network, limits),
    nas_rl_cost.cost,
    nas_rl_networks.network,
    steps=lambda layers: nas_rl.num_steps(layers, sizes),
  )


def _n2n(
  image_size: int = 32, stage: str = n2n.STAGES[0], **fields
) -> SpaceKind:
  text = layer_table.teacher_text(**fields)
  teacher = layer_table.read(text)
  layers = tuple(layer for layer in teacher if layer)
  if stage not in n2n.STAGES or len(layers) < len(teacher):
    raise sections.ConfigError(
      f'space.stage is {stage!r} and space.teacher {text!r}: choose one of '
      f'{", ".join(n2n.STAGES)}, and a teacher without removed layers (-).'
    )
  layer_table.check_image(layers, image_size)

  def parse(text):
    return n2n.parse(text, layers)

  families = {name: (name,) for name in n2n.OPERATIONS}
  any_sizes = (features.ANY,) * len(n2n.ATTRIBUTES)
  limits = padded_n2n.Limits(
    n2n_networks.layers_of(parse(text), n2n.OPERATIONS), image_size
  )
  return SpaceKind(
    n2n.n2n(layers, stage),
    resolutions.by_operation(n2n.OPERATIONS, families, any_sizes),
    -1,
    _as_it_is,
    n2n.text_of,
    parse,
    lambda name: parse(experts.genotype(name, {})),
    functools.partial(padded_n2n.padded_network, limits),
    n2n_cost.cost,
    n2n_networks.network,
  )


def _choices(sizes: Sequence[int]) -> SpaceKind:
  return SpaceKind(
    choices.choices(sizes),
    {
      'choice': features.labels(
        {
          f'step {t}: {choice}': [(t + 1, choice)]
          for t, size in enumerate(sizes)
          for choice in range(size)
        }
      )
    },
    -1,
    _as_it_is,
    choices.text_of,
    lambda text: choices.parse(text, sizes),
    lambda name: choices.parse(experts.genotype(name, {}), sizes),
  )


SPACES = {
  'block': sections.Choice(_block, ('num_layers', 'operations')),
  'nasbench201': sections.Choice(_nasbench201, ()),
  'nasbench101': sections.Choice(
    _nasbench101, ('max_vertices', 'max_edges', 'encoding')
  ),
  'nasnet': sections.Choice(_nasnet, ('num_blocks',)),
  'metaqnn': sections.Choice(_metaqnn, metaqnn.Sizes._fields),
  'nas_rl_recurrent': sections.Choice(_nas_rl_recurrent, ('base',)),
  'nas_rl': sections.Choice(_nas_rl, nas_rl.Sizes._fields),
  'n2n': sections.Choice(
    _n2n, ('teacher', 'family', 'widths', 'depths', 'image_size', 'stage')
  ),
  'choices': sections.Choice(_choices, ('sizes',)),
}
