"""Scores architectures by looking them up: no training, so nothing to wait for.

What is found in a table is one integer, its row; scores and rewards of all rows
are arrays on the device. The last row stands for whatever is not in the table.

Shapes: `N` rows of a table, `T` steps of a space, `n` proposals.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.types import (
  ABSENT,
  OK,
  Array,
  Evaluator,
  Graph,
  Proposals,
  Scores,
)

MAX_COMBINATIONS = 2**26  # of choices, one int32 each


class Tabulated(NamedTuple):
  """A table as an evaluator."""

  evaluate: Evaluator  # at most `population` proposals a call
  locate: Callable  # actions [T] -> row [] int32, N where the table has none
  scores: Scores  # [N + 1], the last row of what is not in the table
  graphs: Graph  # [N + 1], the last row any


def tabulated(
  locate: Callable, scores: Scores, graphs: Graph, population: int
) -> Tabulated:
  """The evaluator that answers with rows of `scores` [N], of `graphs` [N].

  `locate` says -1 of what is not in the table; such proposals have the failure
  code ABSENT. Calls are padded to `population`, so that there is one program.
  """
  count = len(scores.accuracy)
  whole = jax.tree.map(jnp.asarray, jax.tree.map(_append_blank, scores))
  whole = whole._replace(failure=whole.failure.at[count].set(ABSENT))

  def row(actions):
    found = locate(actions)
    return jnp.where(found < 0, count, found).astype(jnp.int32)

  @jax.jit
  def look_up(actions):
    rows = jax.vmap(row)(actions)
    return jax.tree.map(lambda column: column[rows], whole)

  def evaluate(key: jax.Array, proposals: Proposals, bar: Array) -> Scores:
    del key, bar  # a table leaves nothing to chance, and has it all
    actions = np.asarray(proposals.actions)
    missing = population - len(actions)
    found = look_up(np.pad(actions, ((0, missing), (0, 0)), mode='edge'))
    return jax.tree.map(lambda column: column[: len(actions)], found)

  graphs = jax.tree.map(lambda x: np.concatenate([x, x[-1:]]), graphs)
  return Tabulated(evaluate, row, whole, jax.tree.map(jnp.asarray, graphs))


def _append_blank(column: np.ndarray) -> np.ndarray:
  """A column with one row more: NaN, or 0 where that is no number."""
  blank = np.nan if column.dtype.kind == 'f' else 0
  return np.concatenate([column, np.full_like(column[:1], blank)])


def scores(
  accuracy: np.ndarray,
  *,
  params: np.ndarray | None = None,
  madds: np.ndarray | None = None,
  latency: np.ndarray | None = None,
  seconds: np.ndarray | None = None,
) -> Scores:
  """Scores [N] from what a table has; the rest is NaN.

  A row without an accuracy is a row that is not there.
  """
  nothing = np.full(len(accuracy), np.nan, np.float32)

  def column(given):
    return nothing if given is None else np.asarray(given, np.float32)

  return Scores(
    accuracy=column(accuracy),
    loss=nothing,
    params=column(params),
    madds=column(madds),
    latency=column(latency),
    seconds=column(seconds),
    epochs=nothing,
    curve=column(accuracy)[:, None],
    index=np.zeros(len(accuracy), np.int32),
    failure=np.where(np.isfinite(accuracy), OK, ABSENT).astype(np.int32),
  )


def locate_choices(choices: np.ndarray, sizes: tuple[int, ...]) -> Callable:
  """actions [T] -> row, for a table [N, T] of independent choices.

  Raises:
    ValueError: for more combinations than a map of them may have.
  """
  if math.prod(sizes) > MAX_COMBINATIONS:
    raise ValueError(
      f'{math.prod(sizes):,} combinations of choices: a table of choices is '
      f'found by a map of at most {MAX_COMBINATIONS:,}.'
    )
  places = np.cumprod([1, *sizes[:0:-1]])[::-1]
  rows = np.full(math.prod(sizes), -1, np.int32)
  rows[choices @ places] = np.arange(len(choices))
  found, weights = jnp.asarray(rows), jnp.asarray(places, jnp.int32)
  return lambda actions: found[jnp.sum(actions * weights)]
