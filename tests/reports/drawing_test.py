"""Pictures of blocks: files, labels, and colours by values."""

import numpy as np
import pytest
from PIL import Image

from irlas_jax import experts
from irlas_jax.reports import drawing
from irlas_jax.spaces import block, nsc


def _expert(name):
  return nsc.to_graph(experts.load(name, 'separable'))


def _draw(path, names, titles=None):
  return drawing.draw_blocks(
    path,
    [_expert(name) for name in names],
    block.OPERATIONS,
    block.ATTRIBUTES,
    names if titles is None else titles,
  )


def test_writes_a_png_and_returns_its_path(tmp_path):
  path = _draw(tmp_path / 'resnet.png', ['resnet'])
  assert path == tmp_path / 'resnet.png'
  with Image.open(path) as image:
    image.load()
    assert image.format == 'PNG'
    assert 200 < image.width < 800 and 400 < image.height < 1200


def test_blocks_stand_side_by_side(tmp_path):
  """Two blocks are about as wide as both and as high as the higher."""
  sizes = {}
  for names in (['resnet'], ['inception'], ['resnet', 'inception']):
    with Image.open(_draw(tmp_path / 'a.png', names)) as image:
      sizes[tuple(names)] = image.size
  (w1, h1), (w2, h2), (width, height) = sizes.values()
  assert max(w1, w2) < width < w1 + w2 + 30
  assert height == max(h1, h2)


def test_the_same_blocks_give_the_same_bytes(tmp_path):
  first = _draw(tmp_path / 'a.png', ['densenet', 'resnext']).read_bytes()
  assert (
    _draw(tmp_path / 'b.png', ['densenet', 'resnext']).read_bytes() == first
  )


def test_long_titles_wrap_and_lines_are_kept(tmp_path):
  """A long title makes the picture higher, not wider."""
  sizes = []
  for title in ('short', 'a title of many words ' * 5, 'two\nlines'):
    with Image.open(_draw(tmp_path / 'a.png', ['resnet'], [title])) as image:
      sizes.append(image.size)
  assert sizes[0][0] == sizes[1][0] == sizes[2][0]
  assert sizes[0][1] < sizes[2][1] < sizes[1][1]


@pytest.mark.parametrize('titles', [[], ['a', 'b']])
def test_a_title_for_each_block(tmp_path, titles):
  with pytest.raises(ValueError, match=f'1 graphs and {len(titles)} titles'):
    _draw(tmp_path / 'a.png', ['resnet'], titles)
  assert not list(tmp_path.iterdir())


def test_nothing_to_draw(tmp_path):
  with pytest.raises(ValueError, match='at least one'):
    _draw(tmp_path / 'a.png', [])


@pytest.mark.parametrize(
  'operation, attributes, expected',
  [
    ('sep_conv', {'kernel': 3}, 'SepConv 3×3'),
    ('max_pool', {'kernel': 1}, 'MaxPool 1×1'),
    ('add', {'kernel': 0}, 'Add'),
    ('conv', {'kernel': 5, 'filters': 64, 'stride': 0}, 'Conv 5×5, filters 64'),
    ('conv', {'kernel_height': 3}, 'Conv, kernel height 3'),
  ],
)
def test_labels(operation, attributes, expected):
  assert drawing.label(operation, attributes) == expected


def test_families_share_colours_and_differ_from_each_other():
  assert drawing.family('conv') == drawing.family('sep_conv')
  assert drawing.family('max_pool') == drawing.family('avg_pool')
  distinct = ['conv', 'max_pool', 'add', 'concat', 'identity', 'input']
  assert len({drawing.family(name) for name in distinct}) == len(distinct)
  assert drawing.family('never heard of') == drawing.family('identity')


def test_labels_fit_their_nodes():
  graph = _expert('inception')
  prepared = drawing.prepare(graph, block.OPERATIONS, block.ATTRIBUTES, '')
  assert prepared.labels[-1] == 'Output (Concat)'
  assert prepared.labels[0] == 'Input'
  for text, width in zip(prepared.labels, prepared.layout.widths, strict=True):
    assert drawing.text_width(text, 9) < width - 0.1


def test_one_leaf_is_not_concatenated():
  graph = _expert('resnet')
  prepared = drawing.prepare(graph, block.OPERATIONS, block.ATTRIBUTES, '')
  assert prepared.labels[-1] == 'Output'


def _values(graph, at=()):
  """Values of a graph of `block`, 0 but at {node or edge: value}."""
  size = len(graph.ops) + 1
  nodes, edges = np.zeros(size), np.zeros((size, size))
  for place, value in dict(at).items():
    (nodes if isinstance(place, int) else edges)[place] = value
  return nodes, edges


