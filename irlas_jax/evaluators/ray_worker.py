"""What runs in a worker of `ray_pool`: an evaluator, built once.

Imports no JAX, since an evaluator may do without.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from irlas_jax import cluster

# (actions [n, T], parents [n, T], bar [E]) -> columns of `Scores` by name, each
# with a leading n; those that are left out are not known.
PlainEvaluator = Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping]


class Place(NamedTuple):
  """Where a worker is."""

  node: str  # Ray's
  pid: int


class Worker:
  """An actor; Ray needs a class."""

  def build(
    self, make_evaluator: Callable[[], PlainEvaluator], cores: int
  ) -> Place:
    """Makes the evaluator, which may take a while: programs are compiled."""
    import ray

    cluster.keep_to(cores)
    self._evaluate = make_evaluator()
    return Place(ray.get_runtime_context().get_node_id(), os.getpid())

  def score(self, actions, parents, bar) -> dict[str, list[Any]]:
    """The scores of one proposal, as plain numbers, which travel fastest."""
    columns = self._evaluate(actions[None], parents[None], bar)
    return {name: np.asarray(x)[0].tolist() for name, x in columns.items()}
