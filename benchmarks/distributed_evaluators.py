"""Evaluators for `benchmarks.distributed`, without JAX."""

import time
from collections.abc import Callable


def make_sleeping(seconds: float) -> Callable:
  """An evaluator that sleeps; its score is a hash of the choices, in [0, 1)."""

  def evaluate(actions, parents, bar):
    del parents, bar
    if seconds:
      time.sleep(seconds)
    mixed = 0
    for action in actions[0].tolist():
      mixed = (1_000_003 * mixed + action) % 2**32
    return {'accuracy': [mixed / 2**32], 'curve': [[0.0]]}

  return evaluate
