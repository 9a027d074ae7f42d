"""The mirror stimuli function on the block space and its five experts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import experts
from irlas_jax import graph as graphs
from irlas_jax.rewards import apprenticeship, mirror_stimuli
from irlas_jax.spaces import block, nsc

NUM_LAYERS = 9
KERNELS = (0, 1, 3, 5)
LEARNERS = (
  apprenticeship.cosine,
  apprenticeship.projection,
  apprenticeship.max_margin,
)
SPACE = block.block(NUM_LAYERS, 'dense')

score_all = jax.jit(jax.vmap(mirror_stimuli.score, (None, 0)))


def random_actions(key, num_layers):
  """Uniform over the legal actions of each step; exactly `num_layers`."""

  def step(actions, row):
    t, key = row
    is_end = jnp.arange(SPACE.num_actions) == 0
    legal = jnp.where(t < num_layers, SPACE.legal(actions, t) & ~is_end, is_end)
    action = jax.random.categorical(key, jnp.where(legal, 0.0, -jnp.inf))
    return actions.at[t].set(action), None

  keys = jax.random.split(key, NUM_LAYERS)
  start = jnp.zeros(NUM_LAYERS, jnp.int32)
  return jax.lax.scan(step, start, (jnp.arange(NUM_LAYERS), keys))[0]


@functools.partial(jax.jit, static_argnums=1)
def random_blocks(key, num_blocks, low, high):
  """Blocks of `low` to `high` layers, every length as often: [n]."""
  key_length, key_actions = jax.random.split(key)
  lengths = jax.random.randint(key_length, (num_blocks,), low, high + 1)
  keys = jax.random.split(key_actions, num_blocks)
  return jax.vmap(SPACE.decode)(jax.vmap(random_actions)(keys, lengths))


def expert_layers(name):
  return experts.load(name, 'dense')


def expert_graphs():
  found = [nsc.to_graph(expert_layers(n), NUM_LAYERS) for n in experts.EXPERTS]
  return jax.tree.map(lambda *x: jnp.stack(x), *found)


@functools.cache
def rollouts():
  return random_blocks(jax.random.key(0), 512, 1, NUM_LAYERS)


def fit(expert_graph, learner, normalised=True, pool=None):
  return mirror_stimuli.fit(
    expert_graph,
    rollouts() if pool is None else pool,
    learner=learner,
    num_operations=len(SPACE.operations),
    attribute_values=(KERNELS,),
    normalised=normalised,
  )


@functools.cache
def mirrors(learner, normalised=True):
  """One mirror stimuli function an expert, along a leading axis."""
  fit_fn = functools.partial(fit, learner=learner, normalised=normalised)
  return jax.vmap(fit_fn)(expert_graphs())


def pick(tree, i):
  return jax.tree.map(lambda x: x[i], tree)


@pytest.mark.parametrize('learner', LEARNERS)
def test_expert_scores_one_and_random_blocks_zero_on_average(learner):
  """The scale gives the trade-off of the reward its meaning."""
  fitted = mirrors(learner)
  own = jax.vmap(mirror_stimuli.score)(fitted, expert_graphs())
  np.testing.assert_allclose(own, 1.0, atol=1e-4)
  for i in range(len(experts.EXPERTS)):
    scores = score_all(pick(fitted, i), rollouts())
    np.testing.assert_allclose(scores.mean(), 0.0, atol=1e-4)
    assert scores.std() > 0.01


@pytest.mark.parametrize('learner', LEARNERS)
def test_expert_ranks_above_random_blocks_of_its_length(learner):
  """Matched in length, which alone would separate most random blocks."""
  for i, name in enumerate(experts.EXPERTS):
    size = len(expert_layers(name))
    others = random_blocks(jax.random.key(1), 1000, size, size)
    scores = score_all(pick(mirrors(learner), i), others)
    assert (scores < 1).mean() >= 0.95, name


@pytest.mark.parametrize('learner', LEARNERS[1:])
def test_learners_also_separate_raw_counts(learner):
  """Without normalisation, where the baseline fails."""
  fitted = mirrors(learner, normalised=False)
  for i, name in enumerate(experts.EXPERTS):
    others = random_blocks(jax.random.key(1), 1000, 1, NUM_LAYERS)
    assert (score_all(pick(fitted, i), others) < 1).mean() >= 0.95, name


def test_each_expert_recognises_itself():
  """Five functions that all scored alike would have learnt 'not random'."""
  fitted = mirrors(apprenticeship.max_margin)
  table = jax.vmap(score_all, (0, None))(fitted, expert_graphs())
  np.testing.assert_array_equal(table.argmax(1), np.arange(len(table)))


@pytest.mark.parametrize('learner', LEARNERS)
def test_isomorphic_blocks_score_equal(learner):
  """The branches of ResNeXt and Inception, layer by layer instead."""
  orders = {
    'resnext': (0, 1, 3, 2, 4, 5, 6, 7),
    'inception': (0, 6, 4, 2, 7, 5, 3, 1),
  }
  for name, order in orders.items():
    original = nsc.to_graph(expert_layers(name), NUM_LAYERS)
    other = graphs.permute(original, np.array(order))
    assert (other.edges != original.edges).any()
    for i in range(len(experts.EXPERTS)):
      score = functools.partial(mirror_stimuli.score, pick(mirrors(learner), i))
      np.testing.assert_allclose(score(original), score(other), atol=1e-5)


def test_vmap_over_experts_equals_one_at_a_time():
  """Seeds and experts are swept by vmap."""
  learner = apprenticeship.max_margin
  alone = fit(pick(expert_graphs(), 2), learner)
  together = pick(mirrors(learner), 2)
  np.testing.assert_allclose(alone.weights, together.weights, atol=1e-4)
  np.testing.assert_allclose(alone.margins, together.margins, atol=1e-4)


def test_several_experts_score_one_on_average():
  """Their counts are averaged, so none is the measure alone."""
  together = fit(expert_graphs(), apprenticeship.max_margin)
  scores = score_all(together, expert_graphs())
  np.testing.assert_allclose(scores.mean(), 1.0, atol=1e-4)
  assert scores.std() > 0.01


def test_an_expert_like_the_rollouts_gives_zero():
  """Nothing can be learnt from it; the score must not be NaN."""
  expert = pick(expert_graphs(), 0)
  pool = jax.tree.map(lambda x: jnp.stack([x, x]), expert)
  fitted = fit(expert, apprenticeship.max_margin, pool=pool)
  np.testing.assert_array_equal(score_all(fitted, pool), 0.0)


def test_rollouts_without_a_leading_axis_are_refused():
  """One rollout would be read as a batch of nodes."""
  expert = pick(expert_graphs(), 0)
  with pytest.raises(ValueError, match='leading axis'):
    fit(expert, apprenticeship.cosine, pool=expert)
