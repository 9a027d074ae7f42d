"""Trained networks that teach: those of full trainings, from their workdirs."""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from irlas_jax import classifiers, kinds, sections
from irlas_jax.evaluators import distilled, export
from irlas_jax.training import checkpoint
from irlas_jax.training import data as datasets

FINAL = 'final.json'


class Found(NamedTuple):
  """What a full training has left."""

  genotype: str
  config: Mapping  # of that training
  variables: Any  # of the plain Flax network


def exists(workdir: str | os.PathLike) -> bool:
  """Whether a full training ended there."""
  workdir = pathlib.Path(workdir)
  there = checkpoint.exists(workdir / export.CHECKPOINT)
  return there and (workdir / FINAL).is_file()


def read(workdir: str | os.PathLike, config: Mapping) -> Found:
  """The network of a full training on the data of this config.

  Raises:
    FileNotFoundError: if there is none.
    ConfigError: if it has no genotype, or was trained on other data.
  """
  workdir = pathlib.Path(workdir)
  if not exists(workdir):
    raise FileNotFoundError(
      f'{workdir} has no trained teacher: a full training (launch.train) '
      f'leaves {FINAL} and {export.CHECKPOINT} there.'
    )
  content = json.loads((workdir / FINAL).read_text())
  found, genotype = content['config'], content['genotype']
  if genotype is None or 'space' not in found:
    raise sections.ConfigError(
      f'{workdir} has a network without a genotype and its space, which cannot '
      'teach: train one with --genotype.'
    )
  for name in ('dataset', 'data'):
    if found.get(name) != json.loads(json.dumps(config[name])):
      raise sections.ConfigError(
        f'{workdir} has a teacher that was trained with {name} '
        f'{found.get(name)}, and this config has {config[name]}: the teacher '
        'has to see images as its students do.'
      )
  variables = checkpoint.load(workdir / export.CHECKPOINT)
  return Found(genotype, found, variables)


def load(
  workdir: str | os.PathLike, config: Mapping, dataset: datasets.Dataset
) -> distilled.Teacher:
  """A trained network as a teacher, by the padded program of its space.

  Raises:
    As `read`; ConfigError if its space has no such program.
  """
  found = read(workdir, config)
  kind = sections.choose(found.config, 'space', kinds.SPACES)()
  if kind.network is None:
    raise sections.ConfigError(
      f'{workdir} has a teacher of space.name={found.config["space"]["name"]}, '
      'whose networks are not trained.'
    )
  shape = dataset.train.images.shape[1:]
  macro = classifiers.make_macro(found.config['network'], shape)
  network = kind.network(
    kind.space.operations, macro, dataset.num_classes, shape[-1]
  )
  graph = kind.parse(found.genotype)
  variables = network.from_flax(found.variables, graph)

  def logits(variables, images):
    return network.apply(variables, graph, images, False)[0]

  return distilled.Teacher(logits, jax.tree.map(np.asarray, variables))


def digest(teacher: distilled.Teacher) -> str:
  """Names a teacher's weights: 32 hexadecimal digits."""
  found = hashlib.sha256()
  for leaf in jax.tree.leaves(teacher.variables):
    found.update(np.ascontiguousarray(leaf).data)
  return found.hexdigest()[:32]
