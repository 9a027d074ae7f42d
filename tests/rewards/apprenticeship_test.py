"""The learners: by hand, against a reference solver, and on a whole space."""

import functools
import itertools

import cvxpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.rewards import apprenticeship, features, policy_class
from irlas_jax.spaces import block

LEARNERS = (apprenticeship.projection, apprenticeship.max_margin)


def widest_margin(mu_expert, counts):
  """The quadratic program over all policies, by a reference solver."""
  weights, margin = cvxpy.Variable(len(mu_expert)), cvxpy.Variable()
  gaps = np.asarray(mu_expert - counts, np.float64)
  limits = [gaps @ weights >= margin, cvxpy.norm(weights) <= 1]
  problem = cvxpy.Problem(cvxpy.Maximize(margin), limits)
  problem.solve(solver=cvxpy.CLARABEL)
  return weights.value, margin.value


def random_pool(seed, num_policies=60, num_features=12, offset=1.0):
  """Random counts [N, D], and an expert that is `offset` off their mean."""
  rng = np.random.default_rng(seed)
  counts = rng.normal(size=(num_policies, num_features))
  expert = counts.mean(0) + offset * rng.normal(size=num_features)
  return jnp.array(expert, jnp.float32), jnp.array(counts, jnp.float32)


def learn(learner, mu_expert, counts, **fields):
  return learner(**fields)(mu_expert, policy_class.pool(counts))


def pool_from(first, counts):
  """The pool of counts [N, D], but for another first policy."""
  return policy_class.pool(counts)._replace(mean=first)


@functools.cache
def run(learner):
  """Compiled once: experts [B, D] with their pools [B, N, D]."""
  return jax.jit(jax.vmap(functools.partial(learn, learner)))


@pytest.mark.parametrize('jit', (True, False))
def test_projection_takes_hand_computed_steps(jit):
  """mu_E = (0, 2), from (2, 0), then (-2, 0): the mean goes to (0, 0)."""
  expert = jnp.array([0.0, 2.0])
  pool = jnp.array([[2.0, 0.0], [-2.0, 0.0]])

  def run():
    learn = apprenticeship.projection(num_iterations=4, tolerance=0.01)
    return learn(expert, pool_from(pool[0], pool))

  solution = (jax.jit(run) if jit else run)()
  # w_1 = (-1, 1) / sqrt 2, whose best response is (-2, 0); then w = (0, 1).
  np.testing.assert_allclose(solution.trace, [8**0.5, 2, 2, 2], rtol=1e-6)
  np.testing.assert_allclose(solution.weights, [0, 1], atol=1e-6)
  assert solution.iterations == 4


def test_projection_stays_a_mixture_of_policies():
  """Unclipped, the step would leave the segment and end at (0, 0.5)."""
  expert = jnp.array([3.0, 0.5])
  pool = jnp.array([[0.0, 0.0], [1.0, 0.0]])
  learn = apprenticeship.projection(num_iterations=3, tolerance=0.0)
  solution = learn(expert, pool_from(pool[0], pool))
  expected = np.hypot(2.0, 0.5)
  np.testing.assert_allclose(solution.trace[1:], expected, rtol=1e-6)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize(
  'num_points,num_features', ((8, 3), (40, 60), (60, 12))
)
def test_shortest_point_agrees_with_a_reference_solver(
  seed, num_points, num_features
):
  """A wrong active set gives a longer point."""
  mu_expert, counts = random_pool(seed, num_points, num_features, offset=3.0)
  points = mu_expert - counts
  shares = jax.jit(apprenticeship.least_norm_shares)(
    points @ points.T, jnp.ones(num_points, bool), jnp.zeros(num_points)
  )
  weights, margin = widest_margin(mu_expert, counts)
  assert shares.min() >= 0
  np.testing.assert_allclose(shares.sum(), 1, rtol=1e-5)
  found = shares @ points
  np.testing.assert_allclose(jnp.linalg.norm(found), margin, rtol=1e-5)
  np.testing.assert_allclose(found / margin, weights, atol=1e-4)


