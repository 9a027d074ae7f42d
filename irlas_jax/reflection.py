"""What a mirror stimuli function sees: scores, ranks and shares of blocks.

Shapes: `V` nodes of a graph, `D` features, `M` distinct names of them, `N`
random blocks.
"""

import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import experiment, experts, kinds, objectives, sections
from irlas_jax import graph as graphs
from irlas_jax.policies import sampling
from irlas_jax.rewards import features, mirror_stimuli
from irlas_jax.spaces import genotypes, nsc
from irlas_jax.types import Graph, Space

NUM_RANDOM = 2000  # blocks of a length that others are ranked among
_ROUNDING = 1e-5  # of scores: a block is not above copies of itself


class Seen(NamedTuple):
  """A block as a mirror stimuli function sees it."""

  score: float  # 0: a random block on average, 1: the expert
  contributions: np.ndarray  # [M] to the score
  shares: features.Shares  # of its nodes [V + 1] and edges in the score


class Reflected(NamedTuple):
  """One block in the mirror."""

  name: str
  genotype: str
  graph: Graph
  seen: Seen
  num_layers: int
  above: float  # share of random blocks of as many layers that score more
  counts: np.ndarray  # [M] how often it has each feature


class Reflection(NamedTuple):
  """A mirror stimuli function, and what it sees of some blocks."""

  config: Mapping
  space: Space
  features: tuple[str, ...]  # [M]
  weights: np.ndarray  # [M] score per unit of a feature's count
  constant: float  # what contributions lack to be a score, in every block
  blocks: list[Reflected]  # expert, best of the random ones, those asked for
  num_random: int  # blocks that `Reflected.above` is a share of


def reflect(config: Mapping, genotypes: Sequence[str] = ()) -> Reflection:
  """Fits the mirror stimuli function of a config and shows it some blocks.

  The function is that of a search by the same config.

  Args:
    config: the sections `seed`, `space`, `expert` and `reward`.
    genotypes: blocks beside the expert: text forms, JSON files with a genotype
      or names of built-in experts.

  Raises:
    ValueError: for a config that is wrong, or for a genotype that is wrong or
      does not fit into the space, before anything is fitted.
  """
  sections.check_sections(config, 'seed', 'space', 'expert', 'reward')
  kind = sections.choose(config, 'space', kinds.SPACES)()
  named = [('Expert', kind.describe(kind.expert(config['expert'])))]
  asked = [_named(kind, text, i) for i, text in enumerate(genotypes, start=1)]
  mirror = _fit(config, kind)
  named += _best_random(kind, mirror, named[0][1]) + asked
  return _reflection(config, kind, mirror, _told_apart(named))


def sight(mirror: objectives.Mirror) -> Callable[[Graph], Seen]:
  """What a mirror stimuli function sees, compiled once a size of graphs."""
  phi, fitted, _ = mirror

  @jax.jit
  def look(graph):
    return (
      mirror_stimuli.score(phi, fitted, graph),
      mirror_stimuli.contributions(phi, fitted, graph),
      mirror_stimuli.shares(phi, fitted, graph),
    )

  def see(graph):
    score, contributions, shares = jax.device_get(look(graph))
    return Seen(float(score), by_name(phi.names, contributions), shares)

  return see


def distinct(names: Sequence[str]) -> tuple[str, ...]:
  """Names [M]: a fine resolution repeats names of a coarse one."""
  return tuple(dict.fromkeys(names))


def by_name(names: Sequence[str], values) -> np.ndarray:
  """Sums [M] of the values [D] of features that have the same name."""
  place = {name: i for i, name in enumerate(distinct(names))}
  rows = [place[name] for name in names]
  return np.bincount(rows, np.asarray(values), len(place))


def _fit(config, kind) -> objectives.Mirror:
  choice = sections.choose(config, 'reward', objectives.REWARDS)
  key = experiment.make_keys(config['seed']).reward
  mirror = choice(key, kind, config['expert']).mirror
  if mirror is None:
    raise sections.ConfigError(
      f'reward.name is {config["reward"]["name"]!r}, which has no mirror '
      'stimuli function: choose irlas.'
    )
  return mirror


def _fields(config) -> dict:
  """What the chosen reward was given."""
  section = dict(config['reward'])
  return section | section.get(section['name'], {})


