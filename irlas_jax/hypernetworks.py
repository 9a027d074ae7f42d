"""From a config to graph hypernetworks that score architectures."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from irlas_jax import classifiers, devices, kinds, sections
from irlas_jax.evaluators import hypernetwork as evaluator
from irlas_jax.evaluators import trained
from irlas_jax.networks import hyper_block, hyper_nasbench201
from irlas_jax.networks.hypernetwork import Sizes
from irlas_jax.policies import sampling
from irlas_jax.training import data as datasets
from irlas_jax.training import loop
from irlas_jax.types import Space

# Of which nodes the weights of a space's networks are.
LAYOUTS: dict[str, Callable] = {
  'block': hyper_block.layout,
  'nasbench201': hyper_nasbench201.layout,
}
_AT_ONCE = 16  # networks that an accelerator is asked to run at once


class Made(NamedTuple):
  """An evaluator with weights from a hypernetwork."""

  trained: trained.Trained
  settings: dict[str, Any]  # JSON of all that a score depends on
  population: int


class Parts(NamedTuple):
  """What a hypernetwork is trained and scores with."""

  child: evaluator.Child
  dataset: datasets.Dataset
  cost: Callable  # Graph with leading n -> (parameters [n], multiply-adds [n])


def make_parts(config: Mapping, kind: kinds.SpaceKind, sizes: Sizes) -> Parts:
  """The networks of a config's space, with weights from a hypernetwork.

  Raises:
    ValueError: for a field that is wrong, or a space without a layout.
  """
  name = config['space']['name']
  if name not in LAYOUTS or kind.network is None or kind.cost is None:
    raise sections.ConfigError(
      "evaluator.name is 'ghn', and no hypernetwork makes the weights of "
      f'space.name={name}: choose a space among {", ".join(LAYOUTS)}, or '
      'another evaluator, such as trained.'
    )
  sections.check_sections(config, 'network', 'train')
  dataset = classifiers.load_data(config)
  shape = dataset.train.images.shape[1:]
  macro = classifiers.make_macro(config['network'], shape)
  operations, classes = kind.space.operations, dataset.num_classes
  network = kind.network(operations, macro, classes, shape[-1])
  child = evaluator.make_child(kind.space, network, LAYOUTS[name], macro, sizes)
  cost = functools.partial(
    kind.cost,
    operations=operations,
    macro=macro,
    image_shape=shape,
    num_classes=classes,
  )
  return Parts(child, dataset, cost)


def drawn(space: Space, layers: int) -> Callable:
  """(key, n) -> Graph with a leading n: the architectures to train on.

  Of 1 to `layers` layers alike; 0: of as many as the space has.

  Raises:
    ConfigError: if the space does not have so many, or no such choice.
  """
  if layers and not (space.terminal and 1 <= layers <= space.num_steps):
    raise sections.ConfigError(
      f'evaluator.layers is {layers}: 0, or in a space whose architectures '
      f'differ in length 1 to its most, {space.num_steps}.'
    )

  def draw(key, n):
    if not layers:
      return jax.vmap(space.decode)(sampling.uniform_lengths(key, space, n))
    key_length, key_actions = jax.random.split(key)
    lengths = jax.random.randint(key_length, (n,), 1, layers + 1)
    actions = sampling.actions_of_lengths(key_actions, space, lengths)
    return jax.vmap(space.decode)(actions)

  return draw


def make(
  config: Mapping,
  kind: kinds.SpaceKind,
  *,
  split: str = 'valid',
  file: str = '',
  seed: int = 0,
  layers: int = 0,
  meta_batch: int = 8,
  images: int = 0,
  image_batch: int = 100,
  population: int = 0,
  slots: int = 0,
  **sizes,
) -> Made:
  """The evaluator `ghn` of a config; the `train` section is its hypernetwork's.

  Args:
    config: of a search.
    kind: its space.
    split: whose images a score is of.
    file: an Orbax checkpoint: read if it is there, else written; '' is none.
    seed: of the hypernetwork.
    layers: of the largest architectures that it is trained on; 0: any.
    meta_batch: architectures a step of its training.
    images: validation images of a score, the first ones; 0: all.
    image_batch: of these that share the statistics of normalisations.
    population: architectures a call; 0 is the search's batch.
    slots: networks that a device runs at once; 0 is one on a CPU.
    **sizes: fields of `networks.hypernetwork.Sizes`.

  Raises:
    ValueError: for a field that is wrong, or a space without a layout.
  """
  counts = {'meta_batch': meta_batch, 'image_batch': image_batch}
  sections.check_counts('evaluator', counts, *counts)
  parts = make_parts(config, kind, Sizes(**sizes))
  population, slots = _at_once(population, slots, config['search']['batch'])
  budget = evaluator.Budget(meta_batch, images, image_batch, slots)
  recipe = classifiers.make_recipe(config['train'])
  draw = drawn(kind.space, layers)
  made_by = _made_by(config, parts.dataset) | {
    'hypernetwork': Sizes(**sizes)._asdict()
    | {'seed': seed, 'layers': layers, 'meta_batch': meta_batch}
  }
  scored = parts.dataset._replace(valid=getattr(parts.dataset, split))
  data = loop.on_device(scored)

  def train():
    key = jax.random.key(seed)
    return evaluator.train(key, parts.child, draw, data, recipe, budget)[0]

  found = evaluator.hypernetwork(
    kind.space,
    parts.child,
    evaluator.kept_in(file, made_by, train),
    parts.cost,
    data,
    budget,
    population,
  )
  settings = {
    **made_by,
    'scored': {'images': images, 'image_batch': image_batch},
    'images': datasets.digest(scored),
  }
  return Made(found, settings, population)


FIELDS = tuple(
  name for name in sections.keywords(make, *Sizes._fields) if name != 'split'
)


def _made_by(config: Mapping, dataset: datasets.Dataset) -> dict[str, Any]:
  """JSON of what a hypernetwork depends on besides its own fields.

  Not what validation images there are: it is trained on the others.
  """
  names = ('space', 'network', 'train')
  trained_on = datasets.digest(dataset._replace(valid=dataset.train))
  return {name: config[name] for name in names} | {'trained_on': trained_on}


def _at_once(population: int, slots: int, batch: int) -> tuple[int, int]:
  """Architectures a call, and those that a device runs at once."""
  count = devices.count()
  population = population or -(-batch // count) * count
  share = max(population // count, 1)
  on_cpu = jax.default_backend() == 'cpu'
  slots = slots or (1 if on_cpu else min(share, _AT_ONCE))
  if slots < 1:
    raise sections.ConfigError(f'evaluator.slots is {slots}: at least 1.')
  return population, slots
