"""The convex learners: against reference solvers, and their conditions."""

import functools

import cvxpy
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from irlas_jax.rewards import (
  apprenticeship,
  convex,
  policy_class,
  similarity,
)

pytestmark = pytest.mark.usefixtures('quick_compiles')

STRENGTHS = (0.01, 0.1, 1.0, 10.0)


def random_pool(seed, offset=1.0, normalised=False):
  """Random counts [N, D], and an expert that is `offset` off their mean."""
  rng = np.random.default_rng(seed)
  counts = rng.normal(size=(60, 8))
  expert = counts.mean(0) + offset * rng.normal(size=8)
  if normalised:  # as those of architectures are: of length 1, not negative
    expert, counts = abs(expert) / np.linalg.norm(expert), abs(counts)
    counts /= np.linalg.norm(counts, axis=1, keepdims=True)
  return jnp.array(expert, jnp.float32), jnp.array(counts, jnp.float32)


def random_pools():
  """Experts in the midst of the pool, at its edge and outside: [B, ...]."""
  pairs = [random_pool(seed, 3.0 ** (1 - seed)) for seed in (0, 1, 2)]
  pairs += [random_pool(seed, normalised=True) for seed in (3, 4)]
  return tuple(jnp.stack(x) for x in zip(*pairs, strict=True))


@functools.cache
def fit_fn(learner, **fields):
  """One compiled learner of (strength [], mu_E [D], counts [N, D])."""

  def fit(strength, mu_expert, counts):
    learn = learner(strength=strength, **fields)
    return learn(mu_expert, policy_class.pool(counts))

  return jax.jit(fit)


@functools.cache
def entropy(**fields):
  """Of strengths [S], experts [B, D] and pools [B, N, D]: [S, B, ...]."""
  over_pools = jax.vmap(fit_fn(convex.max_entropy, **fields), (None, 0, 0))
  over_strengths = jax.vmap(over_pools, (0, None, None))
  return jax.jit(over_strengths)(jnp.array(STRENGTHS), *random_pools())


def exact_entropy(strength, mu_expert, counts):
  """The same loss in double precision, by another solver."""
  mu_expert, counts = (np.asarray(x, float) for x in (mu_expert, counts))

  def loss(weights):
    values = counts @ weights
    log_mean = scipy.special.logsumexp(values) - np.log(len(counts))
    penalty = strength / 2 * weights @ weights
    slope = scipy.special.softmax(values) @ counts - mu_expert
    ahead = weights @ mu_expert
    return log_mean - ahead + penalty, slope + strength * weights

  start = np.zeros(len(mu_expert))
  options = {'maxiter': 10**4, 'ftol': 1e-15, 'gtol': 1e-9}
  return scipy.optimize.minimize(
    loss, start, jac=True, method='L-BFGS-B', options=options
  )


def settings():
  """(strength, expert, pool) in the order of `entropy`."""
  return [
    (strength, *pair)
    for strength in STRENGTHS
    for pair in zip(*random_pools(), strict=True)
  ]


def rows(solution):
  """The solutions of `settings`."""
  flat = [x.reshape(-1, *x.shape[2:]) for x in solution]
  return [policy_class.Solution(*row) for row in zip(*flat, strict=True)]


@pytest.mark.parametrize('jit', (True, False))
def test_max_entropy_by_hand(jit):
  """Policies at 1 and -1: w / 2 = mu_E - tanh w, of which 1 is the root."""
  learn = convex.max_entropy(strength=0.5, num_iterations=20, tolerance=1e-5)

  def fit(mu_expert):
    return learn(mu_expert, policy_class.pool(jnp.array([[1.0], [-1.0]])))

  solution = (jax.jit(fit) if jit else fit)(0.5 + jnp.tanh(jnp.ones(1)))
  np.testing.assert_allclose(solution.weights, [1.0], rtol=1e-4)
  least = np.log(np.cosh(1)) - (0.5 + np.tanh(1)) + 0.25
  np.testing.assert_allclose(solution.trace[-1], least, atol=1e-6)


def test_max_entropy_agrees_with_a_reference_solver():
  """Another minimum would be the learner of another loss."""
  solution = entropy(num_iterations=100, tolerance=1e-5)
  for setting, found in zip(settings(), rows(solution), strict=True):
    reference = exact_entropy(*setting)
    away = np.linalg.norm(found.weights - reference.x)
    assert away <= 1e-3 * np.linalg.norm(reference.x), setting[0]
    np.testing.assert_allclose(found.trace[-1], reference.fun, 1e-4, 1e-5)


def test_at_the_minimum_the_penalty_balances_the_moments():
  """strength w = mu_E - E_w mu, as near as the tolerance says."""

  @jax.jit
  def share_left(weights, strength, mu_expert, counts):
    policies = policy_class.pool(counts)
    missing = mu_expert - policy_class.expectation(policies, weights)
    start = jnp.linalg.norm(mu_expert - policies.mean)
    return jnp.linalg.norm(strength * weights - missing) / start

  solutions = rows(entropy())
  left = [
    share_left(found.weights, *setting)
    for found, setting in zip(solutions, settings(), strict=True)
  ]
  stopped = [found.iterations < 30 for found in solutions]
  assert np.mean(stopped) > 0.8
  np.testing.assert_array_less(np.array(left)[np.array(stopped)], 1.1e-3)


