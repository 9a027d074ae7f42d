"""The layer programs against sums and maxima over every single episode."""

import functools
import itertools
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.rewards import (
  apprenticeship,
  convex,
  features,
  layer_program,
  policy_class,
  similarity,
)
from irlas_jax.spaces import block

COUNTS = list(itertools.product((1.0, 0.9, 0.5), (False, True)))
over_counts = pytest.mark.parametrize('discount, normalised', COUNTS)

log_partition = jax.jit(layer_program.log_partition)
expectation = jax.jit(layer_program.expectation)
best_response = jax.jit(layer_program.best_response)
policy_expectation = jax.jit(layer_program.policy_expectation)


def random_layers(seed):
  """Four steps; an episode may be empty, and step 2 may have no layers."""
  rng = np.random.default_rng(seed)
  legal = rng.random((4, 5)) < 0.6
  legal[0, 1] = legal[2, 0] = True
  legal[2, 1:] &= seed % 2 == 0
  features = rng.normal(size=(4, 5, 3))
  features[:, 0] = np.nan
  return layer_program.Layers(jnp.array(features, jnp.float32), legal)


def kinds(*values):
  """Every operation with every value of its attributes, in this order."""
  rows = itertools.product(range(len(block.OPERATIONS)), *values)
  return features.labels({str(row): [row] for row in rows})


@functools.cache
def block_layers(num_layers):
  space = block.block(num_layers, 'separable')
  phi = layer_program.layer_phi([kinds((0, 1, 3, 5))])
  return space, phi, layer_program.layer_features(space, phi)


def episodes(legal, start=()):
  """Every legal episode: the actions before its end, as tuples."""
  t = len(start)
  if t == len(legal) or legal[t, 0]:
    yield start
  if t < len(legal):
    for action in np.flatnonzero(legal[t, 1:]) + 1:
      yield from episodes(legal, (*start, int(action)))


@functools.cache
def brute_counts(name, discount, normalised):
  """mu of every legal episode in double precision, one at a time: [N, D]."""
  layers = layers_of(name)
  features = np.asarray(layers.features, np.float64)
  counts = []
  for actions in episodes(np.asarray(layers.legal)):
    powers = discount ** np.arange(len(actions))
    scale = powers / (powers.sum() if normalised and actions else 1)
    counts.append(scale @ features[np.arange(len(actions)), list(actions)])
  return np.array(counts)


def layers_of(name):
  return block_layers(3)[2] if name == 'block' else random_layers(name)


over_layers = pytest.mark.parametrize('name', ('block', 0, 1, 2, 3))


def random_weights(layers, seed=0):
  size = layers.features.shape[-1]
  return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def test_scales_by_hand():
  """The rows are lengths 0, 1, 2; the empty episode divides by no zero."""
  raw = layer_program.scales(2, 0.5, False)
  np.testing.assert_allclose(raw, [[0, 0], [1, 0], [1, 0.5]])
  mean = layer_program.scales(2, 0.5, True)
  np.testing.assert_allclose(mean, [[0, 0], [1, 0], [2 / 3, 1 / 3]], rtol=1e-6)


def test_layers_of_the_block_are_those_of_its_graphs():
  """phi of a layer alone is phi of its node in any graph that holds it."""
  space, phi, layers = block_layers(3)
  found = list(episodes(np.asarray(layers.legal)))
  assert len(found) == 8 + 8 * 18 + 8 * 18 * 30
  told = np.asarray(layers.legal) & (np.arange(space.num_actions) > 0)
  assert (np.asarray(layers.features)[~told] == 0).all()
  padded = np.array([(*e, 0, 0, 0)[:3] for e in found], np.int32)

  @jax.jit
  @jax.vmap
  def of_episode(actions):
    nodes = jax.vmap(phi, in_axes=(None, 0))
    legal = jax.vmap(space.legal, in_axes=(None, 0))(actions, jnp.arange(3))
    return nodes(space.decode(actions), jnp.arange(1, 4)), legal

  features, legal = of_episode(padded)
  assert np.take_along_axis(np.asarray(legal), padded[..., None], 2).all()
  np.testing.assert_array_equal(
    np.where((padded > 0)[..., None], features, 0),
    np.where((padded > 0)[..., None], layers.features[np.arange(3), padded], 0),
  )


