"""Searches over a table, hundreds of seeds an arm: run and remembered.

An arm is the config with changes of its own (`config.arms`). Seed i of an arm
is the search that the same config with that `seed` is: same keys, same trace.
(A mirror is learnt once an arm, by the first seed.)
Every search is one row of the ledger, so a study that was cut off goes on where
it stopped, and more seeds or arms can be added to a finished one.

An arm may sweep continuous hyper-parameters of its searcher: its section
`sweep` has a sequence of values for one field or more, and their combinations
are arms that share one program.
"""

import functools
import itertools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from irlas_jax import (
  anytime,
  compiled_search,
  experiment,
  ledger,
  report_section,
  sections,
  shared_ledger,
)
from irlas_jax.types import Searcher

POPULATION = 500  # searches in one call
# What may differ between two runs of one study: no search depends on it, or it
# is part of what the searches are remembered under.
FREE = (
  *('arms', 'data_dir', 'expert', 'growth', 'report', 'reward', 'screening'),
  *('search', 'searcher', 'seeds'),
)


class Arm(NamedTuple):
  """One way of searching, and what came of it."""

  config: Mapping
  parts: experiment.Parts
  searches: list[anytime.Improvements]  # one a seed


class Study(NamedTuple):
  """All arms of a config, and what it took to run them just now."""

  config: Mapping
  arms: dict[str, Arm]
  num_run: int  # searches; the others were remembered
  seconds: float  # compiling included


class _Variant(NamedTuple):
  """An arm, or one setting of an arm that sweeps."""

  name: str
  config: Mapping
  setting: dict[str, float]  # fields of the searcher that differ


class _Family(NamedTuple):
  """Arms that share a program, and what their searches are remembered under."""

  variants: list[_Variant]
  parts: experiment.Parts
  keys: dict[tuple[int, int], str]  # of each variant and seed


def merge(config: Mapping, changes: Mapping) -> dict[str, Any]:
  """The config with `changes`, section by section."""
  merged = dict(config)
  for name, value in changes.items():
    old = merged.get(name)
    if isinstance(value, Mapping) and isinstance(old, Mapping):
      value = merge(old, value)
    merged[name] = value
  return merged


def run(
  config: Mapping,
  workdir: str | os.PathLike,
  on_start: Callable[[int], None] = lambda total: None,
  on_searches: Callable[[int], None] = lambda count: None,
) -> Study:
  """Runs or completes the arms of a config in `workdir`.

  Args:
    config: as that of a search over a table, with `seeds`, their number, and
      `arms`, changes of the config by name.
    workdir: holds the ledger; made if need be.
    on_start: told the number of searches to come.
    on_searches: told how many have become durable just now.

  Raises:
    ValueError, FileNotFoundError: see `experiment.build`.
    ledger.LedgerError: if the workdir cannot be used.
  """
  sections.check_sections(config, 'seed', 'seeds', 'arms')
  sections.check_counts('config', config, 'seeds')
  if not config['arms']:
    raise sections.ConfigError('arms has none: name one or more.')
  began = time.monotonic()
  base = {name: config[name] for name in config if name != 'arms'}
  families = [
    _family(name, merge(base, changes), config['seeds'])
    for name, changes in config['arms'].items()
  ]
  if 'report' in config:
    names = [one.name for family in families for one in family.variants]
    table = families[0].parts.evaluation.table
    assert table is not None
    report_section.check(config['report'], names, table)
  with shared_ledger.open(workdir, dict(config), FREE) as book:
    missing = [_missing(family, book) for family in families]
    on_start(sum(map(len, missing)))
    for family, items in zip(families, missing, strict=True):
      _complete(family, items, book, on_searches)
    arms = {
      name: arm
      for family in families
      for name, arm in _arms(family, book).items()
    }
  return Study(config, arms, sum(map(len, missing)), time.monotonic() - began)


def _family(name: str, config: dict[str, Any], num_seeds: int) -> _Family:
  """What shares a program, checked before anything is run."""
  variants = _variants(name, config)
  try:
    parts = experiment.build(variants[0].config)
  except ValueError as error:
    raise sections.ConfigError(f'arms.{name}: {error}') from error
  _check(name, config, parts)
  _check_sweep(name, variants[0], parts)
  seeds = range(config['seed'], config['seed'] + num_seeds)
  keys = {
    (i, seed): _record_key(variant.config, parts, seed)
    for i, variant in enumerate(variants)
    for seed in seeds
  }
  return _Family(variants, parts, keys)


def _variants(name: str, config: dict[str, Any]) -> list[_Variant]:
  """An arm, or one a combination of the values that it sweeps."""
  sweep = dict(config.pop('sweep', {}))
  for field, values in sweep.items():
    several = isinstance(values, Sequence) and len(values) > 0
    if not several or not all(isinstance(value, float) for value in values):
      raise sections.ConfigError(
        f'arms.{name}.sweep.{field} is {values!r}: give one or more floats, of '
        'a continuous field of the searcher; sizes are arms of their own.'
      )
  settings = [
    dict(zip(sweep, values, strict=True))
    for values in itertools.product(*sweep.values())
  ]
  return [
    _Variant(
      ' '.join([name, *(f'{field}={x}' for field, x in setting.items())]),
      merge(config, {'searcher': _own_fields(config, setting)}),
      setting,
    )
    for setting in settings
  ]


