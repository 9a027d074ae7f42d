"""The blocks that mirrors are compared on, and the comparison itself."""

import functools

import jax
import numpy as np
import pytest

from benchmarks import designs
from benchmarks import mirror_ranking as ranking
from benchmarks import mirror_report as reports
from irlas_jax import experts, graph
from irlas_jax.types import Graph

pytestmark = pytest.mark.usefixtures('quick_compiles')


@functools.cache
def drawn():
  names = ('resnet', 'densenet')
  stacked = ranking.stack(ranking.KIND.expert(name) for name in names)
  return ranking.draw(jax.random.key(0), stacked, 400, 100, 200)


def single(graphs, *place):
  return Graph(*(x[place] for x in graphs))


def test_outranks_by_hand():
  """Ties are half a win; the order of samples does not matter."""
  assert ranking.outranks([2.0, 1.0], [1.0, 0.0, 3.0]) == (2 + 1.5) / 6
  assert ranking.outranks(1.0, [1.0, 1.0]) == 0.5


def test_lengths_are_matched_or_mixed():
  """Otherwise length alone would tell neighbours from random blocks."""
  blocks = drawn()
  sizes = [(x.ops > 0).sum(-1) for x in blocks[:5]]
  own, matched, mixed, near, rollouts = sizes
  assert (matched == own[:, None]).all() and (near == own[:, None]).all()
  for lengths in (mixed, rollouts):
    share = np.bincount(lengths, minlength=11)[1:] / len(lengths)
    np.testing.assert_allclose(share, 0.1, atol=0.07)


def test_neighbours_differ_in_one_layer():
  blocks = drawn()
  own, near = blocks.experts, blocks.neighbours
  changed = [
    (x != y[:, None]).reshape(*x.shape[:3], -1).any(-1)
    for x, y in (
      (near.ops, own.ops),
      (near.attrs[..., 0], own.attrs[..., 0]),
      (near.edges.swapaxes(-1, -2), own.edges.swapaxes(-1, -2)),
    )
  ]
  assert (np.any(changed, axis=0).sum(-1) == 1).all()


def test_copies_of_the_expert_are_left_out():
  """Against the digest of every block; the short expert has some."""
  blocks = drawn()
  for i in range(2):
    own = graph.digest(single(blocks.experts, i))
    for k in range(100):
      same = graph.digest(single(blocks.neighbours, i, k)) == own
      assert blocks.neighbours_valid[i, k] != same
  tiny = ranking.stack(
    [ranking.KIND.parse('(1, Identity, 0, 0, 0)(2, Terminal)')]
  )
  found = ranking.draw(jax.random.key(1), tiny, 200, 20, 20)
  identity = found.matched.ops[0, :, 1] == tiny.ops[0, 1]
  assert identity.any()
  np.testing.assert_array_equal(found.matched_valid[0], ~identity)


def test_measures_by_hand():
  """One expert; its neighbour, and another block, against two random ones."""
  counts = ranking.Counts(
    experts=np.array([[4.0, 2.0], [0.0, 9.0]]),
    matched=np.array([[[1.0, 3.0], [5.0, 1.0]], [[0.0, 0.0], [8.0, 9.5]]]),
    mixed=np.array([[3.0, 3.0], [9.0, 9.2]]),
    neighbours=np.array([[[3.0], [0.0]], [[0.0], [9.1]]]),
    rollouts=np.zeros((2, 1)),
  )
  yes = np.ones((2, 2), bool)
  blocks = drawn()._replace(
    matched_valid=yes, mixed_valid=yes, neighbours_valid=np.ones((2, 1), bool)
  )
  found = ranking.measure(counts, blocks)
  np.testing.assert_array_equal(found.same_length, [0.75, 0.5])
  np.testing.assert_array_equal(found.any_length, [0.5, 0.5])
  np.testing.assert_array_equal(found.same_above, [0.0, 0.5])
  np.testing.assert_array_equal(found.any_above, [0.0, 0.5])
  np.testing.assert_array_equal(found.others, [[1.0, 0.5], [0.5, 0.5]])


def test_designs_are_none_of_the_experts():
  """Methods chosen on an expert would not be chosen beforehand."""
  own = {graph.digest(ranking.KIND.expert(name)) for name in experts.EXPERTS}
  others = [
    graph.digest(ranking.KIND.parse(text.replace('Conv', 'SepConv')))
    for text in designs.DESIGNS.values()
  ]
  assert len(set(others)) == len(others) == 10
  assert not own & set(others)


def test_intervals_hold_their_mean_and_grow_with_the_spread():
  rng = np.random.default_rng(0)
  values = rng.normal(1.0, 0.1, size=(20, 5))
  mean, low, high = reports.interval(values)
  assert low < mean < high and mean == values.mean()
  _, wide_low, wide_high = reports.interval(5 * (values - 1) + 1)
  assert wide_high - wide_low > 3 * (high - low)


def test_within_a_split_experts_rank_their_own_side_only():
  """A figure that read the other side would be tuned on what it reports."""
  others = np.arange(25.0).reshape(1, 5, 5)
  found = reports.others_mean(others, [0, 1], [0, 1])
  np.testing.assert_array_equal(found, [(1 + 5) / 2])
