"""From a config to the parts: the only place where names become functions."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import optax

from irlas_jax import devices, experts, graph, search, sections
from irlas_jax.evaluators import trained
from irlas_jax.networks import block as block_networks
from irlas_jax.networks import block_cost, padded_block
from irlas_jax.policies import free_logits, sampling
from irlas_jax.rewards import (
  apprenticeship,
  convex,
  features,
  mirror_stimuli,
  shaping,
  similarity,
)
from irlas_jax.searchers import evolution, q_learning, random_search, reinforce
from irlas_jax.spaces import block, nsc
from irlas_jax.training import data as datasets
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import Graph, Reward, Searcher, Space


class SpaceKind(NamedTuple):
  """A space and what the other parts have to know of its graphs."""

  space: Space
  resolutions: dict[str, features.Labels]  # what nodes are called, by name
  join: int  # operation that several outputs amount to; -1: none
  layers: tuple[tuple[str, int], ...]  # (operation, kernel) a node may be
  describe: Callable  # Graph -> genotype text
  parse: Callable  # genotype text -> Graph
  expert: Callable  # expert name -> Graph [V], its own size


def _block(num_layers: int, operations: str) -> SpaceKind:
  space = block.block(num_layers, operations)
  layers = {
    (choice.operation, choice.kernel)
    for choice in block.choices(num_layers, operations)
  }
  return SpaceKind(
    space,
    _block_resolutions(sorted(layers)),
    block.OPERATIONS.index('concat'),
    tuple(sorted(layers)),
    lambda graph: nsc.text_of(nsc.from_graph(graph)),
    lambda text: nsc.to_graph(nsc.parse(text)),
    lambda name: nsc.to_graph(experts.load(name, operations)),
  )


def _block_resolutions(layers) -> dict[str, features.Labels]:
  """From coarse to fine: what a block's nodes may be called."""
  row = block.OPERATIONS.index
  used = dict.fromkeys(['input', *(operation for operation, _ in layers)])
  return {
    'family': features.labels(
      {
        # A family of one is called after its member, whose features it has.
        members[0] if len(members) == 1 else family: [
          (row(operation), features.ANY) for operation in members
        ]
        for family, members in (
          (family, [operation for operation in whole if operation in used])
          for family, whole in block.FAMILIES.items()
        )
      }
    ),
    'operation': features.labels(
      {operation: [(row(operation), features.ANY)] for operation in used}
    ),
    'kind': features.labels(
      {
        f'{operation} {kernel}' if kernel else operation: [
          (row(operation), kernel)
        ]
        for operation, kernel in [('input', 0), *layers]
      }
    ),
  }


SPACES = {'block': sections.Choice(_block, ('num_layers', 'operations'))}


def _q_learning(
  space: Space,
  epsilon_scale: float = 1.0,
  epsilon_iterations: int = 0,
  epsilon_final: float = 0.1,
  **fields,
) -> Searcher:
  if epsilon_iterations:
    epsilon_fn = q_learning.linear_epsilon(epsilon_iterations, epsilon_final)
  else:
    epsilon_fn = q_learning.block_qnn_epsilon(epsilon_scale)
  return q_learning.q_learning(space, epsilon_fn, **fields)


def _reinforce(space: Space, learning_rate: float, **fields) -> Searcher:
  tx = optax.adam(learning_rate)
  return reinforce.reinforce(free_logits.free_logits(space), tx, **fields)


SEARCHERS = {
  'q_learning': sections.Choice(
    _q_learning,
    sections.keywords(
      q_learning.q_learning,
      'epsilon_scale',
      'epsilon_iterations',
      'epsilon_final',
    ),
  ),
  'reinforce': sections.Choice(
    _reinforce, sections.keywords(reinforce.reinforce, 'learning_rate')
  ),
  'random': sections.Choice(random_search.random_search, ()),
  'evolution': sections.Choice(
    evolution.regularized_evolution,
    sections.keywords(evolution.regularized_evolution),
  ),
}