def _check(name: str, config, parts: experiment.Parts) -> None:
  """ConfigError for an arm that is not over a table with what it needs."""
  rows, section = parts.evaluation.rows, config['evaluator']
  if rows is None:
    raise sections.ConfigError(
      f'arms.{name}: evaluator.name is {section["name"]!r}, and whole searches '
      'are compiled over a table: choose table, or run launch.search.'
    )
  if config['search'].get('seconds') and not section.get('seconds'):
    raise sections.ConfigError(
      f'arms.{name}: search.seconds is a budget of simulated time: set '
      'evaluator.seconds to the metric that has it.'
    )


def _check_sweep(name: str, variant: _Variant, parts) -> None:
  """ConfigError for a field whose value cannot be traced."""
  rows = parts.evaluation.rows
  assert rows is not None

  def one_iteration(setting, key):
    searcher = _make_searcher(variant, parts, setting)
    rewards = rows.scores.accuracy
    return compiled_search.run(
      key, searcher, rows.locate, rewards, 1, parts.batch
    )

  try:
    jax.eval_shape(one_iteration, variant.setting, jax.random.key(0))
  except TypeError as error:
    raise sections.ConfigError(
      f'arms.{name}.sweep: one of {", ".join(variant.setting)} is no '
      'continuous field of the searcher; sizes are arms of their own.'
    ) from error


def _make_searcher(variant: _Variant, parts, setting) -> Searcher:
  """The searcher of an arm with other values of what it sweeps."""
  own = _own_fields(variant.config, setting)
  changed = merge(variant.config, {'searcher': own})
  return experiment.make_searcher(changed, parts.kind)


def _own_fields(config, setting) -> dict[str, Any]:
  """Fields of the chosen searcher, where they come before all others."""
  return {config['searcher']['name']: setting} if setting else {}


def _record_key(config, parts: experiment.Parts, seed: int) -> str:
  """What a search is remembered under: all that it depends on."""
  names = (
    *('seed', 'space', 'expert', 'searcher', 'growth', 'screening'),
    *('reward', 'search'),
  )
  settings = {name: config[name] for name in names if name in config}
  settings['scores'] = parts.evaluation.settings
  return ledger.record_key(f'search {seed}', settings, {})


def _missing(family: _Family, book: ledger.Ledger) -> list[tuple[int, int]]:
  """Variant and seed of the searches that the ledger does not have."""
  known = book.lookup(family.keys.values())
  return [item for item, key in family.keys.items() if key not in known]


def _complete(family: _Family, missing, book, on_searches) -> None:
  """Runs the missing searches, `POPULATION` at a time."""
  if not missing:
    return
  searches = _program(family, min(POPULATION, len(missing)))
  for start in range(0, len(missing), POPULATION):
    items = missing[start : start + POPULATION]
    results = searches(items)
    book.finish(
      {
        family.keys[item]: result._asdict()
        for item, result in zip(items, results, strict=True)
      }
    )
    on_searches(len(items))


def _program(family: _Family, population: int) -> Callable:
  """[(variant, seed)] -> their improvements, by one compiled program."""
  config, parts = family.variants[0].config, family.parts
  rows = parts.evaluation.rows
  assert rows is not None
  rewards = jax.jit(parts.problem.reward)(rows.scores, rows.graphs)
  loop_keys = jax.vmap(lambda seed: experiment.make_keys(seed).loop)
  budget = config['search'].get('seconds')
  costs = np.nan_to_num(np.asarray(rows.scores.seconds)) if budget else None
  make_searcher = functools.partial(_make_searcher, family.variants[0], parts)
  program = compiled_search.program(
    make_searcher, rows.locate, parts.num_iterations, parts.batch, population
  )

  def searches(items):
    settings = [family.variants[i].setting for i, _ in items]
    stacked = jax.tree.map(lambda *x: np.array(x, np.float32), *settings)
    keys = loop_keys(np.array([seed for _, seed in items], np.uint32))
    found, told = program(keys, stacked, rewards)
    return anytime.improvements(
      found, told, budget or parts.num_iterations * parts.batch, costs
    )

  return searches


def _arms(family: _Family, book: ledger.Ledger) -> dict[str, Arm]:
  records = book.lookup(family.keys.values())
  searches: dict[int, list[anytime.Improvements]] = {}
  for (i, _), key in family.keys.items():
    columns = {  # of a search that found nothing they are empty: no rows, int
      k: np.array(v, None if v else int) for k, v in records[key].scores.items()
    }
    searches.setdefault(i, []).append(anytime.Improvements(**columns))
  return {
    variant.name: Arm(variant.config, family.parts, searches[i])
    for i, variant in enumerate(family.variants)
  }
