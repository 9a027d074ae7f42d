"""From a config to an evaluator: where scores come from."""

import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax import (
  classifiers,
  devices,
  hypernetworks,
  kinds,
  language_models,
  sections,
  teachers,
)
from irlas_jax.evaluators import (
  child_latency,
  distilled,
  language_model,
  latency,
  trained,
)
from irlas_jax.evaluators import halving as halvings
from irlas_jax.evaluators import table as table_evaluator
from irlas_jax.policies import sampling
from irlas_jax.spaces import fingerprint, nasbench101
from irlas_jax.tables import load
from irlas_jax.tables import table as tables
from irlas_jax.training import data as datasets
from irlas_jax.training import distillation, language, loop
from irlas_jax.types import Evaluator, Graph, Space


class Evaluation(NamedTuple):
  """An evaluator and what the search has to know of it."""

  prepare: Callable  # (), before the first evaluation
  evaluate: Evaluator  # at most `population` proposals a call
  bar: Callable  # earlier curves [m, E] -> [E] least accuracy to go on
  settings: Any  # JSON of all that a score depends on besides the architecture
  fidelity: Any  # JSON, how far a child is trained
  population: int
  num_evaluations: int  # E, length of a learning curve
  rows: table_evaluator.Tabulated | None = None  # if scores are in a table
  table: tables.Table | None = None  # which one
  unknown: tuple[str, ...] = ()  # costs, fields of Scores, that stay NaN


NO_LATENCY: Mapping = {'name': 'none'}
LATENCIES = {
  'none': sections.Choice(child_latency.none, ()),
  'predicted': sections.Choice(
    child_latency.predicted, ('file', 'batch', 'calls')
  ),
  'measured': sections.Choice(child_latency.measured, ('batch', 'calls')),
}


def _trained(
  config: Mapping,
  kind: kinds.SpaceKind,
  latency: Mapping = NO_LATENCY,
  split: str = 'valid',
  **fields,
) -> Evaluation:
  sections.check_sections(config, 'network', 'train')
  dataset = classifiers.load_data(config)
  dataset = dataset._replace(valid=getattr(dataset, split))
  return trained_on(dataset, config, kind, latency_section=latency, **fields)


def _distilled(
  config: Mapping,
  kind: kinds.SpaceKind,
  teacher: str,
  latency: Mapping = NO_LATENCY,
  split: str = 'valid',
  **fields,
) -> Evaluation:
  sections.check_sections(config, 'network', 'train')
  dataset = classifiers.load_data(config)
  found = teachers.load(teacher, config, dataset)
  dataset = dataset._replace(valid=getattr(dataset, split))
  given = {
    name: fields.pop(name)
    for name in distillation.Weights._fields
    if name in fields
  }
  weights = distillation.Weights(**given)
  evaluation = trained_on(
    dataset,
    config,
    kind,
    latency_section=latency,
    train=functools.partial(
      distilled.distilled, teacher=found, weights=weights
    ),
    **fields,
  )
  settings = {'teacher': teachers.digest(found), 'loss': weights._asdict()}
  return evaluation._replace(settings=evaluation.settings | settings)


def trained_on(
  dataset: datasets.Dataset,
  config: Mapping,
  kind: kinds.SpaceKind,
  population: int = 0,
  slots: int = 0,
  halving: float = 0.0,
  latency_section: Mapping = NO_LATENCY,
  train: Callable | None = None,
) -> Evaluation:
  """The evaluator that trains children on these images.

  A device trains `slots` of the `population` children of a call at once (0:
  what suits the device), and after `halving` was asked for, one in so many goes
  on after some of its evaluations, see `evaluators.halving`.
  `latency_section` says where their latencies come from. `train` has the
  arguments of `trained.trained`, which it is by default.

  Raises:
    ValueError: for a field that is wrong, or a space without such networks.
  """
  if kind.network is None or kind.cost is None:
    raise sections.ConfigError(
      f"evaluator.name is 'trained', and nothing trains the networks of "
      f'space.name={config["space"]["name"]}: choose another one, such as '
      'table.'
    )
  image_shape = dataset.train.images.shape[1:]
  macro = classifiers.make_macro(config['network'], image_shape)
  network = kind.network(
    kind.space.operations, macro, dataset.num_classes, image_shape[-1]
  )
  cost = functools.partial(
    kind.cost,
    operations=kind.space.operations,
    macro=macro,
    image_shape=image_shape,
    num_classes=dataset.num_classes,
  )
  population, slots = _sizes(population, slots, config['search']['batch'])
  recipe = classifiers.make_recipe(config['train'])
  halvings.check(halving, recipe.evaluations)
  data = loop.on_device(dataset)
  prepare, evaluate = (train or trained.trained)(
    kind.space, network, cost, data, recipe, population, slots
  )
  clock = sections.choose(
    {'evaluator.latency': latency_section}, 'evaluator.latency', LATENCIES
  )(_children(kind, macro, dataset.num_classes, image_shape))
  if clock.seconds is not None:
    evaluate = latency.with_latency(evaluate, kind.space, clock.seconds)
  return Evaluation(
    prepare,
    evaluate,
    functools.partial(halvings.bar, eta=halving),
    classifiers.score_settings(config, dataset) | clock.settings,
    {'epochs': recipe.epochs} | ({'halving': halving} if halving else {}),
    population,
    recipe.evaluations,
    unknown=() if clock.seconds else ('latency',),
  )