def test_max_entropy_stops_when_it_is_there():
  """Iterations of an L-BFGS at rest are noise, and cost what others do."""
  loose, default, tight = (
    np.asarray(entropy(**fields).iterations)
    for fields in (
      {'num_iterations': 100, 'tolerance': 0.1},
      {},
      {'num_iterations': 100, 'tolerance': 1e-5},
    )
  )
  assert (1 <= loose).all() and (loose <= default).all()
  assert (default < tight).mean() > 0.5
  assert (default <= 30).all() and (default[1] < 20).all()


@pytest.mark.parametrize(
  'fields', ({}, {'num_iterations': 100, 'tolerance': 1e-5})
)
def test_the_loss_never_increases_and_stays_after_the_stop(fields):
  """But for rounding, which grows with the loss."""
  for found in rows(entropy(**fields)):
    trace = np.asarray(found.trace)
    rounding = 2e-6 * (1 + np.abs(trace).max())
    assert (np.diff(trace) <= rounding).all()
    assert trace[0] < 0  # that at w = 0
    np.testing.assert_array_equal(trace[found.iterations - 1 :], trace[-1])


def test_max_entropy_puts_the_expert_ahead_of_the_mean():
  """The scale of a score is that lead; below 0 it would be upside down."""
  for (_, mu_expert, counts), found in zip(
    settings(), rows(entropy()), strict=True
  ):
    assert found.weights @ (mu_expert - counts.mean(0)) > 0


def test_a_large_strength_leaves_the_mean_difference():
  """What is left of it is its first step."""
  mu_expert, counts = random_pool(0)
  policies = policy_class.pool(counts)
  simple = similarity.mean_difference()(mu_expert, policies)
  fit = fit_fn(convex.max_entropy)
  small, large = fit(0.1, mu_expert, counts), fit(1e3, mu_expert, counts)
  np.testing.assert_allclose(
    1e3 * large.weights, mu_expert - policies.mean, rtol=0.02, atol=0.02
  )
  likeness = [
    solution.weights @ simple.weights / jnp.linalg.norm(solution.weights)
    for solution in (small, large)
  ]
  assert likeness[0] < 0.99
  np.testing.assert_allclose(likeness[1], 1, atol=1e-4)


def test_several_experts_are_as_likely_together_as_can_be():
  """Their likelihood, not that of the likeliest, is what the mean maximises."""
  _, counts = random_pool(5)
  policies = policy_class.pool(counts)
  experts = counts[:3]
  weights = fit_fn(convex.max_entropy)(0.1, experts.mean(0), counts).weights

  def loss(weights):
    likelihoods = jax.nn.log_softmax(counts @ weights)[:3]
    return -likelihoods.mean() + 0.05 * weights @ weights

  slope = jnp.linalg.norm(jax.grad(loss)(weights))
  start = jnp.linalg.norm(experts.mean(0) - policies.mean)
  np.testing.assert_array_less(slope, 1.1e-3 * start)


def test_vmap_equals_one_at_a_time():
  """Lanes stop at different iterations and go on being computed."""
  together = rows(entropy())
  assert len({int(found.iterations) for found in together}) > 4
  for i in (2, 7, 19):
    alone = fit_fn(convex.max_entropy)(*settings()[i])
    scale = np.linalg.norm(alone.weights)
    np.testing.assert_allclose(
      together[i].weights, alone.weights, atol=2e-3 * scale
    )
    np.testing.assert_allclose(together[i].trace, alone.trace, 1e-3, 1e-4)


@pytest.mark.parametrize(
  'learner', (convex.max_entropy, convex.structured_margin)
)
def test_an_expert_like_the_mean_gives_no_weights(learner):
  """Nothing can be learnt from it; it must not become NaN."""
  mu_expert = jnp.array([1.0, 2.0])
  solution = fit_fn(learner)(0.1, mu_expert, jnp.stack([mu_expert] * 2))
  np.testing.assert_array_equal(solution.weights, 0.0)
  np.testing.assert_array_equal(solution.trace, 0.0)


@pytest.mark.parametrize(
  'learner', (convex.max_entropy, convex.structured_margin)
)
def test_no_strength_and_no_iterations_are_refused(learner):
  """Weights would be infinite, or none."""
  for strength in (0, -0.1):
    with pytest.raises(ValueError, match=f'strength is {strength}'):
      learner(strength=strength)
  with pytest.raises(ValueError, match='num_iterations is 0'):
    learner(num_iterations=0)


