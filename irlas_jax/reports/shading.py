"""Signed values of a graph's nodes and edges as colours, widths and a legend.

Blue is positive and orange negative, which colour-blind readers can tell apart
too; without any colours, numbers on the nodes and dashes on the edges can.

Shapes: `V` nodes of a padded graph; `n` nodes that are drawn, its real ones and
one for the output.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colors, patches
from matplotlib.axes import Axes

from irlas_jax.reports import strokes

_NODES = colors.LinearSegmentedColormap.from_list(
  'nodes', ['#a8480c', '#f2a65e', '#f6f7f8', '#86b6dc', '#14508c']
)
# An edge is thin: its colours begin darker than those of a surface.
_EDGES = colors.LinearSegmentedColormap.from_list(
  'edges', ['#a8480c', '#d9803a', '#b4bac3', '#5d97c9', '#14508c']
)
_THICKEST = 4.5  # points
_DASHES = (0, (1.8, 0.8))  # in widths of the line
_DASHED = -0.03  # share of the scale from which on an edge is dashed
_ROUND = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10)  # ends of scales
_LEAST = 0.1  # of the largest value: what is smaller is not blown up
_INK, _LIGHT = '#11151a', '#ffffff'
_SMALL = 8  # points
# Inches, of the legend.
_NAME, _BAR, _SAMPLE, _ROW, _LINE = 1.1, 2.6, 0.4, 0.46, 0.17
WIDTH = _NAME + _BAR + 0.3


class Scale(NamedTuple):
  """The values that are drawn in the fullest colours, above 0."""

  nodes: float
  edges: float


class Values(NamedTuple):
  """What is shown of one graph, in the order in which it is drawn."""

  nodes: np.ndarray  # [n]
  edges: np.ndarray  # [n, n]


def values_of(count: int, nodes, edges) -> Values:
  """The values of a graph of `count` real nodes, as they are drawn.

  Args:
    count: n - 1.
    nodes: [V + 1], the last one the output's.
    edges: [V + 1, V + 1], [u, v] of v reading u, the last row and column the
      output's.

  Raises:
    ValueError: for other shapes, or for what is no finite number.
  """
  nodes, edges = np.asarray(nodes, float), np.asarray(edges, float)
  size = len(nodes) if nodes.ndim == 1 else 0
  if size <= count or edges.shape != (size, size):
    raise ValueError(
      f'The values have shapes {nodes.shape} and {edges.shape}: give [V + 1] '
      f'and [V + 1, V + 1] to a graph of V nodes, {count} or more.'
    )
  if not (np.isfinite(nodes).all() and np.isfinite(edges).all()):
    raise ValueError('Some values are no finite numbers: colours need those.')
  drawn = [*range(count), size - 1]
  return Values(nodes[drawn], edges[np.ix_(drawn, drawn)])


def scale(values: Sequence[Values]) -> Scale:
  """One scale for several graphs: the largest values of nodes and of edges."""
  nodes = max(np.abs(one.nodes).max() for one in values)
  edges = max(np.abs(one.edges).max() for one in values)
  least = _LEAST * max(nodes, edges) or 1.0
  return Scale(*(_rounded_up(max(x, least)) for x in (nodes, edges)))


def _rounded_up(value):
  """The next number whose half is as short as itself, nearly."""
  unit = 10.0 ** math.floor(math.log10(value))
  return unit * min(x for x in _ROUND if x >= value / unit - 1e-6)


def number(value: float) -> str:
  """'+0.18'; never '-0.00'."""
  return f'{value:+z.2f}'.replace('-', '−')


def node_colours(value: float, limit: float) -> tuple[str, str, str]:
  """Fill, outline and text of a node, as hexadecimal colours."""
  red, green, blue, _ = _NODES(0.5 + value / limit / 2)
  outline = colors.to_hex((0.7 * red, 0.7 * green, 0.7 * blue))
  luminance = 0.21 * red**2.2 + 0.72 * green**2.2 + 0.07 * blue**2.2
  text = _INK if luminance > 0.2 else _LIGHT
  return colors.to_hex((red, green, blue)), outline, text


def edge_line(value: float, limit: float) -> strokes.Line:
  """How an edge looks: thick if the value is large, in dashes if negative."""
  share = value / limit
  width = strokes.PLAIN.width + (_THICKEST - strokes.PLAIN.width) * abs(share)
  style = _DASHES if share < _DASHED else 'solid'
  return strokes.Line(colors.to_hex(_EDGES(0.5 + share / 2)), width, style)


def legend_height(text: str, width: float) -> float:
  """Inches that `draw_legend` takes from the top."""
  return 2 * _ROW + 0.1 + _LINE * len(_lines(text, width))


def _lines(text, width):
  return textwrap.wrap(text, max(int(width / 0.064), 1))


def draw_legend(
  axes: Axes, limits: Scale, corner, text: str, width: float
) -> None:
  """Bars and what they mean, on axes in inches, y downwards."""
  left, top = corner
  for row, name in enumerate(('Layers', 'Connections')):
    _say(axes, left, top + row * _ROW + 0.08, name, weight='bold', ha='left')
  _draw_bar(axes, left + _NAME, top, limits.nodes)
  _draw_samples(axes, left + _NAME, top + _ROW, limits.edges)
  for i, line in enumerate(_lines(text, width)):
    _say(axes, left, top + 2 * _ROW + 0.1 + i * _LINE, line, ha='left')


def _say(axes, x, y, text, **how):
  how = {'ha': 'center', 'va': 'center', 'size': _SMALL, 'color': _INK} | how
  axes.text(x, y, text, **how)


def _draw_bar(axes, left, top, limit):
  """The colours of nodes as a bar, numbers below."""
  steps = np.linspace(-1, 1, 121)
  for start, share in zip(np.linspace(0, _BAR, 122)[:-1], steps, strict=True):
    fill, _, _ = node_colours(share, 1.0)
    box = (left + start, top), _BAR / 121 + 0.005, 0.16
    axes.add_patch(patches.Rectangle(*box, color=fill, lw=0))
  frame = (left, top), _BAR, 0.16
  axes.add_patch(patches.Rectangle(*frame, fill=False, color='#88909c', lw=0.6))
  for share in (-1, -0.5, 0, 0.5, 1):
    x = left + _BAR * (1 + share) / 2
    _say(axes, x, top + 0.25, _tick(share * limit))


def _draw_samples(axes, left, top, limit):
  """Edges of five values, numbers below."""
  for share in (-1, -0.5, 0, 0.5, 1):
    middle = left + _BAR * (1 + share) / 2
    line = edge_line(share, 1.0)
    axes.plot(
      [middle - _SAMPLE / 2, middle + _SAMPLE / 2],
      [top + 0.08, top + 0.08],
      color=line.colour,
      lw=line.width,
      linestyle=line.style,
      solid_capstyle='butt',
      dash_capstyle='butt',
    )
    _say(axes, middle, top + 0.25, _tick(share * limit))


def _tick(value):
  return f'{value:+.3g}'.replace('-', '−') if value else '0'