def _named(kind, given: str, number: int) -> tuple[str, str]:
  """The name and the genotype of what a user wrote, checked."""
  path = pathlib.Path(given)
  if given in experts.EXPERTS:
    name, text = given, kind.describe(kind.expert(given))
  elif '(' in given and not given.endswith('.json'):
    name, text = f'block {number}', given
  elif path.is_file():
    name, text = _short(path), nsc.text_of(nsc.read(path))
  else:
    raise genotypes.GenotypeError(
      f'genotype is {given!r}: no such file; give a JSON file with a genotype, '
      f'the code itself, or one of {", ".join(experts.EXPERTS)}.'
    )
  try:
    layers, most = nsc.parse(text), kind.space.num_steps
    if len(layers) > most:
      raise genotypes.GenotypeError(
        f'{len(layers)} layers, and the space has {most}: add '
        f'--config.space.num_layers={len(layers)}.'
      )
    nsc.to_actions(layers, kind.space)
  except genotypes.GenotypeError as error:
    raise genotypes.GenotypeError(f'genotype {name}: {error}') from error
  return name, nsc.text_of(layers)


def _short(path: pathlib.Path) -> str:
  """Folder and file: many files of searches are called best.json."""
  return '/'.join([*path.absolute().parts[-2:-1], path.stem])


def _told_apart(named) -> list[tuple[str, str]]:
  """The same blocks; a name that is taken gets a number."""
  found: dict[str, str] = {}
  for name, genotype in named:
    numbered = (f'{name} ({number})' for number in itertools.count(2))
    names = itertools.chain([name], numbered)
    found[next(one for one in names if one not in found)] = genotype
  return list(found.items())


def _scorer(mirror):
  """graphs with a leading N -> their scores [N]."""
  phi, fitted, _ = mirror
  return jax.vmap(lambda graph: mirror_stimuli.score(phi, fitted, graph))


def _best_random(kind, mirror, expert: str) -> list[tuple[str, str]]:
  """The rollout that scores most and is no copy of the expert, if any."""
  scores = np.asarray(jax.jit(_scorer(mirror))(mirror.rollouts))
  rollouts = jax.device_get(mirror.rollouts)
  own = graphs.digest(kind.parse(expert))
  found = (Graph(*(x[i] for x in rollouts)) for i in np.argsort(-scores))
  others = (graph for graph in found if graphs.digest(graph) != own)
  return [
    ('Best random', kind.describe(one)) for one in itertools.islice(others, 1)
  ]


def _reflection(config, kind, mirror, named) -> Reflection:
  phi, fitted, _ = mirror
  plain = {'discount': 1.0, 'normalised': False}
  section = dict(_fields(config).get('features', {})) | plain
  count = jax.jit(objectives.make_features(kind, section).counts)
  repeats = by_name(phi.names, np.ones(len(phi.names)))
  see, rank = sight(mirror), _ranker(config, kind, mirror)
  blocks = []
  for name, genotype in named:
    graph = kind.parse(genotype)
    seen, size = see(graph), graphs.size(graph) - 1
    counts = by_name(phi.names, count(graph)) / repeats
    above = rank(size, seen.score)
    blocks.append(Reflected(name, genotype, graph, seen, size, above, counts))
  first = blocks[0].seen
  scale = float(fitted.expert - fitted.random)
  weights = by_name(phi.names, fitted.weights)
  return Reflection(
    config,
    kind.space,
    distinct(phi.names),
    weights / scale if scale else 0 * weights,
    first.score - float(first.contributions.sum()),
    blocks,
    NUM_RANDOM,
  )


def _ranker(config, kind, mirror):
  """(layers, score) -> share of random blocks of that length above it."""
  key = experiment.make_keys(config['seed']).loop  # nothing else uses it here
  most, known = kind.space.num_steps, {}

  @jax.jit
  def draw(length):
    lengths = jnp.full(NUM_RANDOM, length)
    actions = sampling.actions_of_lengths(
      jax.random.fold_in(key, length), kind.space, lengths
    )
    return _scorer(mirror)(jax.vmap(kind.space.decode)(actions))

  def rank(size, score):
    if size > most:
      return float('nan')
    if size not in known:
      known[size] = np.asarray(draw(size))
    return float(np.mean(known[size] > score + _ROUNDING))

  return rank
