"""Hypernetworks learn, and score any architecture by one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import devices, kinds
from irlas_jax.evaluators import hypernetwork as evaluator
from irlas_jax.networks import block, hyper_block, hypernetwork
from irlas_jax.policies import sampling
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import DIVERGED, OK, Proposals

pytestmark = pytest.mark.usefixtures('quick_compiles')

RECIPE = recipes.Recipe(
  epochs=20,
  batch_size=10,
  evaluations=2,
  optimizer='adam',
  learning_rate=3e-3,
  schedule='constant',
)
SIZES = hypernetwork.Sizes(hidden=8, decoder=16, passes=1)
BUDGET = evaluator.Budget(meta_batch=2, image_batch=8)


def _data():
  """Twenty images a split, of two classes that a mean tells apart."""
  rng = np.random.default_rng(0)
  splits = []
  for _ in range(2):
    labels = np.arange(20, dtype=np.int32) % 2
    sign = np.where(labels, 1.0, -1.0)[:, None, None, None]
    stripes = np.where(np.arange(4) % 2, 1.0, -1.0)[:, None, None]
    images = sign * stripes + 0.3 * rng.normal(size=(20, 4, 4, 1))
    arrays = images.astype(np.float32), labels
    splits.append(loop.Arrays(*map(jnp.asarray, arrays)))
  return loop.Data(*splits, jnp.zeros(1), jnp.ones(1))


class Made:
  """A hypernetwork of blocks of two layers, trained for forty steps."""

  def __init__(self):
    kind = kinds.SPACES['block'].make(num_layers=2, operations='separable')
    self.space = kind.space
    macro = block.Macro((4,), (1,))
    network = kind.network(kind.space.operations, macro, 2, 1)
    self.child = evaluator.make_child(
      kind.space, network, hyper_block.layout, macro, SIZES
    )
    self.data = _data()
    self.params, self.losses = self.train(0)

  def draw(self, key, n):
    actions = sampling.uniform_lengths(key, self.space, n)
    return jax.vmap(self.space.decode)(actions)

  def train(self, seed):
    key = jax.random.key(seed)
    return evaluator.train(
      key, self.child, self.draw, self.data, RECIPE, BUDGET
    )

  def evaluator(self, find_params, population=3, budget=BUDGET):
    def cost(graph):
      count = len(graph.ops)
      return np.arange(count), np.full(count, 7.0)

    return evaluator.hypernetwork(
      self.space, self.child, find_params, cost, self.data, budget, population
    )


@pytest.fixture(scope='module')
def made():
  return Made()


def _proposals(made, n, seed=3):
  key = jax.random.key(seed)
  actions = np.asarray(sampling.uniform_lengths(key, made.space, n))
  return Proposals(actions, actions, None)


KEY, BAR = jax.random.key(9), np.full(1, -np.inf, np.float32)


def test_training_lowers_the_loss(made):
  """Of two classes that are easy to tell; chance is 0.69."""
  assert made.losses.shape == (2,)
  assert made.losses[1] < made.losses[0] and made.losses[1] < 0.4


def test_another_seed_is_another_hypernetwork_and_the_same_is_the_same(made):
  same, losses = made.train(0)
  np.testing.assert_array_equal(losses, made.losses)
  for one, other in zip(
    *map(jax.tree.leaves, (same, made.params)), strict=True
  ):
    np.testing.assert_array_equal(one, other)


def test_scores_are_of_weights_made_once(made):
  """No further program, whatever is proposed, and parameters asked for once."""
  asked = []

  def find():
    asked.append(1)
    return made.params

  prepare, evaluate = made.evaluator(find)
  prepare()
  first = evaluate(KEY, _proposals(made, 3), BAR)
  others = [_proposals(made, 3 - seed % 2, seed) for seed in (4, 5)]
  counter = devices.CompileCounter()
  scores = [evaluate(KEY, proposals, BAR) for proposals in others][-1]
  assert counter.total().number == 0 and len(asked) == 1
  assert len(scores.accuracy) == 2
  again = evaluate(jax.random.key(1), _proposals(made, 3), BAR)
  np.testing.assert_array_equal(again.accuracy, first.accuracy)
  np.testing.assert_array_equal(first.curve[:, 0], first.accuracy)
  assert first.accuracy.mean() > 0.7  # of images that it has not seen
  assert (first.failure == OK).all() and (first.epochs == 0).all()
  np.testing.assert_array_equal(first.params, [0, 1, 2])
  np.testing.assert_array_equal(first.madds, 7)
  assert np.isnan(first.latency).all()


def test_a_score_is_that_of_the_network_with_those_weights(made):
  """Batches of 8 of the 20 images, each with its own statistics."""
  prepare, evaluate = made.evaluator(lambda: made.params)
  prepare()
  proposals = _proposals(made, 2)
  found = evaluate(KEY, proposals, BAR)
  logits = jax.jit(made.child.logits)
  for i, actions in enumerate(proposals.actions):
    graph = made.space.decode(jnp.asarray(actions))
    weights = jax.jit(made.child.generate)(made.params, graph)
    correct = []
    for rows in (slice(0, 8), slice(8, 16)):
      out = logits(weights, graph, made.data.valid.images[rows])
      correct += (out.argmax(-1) == made.data.valid.labels[rows]).tolist()
    assert found.accuracy[i] == pytest.approx(np.mean(correct))


def test_what_is_not_finite_is_a_failure_and_no_exception(made):
  bad = jax.tree.map(lambda x: x * jnp.nan, made.params)
  _, evaluate = made.evaluator(lambda: bad)
  found = evaluate(KEY, _proposals(made, 2), BAR)
  assert (found.failure == DIVERGED).all() and np.isnan(found.accuracy).all()


def test_more_than_a_call_takes_is_refused(made):
  _, evaluate = made.evaluator(lambda: made.params)
  with pytest.raises(ValueError, match='4 proposals: at most 3 a call'):
    evaluate(KEY, _proposals(made, 4), BAR)


@pytest.mark.parametrize(
  'budget, population, message',
  [
    (BUDGET, 0, 'evaluator.population is 0'),
    (BUDGET._replace(images=21), 3, 'evaluator.images is 21: there are 20'),
    (BUDGET._replace(image_batch=0), 3, 'evaluator.image_batch is 0'),
  ],
)
def test_sizes_that_do_not_fit(made, budget, population, message):
  with pytest.raises(ValueError, match=message):
    made.evaluator(lambda: made.params, population, budget)


@pytest.mark.parametrize('name', ['bfloat16', 'patience', 'restarts'])
def test_recipes_that_are_for_children(made, name):
  recipe = RECIPE._replace(**{name: 1})
  with pytest.raises(ValueError, match=f'train.{name} is 1: a hypernetwork'):
    evaluator.train(
      jax.random.key(0), made.child, made.draw, made.data, recipe, BUDGET
    )


def test_a_file_is_written_once_and_read_from_then_on(tmp_path):
  made = []

  def make():
    made.append(1)
    return {'a': jnp.arange(3.0), 'b': {'c': jnp.ones((2, 2))}}

  settings = {'space': {'name': 'block'}, 'train': {'sizes': (1, 2)}}
  find = evaluator.kept_in(str(tmp_path / 'file'), settings, make)
  first, second = find(), find()
  assert len(made) == 1
  assert jax.tree.structure(first) == jax.tree.structure(second)
  jax.tree.map(np.testing.assert_array_equal, first, second)
  other = settings | {'space': {'name': 'nasbench201'}}
  with pytest.raises(
    evaluator.HyperNetworkError, match='they differ in space:'
  ):
    evaluator.kept_in(str(tmp_path / 'file'), other, make)()
  nowhere = evaluator.kept_in('', settings, make)
  nowhere()
  assert len(made) == 2
