"""Architectures as pictures: the best block beside its expert."""

import functools
import pathlib
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import figure as figures
from matplotlib import patches, textpath

from irlas_jax import graph as graphs
from irlas_jax.reports import figures as files
from irlas_jax.reports import layout as layouts
from irlas_jax.reports import shading, strokes
from irlas_jax.types import Graph


class Colours(NamedTuple):
  """How a family of operations looks."""

  fill: str
  line: str
  text: str


# The first of these that an operation's name contains is its family.
FAMILIES = {
  'conv': Colours('#dce8f7', '#3b6fb0', '#17355a'),
  'pool': Colours('#fce8d2', '#cc7a22', '#653908'),
  'add': Colours('#e4f1d9', '#62933a', '#2f4a14'),
  'concat': Colours('#ece1f3', '#8656a8', '#43265a'),
  'input': Colours('#3c4654', '#3c4654', '#ffffff'),
  'output': Colours('#3c4654', '#3c4654', '#ffffff'),
  '': Colours('#f1f2f4', '#88909c', '#3c4654'),
}
_INK = '#20262e'
_FONT, _TITLE = 9, 11  # points
_MARGIN = 0.3  # inches, as all that follows
_GUTTER = 0.6  # between blocks
_LINE = 0.22  # of a title
_PAD = 0.13  # between a label and the node's side
_LEAST = 2.0  # width of a block, for its title's sake
_FOOT = 0.3  # above the legend


class Block(NamedTuple):
  """One graph, ready to be drawn; node n - 1 is the output."""

  layout: layouts.Layout
  names: list[str]  # [n] of operations
  labels: list[str]  # [n]
  title: list[str]  # lines
  size: np.ndarray  # [2] inches, without the title
  values: shading.Values | None = None


def draw_blocks(
  path,
  graphs: Sequence[Graph],
  operations: Sequence[str],
  attributes: Sequence[str],
  titles: Sequence[str],
  values: Sequence[tuple] | None = None,
  legend: str = '',
) -> pathlib.Path:
  """Draws unbatched graphs side by side as a PNG; returns the path.

  The input is at the top, the output at the bottom, rows are depths.
  `operations` names the rows that `Graph.ops` points to and `attributes` the
  columns of `Graph.attrs`, as a `Space` does.

  `values` are signed numbers of each graph of V nodes, (nodes [V + 1], edges
  [V + 1, V + 1]), to colour it by, the last ones those of its output. Zero is
  grey or white; the scale is one for all graphs, and is explained below them,
  with `legend` to say what the numbers are.

  Raises:
    ValueError: for no graphs, not one title (and pair of values, if any) for
      each, a batch as one graph, values of another shape.
  """
  if len(graphs) == 0 or len(graphs) != len(titles):
    raise ValueError(
      f'There are {len(graphs)} graphs and {len(titles)} titles: give at least '
      'one graph, and a title for each.'
    )
  if values is not None and len(values) != len(graphs):
    raise ValueError(
      f'There are {len(graphs)} graphs and {len(values)} pairs of values: give '
      'a pair for each graph, or none at all.'
    )
  pairs = [None] * len(graphs) if values is None else values
  blocks = [
    prepare(graph, operations, attributes, title, pair)
    for graph, title, pair in zip(graphs, titles, pairs, strict=True)
  ]
  shown = [block.values for block in blocks if block.values is not None]
  scale = shading.scale(shown) if shown else None
  return files.save(_figure(blocks, scale, legend), path)


def _figure(blocks, scale, legend):
  """The blocks side by side, the legend of a scale below."""
  widths, heights = np.array([block.size for block in blocks]).T
  head = _LINE * max(len(block.title) for block in blocks) + 0.12
  lefts = _MARGIN + np.cumsum(widths + _GUTTER) - widths - _GUTTER
  width, height = lefts[-1] + widths[-1] + _MARGIN, heights.max() + head
  foot = 0.0
  if scale:
    spare = max(shading.WIDTH + 2 * _MARGIN - width, 0)
    lefts, width = lefts + spare / 2, width + spare
    foot = _FOOT + shading.legend_height(legend, width - 2 * _MARGIN)
  axes = _canvas(width, height + foot)
  for block, left in zip(blocks, lefts, strict=True):
    _draw(axes, block, np.array([left, head]), scale)
  if scale:
    corner = _MARGIN, height + _FOOT
    shading.draw_legend(axes, scale, corner, legend, width - 2 * _MARGIN)
  return axes.figure


def label(operation: str, attributes: dict) -> str:
  """What a node says: 'SepConv 3×3', 'Add', 'Conv 3×3, filters 64'.

  Attributes that are 0 have no meaning for the operation and are left out.
  """
  name = ''.join(part.capitalize() for part in operation.split('_'))
  kernel = attributes.get('kernel', 0)
  head = f'{name} {kernel}×{kernel}' if kernel else name
  rest = [
    f'{attribute.replace("_", " ")} {value}'
    for attribute, value in attributes.items()
    if attribute != 'kernel' and value
  ]
  return ', '.join([head, *rest])