def test_phi_by_hand():
  """Layer 2 adds the input and layer 1, a 3 x 3 pooling of the input."""
  space, phi, _ = block_layers(3)
  table = (None, *block.choices(3, 'separable'))
  pool = table.index(block.Choice('max_pool', 3, (0,)))
  add = table.index(block.Choice('add', 0, (0, 1)))
  late = table.index(block.Choice('identity', 0, (1,)))
  graph = space.decode(jnp.array([pool, add, late]))
  for node, operation, value, reads in (
    (1, 'max_pool', 2, [1, 1]),
    (2, 'add', 0, [1, 2]),
    (3, 'identity', 0, [0, 1]),
  ):
    told = phi(graph, node)
    kind = 4 * block.OPERATIONS.index(operation) + value
    np.testing.assert_array_equal(np.flatnonzero(told[:-2]), [kind])
    np.testing.assert_array_equal(told[-2:], reads)
  plain = layer_program.layer_phi([kinds()])
  told = plain(graph._replace(attrs=graph.attrs[:, :0]), 1)
  assert jnp.argmax(told) == block.OPERATIONS.index('max_pool')


@over_counts
@over_layers
def test_partition_and_expectation_are_sums_over_episodes(
  name, discount, normalised
):
  layers = layers_of(name)
  weights = random_weights(layers)
  counts = brute_counts(name, discount, normalised)
  likelihood = np.exp(counts @ weights)
  found = log_partition(layers, weights, discount, normalised)
  np.testing.assert_allclose(found, np.log(likelihood.mean()), atol=1e-5)
  found = expectation(layers, weights, discount, normalised)
  expected = likelihood @ counts / likelihood.sum()
  np.testing.assert_allclose(found, expected, atol=1e-5)
  found = expectation(layers, 0 * weights, discount, normalised)
  np.testing.assert_allclose(found, counts.mean(0), atol=1e-5)


@over_counts
@over_layers
def test_best_response_is_the_best_episode(name, discount, normalised):
  layers = layers_of(name)
  counts = brute_counts(name, discount, normalised)
  order = list(episodes(np.asarray(layers.legal)))
  for seed in range(5):
    weights = random_weights(layers, seed)
    actions, mu = best_response(layers, weights, discount, normalised)
    best = (counts @ weights).max()
    np.testing.assert_allclose(mu @ weights, best, rtol=1e-5, atol=1e-6)
    length = np.flatnonzero([*(actions == 0), True])[0]
    np.testing.assert_array_equal(actions[length:], 0)
    played = order.index(tuple(actions[:length].tolist()))
    np.testing.assert_allclose(mu, counts[played], atol=1e-6)


def test_equals_give_the_shortest_episode_of_lowest_actions():
  layers = block_layers(3)[2]
  response = best_response(layers, np.zeros(34, np.float32), 1.0, True)
  np.testing.assert_array_equal(response.actions, [1, 0, 0])


@over_counts
@over_layers
def test_policy_expectation_is_a_sum_over_episodes(name, discount, normalised):
  layers = layers_of(name)
  legal = np.asarray(layers.legal)
  chances = np.random.default_rng(0).random(legal.shape) * legal
  chances /= np.maximum(chances.sum(1, keepdims=True), 1e-9)
  shares = [
    np.prod([*chances[np.arange(len(episode)), episode]])
    * (chances[len(episode), 0] if len(episode) < len(legal) else 1)
    for episode in map(list, episodes(legal))
  ]
  np.testing.assert_allclose(sum(shares), 1)
  counts = brute_counts(name, discount, normalised)
  found = policy_expectation(layers, chances, discount, normalised)
  np.testing.assert_allclose(found, shares @ counts, atol=1e-5)


@over_counts
def test_all_episodes_as_likely_on_the_full_block(discount, normalised):
  """exp(140) episodes: against the policy that draws them, in fractions."""
  layers = block_layers(23)[2]
  legal = np.asarray(layers.legal)
  chances, after = np.zeros(legal.shape, np.float32), 1
  for t in reversed(range(23)):
    here = int(legal[t, 0]) + int(legal[t, 1:].sum()) * after
    chances[t, 0] = legal[t, 0] * Fraction(1, here)
    chances[t, 1:] = legal[t, 1:] * float(Fraction(after, here))
    after = here
  drawn = policy_expectation(layers, chances, discount, normalised)
  zero = np.zeros(34, np.float32)
  found = expectation(layers, zero, discount, normalised)
  np.testing.assert_allclose(found, drawn, rtol=1e-4, atol=1e-6)
  value = log_partition(layers, zero, discount, normalised)
  np.testing.assert_allclose(value, 0, atol=1e-5)