def test_points_that_are_not_there_get_no_share():
  """Empty slots are zero vectors: the shortest of all, if let in."""
  points = jnp.array([[1.0, 1.0], [-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
  valid = jnp.array([True, True, False, False])
  shares = apprenticeship.least_norm_shares(
    points @ points.T, valid, jnp.array([1.0, 0.0, 0.0, 0.0])
  )
  np.testing.assert_allclose(shares, [0.5, 0.5, 0, 0], atol=1e-6)


def test_repeated_points_do_no_harm():
  """A best response that comes again makes the Gram matrix singular."""
  points = jnp.array([[1.0, 1.0], [-1.0, 1.0]] * 4)
  shares = apprenticeship.least_norm_shares(
    points @ points.T, jnp.ones(8, bool), jnp.zeros(8).at[0].set(1.0)
  )
  np.testing.assert_allclose(shares @ points, [0, 1], atol=1e-5)


def test_max_margin_reaches_the_widest_margin_over_the_pool():
  """It sees the pool through best responses only."""
  pairs = [random_pool(seed, offset=2.0) for seed in range(12)]
  experts, pools = (jnp.stack(x) for x in zip(*pairs, strict=True))
  solution = run(apprenticeship.max_margin)(experts, pools)
  for i, (mu_expert, counts) in enumerate(pairs):
    weights, margin = widest_margin(mu_expert, counts)
    np.testing.assert_allclose(solution.trace[i, -1], margin, rtol=1e-5)
    np.testing.assert_allclose(solution.weights[i], weights, atol=1e-4)


def test_max_margin_puts_the_expert_ahead_of_the_mean():
  """The scale of a score is that lead; below 0 it would be upside down."""
  settings = itertools.product(range(4), (0.1, 1.0, 3.0))
  pairs = [random_pool(seed, offset=offset) for seed, offset in settings]
  experts, pools = (jnp.stack(x) for x in zip(*pairs, strict=True))
  solution = run(apprenticeship.max_margin)(experts, pools)
  lead = jnp.sum(solution.weights * (experts - pools.mean(1)), 1)
  assert (lead >= solution.trace[:, -1] - 1e-5).all() and (lead > 0).all()


@pytest.mark.parametrize('learner', LEARNERS)
def test_margins_never_increase_and_stay_after_the_stop(learner):
  """Abbeel & Ng: every policy taken in narrows the margin."""
  settings = itertools.product(range(4), (0.1, 1.0, 3.0))
  pairs = [random_pool(seed, offset=offset) for seed, offset in settings]
  experts, pools = (jnp.stack(x) for x in zip(*pairs, strict=True))
  solution = run(learner)(experts, pools)
  margins = np.asarray(solution.trace)
  assert (np.diff(margins) <= 0).all()
  assert (margins[:, -1] < margins[:, 0]).all()
  stopped = np.arange(50) >= np.asarray(solution.iterations)[:, None]
  assert stopped.any() and not stopped.all()
  ends = np.broadcast_to(margins[:, -1:], margins.shape)
  np.testing.assert_array_equal(margins[stopped], ends[stopped])
  lengths = jnp.linalg.norm(solution.weights, axis=1)
  np.testing.assert_allclose(lengths, 1, rtol=1e-5)


@pytest.mark.parametrize('learner', LEARNERS)
def test_stops_at_the_tolerance(learner):
  """An expert inside the hull can be matched: weights would become noise."""
  mu_expert, counts = random_pool(0, offset=0.2)
  tight = learn(learner, mu_expert, counts, tolerance=0.1)
  threshold = 0.1 * jnp.linalg.norm(mu_expert)
  assert 0 < tight.iterations < 50
  assert tight.trace[-1] <= threshold
  assert tight.trace[tight.iterations - 1] > threshold


@pytest.mark.parametrize('learner', LEARNERS)
def test_a_first_policy_that_matches_gives_no_weights(learner):
  """A direction of length 0 must not become NaN."""
  expert = jnp.array([1.0, 2.0])
  solution = learn(learner, expert, expert[None], num_iterations=5)
  np.testing.assert_array_equal(solution.weights, 0.0)
  np.testing.assert_array_equal(solution.trace, 0.0)
  assert solution.iterations == 0


@pytest.mark.parametrize('learner', LEARNERS)
def test_batched_lanes_do_not_disturb_each_other(learner):
  """Lanes stop at different iterations and go on being computed."""
  pools = jnp.stack([random_pool(seed)[1] for seed in range(12)])
  offsets = (0.1, 0.2, 0.3, 3.0) * 3
  pairs = [random_pool(seed, offset=o) for seed, o in enumerate(offsets)]
  experts = jnp.stack([expert for expert, _ in pairs])
  together = run(learner)(experts, pools)
  assert len(set(together.iterations.tolist())) > 2
  for lane in (0, 3):
    same = jnp.full(12, lane)
    alone = run(learner)(experts[same], pools[same])
    assert alone.iterations[0] == together.iterations[lane]
    np.testing.assert_allclose(
      alone.weights[0], together.weights[lane], atol=1e-5
    )


@pytest.mark.parametrize('learner', LEARNERS)
def test_the_first_policy_is_the_random_one(learner):
  """Abbeel & Ng start from any; its weights point from it to the expert."""
  mu_expert, counts = random_pool(0)
  solution = learn(learner, mu_expert, counts, num_iterations=1)
  away = mu_expert - counts.mean(0)
  np.testing.assert_allclose(
    solution.weights, away / jnp.linalg.norm(away), rtol=1e-5
  )
  np.testing.assert_allclose(solution.trace, jnp.linalg.norm(away), rtol=1e-5)


@pytest.mark.parametrize('learner', LEARNERS)
def test_no_iterations_are_refused(learner):
  """Zero-sized margins would fail far from the cause."""
  with pytest.raises(ValueError, match='num_iterations'):
    learner(num_iterations=0)


@functools.cache
def whole_space():
  """All action sequences of a two-layer space, and their counts [N, D]."""
  space = block.block(2, 'dense')
  choices = range(space.num_actions)
  sequences = np.array(list(itertools.product(choices, repeat=2)), np.int32)
  first, second = (jax.vmap(lambda a, t=t: space.legal(a, t)) for t in (0, 1))
  rows = np.arange(len(sequences))
  legal = np.asarray(first(sequences))[rows, sequences[:, 0]]
  legal &= np.asarray(second(sequences))[rows, sequences[:, 1]]
  sequences = sequences[legal]
  kinds = itertools.product(range(len(space.operations)), (0, 1, 3, 5))
  phi = features.topology(
    [features.labels({f'{kind}': [kind] for kind in kinds})],
    list(features.TABLES),
    join=space.operations.index('concat'),
  )
  count = jax.jit(jax.vmap(lambda actions: phi.counts(space.decode(actions))))
  return list(map(tuple, sequences.tolist())), count(sequences)


def test_pool_of_the_whole_space_plays_the_optimal_policy():
  """Against backward induction over the tree of action sequences."""
  sequences, counts = whole_space()
  response = jax.jit(policy_class.pool(counts).best_response)
  for weights in jax.random.normal(jax.random.key(0), (5, counts.shape[1])):
    rewards = dict(zip(sequences, (counts @ weights).tolist(), strict=True))
    after_first = {
      first: max(r for s, r in rewards.items() if s[0] == first)
      for first, _ in sequences
    }
    optimal = max(after_first.values())
    np.testing.assert_allclose(weights @ response(weights), optimal, rtol=1e-5)


@pytest.mark.parametrize('learner', LEARNERS)
def test_every_expert_of_the_whole_space_becomes_optimal(learner):
  """The pool holds the expert: it must end as the best response itself."""
  _, counts = whole_space()
  experts = counts[:: len(counts) // 24]
  fit = functools.partial(learn, learner, counts=counts)
  solution = jax.jit(jax.vmap(fit))(experts)
  values = solution.weights @ counts.T
  own = jnp.sum(solution.weights * experts, 1)
  assert (own >= values.max(1) - 1e-4).all()


def test_learners_agree_with_brute_force_on_the_whole_space():
  """Without the expert's isomorphic blocks, the widest margin is positive."""
  _, counts = whole_space()
  expert = counts[len(counts) // 2]
  others = counts[jnp.abs(counts - expert).max(1) > 1e-4]
  _, margin = widest_margin(expert, others)
  exact = learn(apprenticeship.max_margin, expert, others, num_iterations=100)
  crawl = learn(apprenticeship.projection, expert, others, num_iterations=400)
  assert margin > 0.1
  np.testing.assert_allclose(exact.trace[-1], margin, rtol=1e-4)
  np.testing.assert_allclose(crawl.trace[-1], margin, rtol=2e-2)
