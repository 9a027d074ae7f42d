"""From a config to what trains classifiers of images: data, sizes, recipe."""

import functools
from collections.abc import Mapping
from typing import Any

from irlas_jax import sections
from irlas_jax.networks import block as block_networks
from irlas_jax.training import data as datasets
from irlas_jax.training import recipe as recipes


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
