"""Values as colours: signs, one scale, and what the legend says."""

import numpy as np
import pytest
from matplotlib import colors, textpath
from matplotlib import figure as figures

from irlas_jax.reports import shading, strokes


def _rgb(colour):
  return np.array(colors.to_rgb(colour))


def test_the_output_is_the_last_node_that_is_drawn():
  """Padding between the last layer and the output is left out."""
  edges = np.arange(36.0).reshape(6, 6)
  found = shading.values_of(3, np.arange(6.0), edges)
  np.testing.assert_array_equal(found.nodes, [0, 1, 2, 5])
  np.testing.assert_array_equal(found.edges[1], [6, 7, 8, 11])
  np.testing.assert_array_equal(found.edges[:, 3], [5, 11, 17, 35])


@pytest.mark.parametrize(
  'nodes, edges',
  [
    (np.zeros(3), np.zeros((3, 3))),
    (np.zeros(6), np.zeros((6, 5))),
    (np.zeros((6, 6)), np.zeros((6, 6))),
  ],
)
def test_values_of_another_shape_are_refused(nodes, edges):
  with pytest.raises(ValueError, match=r'give \[V \+ 1\].* 3 or more'):
    shading.values_of(3, nodes, edges)


def test_what_is_no_number_is_refused():
  """It would be drawn as a colour of the scale."""
  with pytest.raises(ValueError, match='finite'):
    shading.values_of(3, np.full(6, np.nan), np.zeros((6, 6)))


def _values(nodes, edges=0.0):
  return shading.Values(np.array(nodes), np.full((2, 2), edges))


@pytest.mark.parametrize(
  'nodes, edges, expected',
  [
    ([0.1, -0.33], 0.11, (0.4, 0.12)),
    ([0.3, 0.0], 0.05, (0.3, 0.05)),
    ([7.0, 0.0], 0.0, (8.0, 0.8)),  # nothing is blown up
  ],
)
def test_a_scale_ends_at_a_round_number_above_all_values(
  nodes, edges, expected
):
  found = shading.scale([_values([0.0, 0.01]), _values(nodes, edges)])
  np.testing.assert_allclose(found, expected)


def test_a_scale_of_zeros_can_be_drawn():
  """Nothing was learnt from an expert that is like random blocks."""
  found = shading.scale([_values([0.0, 0.0])])
  assert min(found) > 0
  assert shading.edge_line(0.0, found.edges).width == strokes.PLAIN.width


def test_signs_have_colours_that_differ_by_more_than_green():
  """Red and green look alike to many; blue and orange do not."""
  for value in (0.3, 1.0):
    positive, negative = (
      _rgb(shading.node_colours(sign * value, 1.0)[0]) for sign in (1, -1)
    )
    assert positive[2] > positive[0] + 0.1
    assert negative[0] > negative[2] + 0.1


def test_zero_is_white_and_large_values_are_dark():
  fills = [_rgb(shading.node_colours(x, 2.0)[0]) for x in (0, 0.5, 1, 2)]
  light = [fill.sum() for fill in fills]
  assert light == sorted(light, reverse=True) and fills[0].min() > 0.95


@pytest.mark.parametrize('value', np.linspace(-1, 1, 21))
def test_text_can_be_read_on_every_colour(value):
  """By the contrast ratio of the web's accessibility guidelines."""

  def luminance(colour):
    rgb = _rgb(colour)
    linear = np.where(rgb < 0.04, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722] + 0.05

  fill, _, text = shading.node_colours(value, 1.0)
  ratio = luminance(fill) / luminance(text)
  assert max(ratio, 1 / ratio) > 4.0


def test_edges_are_the_thicker_the_larger_and_dashed_if_negative():
  """So that they need no colours."""
  zero, small, large = (shading.edge_line(x, 2.0) for x in (0.0, 0.5, -2.0))
  assert zero.width == strokes.PLAIN.width < small.width < large.width
  assert zero.style == small.style == 'solid' != large.style
  assert np.ptp(_rgb(zero.colour)) < 0.08  # grey


@pytest.mark.parametrize(
  'value, text', [(0.184, '+0.18'), (-0.5, '−0.50'), (-0.001, '+0.00')]
)
def test_numbers(value, text):
  assert shading.number(value) == text


def _legend(text, width):
  axes = figures.Figure().add_axes((0, 0, 1, 1))
  limits = shading.Scale(0.4, 0.12)
  shading.draw_legend(axes, limits, (0.5, 2.0), text, width)
  return axes


def test_the_legend_names_both_scales():
  axes = _legend('What it is.', 4.0)
  said = [text.get_text() for text in axes.texts]
  assert said[:2] == ['Layers', 'Connections']
  for end in ('+0.4', '−0.2', '0', '+0.12', '−0.06', 'What it is.'):
    assert end in said


def test_the_legend_stays_within_its_place():
  text = 'Shares of the mirror score, which is 0 for a random block. ' * 4
  width = 5.0
  axes = _legend(text, width)
  height = shading.legend_height(text, width)
  for label in axes.texts:
    x, y = label.get_position()
    assert 2.0 <= y <= 2.0 + height
    path = textpath.TextPath((0, 0), label.get_text(), size=label.get_size())
    if label.get_ha() == 'left':
      assert x + path.get_extents().width / 72 <= 0.5 + width
  assert len(axes.texts) > 14
