"""Proximal policy optimisation (Schulman et al., 2017), for any policy.

As NASNet's controller is trained (Zoph et al., 2018, arXiv 1707.07012).

Shapes: `T` steps of a space, `n` proposals, `m` rows of a minibatch.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from irlas_jax.searchers import reinforce
from irlas_jax.types import Policy, Searcher

# exp(20) is far beyond any clip; an overflow would make the gradient NaN.
_MAX_LOG_RATIO = 20.0


class Batch(NamedTuple):
  """What the surrogate reads of proposals; leading `n` or `m`."""

  actions: jax.Array  # [n, T] int32
  sampled: jax.Array  # [n, T] float32, log-probabilities when sampled
  gains: jax.Array  # [n] float32, rewards less the baseline
  valid: jax.Array  # [n] bool


def ppo(
  policy: Policy,
  tx: optax.GradientTransformation,
  *,
  clip: float | jax.Array = 0.2,
  epochs: int = 4,
  num_minibatches: int = 1,
  baseline_decay: float | jax.Array = 0.95,
  entropy_weight: float | jax.Array = 1e-5,
) -> Searcher:
  """Several steps of `tx` a batch, held near the policy that sampled it.

  As `reinforce` but for the update: every epoch shuffles the valid rows and
  takes a step along the gradient of `ppo_loss` for each minibatch. State,
  baseline and proposals are those of `reinforce`, and the first batch teaches
  the baseline only. Stale proposals need no weights of their own: the ratio is
  to what sampled them, and clipped.

  NASNet's are the weight of the entropy (of rewards in [0, 1]) and the decay of
  the baseline; with them go Adam with a learning rate of 3.5e-4 and batches of
  20. The clip (the usual one) and the number of epochs and minibatches are our
  reconstruction: the paper has none of them.

  Args:
    policy: any.
    tx: the optimiser; it takes a step for each minibatch.
    clip: largest distance from 1 of a ratio that still pays; may be traced.
    epochs: times that every valid row is used.
    num_minibatches: parts of the batch in an epoch, as even as can be; those
      without a valid row are left out.
    baseline_decay: as that of `reinforce`; may be traced.
    entropy_weight: of the policy's entropy; may be traced.

  Raises:
    ValueError: if `epochs` or `num_minibatches` is below 1.
  """
  if min(epochs, num_minibatches) < 1:
    raise ValueError(
      f'ppo has epochs={epochs} and num_minibatches={num_minibatches}: at '
      'least 1 of each.'
    )

  def update(key, state, proposals, rewards, valid):
    gains, average = reinforce.advantages(state, rewards, valid, baseline_decay)
    sampled = proposals.info['log_prob']
    given = Batch(proposals.actions, sampled, gains, valid)
    batch = jax.tree.map(jnp.asarray, given)
    parts = minibatches(key, batch.valid, epochs, num_minibatches)

    def descend(fitted, rows, used):
      params, opt_state = fitted
      part = jax.tree.map(lambda x: x[rows], batch)._replace(valid=used)
      grads = jax.grad(ppo_loss)(params, policy, part, clip, entropy_weight)
      return reinforce.descend(tx, grads, params, opt_state, state.updates)

    def step(fitted, part):
      rows, used = part
      done = jax.lax.cond(
        jnp.any(used), lambda: descend(fitted, rows, used), lambda: fitted
      )
      return done, None

    def learn():
      fitted = state.params, state.opt_state
      fitted, _ = jax.lax.scan(step, fitted, parts)
      return reinforce.ReinforceState(*fitted, average, state.updates + 1)

    return jax.lax.cond(jnp.any(valid), learn, lambda: state)

  base = reinforce.reinforce(policy, tx)
  return Searcher(base.init, base.propose, update)


def ppo_loss(
  params: Any,
  policy: Policy,
  batch: Batch,
  clip: float | jax.Array,
  entropy_weight: float | jax.Array,
) -> jax.Array:
  """-mean[sum_t min(r_t A, clip(r_t, 1 - c, 1 + c) A) + weight sum_t H_t]; [].

  r_t is pi(a_t) over its probability when sampled, A = R - b. Means are over
  the valid rows, and sums over steps, so that at r = 1 the gradient is that of
  `reinforce_loss`. (Ratios of whole sequences of 50 choices would nearly all
  be clipped.)
  """
  log_prob, entropy = policy.log_prob(params, batch.actions)
  chex.assert_equal_shape([batch.actions, batch.sampled, log_prob, entropy])
  change = jnp.where(batch.valid[:, None], log_prob - batch.sampled, 0)
  ratio = jnp.exp(jnp.minimum(change, _MAX_LOG_RATIO))
  near = jnp.clip(ratio, 1 - clip, 1 + clip)
  gains = batch.gains[:, None]
  surrogate = jnp.sum(jnp.minimum(ratio * gains, near * gains), axis=1)
  bonus = entropy_weight * jnp.sum(entropy, axis=1)
  return -reinforce.masked_mean(surrogate + bonus, batch.valid)


def minibatches(
  key: jax.Array, valid: jax.Array, epochs: int, number: int
) -> tuple[jax.Array, jax.Array]:
  """(rows, used), each [epochs * number, m]: which rows a step learns from.

  Every epoch puts each valid row into one of its `number` parts, in an order of
  its own; parts differ by one row at most. Where not `used` the row stands for
  nothing. Rows that are not valid [n] change nothing, not even the order.
  """
  chex.assert_rank(valid, 1)
  n = len(valid)
  size = -(-n // number)
  draws = jax.random.uniform(key, (n, epochs))
  # A valid row's draws are by its place among the valid.
  draws = draws[jnp.cumsum(valid) - 1]
  order = jnp.argsort(jnp.where(valid[:, None], draws, jnp.inf), axis=0)
  order = jnp.pad(order, ((0, size * number - n), (0, 0)))
  used = jnp.arange(size * number) < jnp.sum(valid)
  # Dealt like cards, [size, number, epochs], so that parts are even.
  rows = order.reshape(size, number, epochs).transpose(2, 1, 0)
  used = jnp.tile(used.reshape(size, number).T, (epochs, 1))
  return rows.reshape(epochs * number, size), used
