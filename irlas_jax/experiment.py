"""From a config to the parts: the only place where names become functions."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import optax

from irlas_jax import evaluations, graph, kinds, search, sections
from irlas_jax.policies import free_logits, lstm, lstm_anchors, sampling
from irlas_jax.rewards import (
  apprenticeship,
  convex,
  features,
  mirror_stimuli,
  shaping,
  similarity,
)
from irlas_jax.searchers import (
  evolution,
  growing,
  local_search,
  ppo,
  q_learning,
  random_search,
  reinforce,
)
from irlas_jax.types import Graph, Policy, Reward, Searcher, Space

EPSILONS = {
  'block_qnn': q_learning.block_qnn_epsilon,
  'metaqnn': q_learning.metaqnn_epsilon,
}


def _q_learning(
  space: Space,
  epsilon_scale: float = 1.0,
  epsilon_iterations: int = 0,
  epsilon_final: float = 0.1,
  epsilon_schedule: str = 'block_qnn',
  **fields,
) -> Searcher:
  if epsilon_schedule not in EPSILONS:
    raise sections.ConfigError(
      f'searcher.epsilon_schedule is {epsilon_schedule!r}: choose one of '
      f'{", ".join(EPSILONS)}.'
    )
  # A traced number is one that is swept.
  if isinstance(epsilon_iterations, jax.Array) or epsilon_iterations:
    epsilon_fn = q_learning.linear_epsilon(epsilon_iterations, epsilon_final)
  else:
    epsilon_fn = EPSILONS[epsilon_schedule](epsilon_scale)
  return q_learning.q_learning(space, epsilon_fn, **fields)


OPTIMIZERS = {'adam': optax.adam, 'sgd': optax.sgd}

POLICIES = {
  'free_logits': sections.Choice(free_logits.free_logits, ()),
  'lstm': sections.by_keywords(lstm.lstm),
  'lstm_anchors': sections.by_keywords(lstm_anchors.lstm_anchors),
}

_NASNET = {
  'name': 'lstm',
  'lstm': {'hidden': 100, 'layers': 1, 'init_scale': 0.1},
}


def _optimizer(name: str, learning_rate: float) -> optax.GradientTransformation:
  if name not in OPTIMIZERS:
    raise sections.ConfigError(
      f'searcher.optimizer is {name!r}: choose one of {", ".join(OPTIMIZERS)}.'
    )
  return OPTIMIZERS[name](learning_rate)


def _policy(space: Space, section: Mapping) -> Policy:
  named = {'searcher.policy': section}
  return sections.choose(named, 'searcher.policy', POLICIES)(space)


def _reinforce(
  space: Space,
  learning_rate: float,
  optimizer: str = 'adam',
  policy: Mapping = {'name': 'free_logits'},
  **fields,
) -> Searcher:
  tx = _optimizer(optimizer, learning_rate)
  return reinforce.reinforce(_policy(space, policy), tx, **fields)


def _ppo(
  space: Space,
  learning_rate: float = 3.5e-4,
  optimizer: str = 'adam',
  policy: Mapping = _NASNET,
  **fields,
) -> Searcher:
  tx = _optimizer(optimizer, learning_rate)
  return ppo.ppo(_policy(space, policy), tx, **fields)


SEARCHERS = {
  'q_learning': sections.Choice(
    _q_learning,
    sections.keywords(
      q_learning.q_learning,
      'epsilon_scale',
      'epsilon_iterations',
      'epsilon_final',
      'epsilon_schedule',
    ),
  ),
  'reinforce': sections.Choice(
    _reinforce,
    sections.keywords(
      reinforce.reinforce, 'learning_rate', 'optimizer', 'policy'
    ),
  ),
  'ppo': sections.Choice(
    _ppo,
    sections.keywords(ppo.ppo, 'learning_rate', 'optimizer', 'policy'),
  ),
  'random': sections.Choice(random_search.random_search, ()),
  'evolution': sections.Choice(
    evolution.regularized_evolution,
    sections.keywords(evolution.regularized_evolution),
  ),
  'local_search': sections.Choice(local_search.local_search, ()),
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
  rollouts: Graph  # [N] random architectures, by the space's view


class Mirrored(NamedTuple):
  """A reward, and the mirror stimuli function in it if there is one."""

  reward: Reward
  mirror: Mirror | None
  cost: str | None = None  # a field of the scores that it needs


def _accuracy(key, kind: kinds.SpaceKind, expert: str, floor: float = 0.0):
  del key, kind, expert
  return Mirrored(shaping.accuracy_reward(floor), None)


def _cost(
  key,
  kind: kinds.SpaceKind,
  expert: str,
  weight: float,
  measure: str = 'madds',
  floor: float = 0.0,
):
  del key, kind, expert
  reward = shaping.cost_reward(weight, floor, measure)
  return Mirrored(reward, None, measure)


def _block_qnn(
  key,
  kind: kinds.SpaceKind,
  expert: str,
  mu: float = 1.0,
  rho: float = 8.0,
  floor: float = 0.0,
):
  del key, kind, expert
  return Mirrored(shaping.block_qnn_reward(mu, rho, floor), None, 'madds')


def _perplexity(
  key,
  kind: kinds.SpaceKind,
  expert: str,
  scale: float = 80.0,
  floor: float = 0.0,
):
  del key, kind, expert
  return Mirrored(shaping.perplexity_reward(scale, floor), None)


def _best_cubed(
  key,
  kind: kinds.SpaceKind,
  expert: str,
  evaluations: int = 5,
  power: float = 3.0,
  floor: float = 0.0,
):
  del key, kind, expert
  return Mirrored(shaping.best_power_reward(evaluations, power, floor), None)


def _irlas(
  key: jax.Array,
  kind: kinds.SpaceKind,
  expert: str,
  mirror: float,
  learner: Mapping = {'name': 'max_entropy'},
  features: Mapping = {},
  num_rollouts: int = 4096,
  floor: float = 0.0,
) -> Mirrored:
  if not expert:
    raise sections.ConfigError(
      "The config has no 'expert', and reward.name=irlas learns from one: set "
      'expert, or reward.name=accuracy.'
    )
  sections.check_counts(
    'reward', {'num_rollouts': num_rollouts}, 'num_rollouts'
  )
  learn = sections.choose(
    {'reward.learner': learner}, 'reward.learner', LEARNERS
  )()
  phi = make_features(kind, features)
  actions = sampling.uniform_lengths(key, kind.space, num_rollouts)
  view = jax.jit(jax.vmap(lambda row: kind.view(kind.space.decode(row))))
  rollouts = view(actions)
  fit = jax.jit(
    lambda graph, rollouts: mirror_stimuli.fit(
      phi, learn, kind.view(graph), rollouts
    )
  )
  fitted = fit(kind.expert(expert), rollouts)

  def score_fn(graph):
    return mirror_stimuli.score(phi, fitted, kind.view(graph))

  return Mirrored(
    shaping.irlas_reward(score_fn, mirror, floor),
    Mirror(phi, fitted, rollouts),
  )


def make_features(kind: kinds.SpaceKind, section: Mapping) -> features.Features:
  """phi of a space, by a `reward.features` section."""
  return sections.bind(
    'reward.features', functools.partial(_features, kind), section
  )


def _features(
  kind: kinds.SpaceKind,
  resolutions: Sequence[str] = (),
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
    [kind.resolutions[name] for name in resolutions or kind.resolutions],
    tables,
    join=kind.join,
    discount=discount,
    normalised=normalised,
  )


REWARDS = {
  'accuracy': sections.Choice(_accuracy, ('floor',)),
  'cost': sections.Choice(_cost, ('weight', 'measure', 'floor')),
  'irlas': sections.Choice(
    _irlas,
    ('mirror', 'learner', 'features', 'num_rollouts', 'floor'),
  ),
  'block_qnn': sections.Choice(_block_qnn, ('mu', 'rho', 'floor')),
  'perplexity': sections.Choice(_perplexity, ('scale', 'floor')),
  'best_cubed': sections.Choice(_best_cubed, ('evaluations', 'power', 'floor')),
}


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

  kind: kinds.SpaceKind
  problem: search.Problem
  evaluation: evaluations.Evaluation
  expert: Graph | None  # None if the config names none
  mirror: Mirror | None
  key: jax.Array  # of the loop
  num_iterations: int
  batch: int


def make_searcher(
  config: Mapping, space: Space, steps: Callable = lambda layers: layers
) -> Searcher:
  """The searcher that `config['searcher']` names, which may grow by `growth`.

  `steps` is that of the space's kind: layers -> steps.

  Raises:
    ConfigError: for a field that is wrong.
  """
  make = sections.choose(config, 'searcher', SEARCHERS)
  if not config.get('growth'):
    return make(space)
  layers_fn = sections.bind('growth', growing.staircase, config['growth'])
  return growing.growing(make, space, lambda count: steps(layers_fn(count)))


def build(config: Mapping) -> Parts:
  """Makes the parts of a search and checks them, before any child is trained.

  Raises:
    ValueError: naming the config field and the remedy.
    FileNotFoundError: if the data is not there, with how to get it.
  """
  sections.check_sections(config, 'seed', 'search', 'space', 'searcher')
  sections.check_sections(config, 'reward', 'evaluator')
  sections.check_counts('search', config['search'], 'num_proposals', 'batch')
  keys = make_keys(config['seed'])
  kind = sections.choose(config, 'space', kinds.SPACES)()
  name = config.get('expert') or ''
  expert = kind.expert(name) if name else None
  reward, mirror, cost = sections.choose(config, 'reward', REWARDS)(
    keys.reward, kind, name
  )
  evaluation = evaluations.make(config, kind)
  if cost in evaluation.unknown:
    raise sections.ConfigError(
      f'reward.measure is {cost}, which no score would have: set '
      f'evaluator.{cost}, or another reward.measure.'
    )
  batch = config['search']['batch']
  problem = search.Problem(
    make_searcher(config, kind.space, kind.steps),
    jax.vmap(kind.space.decode),
    graph.digest,
    kind.describe,
    evaluation.prepare,
    functools.partial(evaluation.evaluate, keys.children),
    evaluation.bar,
    reward,
    evaluation.settings,
    evaluation.fidelity,
    evaluation.population,
    evaluation.num_evaluations,
  )
  iterations = math.ceil(config['search']['num_proposals'] / batch)
  return Parts(
    kind, problem, evaluation, expert, mirror, keys.loop, iterations, batch
  )
