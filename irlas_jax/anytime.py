"""What a search had found when: from traces to curves over its budget.

A search is remembered by its improvements: when it found something better than
all before, and what. That is all that any anytime curve needs.

Shapes: `S` searches, `P` proposals of a search, `N` rows of a table, `K`
improvements of one search, `C` amounts of a budget.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Improvements(NamedTuple):
  """When one search found something better, and what; in their order."""

  evaluations: np.ndarray  # [K] int, proposals up to this one
  spent: np.ndarray  # [K] evaluations, or simulated seconds, up to its end
  distinct: np.ndarray  # [K] int, different rows up to this one
  rows: np.ndarray  # [K] int, of the table
  rewards: np.ndarray  # [K]


def first_seen(rows: np.ndarray) -> np.ndarray:
  """Whether a row was not asked for before: [S, P] -> [S, P] bool."""
  order = np.argsort(rows, axis=-1, kind='stable')
  ordered = np.take_along_axis(rows, order, -1)
  new = np.ones(rows.shape, bool)
  new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
  result = np.empty_like(new)
  np.put_along_axis(result, order, new, -1)
  return result


def improvements(
  rows: np.ndarray,
  rewards: np.ndarray,
  budget: float,
  seconds: np.ndarray | None = None,
) -> list[Improvements]:
  """The improvements of searches within a budget.

  Args:
    rows: [S, P] of the table, in the order of the search; N: not in it.
    rewards: [S, P] what the search was told of each.
    budget: evaluations, or seconds if those are given.
    seconds: [N + 1] that an evaluation of each row takes. A proposal counts
      once it is paid for in full; asking again costs again.

  Raises:
    ValueError: if a search ends before it has spent the budget.
  """
  count = rows.shape[1]
  evaluations = np.broadcast_to(np.arange(1, count + 1), rows.shape)
  spent = evaluations if seconds is None else _total(seconds, rows)
  if spent[:, -1].min() < budget:
    raise ValueError(
      f'A search of {count} proposals spends {spent[:, -1].min():g} of a '
      f'budget of {budget:g}: raise search.num_proposals or lower the budget.'
    )
  best = np.maximum.accumulate(rewards, axis=1)
  better = np.ones(rows.shape, bool)
  better[:, 1:] = best[:, 1:] > best[:, :-1]
  better &= spent <= budget
  distinct = np.cumsum(first_seen(rows), axis=1)
  fields = (evaluations, spent, distinct, rows, rewards)
  return [
    Improvements(*(field[i][better[i]] for field in fields))
    for i in range(len(rows))
  ]


def _total(seconds, rows):
  return np.cumsum(seconds.astype(float)[rows], axis=1)


def found(searches: Sequence[Improvements], amounts: np.ndarray) -> np.ndarray:
  """The best row of each search by each amount: [S, C] int; -1: none yet."""

  def one(search):
    place = np.searchsorted(search.spent, amounts, 'right')
    return np.concatenate([[-1], search.rows])[place]

  return np.stack([one(search) for search in searches])


def first_reach(
  searches: Sequence[Improvements],
  values: np.ndarray,
  target: float,
  field: str = 'spent',
) -> np.ndarray:
  """What was spent when the best row reached a target: [S]; inf: never.

  Args:
    searches: S of them.
    values: [N + 1] of each row.
    target: the least value that counts as reached.
    field: of `Improvements`, in which the answer is given.
  """

  def one(search):
    reached = np.flatnonzero(values[search.rows] >= target)
    return getattr(search, field)[reached[0]] if len(reached) else np.inf

  return np.array([one(search) for search in searches], float)


def amounts(budget: float, count: int = 60) -> np.ndarray:
  """Up to `count` whole amounts of a budget, evenly on a logarithmic scale."""
  return np.unique(np.round(np.geomspace(1, budget, count)).astype(int))