@pytest.mark.parametrize('size', (1.0, 1e3))
@over_counts
def test_large_weights_on_the_full_block(discount, normalised, size):
  """The best of N episodes exceeds the mean under p by log N at most."""
  layers = block_layers(23)[2]
  weights = np.stack([random_weights(layers, seed) for seed in range(3)])
  weights *= size / np.linalg.norm(weights, axis=1, keepdims=True)

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(0, None, None))
  def run(weights, discount, normalised):
    rest = layers, weights, discount, normalised
    return (
      weights @ layer_program.best_response(*rest).mu,
      weights @ layer_program.expectation(*rest),
      layer_program.log_partition(*rest),
    )

  best, mean, log_mean = map(np.asarray, run(weights, discount, normalised))
  log_number = sum(np.log(np.asarray(layers.legal)[:, 1:].sum(1))) + 1
  rounding = 1e-5 * np.abs(best)
  for value in (mean, log_mean):
    assert (value <= best + rounding).all()
    assert (value >= best - log_number - rounding).all()
  alone = log_partition(layers, weights[1], discount, normalised)
  np.testing.assert_allclose(alone, log_mean[1], rtol=1e-5)


@jax.jit
def known_of(layers, weights, discount, normalised):
  """All that a learner can ask the exact class."""
  policies = layer_program.policies(layers, discount, normalised)
  return (
    policies.mean,
    policies.log_partition(weights),
    policies.best_response(weights),
  )


@over_counts
def test_its_policies_are_the_pool_of_all_episodes(discount, normalised):
  """The program is the pool of the whole space without the pool."""
  layers = layers_of('block')
  weights = random_weights(layers)
  counts = jnp.array(brute_counts('block', discount, normalised), jnp.float32)
  pool = policy_class.pool(counts)
  mean, value, best = known_of(layers, weights, discount, normalised)
  np.testing.assert_allclose(mean, pool.mean, atol=1e-5)
  np.testing.assert_allclose(value, pool.log_partition(weights), atol=1e-5)
  expected = weights @ pool.best_response(weights)
  np.testing.assert_allclose(weights @ best, expected, rtol=1e-5)


LEARNERS = {
  'projection': apprenticeship.projection(num_iterations=4),
  'max_margin': apprenticeship.max_margin(num_iterations=60, tolerance=1e-3),
  'max_entropy': convex.max_entropy(num_iterations=60, tolerance=1e-5),
  # Crawls, and among equals the pool may respond otherwise than the program.
  'structured_margin': convex.structured_margin(num_iterations=1000),
  'mean_difference': similarity.mean_difference(),
}


@pytest.mark.usefixtures('quick_compiles')
@pytest.mark.parametrize('name', LEARNERS)
def test_learners_end_where_they_do_on_the_pool_of_all_episodes(name):
  """Every one of them runs on the exact class, with the same weights."""
  layers = block_layers(3)[2]
  counts = jnp.array(brute_counts('block', 0.9, True), jnp.float32)
  exact = layer_program.policies(layers, 0.9, True)

  @jax.jit
  def fit(expert):
    pool = policy_class.pool(counts)
    return [LEARNERS[name](expert, class_) for class_ in (pool, exact)]

  for expert in (counts[1234], (counts[7] + counts[3001]) / 2):
    pool, program = fit(expert)
    length = np.linalg.norm(pool.weights)
    assert length > 0.1
    away = np.linalg.norm(program.weights - pool.weights)
    assert away <= (0.02 if name == 'structured_margin' else 1e-3) * length


def test_a_phi_that_reads_the_readers_is_refused():
  """Fan-out depends on later layers: one program a layer would be wrong."""
  space = block_layers(3)[0]

  def fan_out(graph, node):
    return graph.edges[node].sum(keepdims=True)

  with pytest.raises(ValueError, match='phi at a step depends') as error:
    layer_program.layer_features(space, fan_out)
  assert 'policy_class.pool' in str(error.value)
  assert callable(policy_class.pool)  # a remedy that is there


def test_a_space_with_memory_is_refused():
  """No layer may come twice in a row."""
  space, phi, _ = block_layers(3)

  def legal(actions, t):
    again = jnp.arange(space.num_actions) == actions[t - 1]
    return space.legal(actions, t) & ~(again & (t > 0))

  with pytest.raises(ValueError, match='what is legal at a step depends'):
    layer_program.layer_features(space._replace(legal=legal), phi)


def test_shapes_that_do_not_fit_are_refused():
  layers = random_layers(0)
  with pytest.raises(ValueError, match=r'weights \[D\]'):
    log_partition(layers, jnp.ones(4), 1.0, False)
  with pytest.raises(ValueError, match=r'weights \[D\]'):
    best_response(layers._replace(legal=layers.legal[1:]), jnp.ones(3), 1, True)
  with pytest.raises(ValueError, match=r'probabilities \[T, A\]'):
    policy_expectation(layers, jnp.ones((4, 4)), 1.0, False)
  with pytest.raises(ValueError, match=r'weights \[D\]'):
    layer_program.policies(layers._replace(legal=layers.legal[1:]), 1.0, True)
  space = block_layers(3)[0]
  phi = layer_program.layer_phi([kinds((0, 1), (2,))])
  with pytest.raises(ValueError, match='as many numbers'):
    layer_program.layer_features(space, phi)
