"""One-shot methods behind a claim: a row's seeds.

A run learns architecture and weights together and ends with a trained network,
whose accuracy on test data is its figure. Nothing is trained again: those data
steered nothing.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from irlas_jax import claim_rows, ledger, oneshot_runs, sections


def prepared(row: claim_rows.Row) -> Callable:
  """The row's (seed, book, folder, on_search) -> {arm: what was found}.

  Raises:
    ValueError, FileNotFoundError: for an arm that is wrong, before any run.
  """
  for name, config in row.arms.items():
    try:
      oneshot_runs.check(config)
    except ValueError as error:
      place = f'rows.{row.name}.arms.{name}'
      raise sections.ConfigError(f'{place}: {error}') from error
  return functools.partial(_run_seed, row)


def _run_seed(
  row: claim_rows.Row,
  seed: int,
  book: ledger.Ledger,
  folder: pathlib.Path,
  on_search: Callable[[], None],
) -> dict[str, dict[str, Any]]:
  found = {}
  for name, config in row.arms.items():
    own = {**config, 'seed': seed}
    settings = {k: v for k, v in own.items() if k not in oneshot_runs.FREE}
    key = ledger.record_key('one-shot', settings, 'whole')
    if key not in book.lookup([key]):
      outcome = oneshot_runs.run(own, folder / f'{name}-{seed}')
      book.finish({key: of_run(outcome.genotype, outcome.numbers)})
    found[name] = book.lookup([key])[key].scores
    on_search()
  return found


def of_run(genotype: str, numbers: Mapping[str, float]) -> dict[str, Any]:
  """What is remembered of a run, as `claim_figures.of_search` has it.

  There are no proposals whose accuracy could rise.
  """
  return {
    'best': genotype,
    'accuracy': 100 * numbers['valid_accuracy'],
    'again': 100 * numbers['test_accuracy'],
    'parts': [],
    'rise': float('nan'),
    'proposals': 1,
    'trainings': 1,
    'failed': 0,
    'seconds': numbers['seconds'],
    'parameters': numbers['parameters'],
  }
