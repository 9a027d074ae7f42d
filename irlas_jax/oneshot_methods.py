"""From a config to a one-shot method, and what is to be said of its result."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import (
  classifiers,
  evaluations,
  full_training,
  kinds,
  objectives,
  sections,
)
from irlas_jax.networks import nasbench201_cost
from irlas_jax.oneshot import (
  irlas_differential,
  maskconnect,
  masks,
  mixed_network,
  modular_network,
  steps,
  topology_score,
)
from irlas_jax.spaces import nasbench201
from irlas_jax.tables import load
from irlas_jax.tables import table as tables
from irlas_jax.training import data as datasets
from irlas_jax.training import loop


class OneShot(NamedTuple):
  """A method with its data and hyper-parameters; nothing has run yet."""

  num_epochs: int
  init: Callable  # (key) -> state
  epoch: Callable  # (key, state, index) -> (state, {name: []})
  finish: Callable  # (state, workdir or None) -> genotype, {name: float}


@functools.lru_cache(maxsize=16)
def _program(make: Callable, *arguments) -> steps.Method:
  """A method, jitted; one for all seeds and arms of a process."""
  return steps.Method(*map(jax.jit, make(*arguments)))


def _scored(program: steps.Method, data: loop.Data, state, name: str) -> dict:
  """Accuracy and loss on what stands in the place of validation images."""
  accuracy, loss = program.score(data, state)
  return {f'{name}_accuracy': float(accuracy), f'{name}_loss': float(loss)}


def _test_data(data: loop.Data, dataset: datasets.Dataset) -> loop.Data:
  images, labels = map(jnp.asarray, dataset.test)
  return data._replace(valid=loop.Arrays(images, labels))


# Masks that are not learnt: (key, modules, fan_in) -> [M, M].
CONNECTIONS = {
  'chain': lambda key, count, fan_in: masks.nearest(count, 1),
  'all': lambda key, count, fan_in: masks.nearest(count, count),
  'nearest': lambda key, count, fan_in: masks.nearest(count, fan_in),
  'random': masks.random,
}
LEARNT = 'learnt'


def _maskconnect(
  config: Mapping,
  dataset: datasets.Dataset,
  *,
  fan_in: int,
  connections: str = LEARNT,
  search_epochs: int,
  mask_learning_rate: float = 0.1,
) -> OneShot:
  if connections not in (LEARNT, *CONNECTIONS):
    raise sections.ConfigError(
      f'oneshot.connections is {connections!r}: choose one of '
      f'{", ".join((LEARNT, *CONNECTIONS))}.'
    )
  recipe = classifiers.make_recipe(config['train'])
  if not 1 <= search_epochs <= recipe.epochs:
    raise sections.ConfigError(
      f'oneshot.search_epochs is {search_epochs}: at least 1, and no more than '
      f'train.epochs, {recipe.epochs}.'
    )
  if not mask_learning_rate > 0:
    raise sections.ConfigError(
      f'oneshot.mask_learning_rate is {mask_learning_rate}: above 0.'
    )
  plan = sections.bind('network', modular_network.Plan, config['network'])
  plan = plan._replace(modules=tuple(plan.modules))
  image_shape = dataset.train.images.shape[1:]
  sizes = maskconnect.Sizes(
    plan, dataset.num_classes, image_shape, len(dataset.train.labels)
  )
  program = _program(
    maskconnect.maskconnect, sizes, recipe, fan_in, mask_learning_rate
  )
  data = loop.on_device(dataset)

  def init(key):
    key_masks, key_init = jax.random.split(key)
    if connections == LEARNT:
      return program.init(key_init)
    draw = CONNECTIONS[connections]
    return program.init(key_init, draw(key_masks, sum(plan.modules), fan_in))

  def epoch(key, state, index):
    searching = connections == LEARNT and index < search_epochs
    return program.epoch(key, data, state, searching)

  def finish(state, workdir):
    del workdir
    found = np.asarray(state.masks)
    return masks.text_of(found), {
      **_scored(program, _test_data(data, dataset), state, 'test'),
      **_scored(program, data, state, 'valid'),
      **_saving(sizes, found),
    }

  return OneShot(recipe.epochs, init, epoch, finish)


def _saving(sizes: maskconnect.Sizes, found: np.ndarray) -> dict[str, float]:
  """What is saved where modules that nobody reads are not there."""
  arguments = sizes.plan, sizes.num_classes, found
  with_unread, without = (
    modular_network.parameters(
      modular_network.connected(*arguments, unread=unread), sizes.image_shape
    )
    for unread in (True, False)
  )
  kept = masks.needed(found)
  return {
    'parameters': float(without),
    'parameters_with_unread': float(with_unread),
    'saving': 1 - without / with_unread,
    'modules': float(kept.sum()),
    'connections': float(found[kept].sum()),
  }


def _irlas_differential(
  config: Mapping,
  dataset: datasets.Dataset,
  *,
  order: str = 'first',
  learning_rate: float = 3e-4,
  weight_decay: float = 1e-3,
  with_none: bool = False,
  searched: bool = True,
) -> OneShot:
  _check_space(config)
  recipe = classifiers.make_recipe(config['train'])
  image_shape = dataset.train.images.shape[1:]
  sizes = irlas_differential.Sizes(
    nasbench201.EDGE_OPERATIONS,
    classifiers.make_macro(config['network'], image_shape),
    dataset.num_classes,
    image_shape,
    len(dataset.train.labels),
    len(dataset.valid.labels),
  )
  program = _program(
    irlas_differential.irlas_differential,
    *(sizes, recipe, order, learning_rate, weight_decay, with_none),
  )
  if config.get('retrain'):
    full_training.check({**config, **config['retrain']})
  table = _table(config)
  weight, scores = _topology(config, sizes.operations)
  data = loop.on_device(dataset)

  def epoch(key, state, index):
    del index
    return program.epoch(key, data, state, jnp.float32(weight), scores)

  def finish(state, workdir):
    seen = state.alpha, sizes.operations, with_none
    cell = irlas_differential.derived(*seen)
    graph = nasbench201.nasbench201().decode(cell)
    genotype = nasbench201.text_of(graph)
    found = irlas_differential.summary(*seen)
    own = {**config, **(config.get('retrain') or {})}
    macro = classifiers.make_macro(own['network'], image_shape)
    count = nasbench201_cost.cost(
      graph, nasbench201.OPERATIONS, macro, image_shape, dataset.num_classes
    ).params
    return genotype, {
      **_scored(program, data, state, 'valid'),
      **{name: float(value) for name, value in found.items()},
      'collapsed': float(found['convolutions'] == 0),
      'topology': float(topology_score.of_cell(scores, cell)),
      'parameters': float(count),
      'test_accuracy': math.nan,  # unless it is looked up or trained
      **table(genotype),
      **_retrained(config, genotype, workdir),
    }

  epochs = recipe.epochs if searched else 0  # alpha is random at the start
  return OneShot(epochs, program.init, epoch, finish)


def _check_space(config: Mapping) -> None:
  """Refuses other spaces, which have no mixed cell."""
  name = (config.get('space') or {}).get('name')
  if name != 'nasbench201':
    raise sections.ConfigError(
      f'space.name is {name!r}: irlas_differential mixes the operations of '
      'nasbench201.'
    )


_MIRROR = 1  # folded into the run's key for the mirror's rollouts
# Of the rewards, those that a gradient can follow.
_REWARDS = {name: objectives.REWARDS[name] for name in ('irlas', 'accuracy')}


def _topology(config: Mapping, operations: tuple[str, ...]):
  """Lambda, and F_topo as a sum over edges, of a config's `reward`.

  The cell's graph is seen as it is, with its `none`s: what a search over
  networks sees, without what does not reach the output, is no sum over edges.
  """
  sections.check_sections(config, 'reward')
  chosen = sections.choose(config, 'reward', _REWARDS)
  size = len(mixed_network.EDGES), len(operations)
  section = config['reward']
  weight = {**section, **section.get('irlas', {})}.get('mirror', 0.0)
  if section['name'] == 'accuracy':
    weight = 0.0
  if not weight >= 0:
    raise sections.ConfigError(f'reward.mirror is {weight}: 0 or more.')
  if not weight:
    return 0.0, topology_score.nothing(*size)
  kind = kinds.SPACES['nasbench201'].make()._replace(view=lambda graph: graph)
  key = jax.random.fold_in(jax.random.key(config['seed']), _MIRROR)
  mirror = chosen(key, kind, config.get('expert', '')).mirror
  return weight, topology_score.edge_scores(
    mirror.features, mirror.fitted, kind.space.decode, *size
  )


def _table(config: Mapping) -> Callable:
  """(genotype) -> {name: float}, what a benchmark's table has for a cell."""
  section = config.get('table') or {}
  if not section.get('file'):
    return lambda genotype: {}
  read = functools.partial(_lookup, config.get('data_dir'))
  return sections.bind('table', read, section)


