"""Students learn what their teacher says, whatever the labels are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.evaluators import distilled, trained
from irlas_jax.networks import padded_block
from irlas_jax.training import distillation, loop
from irlas_jax.training import recipe as recipes

pytestmark = pytest.mark.usefixtures('quick_compiles')
RECIPE = recipes.Recipe(
  epochs=20, batch_size=20, learning_rate=0.1, schedule='constant'
)


def _logits(kernel, images):
  return images.reshape(len(images), -1) @ kernel


def _linear():
  """A network that compiles at once."""

  def init(key, graph):
    del graph
    kernel = 0.01 * jax.random.normal(key, (16, 3))
    return {'params': {'kernel': kernel}, 'batch_stats': {}}

  def apply(variables, graph, images, train):
    del graph, train
    return _logits(variables['params']['kernel'], images), {}

  return padded_block.PaddedNetwork(init, apply, None, None)


@pytest.fixture(name='shared', scope='module')
def fixture_shared():
  """Validation labels are a teacher's, training labels are all wrong."""
  rng = np.random.default_rng(0)
  kernel = jnp.asarray(rng.normal(size=(16, 3)), jnp.float32)

  def arrays(count, shift):
    images = jnp.asarray(rng.normal(size=(count, 4, 4, 1)), jnp.float32)
    known = jnp.argmax(_logits(kernel, images), axis=-1)
    return loop.Arrays(images, (known + shift) % 3)

  data = loop.Data(arrays(100, 1), arrays(60, 0), jnp.zeros(1), jnp.ones(1))
  return trained.Shared(distilled.Lesson(data, kernel), jnp.zeros(1))


def _train(shared, weights):
  job = distilled.make_job(_linear(), RECIPE, _logits, weights)
  item = jax.random.key(0), ()

  @jax.jit
  def run(shared):
    state = job.advance(item, job.begin(item, shared), shared)
    return job.result(state), job.goes_on(state, shared)

  return run(shared)


def test_a_student_learns_from_its_teacher_alone(shared):
  result, goes_on = _train(shared, distillation.Weights())
  assert result.accuracy > 0.9 and not goes_on
  assert result.epochs == RECIPE.epochs


def test_labels_count_by_their_weight(shared):
  """Wrong ones, with nothing else to go by."""
  weights = distillation.Weights(matching=0.0, labels=1.0)
  assert _train(shared, weights)[0].accuracy < 0.2


def test_a_teacher_is_measured_on_the_images_that_it_is_given(shared):
  lesson = shared.data
  teacher = distilled.Teacher(_logits, lesson.teacher)
  scores = [
    distilled.accuracy(teacher, split, jnp.zeros(1), jnp.ones(1))
    for split in (lesson.data.valid, lesson.data.train)
  ]
  assert scores == [1.0, 0.0]


def test_what_a_full_distillation_does_not_have_is_refused():
  for name in ('drop_path', 'auxiliary'):
    with pytest.raises(ValueError, match=f'train.{name} is 0.1'):
      distilled.check(recipes.Recipe(**{name: 0.1}), distillation.Weights())
