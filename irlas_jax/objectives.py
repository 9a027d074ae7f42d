"""What a search is for: rewards, and the mirror stimuli in them, by name."""

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax

from irlas_jax import kinds, sections
from irlas_jax.policies import sampling
from irlas_jax.rewards import (
  apprenticeship,
  compression,
  convex,
  features,
  mirror_stimuli,
  shaping,
  similarity,
)
from irlas_jax.types import Graph, Reward

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


def _n2n(
  key,
  kind: kinds.SpaceKind,
  expert: str,
  teacher_params: float = 0.0,
  teacher_accuracy: float = 0.0,
  **fields,
):
  del key, kind, expert
  reward = compression.n2n_reward(teacher_params, teacher_accuracy, **fields)
  return Mirrored(reward, None, 'params')


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
  'n2n': sections.Choice(
    _n2n,
    sections.keywords(
      compression.n2n_reward, 'teacher_params', 'teacher_accuracy'
    ),
  ),
}