def _draw_valued(path, names, values, legend='share of the score'):
  return drawing.draw_blocks(
    path,
    [_expert(name) for name in names],
    block.OPERATIONS,
    block.ATTRIBUTES,
    names,
    values,
    legend,
  )


def test_nodes_that_are_layers_say_their_value():
  """Colours alone cannot be read off to two digits."""
  graph = _expert('inception')
  values = _values(graph, {1: 0.125, 6: -0.5, 7: -0.001, -1: -0.25})
  prepared = drawing.prepare(
    graph, block.OPERATIONS, block.ATTRIBUTES, '', values
  )
  labels = prepared.labels
  assert labels[0] == 'Input'
  assert labels[1] == 'SepConv 1×1  +0.12'
  assert labels[6] == 'MaxPool 3×3  −0.50'
  assert labels[7] == 'SepConv 1×1  +0.00'
  assert labels[8] == 'Output (Concat)  −0.25'
  for text, width in zip(labels, prepared.layout.widths, strict=True):
    assert drawing.text_width(text, 9) < width - 0.1
  plain = _expert('resnet')
  prepared = drawing.prepare(
    plain, block.OPERATIONS, block.ATTRIBUTES, '', _values(plain)
  )
  assert prepared.labels[-1] == 'Output'


def _colours(path):
  """Pixels of each colour, {(red, green, blue): number}."""
  with Image.open(path) as image:
    counted = image.convert('RGB').getcolors(1 << 24)
  return {colour: number for number, colour in counted}


def _blue(colours):
  return sum(n for (r, _, b), n in colours.items() if b > r + 60)


def _orange(colours):
  return sum(n for (r, _, b), n in colours.items() if r > b + 60)


@pytest.mark.parametrize('place', [1, (1, 2)])
def test_values_colour_nodes_and_edges_by_sign(tmp_path, place):
  """The legend has both colours; what a value adds has its own."""
  seen = []
  for value in (0.0, 0.5, -0.5):
    graph = _expert('resnet')
    values = [_values(graph, {3: 0.5, (2, 3): 0.5, place: value})]
    seen.append(_colours(_draw_valued(tmp_path / 'a.png', ['resnet'], values)))
  none, positive, negative = seen
  assert _blue(positive) > _blue(none) + 100
  assert _orange(negative) > _orange(none) + 100
  assert _blue(negative) == pytest.approx(_blue(none), abs=60)


def test_one_scale_for_all_graphs(tmp_path):
  """A large value next door takes the colour out of a small one."""
  graph = _expert('resnet')
  small = _values(graph, {1: 0.1})
  blues = [
    _blue(
      _colours(_draw_valued(tmp_path / 'a.png', ['resnet'] * 2, [small, other]))
    )
    for other in (_values(graph), _values(graph, {1: -1.0}))
  ]
  assert blues[1] < blues[0] - 1000


def test_the_output_has_the_last_values(tmp_path):
  """They belong to the node that joins several outputs."""
  graph = _expert('inception')
  plain, joined = (
    _colours(_draw_valued(tmp_path / 'a.png', ['inception'], [values]))
    for values in (
      _values(graph, {1: 1.0}),
      _values(graph, {1: 1.0, -1: 1.0, (1, -1): 1.0}),
    )
  )
  dark = (60, 70, 84)
  assert joined[dark] < plain[dark] / 2
  assert _blue(joined) > _blue(plain) + 5000


def test_a_small_block_is_wide_enough_for_the_legend(tmp_path):
  legend = 'Shares of a score, which is 0 here and 1 there. ' * 3
  values = [_values(_expert('resnet'), {1: 1.0})]
  with Image.open(_draw(tmp_path / 'a.png', ['resnet'])) as image:
    width, height = image.size
  path = _draw_valued(tmp_path / 'b.png', ['resnet'], values, legend)
  with Image.open(path) as image:
    assert image.width > width + 100 and image.height > height + 150
    pixels = np.asarray(image.convert('L'))
  margin = int(0.25 * 150)
  assert (pixels[:, -margin:] == 255).all() and (
    pixels[:, :margin] == 255
  ).all()
  assert (pixels[-margin:] == 255).all()


def test_without_values_there_is_no_legend(tmp_path):
  """The look of before, for rewards that have no mirror."""
  graph = _expert('resnet')
  path = drawing.draw_blocks(
    tmp_path / 'a.png',
    [graph],
    block.OPERATIONS,
    block.ATTRIBUTES,
    ['resnet'],
    None,
    'a legend',
  )
  same = _draw(tmp_path / 'b.png', ['resnet']).read_bytes()
  assert path.read_bytes() == same


def test_values_for_each_block(tmp_path):
  values = [_values(_expert('resnet'))]
  with pytest.raises(ValueError, match='2 graphs and 1 pairs of values'):
    _draw_valued(tmp_path / 'a.png', ['resnet', 'resnext'], values)
  assert not list(tmp_path.iterdir())
