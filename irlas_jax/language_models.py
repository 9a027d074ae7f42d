"""From a config to language models: their text, their networks, one trained.

A config with a section `text` is of a language model.
"""

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import jax

from irlas_jax import kinds, sections
from irlas_jax.evaluators import retrained, retrained_language
from irlas_jax.networks import language_model as networks
from irlas_jax.networks import nas_rl_recurrent
from irlas_jax.training import language
from irlas_jax.training import text as texts
from irlas_jax.types import Graph

# Language models that no genotype is needed for: the layer of each.
LAYERS = {'lstm': networks.lstm}


def is_meant(config: Mapping) -> bool:
  """Whether a config is of a language model."""
  return 'text' in config


def load_text(config: Mapping) -> texts.Text:
  """The text of a config: `dataset`, `data_dir` and the `text` section.

  Raises:
    ValueError: for a field that is wrong, or a file without words.
    FileNotFoundError: if the text is not there, with what to do.
  """
  sections.check_sections(config, 'dataset', 'data_dir', 'text')
  read = functools.partial(texts.load, config['dataset'], config['data_dir'])
  return sections.bind('text', read, config['text'])


def make_sizes(section: Mapping) -> networks.Sizes:
  """The sizes of a `network` section, whose `name` is another's.

  Raises:
    ValueError: for a field that is wrong.
  """
  fields = {name: value for name, value in section.items() if name != 'name'}
  sizes = sections.bind('network', networks.Sizes, fields)
  networks.check(sizes)
  return sizes


def make_recipe(section: Mapping, text: texts.Text) -> language.Recipe:
  """The recipe of a `train` section, checked against the text.

  Raises:
    ValueError: for a field that is wrong.
  """
  recipe = sections.bind('train', language.Recipe, section)
  language.check(recipe, len(text.train))
  return recipe


def score_settings(config: Mapping, text: texts.Text) -> dict[str, Any]:
  """All that a child's score depends on besides its graph."""
  names = ('space', 'text', 'network', 'train', 'seed')
  settings = {name: config[name] for name in names}
  return settings | {'tokens': texts.digest(text)}


def networks_of(
  config: Mapping, kind: kinds.SpaceKind
) -> nas_rl_recurrent.Networks:
  """The language models of a space.

  Raises:
    ConfigError: if its architectures are no recurrent cells.
  """
  if kind.language is None:
    raise sections.ConfigError(
      f'space.name is {config["space"]["name"]!r}, whose architectures are no '
      'recurrent cells: a language model takes nas_rl_recurrent.'
    )
  return kind.language


def check_network(config: Mapping, genotype: object) -> None:
  """Refuses a genotype with a named layer, and neither of them.

  Raises:
    ConfigError: with the remedy.
  """
  sections.check_sections(config, 'network', 'train')
  name = config['network'].get('name')
  known = ', '.join(LAYERS)
  if name is not None and name not in LAYERS:
    raise sections.ConfigError(
      f'network.name is {name!r}: of language models choose one of {known}, '
      'or leave it out and give a genotype.'
    )
  if name is None and genotype is None:
    raise sections.ConfigError(
      'Nothing to train: give --genotype, or a config whose network.name is '
      f'one of {known}.'
    )
  if name is not None and genotype is not None:
    raise sections.ConfigError(
      f'network.name is {name}, and there is a genotype, too: leave '
      '--genotype out, or take another config.'
    )


def check(config: Mapping) -> None:
  """Refuses a config by which no genotype can be trained, before work starts.

  Raises:
    ValueError, FileNotFoundError: as `retrain` would.
  """
  check_network(config, 'any')
  make_sizes(config['network'])
  make_recipe(config['train'], load_text(config))


def retrain(
  config: Mapping,
  kind: kinds.SpaceKind,
  graph: Graph | None,
  genotype: str | None,
  *,
  workdir: str | os.PathLike | None = None,
  should_stop: Callable[[], bool] = lambda: False,
) -> retrained.Retrained:
  """Trains one language model fully by a config, and tests it once.

  Args:
    config: with `seed`, `dataset`, `data_dir`, `text`, `network`, `train`.
    kind: the space of the graph.
    graph: the cell; None where `network.name` is a layer.
    genotype: its text, for the settings that are kept.
    workdir: where the training is kept, to go on after an interruption.
    should_stop: asked at every evaluation.

  Raises:
    ValueError, FileNotFoundError: for a config that is wrong.
    retrained.Stopped: if `should_stop` said so before the end.
  """
  text = load_text(config)
  sizes, num_words = make_sizes(config['network']), len(text.words)
  if graph is None:
    layer = LAYERS[config['network']['name']]
    module = networks.LanguageModel(layer, sizes, num_words)
  else:
    plain = networks_of(config, kind).plain
    module = plain(graph, sizes, num_words)
  names = ('seed', 'dataset', 'text', 'network', 'train')
  settings = {name: config[name] for name in names}
  return retrained_language.retrain(
    jax.random.key(config['seed']),
    module,
    text,
    make_recipe(config['train'], text),
    workdir=workdir,
    settings=settings | {'genotype': genotype, 'tokens': texts.digest(text)},
    should_stop=should_stop,
  )