LEARNERS = {
  'projection': sections.by_keywords(apprenticeship.projection),
  'max_margin': sections.by_keywords(apprenticeship.max_margin),
  'max_entropy': sections.by_keywords(convex.max_entropy),
  'contrastive': sections.by_keywords(convex.contrastive),
  'structured_margin': sections.by_keywords(convex.structured_margin),
  'mean_difference': sections.by_keywords(similarity.mean_difference),
  'cosine': sections.by_keywords(similarity.cosine),
}


class Mirror(NamedTuple):
  """A fitted mirror stimuli function, its features, what it was fitted to."""

  features: features.Features
  fitted: mirror_stimuli.MirrorStimuli
  rollouts: Graph  # [N] random architectures


class Mirrored(NamedTuple):
  """A reward, and the mirror stimuli function in it if there is one."""

  reward: Reward
  mirror: Mirror | None


def _accuracy(key, kind: SpaceKind, expert: str, floor: float = 0.0):
  del key, kind, expert
  return Mirrored(shaping.accuracy_reward(floor), None)


def _irlas(
  key: jax.Array,
  kind: SpaceKind,
  expert: str,
  mirror: float,
  learner: Mapping = {'name': 'max_entropy'},
  features: Mapping = {},
  num_rollouts: int = 4096,
  floor: float = 0.0,
) -> Mirrored:
  sections.check_counts(
    'reward', {'num_rollouts': num_rollouts}, 'num_rollouts'
  )
  learn = sections.choose(
    {'reward.learner': learner}, 'reward.learner', LEARNERS
  )()
  phi = make_features(kind, features)
  actions = sampling.uniform_lengths(key, kind.space, num_rollouts)
  rollouts = jax.vmap(kind.space.decode)(actions)
  fit = jax.jit(functools.partial(mirror_stimuli.fit, phi, learn))
  fitted = fit(kind.expert(expert), rollouts)
  score_fn = functools.partial(mirror_stimuli.score, phi, fitted)
  return Mirrored(
    shaping.irlas_reward(score_fn, mirror, floor),
    Mirror(phi, fitted, rollouts),
  )


def make_features(kind: SpaceKind, section: Mapping) -> features.Features:
  """phi of a space, by a `reward.features` section."""
  return sections.bind(
    'reward.features', functools.partial(_features, kind), section
  )


def _features(
  kind: SpaceKind,
  resolutions: Sequence[str] = ('family', 'operation', 'kind'),
  tables: Sequence[str] = tuple(features.TABLES),
  discount: float = 0.8,
  normalised: bool = True,
) -> features.Features:
  for name in resolutions:
    if name not in kind.resolutions:
      raise sections.ConfigError(
        f'reward.features.resolutions has {name!r}: choose from '
        f'{", ".join(kind.resolutions)}.'
      )
  return features.topology(
    [kind.resolutions[name] for name in resolutions],
    tables,
    join=kind.join,
    discount=discount,
    normalised=normalised,
  )


REWARDS = {
  'accuracy': sections.Choice(_accuracy, ('floor',)),
  'irlas': sections.Choice(
    _irlas,
    ('mirror', 'learner', 'features', 'num_rollouts', 'floor'),
  ),
}


def _trained(
  config: Mapping, kind: SpaceKind, dataset, population: int = 0
) -> trained.Trained:
  image_shape = dataset.train.images.shape[1:]
  macro = make_macro(config['network'], image_shape)
  network = padded_block.padded_network(
    kind.layers,
    kind.space.operations,
    macro,
    dataset.num_classes,
    image_shape[-1],
  )
  cost = functools.partial(
    block_cost.cost,
    operations=kind.space.operations,
    macro=macro,
    image_shape=image_shape,
    num_classes=dataset.num_classes,
  )
  return trained.trained(
    kind.space,
    network,
    cost,
    loop.on_device(dataset),
    make_recipe(config['train']),
    population or devices.count(),
  )


