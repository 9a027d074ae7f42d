"""Full training of one network: of a genotype, or one that a config names."""

import functools
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from irlas_jax import (
  classifiers,
  devices,
  graph,
  kinds,
  language_models,
  sections,
)
from irlas_jax.evaluators import export, retrained
from irlas_jax.networks import irlas_mobile, mobilenet_v2, resnext
from irlas_jax.spaces import block, genotypes
from irlas_jax.training import data as datasets
from irlas_jax.training import recipe as recipes
from irlas_jax.training import stream
from irlas_jax.types import Graph


class Final(NamedTuple):
  """A network trained fully."""

  config: Mapping
  genotype: str | None  # None for a network that the config names
  result: retrained.Retrained


Stopped = retrained.Stopped

# Whole networks, which no genotype is needed for: (num_classes) -> module.
NETWORKS = {
  'irlas_mobile': sections.Choice(irlas_mobile.network, ()),
  'mobilenet_v2': sections.Choice(mobilenet_v2.network, ('multiplier',)),
  'resnext': sections.Choice(
    resnext.network, ('blocks', 'groups', 'group_width')
  ),
}
ANY_BLOCK: Mapping = {
  'name': 'block',
  'num_layers': block.MAX_LAYERS,
  'operations': 'separable',
}


def retrain(
  config: Mapping,
  genotype: str | None = None,
  *,
  workdir: str | os.PathLike | None = None,
  should_stop: Callable[[], bool] = lambda: False,
  together: bool = False,
  **more: Any,
) -> Final:
  """Trains one network fully by a config, and tests it once.

  Args:
    config: with `seed`, `dataset`, `data_dir`, `network`, `train`, and `data`
      or `stream`; `space` is that of the genotype, blocks without it.
    genotype: of the space; None where `network.name` is a whole network.
    workdir: where the training is kept, to go on after an interruption.
    should_stop: asked now and then; see `retrained.retrain`.
    together: whether all processes of the run call this. Otherwise the caller
      works alone, with as many of its devices as divide the batch.
    more: further keywords of `retrained.retrain`; none for language models,
      which one device trains.

  Raises:
    ValueError, FileNotFoundError: for a genotype or a config that is wrong.
    Stopped: if `should_stop` said so before the end.
  """
  check_network(config, genotype)
  if genotype is not None:
    genotype = canonical_genotype(genotype, config)
  if language_models.is_meant(config):
    kind = _kind(config)
    trained = language_models.retrain(
      config,
      kind,
      None if genotype is None else _canonical(kind, genotype),
      genotype,
      workdir=workdir,
      should_stop=should_stop,
    )
    return Final(config, genotype, trained)
  recipe = classifiers.make_recipe(config['train'])
  mesh = _mesh(recipe, together)
  dataset = _load(config)
  result = retrained.retrain(
    jax.random.key(config['seed']),
    _module(config, genotype, dataset),
    dataset,
    recipe,
    mesh=mesh,
    workdir=workdir,
    settings=_settings(config, genotype, dataset),
    should_stop=should_stop,
    **more,
  )
  return Final(config, genotype, result)


def check(config: Mapping) -> None:
  """Refuses a config by which no genotype can be trained, before work starts.

  Raises:
    ValueError, FileNotFoundError: as `retrain` would.
  """
  if language_models.is_meant(config):
    language_models.check(config)
    return
  check_network(config, 'any')
  dataset = _load(config)
  recipe = classifiers.make_recipe(config['train'])
  retrained.check(dataset, recipe)
  classifiers.make_macro(config['network'], retrained.image_of(dataset).shape)


def _mesh(recipe: recipes.Recipe, together: bool) -> jax.sharding.Mesh:
  """The devices that train; those of one CPU are the same cores anyway."""
  recipes.check_batch_size(recipe)
  cpu = jax.default_backend() == 'cpu' and jax.process_count() == 1
  if together and not cpu:
    recipes.check_split(recipe, devices.count())
    return devices.row()
  most = devices.most_dividing(recipe.batch_size, everywhere=False)
  return devices.row(most, everywhere=False)