def _lookup(
  data_dir: str | None,
  file: str,
  valid: str,
  test: str,
  dataset: str = 'cifar10',
) -> Callable:
  path = evaluations.find_table(file, data_dir)
  found = load.load(path, dataset)
  columns = {'valid': valid, 'test': test}
  values = {k: tables.metric(found, name).values for k, name in columns.items()}
  if not isinstance(found.cells, tables.ChoiceCells):
    raise sections.ConfigError(f'{path} is no table of NAS-Bench-201 cells.')
  choices = found.cells.choices

  def lookup(genotype):
    cell = nasbench201.nasbench201().encode(nasbench201.parse(genotype))
    (row,) = np.flatnonzero((choices == np.asarray(cell)).all(1))
    return {
      f'table_{name}_accuracy': float(value[row])
      for name, value in values.items()
    } | {'test_accuracy': float(values['test'][row])}

  return lookup


def _retrained(config: Mapping, genotype: str, workdir) -> dict[str, float]:
  """The derived cell's full training, if the config has `retrain`."""
  if not config.get('retrain'):
    return {}
  own = {**config, **config['retrain']}
  result = full_training.retrain(own, genotype, workdir=workdir).result
  return {
    'test_accuracy': result.test_accuracy,
    'test_loss': result.test_loss,
    'parameters': float(result.params),
    'madds': float(result.madds),
  }


METHODS = {
  'maskconnect': sections.by_keywords(_maskconnect),
  'irlas_differential': sections.by_keywords(_irlas_differential),
}


def make(config: Mapping[str, Any]) -> OneShot:
  """The method that `config['oneshot']` names, with its data.

  Raises:
    ValueError: for a field that is wrong, or data that does not fit.
    FileNotFoundError: if data or table are not there.
  """
  sections.check_sections(config, 'seed', 'oneshot', 'network', 'train')
  choice = sections.choose(config, 'oneshot', METHODS)
  return choice(config, classifiers.load_data(config))
