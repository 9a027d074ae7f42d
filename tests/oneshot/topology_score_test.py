"""The mirror stimuli of a mixed cell, as a sum over its edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import kinds
from irlas_jax.oneshot import topology_score
from irlas_jax.rewards import features, mirror_stimuli, similarity
from irlas_jax.spaces import nasbench201

pytestmark = pytest.mark.usefixtures('quick_compiles')

SIZE = len(nasbench201.EDGES), len(nasbench201.EDGE_OPERATIONS)
EXPERT = np.array([3, 0, 3, 1, 0, 1], np.int32)


@functools.cache
def _fitted(normalised):
  """Features, the function learnt from the ResNet cell, and the decoder."""
  kind = kinds.SPACES['nasbench201'].make()
  phi = features.topology(
    [kind.resolutions['operation']],
    ('nodes', 'depths', 'reads'),
    discount=0.8,
    normalised=normalised,
  )
  cells = np.random.default_rng(0).integers(0, SIZE[1], (200, SIZE[0]))
  rollouts = jax.vmap(kind.space.decode)(jnp.asarray(cells))
  fit = jax.jit(
    lambda expert, rollouts: mirror_stimuli.fit(
      phi, similarity.mean_difference(), expert, rollouts
    )
  )
  return phi, fit(kind.space.decode(EXPERT), rollouts), kind.space.decode


@functools.cache
def _edges():
  return topology_score.edge_scores(*_fitted(normalised=False), *SIZE)


def test_a_cell_scores_the_sum_of_its_edges():
  """The expert 1, and any other what the mirror says of its graph."""
  assert topology_score.of_cell(_edges(), EXPERT) == pytest.approx(1, abs=1e-4)
  phi, mirror, decode = _fitted(normalised=False)
  cell = jnp.array([4, 1, 2, 0, 3, 3])
  expected = mirror_stimuli.score(phi, mirror, decode(cell))
  found = topology_score.of_cell(_edges(), cell)
  assert float(found) == pytest.approx(float(expected), abs=1e-4)


def test_an_expectation_is_that_over_cells():
  """Of cells drawn by the softmax, each edge for itself."""
  alpha = jax.random.normal(jax.random.key(1), SIZE)
  draw = jax.jit(
    lambda key: jax.random.categorical(key, alpha, shape=(20000, 6))
  )
  cells = np.asarray(draw(jax.random.key(2)))
  gains = np.asarray(_edges().gains)[np.arange(6), cells].sum(1)
  found = topology_score.score(_edges(), alpha) - _edges().base
  assert float(found) == pytest.approx(gains.mean(), abs=0.02)


def test_the_gradient_is_that_of_autodiff_and_of_finite_differences():
  with jax.enable_x64(True):
    edges = topology_score.EdgeScores(
      *(jnp.asarray(np.asarray(x, np.float64)) for x in _edges())
    )
    alpha = np.random.default_rng(3).normal(size=SIZE)
    score = jax.jit(topology_score.score)
    found = np.asarray(topology_score.gradient(edges, jnp.asarray(alpha)))
    by_autodiff = jax.grad(topology_score.score, argnums=1)(edges, alpha)
    np.testing.assert_allclose(found, by_autodiff, atol=1e-12)
    for place in ((0, 0), (2, 3), (5, 1)):
      step = np.zeros(SIZE)
      step[place] = 1e-6
      rise = float(score(edges, alpha + step) - score(edges, alpha - step))
      assert found[place] == pytest.approx(rise / 2e-6, abs=1e-8)
  assert np.abs(found).max() > 0.01


def test_without_an_expert_there_is_neither_score_nor_gradient():
  edges = topology_score.nothing(*SIZE)
  alpha = jnp.ones(SIZE)
  assert topology_score.score(edges, alpha) == 0
  assert not topology_score.gradient(edges, alpha).any()


def test_features_that_are_no_sum_over_edges_are_refused():
  """Counts of length 1: a closed form of them would be wrong."""
  with pytest.raises(ValueError, match='normalised=False'):
    topology_score.edge_scores(*_fitted(normalised=True), *SIZE)