def check_network(config: Mapping, genotype: object) -> None:
  """Refuses a genotype with a whole network, and neither of them.

  Raises:
    ConfigError: with the remedy.
  """
  if language_models.is_meant(config):
    language_models.check_network(config, genotype)
    return
  sections.check_sections(config, 'network', 'train')
  name = config['network'].get('name')
  if name is not None and name not in NETWORKS:
    raise sections.ConfigError(
      f'network.name is {name!r}: choose one of {", ".join(NETWORKS)}, or '
      'leave it out and give a genotype.'
    )
  if name is None and genotype is None:
    raise sections.ConfigError(
      'Nothing to train: give --genotype, or a config whose network.name is '
      f'one of {", ".join(NETWORKS)}.'
    )
  if name is not None and genotype is not None:
    raise sections.ConfigError(
      f'network.name is {name}, a whole network, and there is a genotype, too: '
      'leave --genotype out, or take another config.'
    )


def _load(config: Mapping) -> datasets.Dataset | stream.Stream:
  if 'stream' not in config:
    return classifiers.load_data(config)
  sections.check_sections(config, 'dataset', 'data_dir')
  if 'data' in config:
    raise sections.ConfigError(
      "The config has 'data' and 'stream': keep the one that is meant."
    )
  read = functools.partial(stream.load, config['dataset'], config['data_dir'])
  return sections.bind('stream', read, config['stream'])


def _module(config: Mapping, genotype: str | None, dataset) -> nn.Module:
  if genotype is None:
    return sections.choose(config, 'network', NETWORKS)(dataset.num_classes)
  kind = _kind(config)
  if kind.module is None:
    raise sections.ConfigError(
      f'Nothing trains the networks of space.name={config["space"]["name"]}.'
    )
  image_shape = retrained.image_of(dataset).shape
  macro = classifiers.make_macro(config['network'], image_shape)
  return kind.module(
    _canonical(kind, genotype),
    kind.space.operations,
    macro,
    dataset.num_classes,
  )


def _settings(config: Mapping, genotype: str | None, dataset) -> Mapping:
  """All that the result of a full training depends on."""
  names = ('seed', 'dataset', 'data', 'stream', 'network', 'train')
  used = {name: config[name] for name in names if name in config}
  if 'stream' in used:
    kept = {k: v for k, v in used['stream'].items() if k != 'threads'}
    return used | {'stream': kept, 'genotype': genotype}
  return used | {'genotype': genotype, 'images': datasets.digest(dataset)}


def check_export(config: Mapping) -> None:
  """Refuses a program that `write_network` cannot write.

  Raises:
    ValueError: with the remedy.
  """
  if language_models.is_meant(config):
    raise sections.ConfigError(
      'Language models are not written as programs: leave --export out.'
    )
  export.check()


def write_network(
  workdir: str | os.PathLike, final: Final, with_program: bool
) -> str:
  """Writes a trained network, see `export.write`; the text to print."""
  names = export.write(workdir, final.result, with_program)
  return f'Written to {workdir}: {", ".join(names)}'


def _kind(config: Mapping) -> kinds.SpaceKind:
  """The space that a training's genotype is of."""
  space = config.get('space') or ANY_BLOCK
  return sections.choose({'space': space}, 'space', kinds.SPACES)()


def _canonical(kind: kinds.SpaceKind, genotype: str) -> Graph:
  """The graph whose numbering weights are drawn in."""
  architecture = kind.parse(genotype)
  ordered = graph.canonical(architecture)
  try:
    kind.parse(kind.describe(ordered))
  except genotypes.GenotypeError:
    return architecture  # NAS-Bench-201, whose nodes have fixed places
  return ordered


def canonical_genotype(genotype: str, config: Mapping = {}) -> str:
  """The text that stands for what is isomorphic to a genotype.

  `config` has the genotype's `space`, blocks without it.
  """
  kind = _kind(config)
  return kind.describe(_canonical(kind, genotype))


def read_genotype(path: str | os.PathLike, config: Mapping = {}) -> str:
  """The genotype of a JSON file, checked by the config's space.

  Raises:
    genotypes.GenotypeError: naming the file, the place and the rule.
  """
  kind = _kind(config)
  text = genotypes.read(path)
  try:
    return kind.describe(kind.parse(text))
  except genotypes.GenotypeError as error:
    raise genotypes.GenotypeError(f'{path}: {error}') from error


def with_space_of(path: str | os.PathLike, config: Mapping) -> Mapping:
  """The config, with the space of a search's best.json if it names none."""
  genotypes.read(path)
  found = json.loads(pathlib.Path(path).read_text()).get('config')
  if 'space' in config or not isinstance(found, dict) or 'space' not in found:
    return config
  return {**config, 'space': found['space']}
