"""What an architecture will score, from those like it: a kernel regression.

A Gaussian process' mean over features of architectures, fitted in closed form.
What is fitted are normal scores of the rewards' ranks, so that one that failed
does not outweigh all others. Ours; the predictor of Faster Block-QNN (Zhong et
al., 2018, arXiv 1808.05584) is not published in full, see `lstm_predictor`.

Shapes: `M` architectures remembered, `T` steps of a space, `D` features, `n`
architectures asked for.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.types import Predictor

_MOST_STEPS = 64  # of conjugate gradients: more than enough for the noise
_TIE = 1e-3  # of a reward's range a unit of score, where rewards say nothing


class Fitted(NamedTuple):
  """Weights of the architectures that were fitted."""

  features: jax.Array  # [M, D]
  weights: jax.Array  # [M], 0 where a place is empty
  levels: jax.Array  # [M] rewards in rising order, the highest repeated
  scores: jax.Array  # [M] their normal scores


def kernel_predictor(
  featurise: Callable,
  memory_size: int,
  *,
  scale: float = 1.0,
  noise: float = 0.1,
) -> Predictor:
  """Predicts by exp(-scale |phi - phi'|^2).

  Args:
    featurise: actions [T] -> phi [D], of length about 1.
    memory_size: M.
    scale: of the kernel; may be traced.
    noise: variance of a reward's score that is chance, of 1; may be traced.
  """
  phi = jax.vmap(featurise)

  def init(key, actions):
    del key  # nothing is drawn
    size = jax.eval_shape(featurise, actions).shape[0]
    nothing = jnp.zeros(memory_size)
    return Fitted(jnp.zeros((memory_size, size)), nothing, nothing, nothing)

  def fit(key, fitted, actions, rewards, held):
    del key, fitted  # what was fitted before is not needed
    features = phi(actions)
    scores = normal_scores(rewards, held)
    both = held[:, None] & held
    gram = jnp.where(both, _kernel(features, features, scale), 0.0)
    # Not by a factorisation: a batch of LAPACK's on CPU can wait for ever.
    weights, _ = jax.scipy.sparse.linalg.cg(
      lambda w: gram @ w + noise * w, scores, maxiter=_MOST_STEPS
    )
    order = jnp.argsort(jnp.where(held, scores, jnp.inf))
    last = order[held.sum() - 1]
    rising = jnp.where(held[order], order, last)
    return Fitted(features, weights, rewards[rising], scores[rising])

  def predict(fitted, actions):
    gram = _kernel(phi(actions), fitted.features, scale)
    score = gram @ fitted.weights
    reach = fitted.levels[-1] - fitted.levels[0]
    level = jnp.interp(score, fitted.scores, fitted.levels)
    return level + _TIE * reach * score

  return Predictor(init, fit, predict)


def _kernel(one, other, scale):
  """[n, D], [m, D] -> [n, m]."""
  squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
  return jnp.exp(-scale * jnp.maximum(squares, 0.0))


def normal_scores(rewards: jax.Array, held: jax.Array) -> jax.Array:
  """Quantiles of the normal distribution at the ranks: [M], 0 where not held.

  Equal rewards share the mean of their ranks.
  """
  below = (rewards < rewards[:, None]) & held
  equal = (rewards == rewards[:, None]) & held
  middle = below.sum(1) + 0.5 * equal.sum(1)
  share = jnp.where(held, middle / jnp.maximum(held.sum(), 1), 0.5)
  return jax.scipy.special.ndtri(share)
