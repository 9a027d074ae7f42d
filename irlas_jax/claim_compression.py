"""Compressions behind a claim: a row's seeds.

One compression a seed gives all arms: the student that was `found`, its
`teacher`, and the `uniform` and the `random` student that it is compared with.
Each is trained fully once and tested by data that steered nothing.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from irlas_jax import (
  claim_rows,
  compression,
  compression_settings,
  ledger,
  sections,
)

ARMS = ('found', 'teacher', 'uniform', 'random')


def prepared(row: claim_rows.Row) -> Callable:
  """The row's (seed, book, folder, on_search) -> {arm: what was found}.

  Raises:
    ValueError, FileNotFoundError: for an arm or a config that is wrong.
  """
  first, *others = row.arms.values()
  if sorted(row.arms) != sorted(ARMS) or any(one != first for one in others):
    raise sections.ConfigError(
      f'rows.{row.name}.arms are {", ".join(row.arms)}: a compression has '
      f'{", ".join(ARMS)}, all of one config, so without changes of their own.'
    )
  compression_settings.check(first)
  baseline = compression_settings.baseline(first)
  if not (baseline.percents and baseline.random):
    raise sections.ConfigError(
      f'rows.{row.name}: the arms uniform and random need baseline.percents '
      'and baseline.random.'
    )
  return functools.partial(_run_seed, first)


def _run_seed(
  config: Mapping,
  seed: int,
  book: ledger.Ledger,
  folder: pathlib.Path,
  on_search: Callable[[], None],
) -> dict[str, dict[str, Any]]:
  own = {k: v for k, v in config.items() if k != 'data_dir'} | {'seed': seed}
  keys = {arm: ledger.record_key(arm, own, 'compression') for arm in ARMS}
  if len(book.lookup(keys.values())) < len(keys):
    outcome = compression.run({**config, 'seed': seed}, folder / f'{seed}')
    found = of_compression(outcome)
    book.finish({keys[arm]: found[arm] for arm in ARMS})
  for _ in ARMS:
    on_search()
  known = book.lookup(keys.values())
  return {arm: known[key].scores for arm, key in keys.items()}


def of_compression(outcome: compression.Compressed) -> dict[str, dict]:
  """{arm: what is remembered}, as `claim_figures.of_search` has it."""
  reference = outcome.reference
  teacher = compression.Student(
    'teacher',
    reference.text,
    reference.params,
    float('nan'),
    reference.accuracy,
    reference.test_accuracy,
  )
  tested = {
    arm: next(
      one
      for one in outcome.students
      if one.name.startswith(arm) and one.test_accuracy == one.test_accuracy
    )
    for arm in ('uniform', 'random')
  }
  students = {'found': outcome.found, 'teacher': teacher, **tested}
  return {arm: _numbers(one) for arm, one in students.items()}


def _numbers(student: compression.Student) -> dict[str, Any]:
  return {
    'best': student.text,
    'accuracy': 100 * student.accuracy,
    'again': 100 * student.test_accuracy,
    'parameters': student.params,
    'parts': [],
    'rise': float('nan'),
    'proposals': 1,
    'trainings': 1,
    'failed': 0,
    'seconds': float('nan'),
  }
