"""Edges as they are drawn: lines that miss the nodes, in their own styles."""

import numpy as np
import pytest
from matplotlib import colors
from matplotlib import figure as figures

from irlas_jax.reports import layout as layouts
from irlas_jax.reports import strokes
from irlas_jax.spaces import block, nsc


@pytest.mark.parametrize('seed', range(10))
def test_no_curve_runs_through_a_node(seed):
  """Of random blocks of 23 layers, each line as it is drawn."""
  rng = np.random.default_rng(seed)
  layers = [
    block.Choice('add', 0, tuple(sorted(rng.choice(t + 1, 2, False).tolist())))
    if t and rng.random() < 0.5
    else block.Choice('sep_conv', 3, (int(rng.integers(t + 1)),))
    for t in range(23)
  ]
  layout = layouts.layout(nsc.to_graph(layers))
  half = np.stack([layout.widths, np.full(25, layouts.HEIGHT)], axis=1) / 2
  for route in layout.routes.values():
    curve = strokes.curve(route)
    line = np.concatenate(
      [bezier(np.linspace(0, 1, 40)) for bezier, _ in curve.iter_bezier()]
    )
    np.testing.assert_allclose(line[[0, -1]], route[[0, -1]])
    away = np.abs(line[:, None] - layout.positions) >= half - 1e-6
    assert np.all(away.any(axis=2))


def _patches(lines):
  """What is drawn of edges with these lines, from one place to others."""
  axes = figures.Figure().add_axes((0, 0, 1, 1))
  edges = [
    (np.array([[0.0, 0.0], [float(i), 1.0]]), line)
    for i, line in enumerate(lines)
  ]
  strokes.draw_edges(axes, edges)
  return axes.patches


def test_edges_that_look_alike_are_one_stroke():
  """A halo, the edges, and a head each."""
  halo, whole, *heads = _patches([strokes.PLAIN] * 3)
  assert colors.to_hex(halo.get_edgecolor()) == '#ffffff'
  assert halo.get_linewidth() > whole.get_linewidth() == strokes.PLAIN.width
  assert colors.to_hex(whole.get_edgecolor()) == strokes.PLAIN.colour
  assert len(heads) == 3


def test_the_thickest_edge_is_drawn_last():
  """On a shared trunk it would be hidden by the others."""
  lines = [
    strokes.Line('#00ff00', 3.0, 'solid'),
    strokes.Line('#0000ff', 1.0, 'solid'),
  ]
  halo, *drawn = _patches(lines)
  assert [patch.get_linewidth() for patch in drawn[:2]] == [1.0, 3.0]
  assert halo.get_linewidth() > 3.0
  thin, thick = (patch.get_xy() for patch in drawn[2:])
  assert np.ptp(thick[:, 0]) > np.ptp(thin[:, 0])


def test_gaps_of_dashes_are_white():
  """What runs below on the same trunk would fill them."""
  dashed = strokes.Line('#ff0000', 3.0, (0, (2, 1)))
  _, thin, under, over, *_ = _patches([strokes.PLAIN, dashed])
  assert thin.get_linewidth() == strokes.PLAIN.width
  assert colors.to_hex(under.get_edgecolor()) == '#ffffff'
  assert under.get_linewidth() == over.get_linewidth() == 3.0
  assert colors.to_hex(over.get_edgecolor()) == '#ff0000'
