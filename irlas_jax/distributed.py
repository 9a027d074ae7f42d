"""A search on Ray workers: its settings, and what a worker builds from them.

`config.search` may have `workers` (0: none, the host loop), `address` ('' this
machine) and `timeout` (seconds a child, 0: any); defaults are `Settings`'.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from irlas_jax import (
  cluster,
  devices,
  evaluations,
  experiment,
  kinds,
  sections,
)
from irlas_jax.evaluators import ray_pool
from irlas_jax.types import Pool, Proposals


class Settings(NamedTuple):
  """The fields of `config.search` that say where children are trained."""

  workers: int = 0
  address: str = ''
  timeout: float = 0.0


# Their dotted names.
FIELDS = tuple(f'search.{name}' for name in Settings._fields)


def settings(config: Mapping) -> Settings:
  """Those of a config, checked.

  Raises:
    ConfigError: for a field that is wrong.
  """
  sections.check_sections(config, 'search')
  given = config['search']
  found = Settings(
    **{name: given[name] for name in Settings._fields if name in given}
  )
  for name in ('workers', 'timeout'):
    if getattr(found, name) < 0:
      raise sections.ConfigError(
        f'search.{name} is {getattr(found, name)}: at least 0.'
      )
  return found


def connected(found: Settings) -> contextlib.AbstractContextManager:
  """Ray while the block lasts, if there are workers.

  Call it before the first computation.
  """
  if not found.workers:
    return contextlib.nullcontext()
  return cluster.connected(found.address, found.workers)


@contextlib.contextmanager
def pool(config: Mapping, num_evaluations: int) -> Iterator[Pool]:
  """The pool of a config's workers, of which one is built.

  Raises:
    What building the evaluator raises, as `experiment.build`.
  """
  found = settings(config)
  if jax.process_count() > 1:
    raise sections.ConfigError(
      f'search.workers is {found.workers}, and this is one of several '
      'processes (--coordinator): use either.'
    )
  folder = jax.config.values['jax_compilation_cache_dir']
  make = functools.partial(make_evaluator, config, folder)
  with ray_pool.open(make, num_evaluations, *found) as opened:
    yield opened


def make_evaluator(config: Mapping, cache_dir: str | None) -> Callable:
  """A worker's evaluator, compiled: the config's, for one child at a time."""
  if cache_dir:
    devices.use_compilation_cache(cache_dir)
  kind = sections.choose(config, 'space', kinds.SPACES)()
  evaluation = evaluations.make(_one_at_a_time(config), kind)
  evaluation.prepare()
  key = experiment.make_keys(config['seed']).children

  def evaluate(
    actions: np.ndarray, parents: np.ndarray, bar: np.ndarray
  ) -> dict[str, Any]:
    scores = evaluation.evaluate(key, Proposals(actions, parents, ()), bar)
    return jax.device_get(scores)._asdict()

  return evaluate


def _one_at_a_time(config: Mapping) -> dict[str, Any]:
  """The config whose evaluator takes one child a call."""
  section = dict(config['evaluator'])
  name = section['name']
  choice = evaluations.EVALUATORS.get(name)
  sizes = {'population', 'slots'} & set(choice.fields if choice else ())
  if sizes:
    # Fields in a choice's own subsection come before those beside it.
    section[name] = {**section.get(name, {}), **dict.fromkeys(sizes, 1)}
  one = {**config['search'], 'batch': 1}
  return {**config, 'evaluator': section, 'search': one}
