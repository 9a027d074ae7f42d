"""From a config to an evaluator: where scores come from."""

import functools
import hashlib
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax import devices, kinds, sections
from irlas_jax.evaluators import table as table_evaluator
from irlas_jax.evaluators import trained
from irlas_jax.networks import block as block_networks
from irlas_jax.policies import sampling
from irlas_jax.spaces import fingerprint, nasbench101
from irlas_jax.tables import load
from irlas_jax.tables import table as tables
from irlas_jax.training import data as datasets
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import Evaluator, Graph


class Evaluation(NamedTuple):
  """An evaluator and what the search has to know of it."""

  prepare: Callable  # (), before the first evaluation
  evaluate: Evaluator  # at most `population` proposals a call
  settings: Any  # JSON of all that a score depends on besides the architecture
  fidelity: Any  # JSON, how far a child is trained
  population: int
  num_evaluations: int  # E, length of a learning curve
  rows: table_evaluator.Tabulated | None = None  # if scores are in a table
  table: tables.Table | None = None  # which one


def _trained(
  config: Mapping, kind: kinds.SpaceKind, population: int = 0
) -> Evaluation:
  sections.check_sections(config, 'network', 'train')
  return trained_on(load_data(config), config, kind, population)


def trained_on(
  dataset: datasets.Dataset,
  config: Mapping,
  kind: kinds.SpaceKind,
  population: int = 0,
) -> Evaluation:
  """The evaluator that trains children on these images.

  Raises:
    ValueError: for a field that is wrong, or a space without such networks.
  """
  if kind.network is None or kind.cost is None:
    raise sections.ConfigError(
      f"evaluator.name is 'trained', and nothing trains the networks of "
      f'space.name={config["space"]["name"]}: choose table.'
    )
  image_shape = dataset.train.images.shape[1:]
  macro = make_macro(config['network'], image_shape)
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
  population = population or devices.count()
  recipe = make_recipe(config['train'])
  prepare, evaluate = trained.trained(
    kind.space, network, cost, loop.on_device(dataset), recipe, population
  )
  return Evaluation(
    prepare,
    evaluate,
    score_settings(config, dataset),
    {'epochs': recipe.epochs},
    population,
    recipe.evaluations,
  )


def _table(
  config: Mapping,
  kind: kinds.SpaceKind,
  file: str,
  accuracy: str,
  dataset: str = 'cifar10',
  **columns,
) -> Evaluation:
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
    {'table': hashlib.sha256(path.read_bytes()).hexdigest(), **columns},
    {'column': accuracy},
    population,
    1,
    rows,
    found,
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
  'trained': sections.Choice(_trained, ('population',)),
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


def make(config: Mapping, kind: kinds.SpaceKind) -> Evaluation:
  """The evaluator that `config['evaluator']` names.

  Raises:
    ValueError: for a field that is wrong, or data that does not fit.
    FileNotFoundError: if the data is not there, with how to get it.
  """
  return sections.choose(config, 'evaluator', EVALUATORS)(config, kind)


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
  read = functools.partial(
    datasets.load, config['dataset'], config['data_dir'], seed=0
  )
  return sections.bind('data', read, config['data'])


def score_settings(
  config: Mapping, dataset: datasets.Dataset
) -> dict[str, Any]:
  """All that a child's score depends on besides its graph."""
  names = ('space', 'data', 'network', 'train', 'seed')
  settings = {name: config[name] for name in names}
  return settings | {'images': datasets.digest(dataset)}