def _language_model(
  config: Mapping,
  kind: kinds.SpaceKind,
  population: int = 0,
  slots: int = 0,
  halving: float = 0.0,
  split: str = 'valid',
) -> Evaluation:
  sections.check_sections(config, 'text', 'network', 'train')
  cells = language_models.networks_of(config, kind)
  text = language_models.load_text(config)
  text = text._replace(valid=getattr(text, split))
  sizes = language_models.make_sizes(config['network'])
  recipe = language_models.make_recipe(config['train'], text)
  halvings.check(halving, recipe.evaluations)
  population, slots = _sizes(population, slots, config['search']['batch'])
  num_words = len(text.words)
  prepare, evaluate = language_model.language_model(
    kind.space,
    cells.padded(sizes, num_words),
    sizes,
    functools.partial(cells.cost, sizes=sizes, num_words=num_words),
    language.on_device(text, recipe),
    recipe,
    population,
    slots,
  )
  return Evaluation(
    prepare,
    evaluate,
    functools.partial(halvings.bar, eta=halving),
    language_models.score_settings(config, text),
    {'epochs': recipe.epochs} | ({'halving': halving} if halving else {}),
    population,
    recipe.evaluations,
    unknown=('latency',),
  )


MOST_SLOTS = 64  # children that an accelerator is asked to train at once