def family(operation: str) -> Colours:
  """The colours of an operation's family; grey for an unknown one."""
  return next(style for name, style in FAMILIES.items() if name in operation)


def prepare(graph, operations, attributes, title, values=None) -> Block:
  """Labels and places the nodes of one graph; arguments as `draw_blocks`.

  Raises:
    ValueError: for a batch of graphs, an empty one, values of a wrong shape.
  """
  layouts.check(graph)
  nodes = graphs.to_networkx(graph, operations, attributes).nodes.values()
  names = [node['operation'] for node in nodes]
  labels = [
    label(node['operation'], {name: node[name] for name in attributes})
    for node in nodes
  ]
  several = sum(node['output'] > 0 for node in nodes) > 1
  names.append('output')
  labels.append('Output (Concat)' if several else 'Output')
  if values is not None:
    values = shading.values_of(len(nodes), *values)
    labels = [
      f'{text}  {shading.number(value)}' if _is_valued(name, value) else text
      for name, text, value in zip(names, labels, values.nodes, strict=True)
    ]
  widths = [text_width(text, _FONT) + 2 * _PAD for text in labels]
  layout = layouts.layout(graph, widths)
  size = np.maximum(_extent(layout), [_LEAST, 0])
  return Block(layout, names, labels, _wrap(title, size[0]), size, values)


def _is_valued(name, value):
  """Whether a node shows its value: input and output are often no layers."""
  return name not in ('input', 'output') or value != 0


def _extent(layout):
  """Width and height [2] of what is drawn; it begins at 0, 0."""
  right = layout.positions[:, 0] + layout.widths / 2
  points = np.concatenate([right, *(p[:, 0] for p in layout.routes.values())])
  return np.array([points.max(), layout.positions[-1, 1] + layouts.HEIGHT / 2])


@functools.cache
def text_width(text: str, size: float) -> float:
  """Inches of a line of text in the default font of `size` points."""
  return textpath.TextPath((0, 0), text, size=size).get_extents().width / 72


def _wrap(title, width):
  """Lines of the title, broken where they exceed the width in inches."""
  letter = text_width('n' * 20, _TITLE) / 20
  letters = max(int(width / letter), 1)
  return [
    part
    for line in title.splitlines()
    for part in textwrap.wrap(line, letters) or ['']
  ]


def _canvas(width, height):
  """Axes in inches over a whole figure, y downwards."""
  height += 2 * _MARGIN
  figure = figures.Figure(figsize=(width, height), facecolor='white')
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set(xlim=(0, width), ylim=(height - _MARGIN, -_MARGIN))
  axes.set_axis_off()
  return axes


def _draw(axes, block, corner, scale):
  layout = block.layout
  width = block.size[0]
  axes.text(
    corner[0] + width / 2,
    0,
    '\n'.join(block.title),
    size=_TITLE,
    weight='bold',
    color=_INK,
    ha='center',
    va='top',
  )
  corner = corner + [(width - _extent(layout)[0]) / 2, 0]
  colours, lines = _looks(block, scale)
  for source in range(len(layout.positions)):
    edges = [
      (route + corner, lines[edge])
      for edge, route in layout.routes.items()
      if edge[0] == source
    ]
    if edges:
      strokes.draw_edges(axes, edges)
  for i, text in enumerate(block.labels):
    place = layout.positions[i] + corner
    _draw_node(axes, place, layout.widths[i], text, colours[i])


def _looks(block, scale):
  """Colours of each node and the line of each edge."""
  colours = [family(name) for name in block.names]
  if scale is None:
    return colours, dict.fromkeys(block.layout.routes, strokes.PLAIN)
  nodes, edges = block.values
  for i, value in enumerate(nodes):
    if _is_valued(block.names[i], value):
      colours[i] = Colours(*shading.node_colours(value, scale.nodes))
  lines = {
    edge: shading.edge_line(edges[edge], scale.edges)
    for edge in block.layout.routes
  }
  return colours, lines


def _draw_node(axes, place, width, text, colours):
  height = layouts.HEIGHT
  axes.add_patch(
    patches.FancyBboxPatch(
      place - np.array([width, height]) / 2,
      width,
      height,
      boxstyle='round,pad=0,rounding_size=0.08',
      facecolor=colours.fill,
      edgecolor=colours.line,
      lw=1.1,
      zorder=3,
    )
  )
  axes.text(
    *place,
    text,
    size=_FONT,
    color=colours.text,
    ha='center',
    va='center_baseline',
    zorder=4,
  )
