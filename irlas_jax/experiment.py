"""From a config to the parts: the only place where names become functions.

A section of a config, such as `config.searcher`, has a `name` and the fields
that the named choice takes. Fields of one choice may stand in a subsection of
its name, so that `--config.searcher.name=random` needs no other change.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from irlas_jax import devices, experts, graph, search
from irlas_jax.evaluators import trained
from irlas_jax.networks import block as block_networks
from irlas_jax.networks import block_cost, padded_block
from irlas_jax.policies import free_logits, sampling
from irlas_jax.rewards import apprenticeship, mirror_stimuli, shaping
from irlas_jax.searchers import evolution, q_learning, random_search, reinforce
from irlas_jax.spaces import block, nsc
from irlas_jax.training import data as datasets
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import Graph, Reward, Searcher, Space


class ConfigError(ValueError):
  """A config that names something that is not there, or a wrong value."""


class Choice(NamedTuple):
  """What a name stands for, and the config fields that it takes."""

  make: Callable
  fields: tuple[str, ...]


class SpaceKind(NamedTuple):
  """A space and what the other parts have to know of its graphs."""

  space: Space
  kernels: tuple[tuple[int, ...], ...]  # values told apart, one an attribute
  layers: tuple[tuple[str, int], ...]  # (operation, kernel) a node may be
  describe: Callable  # Graph -> genotype text
  parse: Callable  # genotype text -> Graph
  expert: Callable  # expert name -> Graph [V], its own size


def _keywords(function: Callable, *more: str) -> tuple[str, ...]:
  parameters = inspect.signature(function).parameters.values()
  names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
  return (*names, *more)


def choose(config: Mapping, section: str, table: dict[str, Choice]) -> Callable:
  """The choice that `config[section]` names, with its fields bound.

  Raises:
    ConfigError: for a name or a field that does not exist, or one left out.
  """
  values = dict(config[section])
  name = values.pop('name', None)
  if name not in table:
    raise ConfigError(
      f'{section}.name is {name!r}: choose one of {", ".join(table)}.'
    )
  own = dict(values.get(name, {}))
  fields = {k: v for k, v in values.items() if k not in table} | own
  choice = table[name]
  for field in fields:
    if field not in choice.fields:
      raise ConfigError(
        f'{section}.{field} is no field of {name!r}, which takes '
        f'{", ".join(choice.fields) or "none"}.'
      )
  _check_given(section, choice.make, choice.fields, fields)
  return functools.partial(choice.make, **fields)


def _check_given(section: str, function: Callable, names, given) -> None:
  """Refuses to call without an argument among `names` that has no default."""
  for parameter in inspect.signature(function).parameters.values():
    needed = parameter.name in names and parameter.default is parameter.empty
    if needed and parameter.name not in given:
      raise ConfigError(f'{section}.{parameter.name} is missing.')


def _check_counts(section: str, values: Mapping, *names: str) -> None:
  for name in names:
    count = values.get(name)
    if count is not None and count < 1:
      raise ConfigError(f'{section}.{name} is {count}: at least 1.')


def _check_sections(config: Mapping, *names: str) -> None:
  for name in names:
    if name not in config:
      raise ConfigError(f'The config has no {name!r}.')


def _block(num_layers: int, operations: str) -> SpaceKind:
  space = block.block(num_layers, operations)
  kernels = sorted({k for values in block.KERNELS.values() for k in values})
  layers = {
    (choice.operation, choice.kernel)
    for choice in block.choices(num_layers, operations)
  }
  return SpaceKind(
    space,
    (tuple(kernels),),
    tuple(sorted(layers)),
    lambda graph: nsc.text_of(nsc.from_graph(graph)),
    lambda text: nsc.to_graph(nsc.parse(text)),
    lambda name: nsc.to_graph(experts.load(name, operations)),
  )


SPACES = {'block': Choice(_block, ('num_layers', 'operations'))}


def _q_learning(space: Space, epsilon_scale: float = 1.0, **fields) -> Searcher:
  epsilon_fn = q_learning.block_qnn_epsilon(epsilon_scale)
  return q_learning.q_learning(space, epsilon_fn, **fields)


def _reinforce(space: Space, learning_rate: float, **fields) -> Searcher:
  tx = optax.adam(learning_rate)
  return reinforce.reinforce(free_logits.free_logits(space), tx, **fields)


SEARCHERS = {
  'q_learning': Choice(
    _q_learning, _keywords(q_learning.q_learning, 'epsilon_scale')
  ),
  'reinforce': Choice(
    _reinforce, _keywords(reinforce.reinforce, 'learning_rate')
  ),
  'random': Choice(random_search.random_search, ()),
  'evolution': Choice(
    evolution.regularized_evolution, _keywords(evolution.regularized_evolution)
  ),
}

LEARNERS = {
  'projection': apprenticeship.projection,
  'max_margin': apprenticeship.max_margin,
  'cosine': apprenticeship.cosine,
}


class Mirrored(NamedTuple):
  """A reward, and the mirror stimuli function in it if there is one."""

  reward: Reward
  mirror: mirror_stimuli.MirrorStimuli | None


def _accuracy(key, kind: SpaceKind, expert: str, floor: float = 0.0):
  del key, kind, expert
  return Mirrored(shaping.accuracy_reward(floor), None)


def _irlas(
  key: jax.Array,
  kind: SpaceKind,
  expert: str,
  mirror: float,
  learner: str = 'max_margin',
  discount: float = 0.9,
  normalised: bool = True,
  num_rollouts: int = 4096,
  floor: float = 0.0,
) -> Mirrored:
  if learner not in LEARNERS:
    raise ConfigError(
      f'reward.learner is {learner!r}: choose one of {", ".join(LEARNERS)}.'
    )
  _check_counts('reward', {'num_rollouts': num_rollouts}, 'num_rollouts')
  actions = sampling.uniform_actions(key, kind.space, num_rollouts)
  fitted = mirror_stimuli.fit(
    kind.expert(expert),
    jax.vmap(kind.space.decode)(actions),
    learner=LEARNERS[learner],
    num_operations=len(kind.space.operations),
    attribute_values=kind.kernels,
    discount=discount,
    normalised=normalised,
  )
  score_fn = functools.partial(mirror_stimuli.score, fitted)
  return Mirrored(shaping.irlas_reward(score_fn, mirror, floor), fitted)


REWARDS = {
  'accuracy': Choice(_accuracy, ('floor',)),
  'irlas': Choice(
    _irlas,
    ('mirror', 'learner', 'discount', 'normalised', 'num_rollouts', 'floor'),
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


EVALUATORS = {'trained': Choice(_trained, ('population',))}


def make_macro(section: Mapping, image_shape) -> block_networks.Macro:
  """The macro-architecture of a `network` section for images [H, W, C].

  Raises:
    ConfigError: for a field that is wrong, or more stages than images allow.
  """
  macro = _bind('network', block_networks.cifar, section)
  _check_counts('network', section, *section)
  most = min(image_shape[:2]).bit_length()  # halved between stages
  if len(macro.widths) > most:
    raise ConfigError(
      f'network.num_stages is {len(macro.widths)}: images of '
      f'{image_shape[0]}x{image_shape[1]} pixels allow {most}.'
    )
  return macro


def make_recipe(section: Mapping) -> recipes.Recipe:
  """The recipe of a `train` section."""
  return _bind('train', recipes.Recipe, section)


def load_data(config: Mapping) -> datasets.Dataset:
  """The data set of a config: `dataset`, `data_dir` and the `data` section.

  Raises:
    ValueError: for a field that is wrong, or no validation images.
    FileNotFoundError: if the data is not there, with how to get it.
  """
  _check_sections(config, 'dataset', 'data_dir', 'data')
  _check_counts('data', config['data'], 'valid_size')
  load = functools.partial(
    datasets.load, config['dataset'], config['data_dir'], seed=0
  )
  return _bind('data', load, config['data'])


def _bind(section: str, function: Callable, values: Mapping):
  known = inspect.signature(function).parameters
  for field in values:
    if field not in known:
      raise ConfigError(
        f'{section}.{field} does not exist: there are {", ".join(known)}.'
      )
  _check_given(section, function, known, values)
  return function(**values)


class Parts(NamedTuple):
  """All that a search is made of."""

  kind: SpaceKind
  problem: search.Problem
  expert: Graph
  mirror: mirror_stimuli.MirrorStimuli | None
  key: jax.Array  # of the loop
  num_iterations: int
  batch: int


def build(config: Mapping) -> Parts:
  """Makes the parts of a search and checks them, before any child is trained.

  Raises:
    ValueError: naming the config field and the remedy.
    FileNotFoundError: if the data is not there, with how to get it.
  """
  _check_sections(config, 'seed', 'search', 'space', 'expert', 'searcher')
  _check_sections(config, 'reward', 'evaluator', 'network', 'train')
  _check_counts('search', config['search'], 'num_proposals', 'batch')
  key_reward, key_children, key_loop = jax.random.split(
    jax.random.key(config['seed']), 3
  )
  kind = choose(config, 'space', SPACES)()
  expert = kind.expert(config['expert'])
  searcher = choose(config, 'searcher', SEARCHERS)(kind.space)
  reward, mirror = choose(config, 'reward', REWARDS)(
    key_reward, kind, config['expert']
  )
  dataset = load_data(config)
  evaluator = choose(config, 'evaluator', EVALUATORS)(config, kind, dataset)
  batch = config['search']['batch']
  problem = search.Problem(
    searcher,
    jax.vmap(kind.space.decode),
    graph.digest,
    kind.describe,
    evaluator.prepare,
    functools.partial(evaluator.evaluate, key_children),
    reward,
    score_settings(config, dataset),
    {'epochs': config['train']['epochs']},
    config['evaluator'].get('population') or devices.count(),
    config['train']['evaluations'],
  )
  iterations = math.ceil(config['search']['num_proposals'] / batch)
  return Parts(kind, problem, expert, mirror, key_loop, iterations, batch)


def score_settings(
  config: Mapping, dataset: datasets.Dataset
) -> dict[str, Any]:
  """All that a child's score depends on besides its graph."""
  names = ('space', 'data', 'network', 'train', 'seed')
  settings = {name: config[name] for name in names}
  return settings | {'images': datasets.digest(dataset)}
