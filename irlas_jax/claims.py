"""Claims of papers, measured: searches over seeds, and their best again.

Every arm of a row is searched with every seed; seed i is the search that the
same config with the seed `seed` + i is: same keys, same trials. What it finds
best by its reward is trained again, see `claim_evidence`.

All is durable in ledgers, `workdir/ROW`, so a run that was cut off goes on
where it stopped. What is compiled for children is compiled once a row and
process, whatever the arm and the seed.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
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


def run(
  rows: Sequence[claim_rows.Row],
  workdir: str | os.PathLike,
  on_start: Callable[[int], None] = lambda total: None,
  on_searches: Callable[[int], None] = lambda count: None,
  on_seed: Callable[[claim_figures.Measured], None] = lambda measured: None,
) -> list[claim_figures.Measured]:
  """Runs or completes rows in `workdir`.

  Args:
    rows: see `claim_rows.read`.
    workdir: holds a folder for each row; made if need be.
    on_start: told the number of searches, of which some may be remembered.
    on_searches: told how many are known just now.
    on_seed: told of a row whenever one more of its seeds is complete.

  Raises:
    ValueError, FileNotFoundError: see `experiment.build`; before any search.
    ledger.LedgerError: if the workdir cannot be used.
  """
  benches = [_bench(row) for row in rows]
  on_start(sum(row.seeds * len(row.arms) for row in rows))
  return [
    _run_row(row, arms, pathlib.Path(workdir) / row.name, on_searches, on_seed)
    for row, arms in zip(rows, benches, strict=True)
  ]


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


def _run_row(
  row: claim_rows.Row,
  arms: Mapping[str, claim_evidence.Arm],
  folder: pathlib.Path,
  on_searches: Callable[[int], None],
  on_seed: Callable[[claim_figures.Measured], None],
) -> claim_figures.Measured:
  found: dict[str, list[dict]] = {name: [] for name in arms}
  num_words = _num_words(row)
  first = next(iter(row.arms.values()))['seed']
  with shared_ledger.open(folder, {'row': row.name}) as book:
    for i in range(row.seeds):
      seed = first + i
      searches = {}
      for name, arm in arms.items():
        own = folder / f'{name}-{seed}'
        searches[name] = _search(arm, seed, book, own)
        on_searches(1)
      rows = _train_again(row, arms, searches, seed, book, folder)
      for name, one in searches.items():
        again = claim_figures.best_of(rows[name], num_words)
        found[name].append(one | {'again': again})
      measured = claim_figures.measure(row, range(first, seed + 1), found)
      on_seed(measured)
  return measured


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