EVALUATORS = {'trained': sections.Choice(_trained, ('population',))}


def make_macro(section: Mapping, image_shape) -> block_networks.Macro:
  """The macro-architecture of a `network` section for images [H, W, C].

  Raises:
    ConfigError: for a field that is wrong, or more stages than images allow.
  """
  macro = sections.bind('network', block_networks.cifar, section)
  sections.check_counts('network', section, *section)
  most = min(image_shape[:2]).bit_length()  # halved between stages
  if len(macro.widths) > most:
    raise sections.ConfigError(
      f'network.num_stages is {len(macro.widths)}: images of '
      f'{image_shape[0]}x{image_shape[1]} pixels allow {most}.'
    )
  return macro


def make_recipe(section: Mapping) -> recipes.Recipe:
  """The recipe of a `train` section."""
  return sections.bind('train', recipes.Recipe, section)


def load_data(config: Mapping) -> datasets.Dataset:
  """The data set of a config: `dataset`, `data_dir` and the `data` section.

  Raises:
    ValueError: for a field that is wrong, or no validation images.
    FileNotFoundError: if the data is not there, with how to get it.
  """
  sections.check_sections(config, 'dataset', 'data_dir', 'data')
  sections.check_counts('data', config['data'], 'valid_size')
  load = functools.partial(
    datasets.load, config['dataset'], config['data_dir'], seed=0
  )
  return sections.bind('data', load, config['data'])


class Keys(NamedTuple):
  """What chance decides in a search, one key each."""

  reward: jax.Array
  children: jax.Array
  loop: jax.Array


def make_keys(seed: int) -> Keys:
  """The keys of a config's `seed`."""
  return Keys(*jax.random.split(jax.random.key(seed), 3))


class Parts(NamedTuple):
  """All that a search is made of."""

  kind: SpaceKind
  problem: search.Problem
  expert: Graph
  mirror: Mirror | None
  key: jax.Array  # of the loop
  num_iterations: int
  batch: int


def build(config: Mapping) -> Parts:
  """Makes the parts of a search and checks them, before any child is trained.

  Raises:
    ValueError: naming the config field and the remedy.
    FileNotFoundError: if the data is not there, with how to get it.
  """
  sections.check_sections(
    config, 'seed', 'search', 'space', 'expert', 'searcher'
  )
  sections.check_sections(config, 'reward', 'evaluator', 'network', 'train')
  sections.check_counts('search', config['search'], 'num_proposals', 'batch')
  keys = make_keys(config['seed'])
  kind = sections.choose(config, 'space', SPACES)()
  expert = kind.expert(config['expert'])
  searcher = sections.choose(config, 'searcher', SEARCHERS)(kind.space)
  reward, mirror = sections.choose(config, 'reward', REWARDS)(
    keys.reward, kind, config['expert']
  )
  dataset = load_data(config)
  evaluator = sections.choose(config, 'evaluator', EVALUATORS)(
    config, kind, dataset
  )
  batch = config['search']['batch']
  problem = search.Problem(
    searcher,
    jax.vmap(kind.space.decode),
    graph.digest,
    kind.describe,
    evaluator.prepare,
    functools.partial(evaluator.evaluate, keys.children),
    reward,
    score_settings(config, dataset),
    {'epochs': config['train']['epochs']},
    config['evaluator'].get('population') or devices.count(),
    config['train']['evaluations'],
  )
  iterations = math.ceil(config['search']['num_proposals'] / batch)
  return Parts(kind, problem, expert, mirror, keys.loop, iterations, batch)


def score_settings(
  config: Mapping, dataset: datasets.Dataset
) -> dict[str, Any]:
  """All that a child's score depends on besides its graph."""
  names = ('space', 'data', 'network', 'train', 'seed')
  settings = {name: config[name] for name in names}
  return settings | {'images': datasets.digest(dataset)}
