"""From a config to the parts: the only place where names become functions."""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from irlas_jax import (
  evaluations,
  graph,
  kinds,
  objectives,
  search,
  sections,
)
from irlas_jax.policies import (
  bilstm,
  free_logits,
  kernel_predictor,
  layer_lstm,
  lstm,
  lstm_anchors,
  lstm_predictor,
  mlp_predictor,
  stored,
)
from irlas_jax.searchers import (
  evolution,
  growing,
  local_search,
  ppo,
  q_learning,
  random_search,
  reinforce,
  screened,
  tree_search,
)
from irlas_jax.types import Graph, Policy, Searcher, Space

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
  'bilstm': sections.by_keywords(bilstm.bilstm),
  'layer_lstm': sections.by_keywords(layer_lstm.layer_lstm),
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
  file = ''  # of what a search by such a policy learnt
  if isinstance(section, Mapping):
    file = section.get('file', '')
    section = {k: v for k, v in section.items() if k != 'file'}
  named = {'searcher.policy': section}
  policy = sections.choose(named, 'searcher.policy', POLICIES)(space)
  return stored.starting_from(policy, file) if file else policy


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


# Of what sees the actions alone: (num_actions, **fields).
ACTION_PREDICTORS = {
  'lstm': sections.by_keywords(lstm_predictor.lstm_predictor),
  'mlp': sections.by_keywords(mlp_predictor.mlp_predictor),
}


def _tree_search(
  space: Space, predictor: Mapping = {'name': 'none'}, **fields
) -> Searcher:
  named = {'searcher.predictor': predictor}
  table = {'none': sections.Choice(lambda num_actions: None, ())}
  made = sections.choose(named, 'searcher.predictor', table | ACTION_PREDICTORS)
  return tree_search.tree_search(
    space, predictor=made(space.num_actions), **fields
  )


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
  'tree_search': sections.Choice(
    _tree_search, sections.keywords(tree_search.tree_search)
  ),
}


def _kernel_predictor(kind: kinds.SpaceKind, memory_size: int, **fields):
  """By what is seen of an architecture's graph, and its code beside it."""
  space = kind.space
  phi = objectives.make_features(kind, {})

  def featurise(actions):
    seen = phi.counts(kind.view(space.decode(actions)))
    code = jax.nn.one_hot(actions, space.num_actions).ravel()
    both = seen, code / math.sqrt(space.num_steps)
    return jnp.concatenate(both) / math.sqrt(2)

  return kernel_predictor.kernel_predictor(featurise, memory_size, **fields)


def _of_actions(choice: sections.Choice) -> sections.Choice:
  """Such a predictor for screening; its size depends on no memory's."""

  def make(kind: kinds.SpaceKind, memory_size: int, **fields):
    del memory_size
    return choice.make(kind.space.num_actions, **fields)

  return sections.Choice(make, choice.fields)


PREDICTORS = {
  'kernel': sections.Choice(
    _kernel_predictor, sections.keywords(kernel_predictor.kernel_predictor)
  ),
  **{name: _of_actions(choice) for name, choice in ACTION_PREDICTORS.items()},
}


def _screened(
  kind: kinds.SpaceKind,
  inner: Searcher,
  predictor: Mapping = {'name': 'kernel'},
  memory_size: int = 512,
  candidates: int = 20,
  random_share: float = 0.1,
  warm_up: int = 32,
  refit_every: int = 32,
) -> Searcher:
  named = {'screening.predictor': predictor}
  made = sections.choose(named, 'screening.predictor', PREDICTORS)
  return screened.screened(
    inner,
    made(kind, memory_size),
    kind.space.num_steps,
    memory_size,
    candidates=candidates,
    random_share=random_share,
    warm_up=warm_up,
    refit_every=refit_every,
  )


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
  mirror: objectives.Mirror | None
  key: jax.Array  # of the loop
  num_iterations: int
  batch: int


def make_searcher(config: Mapping, kind: kinds.SpaceKind) -> Searcher:
  """The searcher of a config, for architectures of this space.

  `config['searcher']` names it. With a section `growth` its architectures grow,
  with `screening` a predictor chooses among its proposals.

  Raises:
    ConfigError: for a field that is wrong.
  """
  make = sections.choose(config, 'searcher', SEARCHERS)
  if not config.get('growth'):
    inner = make(kind.space)
  else:
    layers_fn = sections.bind('growth', growing.staircase, config['growth'])
    inner = growing.growing(
      make, kind.space, lambda count: kind.steps(layers_fn(count))
    )
  if not config.get('screening'):
    return inner
  return sections.bind(
    'screening', functools.partial(_screened, kind, inner), config['screening']
  )


def build(
  config: Mapping,
  kind: kinds.SpaceKind | None = None,
  evaluation: evaluations.Evaluation | None = None,
) -> Parts:
  """Makes the parts of a search and checks them, before any child is trained.

  `kind` and `evaluation` may be those made before by a config that has the same
  `evaluations.SECTIONS`, whatever its seed: then nothing is compiled again.

  Raises:
    ValueError: naming the config field and the remedy.
    FileNotFoundError: if the data is not there, with how to get it.
  """
  sections.check_sections(config, 'seed', 'search', 'space', 'searcher')
  sections.check_sections(config, 'reward', 'evaluator')
  sections.check_counts('search', config['search'], 'num_proposals', 'batch')
  keys = make_keys(config['seed'])
  kind = kind or sections.choose(config, 'space', kinds.SPACES)()
  name = config.get('expert') or ''
  expert = kind.expert(name) if name else None
  reward, mirror, cost = sections.choose(config, 'reward', objectives.REWARDS)(
    keys.reward, kind, name
  )
  evaluation = evaluations.with_seed(
    evaluation or evaluations.make(config, kind), config['seed']
  )
  if cost in evaluation.unknown:
    raise sections.ConfigError(
      f'reward.measure is {cost}, which no score would have: set '
      f'evaluator.{cost}, or another reward.measure.'
    )
  batch = config['search']['batch']
  problem = search.Problem(
    make_searcher(config, kind),
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
