"""One network on several devices: the numbers of one, and of `loop.train`."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import devices
from irlas_jax.training import data as datasets
from irlas_jax.training import feed, full, loop, sources
from irlas_jax.training import recipe as recipes

pytestmark = pytest.mark.usefixtures('quick_compiles')

ROOT = pathlib.Path(devices.__file__).parents[1]
RECIPE = recipes.Recipe(
  epochs=4,
  batch_size=16,
  evaluations=2,
  learning_rate=0.3,
  warmup_epochs=1.0,
  label_smoothing=0.1,
  ema_decay=0.9,
)
ALL = RECIPE._replace(pad=1, mirror=True, cutout=2, mixup=0.3)


def network(variables, images, step):
  """A layer with normalisation by the batch's own moments, and a softmax."""
  params, stats = variables['params'], variables['batch_stats']
  x = images.reshape(len(images), -1) @ params['first']['kernel']
  mean, var = stats['mean'], stats['var']
  if step is not None:
    mean, var = x.mean(0), x.var(0)
    stats = {
      'mean': 0.9 * stats['mean'] + 0.1 * mean,
      'var': 0.9 * stats['var'] + 0.1 * var,
    }
  x = jnp.tanh((x - mean) / jnp.sqrt(var + 1e-3))
  return x @ params['last']['kernel'], stats


def make_variables(dtype=np.float32):
  rng = np.random.default_rng(0)
  first, last = rng.normal(size=(16, 5)), rng.normal(size=(5, 3))
  return {
    'params': {
      'first': {'kernel': first.astype(dtype)},
      'last': {'kernel': last.astype(dtype)},
    },
    'batch_stats': {'mean': np.zeros(5, dtype), 'var': np.ones(5, dtype)},
  }


def make_dataset():
  """57 images to train on, so that each epoch leaves nine out, and 13, 11."""
  rng = np.random.default_rng(1)

  def split(size):
    images = rng.normal(size=(size, 4, 4, 1)).astype(np.float32)
    return sources.Split(images, images[:, 0, :3, 0].argmax(1).astype(np.int32))

  mean, std = np.zeros(1, np.float32), np.ones(1, np.float32)
  return datasets.Dataset('toy', split(57), split(13), split(11), 3, mean, std)


def run(recipe=RECIPE, keeper=full.FORGETFUL, dtype=np.float32):
  mesh = devices.row()
  data = feed.resident(make_dataset(), recipe.batch_size, mesh)
  variables, history, _ = full.train(
    jax.random.key(3),
    network,
    make_variables(dtype),
    data,
    recipe,
    mesh,
    keeper,
  )
  score = full.make_score(network, data, mesh)
  copies = devices.copied_to(mesh, variables)
  return variables, history, score(copies, data.test, data.test_batches())


def test_numbers_are_those_of_the_loop_on_the_device():
  """Children and final networks would follow two recipes of one name."""
  variables, history, _ = run(ALL)
  expected, past = loop.train(
    jax.random.key(3),
    network,
    make_variables(),
    loop.on_device(make_dataset()),
    ALL,
    loop.HOST,
  )
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, atol=1e-5),
    (variables, history),
    (expected, past),
  )
  assert history.finished == 2 and np.isfinite(history.train_loss).all()


def test_training_stops_early_without_patience():
  """Accuracies on 13 images soon stop growing."""
  recipe = RECIPE._replace(epochs=40, evaluations=40, patience=3)
  _, history, _ = run(recipe)
  assert 4 <= history.finished < 40
  best = np.nanargmax(history.accuracy)
  assert history.finished == best + 4


def test_what_diverges_ends():
  recipe = RECIPE._replace(learning_rate=np.inf, warmup_epochs=0.0)
  _, history, _ = run(recipe)
  assert history.diverged and history.finished == 1


class Memory:
  """A keeper that holds what was saved last, and stops after some saves."""

  def __init__(self):
    self.kept, self.asked = None, 0

  def keeper(self, stop_at=None):
    def stop():
      self.asked += 1
      return self.asked == stop_at

    return full.Keeper(lambda new: self.kept or new, self._save, stop)

  def _save(self, position):
    self.kept = position


def _same(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_stopped_training_goes_on_to_the_bit(monkeypatch):
  """In the middle of an epoch too, whose order has to be the same again."""
  monkeypatch.setattr(full, '_STEPS_BETWEEN_QUESTIONS', 2)
  expected = run()
  memory, stops = Memory(), 0
  while True:
    try:
      found = run(RECIPE, memory.keeper(stop_at=memory.asked + 1))
      break
    except full.Stopped as stopped:
      stops += 1
      assert str(int(memory.kept.learner.done)) in str(stopped)
  assert stops == 5  # twelve steps
  _same(found, expected)


SEVERAL = """
import sys
import jax
import numpy as np
jax.config.update('jax_num_cpu_devices', int(sys.argv[1]))
jax.config.update('jax_enable_x64', True)
sys.path.insert(0, 'tests/training')
import full_test
from irlas_jax.training import recipe
assert len(jax.devices()) == int(sys.argv[1])
variables, history, test = full_test.run(full_test.ALL, dtype=np.float64)
leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((variables, history))]
np.savez(sys.argv[2], *leaves, test)
"""


def test_eight_devices_train_what_one_does(tmp_path):
  """Gradients or statistics of a device's own share would differ at once."""
  results = []
  for count in (1, 8):
    path = tmp_path / f'{count}.npz'
    done = subprocess.run(
      [sys.executable, '-c', SEVERAL, str(count), str(path)],
      capture_output=True,
      text=True,
      cwd=ROOT,
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
    )
    assert done.returncode == 0, done.stderr
    results.append(np.load(path))
  one, several = results
  assert one['arr_0'].dtype == np.float64
  for name in one.files:
    np.testing.assert_allclose(one[name], several[name], atol=1e-6, rtol=1e-6)
  for name in ('arr_0', 'arr_1', 'arr_2', 'arr_3'):
    np.testing.assert_allclose(one[name], several[name], atol=1e-8, rtol=1e-8)
