"""What a compression is asked to do: its config, its teacher, and checks."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from irlas_jax import (
  classifiers,
  evaluations,
  experiment,
  full_training,
  kinds,
  objectives,
  sections,
  teachers,
)
from irlas_jax.evaluators import distilled, retrained
from irlas_jax.spaces import genotypes, layer_table, n2n
from irlas_jax.training import distillation
from irlas_jax.training import recipe as recipes

_SHARED = ('seed', 'dataset', 'data_dir', 'data', 'network', 'train', 'reward')


class Origin(NamedTuple):
  """The teacher that was asked for."""

  text: str  # its layers
  workdir: pathlib.Path | None  # of its training, if it is trained


class Reference(NamedTuple):
  """The trained teacher, which students are measured by."""

  text: str
  workdir: pathlib.Path
  params: float
  accuracy: float  # on validation images
  test_accuracy: float


class Baseline(NamedTuple):
  """The `baseline` section: what the search is compared with."""

  percents: Sequence[int] = ()  # of all filters and units; () is none
  random: bool = False  # the same searches by random proposals


def find_teacher(config: Mapping, given: str) -> Origin:
  """What --teacher means: a workdir, a JSON file, layers, or '' (the config's).

  Raises:
    ValueError, FileNotFoundError: if it is none of them.
  """
  path = pathlib.Path(given)
  if not given:
    space = dict(config['space'])
    fields = {k: space[k] for k in _TEACHER_FIELDS if k in space}
    return Origin(layer_table.compact(layer_table.teacher_text(**fields)), None)
  if path.is_dir():
    found = teachers.read(path, config)
    if found.config['space']['name'] != 'n2n':
      raise sections.ConfigError(
        f'{path} has a network of space.name={found.config["space"]["name"]}: '
        'the layers of n2n alone can be removed and shrunk.'
      )
    return Origin(layer_table.compact(found.genotype), path)
  if path.suffix == '.json' or path.is_file():
    return Origin(layer_table.compact(genotypes.read(path)), None)
  if '/' in given:
    raise FileNotFoundError(f'--teacher={given}: no such file or folder.')
  return Origin(layer_table.compact(given), None)


_TEACHER_FIELDS = ('teacher', 'family', 'widths', 'depths')


def check(config: Mapping, given: str = '') -> Origin:
  """Refuses what would stop a compression later, before any training.

  Raises:
    ValueError, FileNotFoundError: naming the field or the layer.
  """
  sections.check_sections(config, *_SHARED, 'space', 'evaluator', 'retrain')
  sections.check_sections(config, 'teacher', *n2n.STAGES)
  if config['evaluator'].get('name') != 'distilled':
    raise sections.ConfigError(
      f'evaluator.name is {config["evaluator"].get("name")!r}: students are '
      'distilled.'
    )
  origin = find_teacher(config, given)
  dataset = classifiers.load_data(config)
  reference = Reference(origin.text, pathlib.Path(), 1.0, 1.0, 1.0)
  for stage in n2n.STAGES:
    section = stage_config(config, stage, origin.text, reference)
    sections.check_sections(section, 'search', 'searcher')
    _check_search(section, stage)
    kind = sections.choose(section, 'space', kinds.SPACES)()
    experiment.make_searcher(section, kind)
    sections.choose(section, 'reward', objectives.REWARDS)(None, kind, '')
    sections.choose(section, 'evaluator', evaluations.EVALUATORS)
  recipe = classifiers.make_recipe(config['train'])
  recipes.check(recipe, len(dataset.train.labels))
  recipes.check_padded(recipe)
  last = classifiers.make_recipe(final_config(config, origin.text)['train'])
  retrained.check(dataset, last)
  distilled.check(last, weights(config))
  full_training.check(teacher_config(config, origin.text))
  baseline(config)
  if jax.process_count() > 1:
    raise sections.ConfigError('launch.compress runs in one process.')
  return origin


def _check_search(section: Mapping, stage: str) -> None:
  counts = section['search']
  sections.check_counts(f'{stage}.search', counts, 'num_proposals', 'batch')
  if counts.get('workers'):
    raise sections.ConfigError(
      f'{stage}.search.workers is {counts["workers"]}: students are trained in '
      'this process; set it to 0.'
    )


def baseline(config: Mapping) -> Baseline:
  """The section `baseline`, checked; nothing to compare with if left out."""
  found = sections.bind('baseline', Baseline, config.get('baseline', {}))
  if any(not 1 <= percent < 100 for percent in found.percents):
    raise sections.ConfigError(
      f'baseline.percents is {tuple(found.percents)}: from 1 to 99.'
    )
  return found


def weights(config: Mapping) -> distillation.Weights:
  """Those of the loss, which full distillations have, too."""
  section = dict(config['evaluator'])
  section |= section.get('distilled', {})
  names = distillation.Weights._fields
  return distillation.Weights(**{k: section[k] for k in names if k in section})


def _space(config: Mapping, text: str) -> dict[str, Any]:
  space = {'name': 'n2n', 'teacher': text}
  size = config['space'].get('image_size')
  return space | ({} if size is None else {'image_size': size})


def stage_config(
  config: Mapping, stage: str, text: str, reference: Reference
) -> dict[str, Any]:
  """The config of one search, below the layers of `text`."""
  measured = {
    'teacher_params': reference.params,
    'teacher_accuracy': reference.accuracy,
  }
  return {
    **{name: config[name] for name in _SHARED},
    'evaluator': config['evaluator'] | {'teacher': str(reference.workdir)},
    **config[stage],
    'space': _space(config, text) | {'stage': stage},
    'reward': config['reward'] | measured,
  }


def teacher_config(config: Mapping, text: str) -> dict[str, Any]:
  """That of the teacher's full training."""
  names = ('seed', 'dataset', 'data_dir', 'data', 'network', 'train')
  own = {name: config[name] for name in names}
  return own | dict(config['teacher']) | {'space': _space(config, text)}


def final_config(config: Mapping, text: str) -> dict[str, Any]:
  """That of a student's full distillation; `launch.train` takes it, too."""
  return teacher_config({**config, 'teacher': config['retrain']}, text)
