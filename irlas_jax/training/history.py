"""What evaluations on the way say of a training, and whether it goes on.

`E` evaluations on validation data.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.training import recipe as recipes


class History(NamedTuple):
  """What happened; evaluations not reached are NaN."""

  accuracy: jax.Array  # [E] on validation data
  loss: jax.Array  # [E] validation cross-entropy
  train_loss: jax.Array  # [E] mean over the steps since the last evaluation
  finished: jax.Array  # [] int32, evaluations reached
  diverged: jax.Array  # [] bool, a loss was not finite


def blank(evaluations: int) -> History:
  """Before the first evaluation."""
  nothing = jnp.full(evaluations, jnp.nan)
  return History(nothing, nothing, nothing, jnp.int32(0), jnp.bool_(False))


def record(
  history: History, stale, accuracy, loss, train_loss
) -> tuple[History, jax.Array]:
  """One evaluation later; `stale` [] counts those since the best one."""
  at = history.finished
  better = accuracy > jnp.nan_to_num(history.accuracy, nan=-1.0).max()
  finite = jnp.isfinite(loss) & jnp.isfinite(train_loss)
  later = History(
    history.accuracy.at[at].set(accuracy),
    history.loss.at[at].set(loss),
    history.train_loss.at[at].set(train_loss),
    at + 1,
    ~finite,
  )
  return later, jnp.where(better, 0, stale + 1)


def goes_on(
  history: History, stale, recipe: recipes.Recipe, bar=-jnp.inf
) -> jax.Array:
  """[] bool, whether a training is not over.

  `bar`, a number or [E], is the least accuracy to go on after an evaluation.
  """
  going = (history.finished < recipe.evaluations) & ~history.diverged
  going &= (recipe.patience == 0) | (stale < recipe.patience)
  last = history.finished - 1
  least = jnp.broadcast_to(bar, history.accuracy.shape)[last]
  return going & ((last < 0) | (history.accuracy[last] >= least))
