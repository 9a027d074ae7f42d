"""Which children are worth a full training: successive halving by a bar.

The stopping form of asynchronous successive halving (Li et al., 2020, "A System
for Massively Parallel Hyperparameter Tuning"): at the 1st, eta-th, eta^2-th ...
evaluation a child goes on if it is among the best 1 / eta of those that got so
far. Here it is compared with those of earlier calls only, so what becomes of it
depends neither on its company nor on who was faster, and a search that is
resumed decides as it would have done.
"""

import numpy as np


def bar(curves: np.ndarray, eta: float) -> np.ndarray:
  """The least accuracy [E] to go on after each evaluation.

  Args:
    curves: [m, E] accuracies of earlier children, NaN where not reached.
    eta: one in how many goes on; 0 for all.

  Returns:
    float32 [E]; minus infinity where everybody goes on: at evaluations that
    are no rung, and where fewer than `eta` children were seen.
  """
  num_evaluations = curves.shape[1]
  least = np.full(num_evaluations, -np.inf, np.float32)
  for rung in _rungs(num_evaluations, eta):
    reached = curves[:, rung - 1]
    best_first = -np.sort(-reached[np.isfinite(reached)])
    passing = int(len(best_first) / eta)
    if passing:
      least[rung - 1] = best_first[passing - 1]
  return least


def _rungs(num_evaluations: int, eta: float) -> list[int]:
  """Evaluations after which children are dropped: 1, eta, eta^2 ..."""
  rungs, rung = [], 1.0
  while eta and rung < num_evaluations:
    rungs.append(int(rung))
    rung *= eta
  return rungs


def check(eta: float, num_evaluations: int) -> None:
  """Refuses what halves nothing.

  Raises:
    ValueError: naming the field.
  """
  if eta and not eta > 1:
    raise ValueError(
      f'evaluator.halving is {eta}: one child in so many goes on, so it has to '
      'be more than 1; 0 trains all to the end.'
    )
  if eta and num_evaluations == 1:
    raise ValueError(
      f'evaluator.halving is {eta}, and train.evaluations 1: a child can be '
      'dropped only after an evaluation that is not its last. Raise '
      'train.evaluations.'
    )
