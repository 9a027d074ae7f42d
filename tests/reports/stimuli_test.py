"""Tables and figures of what a mirror sees, from invented numbers."""

import json
import math

import numpy as np
import pytest

from irlas_jax import kinds, reflection
from irlas_jax.reports import stimuli
from irlas_jax.rewards import features

KIND = kinds.SPACES['block'].make(3, 'separable')
RESNET = (
  '(1, SepConv, 3, 0, 0)(2, SepConv, 3, 1, 0)(3, Add, 0, 0, 2)(4, Terminal)'
)
MINE = '(1, MaxPool, 3, 0, 0)(2, Terminal)'
NAMES = ('sep_conv', 'add', 'max_pool', 'identity', 'sep_conv -> add')


def _block(name, code, above, counts, contributions, constant=0.25):
  graph = KIND.parse(code)
  size = len(graph.ops) + 1
  contributions = np.array(contributions)
  nodes, edges = np.zeros(size), np.zeros((size, size))
  nodes[1] = contributions.sum()
  edges[0, 1] = -0.125
  return reflection.Reflected(
    name,
    code,
    graph,
    reflection.Seen(
      constant + float(contributions.sum()),
      contributions,
      features.Shares(nodes, edges),
    ),
    code.count('(') - 1,
    above,
    np.array(counts, float),
  )


@pytest.fixture
def found(make_config):
  """An expert and two other blocks, one of them without a rank."""
  return reflection.Reflection(
    make_config(),
    KIND.space,
    NAMES,
    np.array([0.5, 0.25, -1.0, -0.5, 0.0]),
    0.25,
    [
      _block('Expert', RESNET, 0.0, [2, 1, 0, 0, 1], [0.5, 0.25, 0, 0, 0]),
      _block('a/mine', MINE, 0.125, [0, 0, 1, 0, 0], [0, 0, -0.75, 0, 0]),
      _block('block 2', MINE, math.nan, [1, 0, 1, 0, 0], [0.6, 0, -0.75, 0, 0]),
    ],
    2000,
  )


def _rows(text):
  return [line.split() for line in text.splitlines()]


def test_blocks_are_compared_by_score_and_rank(found, tmp_path):
  """A rank that nobody measured is no zero."""
  text = stimuli.write_mirror(tmp_path, found)
  for row in (
    'block score random above % layers',
    'Expert 1.00 0.0 3',
    'a/mine -0.50 12.5 1',
    'block 2 0.10 - 1',
  ):
    assert row.split() in _rows(text), text
  assert 'resnet, on blocks of up to 3 layers' in text
  assert '2,000 random blocks' in text


def test_columns_of_the_features_add_up_to_the_score(found, tmp_path):
  """Heaviest first; what a block does not have is no zero."""
  text = stimuli.write_mirror(tmp_path, found)
  for row in (
    'sep_conv +0.50 2 +0.50 - +0.60',
    'add +0.25 1 +0.25 - -',
    'identity -0.50 - - - -',
    'max_pool -1.00 - - -0.75 -0.75',
    '1 others - - +0.00 +0.00 +0.00',
    'any block - - +0.25 +0.25 +0.25',
    'score - - +1.00 -0.50 +0.10',
  ):
    assert row.split() in _rows(text), text
  first = [row[0] for row in _rows(text) if row]
  assert first.index('sep_conv') < first.index('add') < first.index('max_pool')


def test_only_the_heaviest_features_of_each_sign_are_shown(found, tmp_path):
  """There are hundreds."""
  names = tuple(f'f{i}' for i in range(60))
  weights = np.linspace(-1, 1, 60)
  blocks = [
    block._replace(
      counts=np.ones(60),
      seen=block.seen._replace(contributions=weights),
    )
    for block in found.blocks
  ]
  many = found._replace(features=names, weights=weights, blocks=blocks)
  text = stimuli.write_mirror(tmp_path, many)
  shown = [row[0] for row in _rows(text) if row and row[0] in names]
  assert shown == [f'f{i}' for i in [*range(59, 51, -1), *range(7, -1, -1)]]
  assert '44 others' in text


def test_sentences_say_where_a_block_differs(found, tmp_path):
  """The table shows what weighs, not what is missing."""
  text = stimuli.write_mirror(tmp_path, found)
  assert (
    'a/mine falls behind the expert by: max_pool (-0.75), sep_conv (-0.50), '
    'add (-0.25).'
  ) in text
  assert 'block 2 is ahead of the expert by: sep_conv (+0.10).' in text
  assert 'a/mine is ahead' not in text and 'Expert falls' not in text


def test_files_are_written_as_promised(found, tmp_path):
  """The JSON is strict, and can be plotted otherwise."""

  def refuse(name):
    raise AssertionError(f'{name} is no JSON')

  text = stimuli.write_mirror(tmp_path / 'new', found)
  assert f'Written to {tmp_path / "new"}: mirror.png, mirror.json' in text
  path = tmp_path / 'new' / 'mirror.json'
  content = json.loads(path.read_text(), parse_constant=refuse)
  expert, mine, other = content['blocks']
  assert (expert['name'], expert['genotype']) == ('Expert', RESNET)
  assert (mine['score'], mine['random_above'], mine['layers']) == (
    -0.5,
    0.125,
    1,
  )
  assert other['random_above'] is None
  assert mine['contributions'] == {'max_pool': -0.75}
  assert mine['edges'] == [[0, 1, -0.125]] and mine['nodes'][1] == -0.75
  assert content['weights'] == {
    'sep_conv': 0.5,
    'add': 0.25,
    'max_pool': -1.0,
    'identity': -0.5,
  }
  assert content['constant'] == 0.25 and content['num_random'] == 2000
  assert content['config']['expert'] == content['expert'] == 'resnet'
  assert 'jax' in content['versions']
  png = (tmp_path / 'new' / 'mirror.png').read_bytes()
  assert png[:4] == b'\x89PNG'


def test_titles_have_the_score_and_the_legend_the_rest(
  found, tmp_path, monkeypatch
):
  """Numbers of a figure need their unit, and what they add up to."""
  drawn = {}

  def draw_blocks(path, graphs, operations, attributes, titles, *more):
    drawn.update(titles=titles, values=more[:1], legend=more[1:])
    return path

  monkeypatch.setattr(stimuli.drawing, 'draw_blocks', draw_blocks)
  stimuli.write_mirror(tmp_path, found)
  assert drawn['titles'][:2] == [
    'Expert: resnet\nmirror score 1.00',
    'a/mine\nmirror score −0.50',
  ]
  assert 'With +0.25' in drawn['legend'][0]
  assert drawn['values'][0] == [block.seen.shares for block in found.blocks]
  graphs = [block.graph for block in found.blocks]
  stimuli.draw(tmp_path / 'a.png', KIND.space, graphs, ['a', 'b', 'c'])
  assert drawn == {'titles': ['a', 'b', 'c'], 'values': (), 'legend': ()}