def _sizes(population: int, slots: int, batch: int) -> tuple[int, int]:
  """Children a call and a device's slots; 0 is chosen by the kind of device.

  On a CPU one child after another is fastest, and every child that is finished
  is durable at once; an accelerator is filled with a search's batch, as far as
  its memory suffices.
  """
  count = devices.count()
  share = 1 if jax.default_backend() == 'cpu' else -(-batch // count)
  population = population or share * count
  return population, slots or max(
    1, min(share, MOST_SLOTS, population // count)
  )


def _children(
  kind: kinds.SpaceKind, macro, num_classes: int, image_shape
) -> child_latency.Children:
  """The networks of a space's architectures, by what they compute."""
  view, space = jax.jit(kind.view), kind.space

  def module(graph: Graph):
    seen = jax.device_get(view(graph))
    assert kind.module is not None  # it has a padded program
    return kind.module(seen, space.operations, macro, num_classes)

  return child_latency.Children(
    module,
    image_shape,
    lambda: _decoded(space, sampling.covering_actions(space)),
    lambda: _decoded(
      space, sampling.uniform_lengths(jax.random.key(0), space, SAMPLE)
    ),
  )


SAMPLE = 8  # architectures that predicted latencies are compared at


def _decoded(space: Space, actions) -> list[Graph]:
  decoded = jax.device_get(jax.jit(jax.vmap(space.decode))(actions))
  return [Graph(*(field[i] for field in decoded)) for i in range(len(actions))]


def _ghn(
  config: Mapping, kind: kinds.SpaceKind, split: str = 'valid', **fields
) -> Evaluation:
  made = hypernetworks.make(config, kind, split=split, **fields)
  return Evaluation(
    made.trained.prepare,
    made.trained.evaluate,
    functools.partial(halvings.bar, eta=0),
    made.settings,
    {'epochs': 0},
    made.population,
    1,
    unknown=('latency',),
  )


def _table(
  config: Mapping,
  kind: kinds.SpaceKind,
  file: str,
  accuracy: str,
  dataset: str = 'cifar10',
  split: str = 'valid',
  **columns,
) -> Evaluation:
  if split != 'valid':
    raise sections.ConfigError(
      "evaluator.name is 'table', which trains nothing that could be scored on "
      'other images: choose trained, or compare columns by config.arms.'
    )
  path = find_table(file, config.get('data_dir'))
  found = load.load(path, dataset)
  locate, graphs = _cells(kind, found, path)
  values = {
    name: tables.metric(found, column).values
    for name, column in columns.items()
    if column
  }
  scores = table_evaluator.scores(
    tables.metric(found, accuracy).values, **values
  )
  population = config['search']['batch']
  rows = table_evaluator.tabulated(locate, scores, graphs, population)
  columns |= {'accuracy': accuracy, 'dataset': dataset}
  return Evaluation(
    lambda: None,
    rows.evaluate,
    functools.partial(halvings.bar, eta=0),
    {'table': hashlib.sha256(path.read_bytes()).hexdigest(), **columns},
    {'column': accuracy},
    population,
    1,
    rows,
    found,
    tuple({'params', 'madds', 'latency'} - set(values)),
  )


def find_table(file: str, data_dir: str | None) -> pathlib.Path:
  """A table's path; a relative one is looked for in `data_dir` first.

  `data_dir` is the environment variable IRLAS_DATA_DIR by default.
  """
  folder = data_dir or os.environ.get('IRLAS_DATA_DIR') or ''
  inside = pathlib.Path(folder).expanduser() / file
  return inside if inside.is_file() else pathlib.Path(file).expanduser()


def _cells(
  kind: kinds.SpaceKind, table: tables.Table, path
) -> tuple[Callable, Graph]:
  """How a table's rows are found from actions, and their graphs [N]."""
  space, cells = kind.space, table.cells
  if isinstance(cells, tables.GraphCells):
    if space.operations != nasbench101.OPERATIONS:
      raise sections.ConfigError(
        f'{path} is a table of NAS-Bench-101 cells: set space.name=nasbench101.'
      )
    graphs = nasbench101.from_matrices(cells.adjacency, cells.operations)
    index = fingerprint.build_index(graphs)
    return lambda actions: fingerprint.find(
      index, space.decode(actions)
    ), graphs
  nothing = jnp.zeros(space.num_steps, jnp.int32)
  sizes = sampling.legal_masks(space, nothing).sum(1).tolist()
  if space.terminal or sizes != list(cells.sizes):
    raise sections.ConfigError(
      f'{path} is a table of {list(cells.sizes)} choices, one number a step: '
      f'set space.name=choices and space.sizes={tuple(cells.sizes)}.'
    )
  locate = table_evaluator.locate_choices(cells.choices, cells.sizes)
  decode = jax.jit(jax.vmap(space.decode))
  return locate, jax.device_get(decode(cells.choices))


EVALUATORS = {
  'trained': sections.Choice(
    _trained, ('population', 'slots', 'halving', 'latency')
  ),
  'distilled': sections.Choice(
    _distilled,
    (
      'teacher',
      *('population', 'slots', 'halving', 'latency'),
      *distillation.Weights._fields,
    ),
  ),
  'language_model': sections.Choice(
    _language_model, ('population', 'slots', 'halving')
  ),
  'ghn': sections.Choice(_ghn, hypernetworks.FIELDS),
  'table': sections.Choice(
    _table,
    (
      'file',
      'accuracy',
      'dataset',
      *sections.keywords(table_evaluator.scores),
    ),
  ),
}


# What a config says of children; a seed, a reward, a searcher are none of it.
SECTIONS = (
  *('space', 'dataset', 'data_dir', 'data', 'text', 'network', 'train'),
  'evaluator',
)


def make(
  config: Mapping, kind: kinds.SpaceKind, split: str = 'valid'
) -> Evaluation:
  """The evaluator that `config['evaluator']` names.

  With `split` 'test' it scores on test data: for a last report, not a search.

  Raises:
    ValueError: for a field that is wrong, or data that does not fit.
    FileNotFoundError: if the data is not there, with how to get it.
  """
  choice = sections.choose(config, 'evaluator', EVALUATORS)
  more = {} if split == 'valid' else {'split': split}
  return choice(config, kind, **more)


def with_seed(evaluation: Evaluation, seed: int) -> Evaluation:
  """The evaluation for a run of another seed, in what scores depend on."""
  settings = evaluation.settings
  if 'seed' not in settings:  # a table's scores depend on none
    return evaluation
  return evaluation._replace(settings=settings | {'seed': seed})
