"""The searches behind a claim, and their best again: a row's seeds.

Every arm is searched with every seed; seed i is the search that the same config
with the seed `seed` + i is: same keys, same trials. What it finds best by its
reward is trained again, see `claim_evidence`. What is compiled for children is
compiled once a row and process, whatever the arm and the seed.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from irlas_jax import (
  claim_evidence,
  claim_figures,
  claim_rows,
  evaluations,
  experiment,
  full_training,
  kinds,
  language_models,
  ledger,
  runs,
  search,
  sections,
  shared_ledger,
  tabular,
)

# What a search depends on, beside the settings of its scores.
SECTIONS = (
  *('expert', 'searcher', 'growth', 'screening', 'reward'),
  *('search.num_proposals', 'search.batch'),
)


def prepared(row: claim_rows.Row) -> Callable:
  """The row's (seed, book, folder, on_search) -> {arm: what was found}.

  Raises:
    ValueError, FileNotFoundError: for an arm that is wrong, before any search.
  """
  return functools.partial(_run_seed, row, _bench(row))


def _run_seed(
  row: claim_rows.Row,
  arms: Mapping[str, claim_evidence.Arm],
  seed: int,
  book: ledger.Ledger,
  folder: pathlib.Path,
  on_search: Callable[[], None],
) -> dict[str, dict[str, Any]]:
  """See `claim_figures.of_search`; `again` is the best, trained again."""
  searches = {}
  for name, arm in arms.items():
    searches[name] = _search(arm, seed, book, folder / f'{name}-{seed}')
    on_search()
  num_words = _num_words(row)
  rows = _train_again(row, arms, searches, seed, book, folder)
  return {
    name: one | {'again': claim_figures.best_of(rows[name], num_words)}
    for name, one in searches.items()
  }


def _bench(row: claim_rows.Row) -> dict[str, claim_evidence.Arm]:
  """The arms of a row, checked; those with the same children share all."""
  made: dict[str, tuple] = {}
  arms = {}
  batch = max(config['search'].get('batch', 1) for config in row.arms.values())
  for name, config in row.arms.items():
    try:
      children = _children(config)
      if children not in made:
        widest = config | {'search': config['search'] | {'batch': batch}}
        again = tabular.merge(widest, row.again)
        kind = sections.choose(config, 'space', kinds.SPACES)()
        made[children] = (
          kind,
          evaluations.make(widest, kind),
          evaluations.make(again, kind, 'test'),
        )
      kind, evaluation, evidence = made[children]
      parts = experiment.build(config, kind, evaluation)
      if row.final:
        full_training.check(claim_evidence.final_config(config))
    except ValueError as error:
      place = f'rows.{row.name}.arms.{name}'
      raise sections.ConfigError(f'{place}: {error}') from error
    arms[name] = claim_evidence.Arm(config, parts, evidence, children)
  return arms


def _children(config: Mapping) -> str:
  """Names what children depend on, beside the seed."""
  sections.check_sections(config, 'space', 'evaluator')
  names = [name for name in evaluations.SECTIONS if name in config]
  return ledger.fingerprint({name: config[name] for name in names})


def _num_words(row: claim_rows.Row) -> int:
  """Of a language model's vocabulary; 0 if it is none."""
  if not row.perplexity:
    return 0
  config = next(iter(row.arms.values()))
  return len(language_models.load_text(config).words)


def _search(
  arm: claim_evidence.Arm, seed: int, book: ledger.Ledger, folder: pathlib.Path
) -> dict[str, Any]:
  """What a search found, run if the ledger does not know."""
  key = search_key(arm.config, arm.parts.evaluation, seed)
  if key not in book.lookup([key]):
    trials = _trials(arm, seed, book, folder)
    book.finish({key: claim_figures.of_search(trials)})
  return book.lookup([key])[key].scores


def search_key(
  config: Mapping, evaluation: evaluations.Evaluation, seed: int
) -> str:
  """What a search is remembered under: all that it depends on."""
  settings: dict[str, Any] = {
    name: _find(config, name) for name in SECTIONS if _find(config, name)
  }
  settings['scores'] = evaluations.with_seed(evaluation, seed).settings
  return ledger.record_key(f'search {seed}', settings, evaluation.fidelity)


def _find(config: Mapping, place: str) -> Any:
  section, _, field = place.partition('.')
  found = config.get(section) or {}
  return found.get(field) if field else found


def _trials(
  arm: claim_evidence.Arm, seed: int, book: ledger.Ledger, folder: pathlib.Path
) -> list[search.Trial]:
  """Those of one search, as `runs.run` has them.

  Its children are in the row's `book`, for other arms to find. Its proposals
  are logged in a ledger of its own, so that a change in them is noticed.
  """
  config = arm.config | {'seed': seed}
  kind, evaluation = arm.parts.kind, arm.parts.evaluation
  parts = experiment.build(config, kind, evaluation)
  problem = parts.problem._replace(
    searcher=arm.parts.problem.searcher, decode=arm.parts.problem.decode
  )
  sizes = parts.num_iterations, parts.batch
  with shared_ledger.open(folder, config, runs.FREE) as own:
    shared = book._replace(log=own.log, proposals=own.proposals)
    if 'halving' in evaluation.fidelity:  # scores depend on those before
      shared = own
    batches = search.run(parts.key, problem, shared, *sizes)
    return [trial for batch in batches for trial in batch]


def _train_again(
  row: claim_rows.Row,
  arms: Mapping[str, claim_evidence.Arm],
  searches: Mapping[str, dict],
  seed: int,
  book: ledger.Ledger,
  folder: pathlib.Path,
) -> dict[str, list[dict]]:
  """Rows of scores of what each search found best."""
  what = arms, searches, seed, row.retrain, book
  if row.final:
    return claim_evidence.fully(*what, folder / 'final')
  return claim_evidence.by_children(*what)
