"""Claims of papers, measured: searches over seeds, and their best again.

Every arm of a row is searched with every seed; seed i is the search that the
same config with the seed `seed` + i is: same keys, same trials. What it finds
best by its reward is trained again by the same recipe with keys of its own, and
scored on test data, which no search sees.

All is durable in ledgers, `workdir/ROW`, so a run that was cut off goes on
where it stopped. What is compiled for children is compiled once a row and
process, whatever the arm and the seed.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax import (
  claim_figures,
  claim_rows,
  evaluations,
  experiment,
  graph,
  kinds,
  language_models,
  ledger,
  runs,
  search,
  sections,
  shared_ledger,
)
from irlas_jax.types import Proposals

# What a search depends on, beside the settings of its scores.
SECTIONS = (
  *('expert', 'searcher', 'growth', 'screening', 'reward'),
  *('search.num_proposals', 'search.batch'),
)
EVIDENCE = 1 << 31  # folded into a seed's key, of which a search has the first


class _Arm(NamedTuple):
  """What all searches of an arm share, so that it is compiled once."""

  config: dict[str, Any]
  parts: experiment.Parts  # of the first seed
  evidence: evaluations.Evaluation  # on test data
  children: str  # fingerprint of what children depend on, but the seed


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


def _bench(row: claim_rows.Row) -> dict[str, _Arm]:
  """The arms of a row, checked; those with the same children share all."""
  made: dict[str, tuple] = {}
  arms = {}
  batch = max(config['search'].get('batch', 1) for config in row.arms.values())
  for name, config in row.arms.items():
    try:
      children = _children(config)
      if children not in made:
        widest = config | {'search': config['search'] | {'batch': batch}}
        kind = sections.choose(config, 'space', kinds.SPACES)()
        evaluators = (
          evaluations.make(widest, kind, split) for split in ('valid', 'test')
        )
        made[children] = (kind, *evaluators)
      kind, evaluation, evidence = made[children]
      parts = experiment.build(config, kind, evaluation)
    except ValueError as error:
      place = f'rows.{row.name}.arms.{name}'
      raise sections.ConfigError(f'{place}: {error}') from error
    arms[name] = _Arm(config, parts, evidence, children)
  return arms


def _children(config: Mapping) -> str:
  """Names what children depend on, beside the seed."""
  sections.check_sections(config, 'space', 'evaluator')
  names = [name for name in evaluations.SECTIONS if name in config]
  return ledger.fingerprint({name: config[name] for name in names})


def _run_row(
  row: claim_rows.Row,
  arms: Mapping[str, _Arm],
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
      rows = _train_again(arms, searches, seed, row.retrain, book)
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
  arm: _Arm, seed: int, book: ledger.Ledger, folder: pathlib.Path
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
  arm: _Arm, seed: int, book: ledger.Ledger, folder: pathlib.Path
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
  arms: Mapping[str, _Arm],
  searches: Mapping[str, dict],
  seed: int,
  repeats: int,
  book: ledger.Ledger,
) -> dict[str, list[dict]]:
  """Rows of scores, one a repeat, of what each search found best."""
  rows: dict[str, list[dict]] = {name: [] for name in arms}
  for children in dict.fromkeys(arm.children for arm in arms.values()):
    names = [name for name in arms if arms[name].children == children]
    arm, best = arms[names[0]], [searches[name] for name in names]
    for repeat in range(repeats):
      problem = evidence_problem(arm.parts, arm.evidence, seed, repeat)
      found = _answers(problem, arm.parts.kind, best, book)
      for name, row in zip(names, found, strict=True):
        rows[name].append(row)
  return rows


def _answers(
  problem: search.Problem,
  kind: kinds.SpaceKind,
  best: Sequence[Mapping[str, Any]],
  book: ledger.Ledger,
) -> list[dict]:
  """Rows of scores; what is known is not even decoded."""
  settings = ledger.fingerprint(problem.settings, 'settings')
  keys = [
    ledger.record_key(one['digest'], settings, problem.fidelity) for one in best
  ]
  known = book.lookup(keys)
  texts = [
    one['best'] for one, key in zip(best, keys, strict=True) if key not in known
  ]
  if texts:
    actions = _actions(kind, texts)
    search.answer(problem, book, Proposals(actions, actions, ()))
    known = book.lookup(keys)
  return [known[key].scores for key in keys]


def evidence_problem(
  parts: experiment.Parts,
  evidence: evaluations.Evaluation,
  seed: int,
  repeat: int,
) -> search.Problem:
  """The training of children by `evidence`, with keys that no search has."""
  key = jax.random.fold_in(jax.random.key(seed), EVIDENCE)
  more = {'purpose': 'evidence', 'repeat': repeat}
  return parts.problem._replace(
    prepare=evidence.prepare,
    evaluate=functools.partial(
      evidence.evaluate, jax.random.fold_in(key, repeat)
    ),
    bar=evidence.bar,
    settings=evaluations.with_seed(evidence, seed).settings | more,
    fidelity=evidence.fidelity,
    population=evidence.population,
    num_evaluations=evidence.num_evaluations,
  )


def _actions(kind: kinds.SpaceKind, genotypes: Sequence[str]) -> jax.Array:
  """[n, T]"""
  space = kind.space
  steps = jax.ShapeDtypeStruct((space.num_steps,), 'int32')
  *_, num_nodes = jax.eval_shape(space.decode, steps).ops.shape
  parsed = [graph.resize(kind.parse(text), num_nodes) for text in genotypes]
  return jnp.stack([space.encode(single) for single in parsed])