@pytest.mark.parametrize('jit', (True, False))
def test_structured_margin_takes_a_hand_computed_step(jit):
  """In one dimension, the expert at 1, policies at 0 and 1 / 2.

  From 1 / 4, w = 0.75 / 0.8 and w - u = -1 / 16: the best response is 0. A
  fifth of the way leads to the maximum of -m - (1 - m)^2 / 1.6, at m = 0.2.
  """
  with jax.disable_jit(not jit):
    solution = convex.structured_margin(strength=0.8, num_iterations=3)(
      jnp.ones(1), policy_class.pool(jnp.array([[0.0], [0.5]]))
    )
  np.testing.assert_allclose(solution.weights, [1.0], rtol=1e-6)
  np.testing.assert_allclose(solution.trace, [1 / 64, 0, 0], atol=1e-7)
  assert solution.iterations == 3


def exact_margin(strength, cost, mu_expert, counts):
  """The primal over all policies, by a reference solver."""
  mu_expert, counts = (np.asarray(x, float) for x in (mu_expert, counts))
  losses = cost * (1 - counts @ mu_expert / (mu_expert @ mu_expert))
  weights = cvxpy.Variable(len(mu_expert))
  problem = cvxpy.Problem(
    cvxpy.Minimize(
      cvxpy.max(counts @ weights + losses)
      - mu_expert @ weights
      + strength / 2 * cvxpy.sum_squares(weights)
    )
  )
  problem.solve(solver=cvxpy.CLARABEL)
  return weights.value


@pytest.mark.parametrize('cost', (0.0, 0.5, 2.0))
@pytest.mark.parametrize('strength', (0.1, 1.0))
def test_structured_margin_agrees_with_a_reference_solver(strength, cost):
  """Frank-Wolfe crawls, but to the primal's minimum."""
  fit = fit_fn(convex.structured_margin, cost=cost, num_iterations=3000)
  for mu_expert, counts in zip(*random_pools(), strict=True):
    expected = exact_margin(strength, cost, mu_expert, counts)
    found = fit(strength, mu_expert, counts)
    away = np.linalg.norm(found.weights - expected)
    assert away <= 0.005 * np.linalg.norm(mu_expert) / strength
    trace = np.asarray(found.trace)
    assert (np.diff(trace) <= 0).all() and 0 <= trace[-1] < 0.01 * trace[0]


def test_structured_margin_without_a_cost_is_the_projection_method():
  """Step by step: the weights of its step are those before it there."""
  mu_expert, counts = random_pool(0, 3.0)
  policies = policy_class.pool(counts)
  for steps in (1, 5, 20):
    margin = convex.structured_margin(cost=0.0, num_iterations=steps)
    found = margin(mu_expert, policies).weights
    projection = apprenticeship.projection(
      num_iterations=steps + 1, tolerance=0.0
    )
    expected = projection(mu_expert, policies).weights
    direction = found / jnp.linalg.norm(found)
    np.testing.assert_allclose(direction, expected, atol=1e-5)


def test_structured_margin_without_a_cost_ends_at_the_widest_margin():
  """Whose direction is unique."""
  mu_expert, counts = random_pool(0, 3.0)
  fit = fit_fn(convex.structured_margin, cost=0.0, num_iterations=3000)
  found = fit(0.1, mu_expert, counts).weights
  widest = apprenticeship.max_margin(tolerance=0.0)
  expected = widest(mu_expert, policy_class.pool(counts)).weights
  np.testing.assert_allclose(
    found / jnp.linalg.norm(found), expected, atol=2e-3
  )


@pytest.mark.parametrize('num_negatives', (1, 64))
@pytest.mark.parametrize('strength', (0.03, 0.3))
def test_contrastive_weights_are_those_of_another_solver(
  strength, num_negatives
):
  """The same loss in double precision; each pool of another kind."""
  fit = fit_fn(convex.contrastive, num_negatives=num_negatives, tolerance=1e-5)
  for mu_expert, counts in zip(*random_pools(), strict=True):
    found = fit(strength, mu_expert, counts).weights
    expert, pool = (np.asarray(x, float) for x in (mu_expert, counts))

    def loss(weights, expert=expert, pool=pool):
      lag = scipy.special.logsumexp(pool @ weights) - weights @ expert
      lag += np.log(num_negatives / len(pool))
      return np.logaddexp(0, lag) + strength / 2 * weights @ weights

    start = np.zeros(len(expert))
    best = scipy.optimize.minimize(loss, start, options={'gtol': 1e-8}).x
    difference = np.linalg.norm(found - best)
    assert difference <= 5e-3 * np.linalg.norm(best)


def test_contrast_with_very_many_is_maximum_entropy():
  """Its loss is then the logarithm of many times the other's."""
  mu_expert, counts = random_pool(1, normalised=True)
  many = fit_fn(convex.contrastive, num_negatives=10**9, tolerance=1e-4)
  one = fit_fn(convex.contrastive, num_negatives=1, tolerance=1e-4)
  most = fit_fn(convex.max_entropy, tolerance=1e-4)
  weights = [fit(0.1, mu_expert, counts).weights for fit in (many, one, most)]
  np.testing.assert_allclose(weights[0], weights[2], rtol=1e-2, atol=1e-3)
  assert np.linalg.norm(weights[1]) < 0.8 * np.linalg.norm(weights[2])


def test_no_negatives_are_refused():
  with pytest.raises(ValueError, match='num_negatives'):
    convex.contrastive(num_negatives=0)
