"""What a mirror stimuli function sees, for people: a figure and tables."""

import pathlib
from collections.abc import Sequence

import numpy as np

from irlas_jax.reports import drawing, records, shading, table
from irlas_jax.types import Graph, Space

_MOST = 8  # features of either sign in the table
_TERMS = 4  # features in a sentence
_LEAST = 0.005  # share of the score that is worth a word


def draw(
  path,
  space: Space,
  graphs: Sequence[Graph],
  titles: Sequence[str],
  seen: Sequence = (),
) -> pathlib.Path:
  """Draws graphs side by side; returns the path.

  With `seen`, the `reflection.Seen` of each graph, nodes and edges have the
  colours of their shares in the score.
  """
  named = path, graphs, space.operations, space.attributes
  if not seen:
    return drawing.draw_blocks(*named, titles)
  titles = [
    f'{title}\nmirror score ' + f'{one.score:z.2f}'.replace('-', '−')
    for title, one in zip(titles, seen, strict=True)
  ]
  shares = [one.shares for one in seen]
  return drawing.draw_blocks(*named, titles, shares, _legend(seen[0]))


def _legend(one) -> str:
  constant = one.score - float(one.contributions.sum())
  return (
    'Shares of the mirror score, which is 0 for a random block on average and '
    '1 for the expert. Blue is like the expert, orange unlike it. With '
    f'{shading.number(constant)}, alike for all blocks, they add up to the '
    'score.'
  )


def write_mirror(workdir, reflection) -> str:
  """Writes `mirror.png` and `mirror.json` of a `reflection.Reflection`.

  Returns the text to print: tables, and where the files are.
  """
  workdir, blocks = pathlib.Path(workdir), reflection.blocks
  expert = reflection.config['expert']
  draw(
    workdir / 'mirror.png',
    reflection.space,
    [block.graph for block in blocks],
    [f'Expert: {expert}', *(block.name for block in blocks[1:])],
    [block.seen for block in blocks],
  )
  records.write_json(workdir / 'mirror.json', _content(reflection))
  lines = [
    f'The mirror stimuli function of {expert}, on blocks of up to '
    f'{reflection.space.num_steps} layers:',
    '',
    _block_table(reflection),
    '',
    'Score: 0 is a random block on average, 1 the expert. Random above: of',
    f'{reflection.num_random:,} random blocks with as many layers, the share '
    'that scores more.',
    '',
    _feature_table(reflection),
    '',
    'Weight: score per unit of a feature. In expert: how often it is there.',
    "Then what it adds to each block's score. a -> b: a layer b that reads a;",
    'fan-out: how many layers read it.',
    '',
    *_sentences(reflection),
    f'Written to {workdir}: mirror.png, mirror.json',
  ]
  return '\n'.join(lines)


def _block_table(reflection) -> str:
  rows = [
    {
      'block': block.name,
      'score': block.seen.score,
      'random above %': 100 * block.above,
      'layers': block.num_layers,
    }
    for block in reflection.blocks
  ]
  formats = {'block': '', 'score': 'z.2f', 'random above %': '.1f'}
  return table.format_table(rows, formats | {'layers': ''})


def _feature_table(reflection) -> str:
  """The heaviest features of both signs, all others, and the sum."""
  blocks, weights = reflection.blocks, reflection.weights
  order = np.argsort(-weights)
  shown = [i for i in order[:_MOST] if weights[i] > 0]
  shown += [i for i in order[-_MOST:] if weights[i] < 0]
  rest = np.setdiff1d(order, shown)
  rows = [_feature_row(reflection, i) for i in shown]
  for name, values in {
    f'{len(rest)} others': [b.seen.contributions[rest].sum() for b in blocks],
    'any block': [reflection.constant] * len(blocks),
    'score': [block.seen.score for block in blocks],
  }.items():
    names = [block.name for block in blocks]
    rows.append({'feature': name} | dict(zip(names, values, strict=True)))
  formats = {'feature': '', 'weight': '+.2f', 'in expert': '.0f'}
  return table.format_table(
    rows, formats | {block.name: '+z.2f' for block in blocks}
  )


def _feature_row(reflection, i) -> dict:
  row = {
    'feature': reflection.features[i],
    'weight': reflection.weights[i],
    'in expert': reflection.blocks[0].counts[i] or None,
  }
  return row | {
    block.name: block.seen.contributions[i] if block.counts[i] else None
    for block in reflection.blocks
  }


def _sentences(reflection) -> list[str]:
  """By what each block falls behind the expert most, and gets ahead of it."""
  expert, *others = reflection.blocks
  found = []
  for block in others:
    ahead = block.seen.contributions - expert.seen.contributions
    for what, signed in (('falls behind', -ahead), ('is ahead of', ahead)):
      terms = [
        f'{reflection.features[i]} ({ahead[i]:+.2f})'
        for i in np.argsort(-signed)[:_TERMS]
        if signed[i] > _LEAST
      ]
      if terms:
        found.append(f'{block.name} {what} the expert by: {", ".join(terms)}.')
  return found


def _content(reflection) -> dict:
  """What `mirror.json` holds."""
  content = {
    'expert': reflection.config['expert'],
    'blocks': [
      _block(block, reflection.features) for block in reflection.blocks
    ],
    'constant': reflection.constant,
    'weights': _nonzero(reflection.features, reflection.weights),
    'num_random': reflection.num_random,
    'config': dict(reflection.config),
    'versions': records.versions(),
  }
  return records.plain(content)


def _block(block, features) -> dict:
  edges = np.asarray(block.seen.shares.edges)
  return {
    'name': block.name,
    'genotype': block.genotype,
    'layers': block.num_layers,
    'score': block.seen.score,
    'random_above': block.above,
    'contributions': _nonzero(features, block.seen.contributions),
    'nodes': np.asarray(block.seen.shares.nodes).tolist(),
    'edges': [
      [u, v, float(edges[u, v])] for u, v in np.argwhere(edges).tolist()
    ],
  }


def _nonzero(names, values) -> dict[str, float]:
  pairs = zip(names, np.asarray(values).tolist(), strict=True)
  return {name: value for name, value in pairs if value}
