"""Learning reward weights from an expert: apprenticeship learning.

Abbeel & Ng, "Apprenticeship learning via inverse reinforcement learning", 2004.
That the mirror stimuli function is trained so is a reconstruction. The first
policy is the random one, `PolicyClass.mean`.

Shapes: `D` features, `I` iterations, `K` = I + 1 policies.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from irlas_jax.rewards.policy_class import (
  EXACT,
  Learner,
  PolicyClass,
  Solution,
)

_RESOLUTION = 1e-6  # of single precision, for numbers of order 1


class _Progress(NamedTuple):
  memory: Any  # what the learner keeps of the policies so far
  gap: jax.Array  # [D], mu_expert less the mixture of policies closest to it
  solution: Solution


class _Hull(NamedTuple):
  points: jax.Array  # [K, D], mu_expert - mu_j; 0 where there is none yet
  gram: jax.Array  # [K, K], products of points
  shares: jax.Array  # [K], of the points in the hull's point of least length


def projection(
  *, num_iterations: int = 50, tolerance: float | jax.Array = 1e-2
) -> Learner:
  """Abbeel & Ng's projection method.

  m_i = m_{i-1} + s (mu_i - m_{i-1}), with s such that m_i is closest to mu_E;
  w_i = (mu_E - m_{i-1}) / t_i,  t_i = ||mu_E - m_{i-1}||_2.

  s is kept in [0, 1], so that m stays the expectation of a mixture of policies.
  The weights are scaled to length 1, which no best response depends on. Stops
  after `num_iterations`, or once t_i <= tolerance * ||mu_E|| and then returns
  the weights before: those of a match are noise. The trace is t_i.

  Raises:
    ValueError: for no iterations.
  """
  _check(num_iterations)

  def learn(mu_expert: jax.Array, policies: PolicyClass) -> Solution:
    def absorb(mean, slot, mu):
      del slot
      step = mu - mean
      along = jnp.dot(step, mu_expert - mean, precision=EXACT)
      length = jnp.dot(step, step, precision=EXACT)
      share = jnp.clip(along / jnp.where(length > 0, length, 1.0), 0.0, 1.0)
      mean = mean + share * step
      return mean, mu_expert - mean

    return _learn(
      absorb, policies.mean, mu_expert, policies, num_iterations, tolerance
    )

  return learn


def max_margin(
  *, num_iterations: int = 50, tolerance: float | jax.Array = 1e-2
) -> Learner:
  """Abbeel & Ng's quadratic program, solved in its dual.

  w_i = argmax_w t  s.t.  w.(mu_E - mu_j) >= t for all j < i,  ||w||_2 <= 1.

  With z the point of least length in the convex hull of {mu_E - mu_j}:
  w = z / ||z||, t = ||z||. Stops as `projection` does. The answer is unique;
  with an exact best response among finitely many policies it reaches the widest
  margin over all of them in finitely many iterations. The trace is t_i.

  Raises:
    ValueError: for no iterations.
  """
  _check(num_iterations)
  size = num_iterations + 1

  def learn(mu_expert: jax.Array, policies: PolicyClass) -> Solution:
    chex.assert_equal_shape([mu_expert, policies.mean])
    first = mu_expert - policies.mean
    memory = _Hull(
      points=jnp.zeros((size, *first.shape), first.dtype).at[0].set(first),
      gram=jnp.zeros((size, size)).at[0, 0].set(jnp.sum(first**2)),
      shares=jnp.zeros(size).at[0].set(1.0),
    )

    def absorb(hull, slot, mu):
      points = hull.points.at[slot].set(mu_expert - mu)
      products = jnp.dot(points, mu_expert - mu, precision=EXACT)
      gram = hull.gram.at[slot].set(products).at[:, slot].set(products)
      shares = least_norm_shares(gram, jnp.arange(size) <= slot, hull.shares)
      gap = jnp.dot(shares, points, precision=EXACT)
      return _Hull(points, gram, shares), gap

    return _learn(
      absorb, memory, mu_expert, policies, num_iterations, tolerance
    )

  return learn


def least_norm_shares(
  gram: jax.Array, valid: jax.Array, shares: jax.Array
) -> jax.Array:
  """argmin_a a.G.a over a >= 0, sum(a) = 1: shares [K] of the shortest point.

  The minimum of a.G.a + c (sum(a) - 1)^2 over a >= 0 is the same point up to
  scale; it is found by the active-set method of Lawson & Hanson (1974), which
  is finite and exact but for rounding. gram [K, K]; valid [K] bool, which
  points there are; shares [K], where to start from, such as the solution before
  the last point was added.
  """
  chex.assert_shape(gram, (len(valid), len(valid)))
  system = gram / jnp.max(jnp.diag(gram)) + 1.0

  def unfinished(state):
    _, _, done, step = state
    return ~done & (step < 4 * len(valid))

  def pivot(state):
    active, shares, _, step = state
    target = _solve_active(system, active)
    blocks = active & (target <= 0)
    slope = 1.0 - jnp.dot(system, target, precision=EXACT)
    slope = jnp.where(valid & ~active, slope, 0.0)
    entering = jnp.arange(len(valid)) == jnp.argmax(slope)
    optimal = jnp.max(slope) <= _RESOLUTION
    # How far towards the target until a share that would go negative is 0.
    room = jnp.where(blocks, shares / (shares - target), jnp.inf)
    moved = shares + jnp.min(room) * (target - shares)
    leaving = blocks & (room <= jnp.min(room))
    blocked = jnp.any(blocks)
    return (
      jnp.where(blocked, active & ~leaving, active | (entering & ~optimal)),
      jnp.where(blocked, jnp.where(leaving, 0.0, moved), target),
      # No room at all happens by rounding only: what entered should not have.
      jnp.where(blocked, jnp.min(room) <= 0, optimal),
      step + 1,
    )

  start = (valid & (shares > 0), shares, jnp.array(False), 0)
  shares = jax.lax.while_loop(unfinished, pivot, start)[1]
  return shares / jnp.sum(shares)


def _solve_active(system, active):
  """Solves system[S, S] x = 1 for the active set S; 0 outside. Static shape."""
  both = active[:, None] & active[None, :]
  identity = jnp.eye(len(active))
  matrix = jnp.where(both, system, identity) + _RESOLUTION * identity
  factor = jax.scipy.linalg.cho_factor(matrix)
  return jax.scipy.linalg.cho_solve(factor, active.astype(system.dtype))


def _check(num_iterations):
  if num_iterations < 1:
    raise ValueError(f'num_iterations is {num_iterations}; give at least 1.')


def _learn(absorb, memory, mu_expert, policies, num_iterations, tolerance):
  """The loop: weights from the gap, a best response, a smaller gap.

  `absorb(memory, slot, mu) -> (memory, gap)` takes in the policy number `slot`.
  """
  chex.assert_rank([mu_expert, policies.mean], 1)
  chex.assert_equal_shape([mu_expert, policies.mean])
  threshold = tolerance * jnp.linalg.norm(mu_expert)
  numbers = jnp.arange(num_iterations)

  def unmatched(progress):
    margin = jnp.linalg.norm(progress.gap)
    count = progress.solution.iterations
    return (count < num_iterations) & (margin > threshold)

  def step(progress):
    solution = progress.solution
    count = solution.iterations
    margin = jnp.linalg.norm(progress.gap)
    weights = progress.gap / margin
    mu = policies.best_response(weights)
    memory, gap = absorb(progress.memory, count + 1, mu)
    # No policy taken in widens the gap; near the end, rounding would.
    gap = jnp.where(jnp.linalg.norm(gap) < margin, gap, progress.gap)
    trace = jnp.where(numbers >= count, margin, solution.trace)
    return _Progress(memory, gap, Solution(weights, trace, count + 1))

  nothing = Solution(
    jnp.zeros_like(mu_expert),
    jnp.zeros(num_iterations, mu_expert.dtype),
    jnp.zeros((), jnp.int32),
  )
  progress = _Progress(memory, mu_expert - policies.mean, nothing)
  progress = jax.lax.while_loop(unmatched, step, progress)
  solution = progress.solution
  margin = jnp.linalg.norm(progress.gap)
  trace = jnp.where(numbers >= solution.iterations, margin, solution.trace)
  return solution._replace(trace=trace)
