"""Pictures of blocks: files, labels, and lines that miss the nodes."""

import numpy as np
import pytest
from PIL import Image

from irlas_jax import experts
from irlas_jax.reports import drawing
from irlas_jax.reports import layout as layouts
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
    curve = drawing.curve(route)
    line = np.concatenate(
      [bezier(np.linspace(0, 1, 40)) for bezier, _ in curve.iter_bezier()]
    )
    np.testing.assert_allclose(line[[0, -1]], route[[0, -1]])
    away = np.abs(line[:, None] - layout.positions) >= half - 1e-6
    assert np.all(away.any(axis=2))
