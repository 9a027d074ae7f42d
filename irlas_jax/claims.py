"""Claims of papers, measured over seeds.

All is durable in ledgers, `workdir/ROW`, so a run that was cut off goes on
where it stopped, and what is finished is not repeated.
"""

import os
import pathlib
from collections.abc import Callable, Sequence

from irlas_jax import (
  claim_compression,
  claim_figures,
  claim_oneshot,
  claim_rows,
  claim_searches,
  shared_ledger,
)

# Each (row) -> (seed, book, folder, on_search) -> {arm: what was found}.
PREPARED = {
  'search': claim_searches.prepared,
  'oneshot': claim_oneshot.prepared,
  'compress': claim_compression.prepared,
}


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
  prepared = [PREPARED[row.method](row) for row in rows]
  on_start(sum(row.seeds * len(row.arms) for row in rows))
  return [
    _run_row(row, run_seed, pathlib.Path(workdir), on_searches, on_seed)
    for row, run_seed in zip(rows, prepared, strict=True)
  ]


def _run_row(
  row: claim_rows.Row,
  run_seed: Callable,
  workdir: pathlib.Path,
  on_searches: Callable[[int], None],
  on_seed: Callable[[claim_figures.Measured], None],
) -> claim_figures.Measured:
  found: dict[str, list[dict]] = {name: [] for name in row.arms}
  first = next(iter(row.arms.values()))['seed']
  folder = workdir / row.name
  with shared_ledger.open(folder, {'row': row.name}) as book:
    for seed in range(first, first + row.seeds):
      seen = run_seed(seed, book, folder, lambda: on_searches(1))
      for name, one in seen.items():
        found[name].append(one)
      measured = claim_figures.measure(row, range(first, seed + 1), found)
      on_seed(measured)
  return measured
