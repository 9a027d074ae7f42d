"""Edges of a drawing: curves along their routes, with heads.

Lengths are in inches, y downwards; widths of lines in points.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import patches
from matplotlib import path as paths
from matplotlib.axes import Axes


class Line(NamedTuple):
  """How an edge looks."""

  colour: str
  width: float
  style: Any  # of matplotlib's lines


PLAIN = Line('#66717f', 1.2, 'solid')
_ARROW = 0.075, 0.09  # width and length of a plain line's head
_HALO = 2.3  # wider than the line


def curve(route) -> paths.Path:
  """The line along a route [k, 2], as `layout.Layout` says to draw it."""
  codes, points = [paths.Path.MOVETO], [route[0]]
  for i in range(0, len(route) - 1, 2):
    start, end = route[i : i + 2]
    middle = (start[1] + end[1]) / 2
    points += [(start[0], middle), (end[0], middle), end]
    codes += [paths.Path.CURVE4] * 3
    if i + 2 < len(route):
      points.append(route[i + 2])
      codes.append(paths.Path.LINETO)
  return paths.Path(np.array(points), codes)


def draw_edges(axes: Axes, edges: Sequence[tuple[np.ndarray, Line]]) -> None:
  """All edges of one node, (route [k, 2], line) each, over what they cross.

  Those that look alike are one stroke. Where edges share a trunk the thickest
  is seen.
  """
  edges = sorted(edges, key=lambda edge: edge[1].width)
  widest = edges[-1][1].width
  _stroke(axes, edges, Line('white', widest + _HALO, 'solid'))
  for line, group in itertools.groupby(edges, key=lambda edge: edge[1]):
    alike = list(group)
    if line.style != 'solid':
      _stroke(axes, alike, line._replace(colour='white', style='solid'))
    _stroke(axes, alike, line)
  for route, line in edges:
    side, length = _arrow(line)
    corners = [(0, 0), (-side / 2, -length), (side / 2, -length)]
    tip = route[-1] + np.array(corners)
    axes.add_patch(patches.Polygon(tip, color=line.colour, lw=0))


def _arrow(line):
  """Side and length of the head of a line."""
  return np.array(_ARROW) * max(line.width / PLAIN.width, 1) ** 0.6


def _stroke(axes, edges, line):
  """All edges as one stroke that looks like `line`, without their heads."""
  curves = [
    curve(np.array([*route[:-1], route[-1] - [0, _arrow(own)[1]]]))
    for route, own in edges
  ]
  axes.add_patch(
    patches.PathPatch(
      paths.Path.make_compound_path(*curves),
      fill=False,
      color=line.colour,
      lw=line.width,
      linestyle=line.style,
      capstyle='butt',
    )
  )
