"""The mirror stimuli of a mixed cell: linear in its operations' probabilities.

That IRLAS has a differential version is known; its loss is not, so all of this
is a reconstruction. Where the graph is the same for all cells but for the
operations of its edges, counts that are not scaled to length 1 are sums over
edges, F_topo(G) = base + sum_e gains[e, operation of e]. With edges chosen
independently, edge e by p_e = softmax(alpha_e), its expectation is

  F_topo(alpha) = base + sum_e sum_o p_eo gains[e, o]

and its gradient is in closed form, without the weights of any network, so it
adds no term to the second order of DARTS.

`E` edges, `O` operations of an edge.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.rewards import mirror_stimuli
from irlas_jax.rewards.features import Features

_CELLS = 64  # random cells at which the sum over edges is compared
_ROUNDING = 1e-4  # of the largest score among them


class EdgeScores(NamedTuple):
  """F_topo as a sum over edges."""

  base: jax.Array  # [] of the cell of first operations
  gains: jax.Array  # [E, O] by another operation; 0 for the first one


def nothing(num_edges: int, num_operations: int) -> EdgeScores:
  """F_topo = 0: no expert."""
  return EdgeScores(jnp.zeros(()), jnp.zeros((num_edges, num_operations)))


def edge_scores(
  features: Features,
  mirror: mirror_stimuli.MirrorStimuli,
  decode: Callable,
  num_edges: int,
  num_operations: int,
) -> EdgeScores:
  """What each operation on each edge adds to the score of a cell.

  `decode` maps operations [E] to the Graph that the features see, and has to
  leave its edges as they are.

  Raises:
    ValueError: if the score is no sum over edges, with the remedy.
  """
  score_fn = jax.jit(
    jax.vmap(lambda cell: mirror_stimuli.score(features, mirror, decode(cell)))
  )
  edge, operation = np.indices((num_edges, num_operations)).reshape(2, -1)
  single = np.zeros((len(edge), num_edges), np.int32)
  single[np.arange(len(edge)), edge] = operation
  drawn = np.random.default_rng(0).integers(
    0, num_operations, (_CELLS, num_edges), np.int32
  )
  found = score_fn(np.concatenate([single, drawn]))
  base, (alone, whole) = found[0], jnp.split(found, [len(single)])
  gains = (alone - base).reshape(num_edges, num_operations)
  told = base + gains[np.arange(num_edges), drawn].sum(1)
  off = float(jnp.abs(told - whole).max())
  if off > _ROUNDING * max(1.0, float(jnp.abs(whole).max())):
    raise ValueError(
      'reward.features: the mirror stimuli are no sum over the edges of a cell '
      f'(off by {off:.2g}), so F_topo has no closed form. Set '
      'reward.features.normalised=False.'
    )
  return EdgeScores(base, gains)


def score(edges: EdgeScores, alpha: jax.Array) -> jax.Array:
  """F_topo(alpha) []: the expected score of a cell; alpha [E, O]."""
  return edges.base + jnp.sum(jax.nn.softmax(alpha) * edges.gains)


def gradient(edges: EdgeScores, alpha: jax.Array) -> jax.Array:
  """dF_topo / dalpha_eo = p_eo (g_eo - sum_o' p_eo' g_eo'): [E, O]."""
  p = jax.nn.softmax(alpha)
  return p * (edges.gains - jnp.sum(p * edges.gains, axis=-1, keepdims=True))


def of_cell(edges: EdgeScores, cell: jax.Array) -> jax.Array:
  """F_topo of a cell, operations [E]."""
  return edges.base + edges.gains[jnp.arange(len(cell)), cell].sum()
