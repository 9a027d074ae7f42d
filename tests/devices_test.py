"""Spreading over devices, compared with one; and what is reported."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import devices

ROOT = pathlib.Path(devices.__file__).parents[1]
# A small training, whose rounding errors would differ with its company.
WORK = """
import sys
import jax, jax.numpy as jnp, numpy as np
from irlas_jax import devices

def work(item, shared):
  key, rate = item
  weights = jax.random.normal(key, (7, 5))
  def step(weights, _):
    gradient = shared.T @ jnp.tanh(shared @ weights)
    return weights - rate * gradient, jnp.sum(weights ** 2)
  weights, sizes = jax.lax.scan(step, weights, length=20)
  return {'weights': weights, 'sizes': sizes}

def in_turn(items, shared):
  return jax.lax.map(lambda item: work(item, shared), items)

def arguments():
  keys = jax.random.split(jax.random.key(0), 8)
  rates = jnp.linspace(0.01, 0.1, 8)
  return (keys, rates), jax.random.normal(jax.random.key(1), (13, 7))
"""
SPREAD = """
devices.use_cpu_devices(int(sys.argv[1]))
assert devices.count() == int(sys.argv[1])
items, shared = arguments()
shared = devices.replicate(shared)
results = devices.spread_shares(in_turn)(items, shared)
np.savez(
  sys.argv[2],
  on=len(results['weights'].sharding.device_set),
  shared_on=len(shared.sharding.device_set),
  shared=shared,
  **results,
)
try:
  devices.spread_shares(in_turn)(jax.tree.map(lambda x: x[:7], items), shared)
except ValueError:
  pass
else:
  raise AssertionError('7 items on several devices went unnoticed')
"""


def _run(code, *arguments):
  environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
  done = subprocess.run(
    [sys.executable, '-c', code, *map(str, arguments)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def _reference():
  """The functions, their arguments, and results of one device's own program."""
  scope: dict = {}
  exec(WORK, scope)
  items, shared = scope['arguments']()

  results = jax.jit(scope['in_turn'])(items, shared)
  return scope, items, shared, results


def test_results_do_not_depend_on_the_number_of_devices(tmp_path):
  """Bit for bit, whatever device an item is on and whoever comes before."""
  path, count = tmp_path / 'results.npz', 8
  _run(WORK + SPREAD, count, path)
  found = np.load(path)
  _, _, shared, expected = _reference()
  assert found['on'] == found['shared_on'] == count
  np.testing.assert_array_equal(found['shared'], shared)
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)


CHILDREN = """
import json, sys
import jax, numpy as np
from irlas_jax import devices, evaluations, kinds
from irlas_jax.policies import sampling
from irlas_jax.types import Proposals

config = json.loads(sys.argv[1])
devices.use_cpu_devices(int(sys.argv[2]))
jax.config.update('jax_disable_most_optimizations', True)
kind = kinds.SPACES['block'].make(2, 'separable')
actions = sampling.uniform_lengths(jax.random.key(0), kind.space, 8)
evaluation = evaluations.make(config, kind)
proposals = Proposals(actions, actions, ())
bar = np.zeros(evaluation.num_evaluations, np.float32)
scores = evaluation.evaluate(jax.random.key(1), proposals, bar)
scores = scores._replace(seconds=np.zeros(8))
print(json.dumps([np.asarray(column).tolist() for column in scores]))
"""


def test_eight_children_on_eight_devices_are_those_of_one(make_config):
  """Bit for bit: a search would go another way on another machine."""
  changes = {'evaluator.population': 8, 'space.num_layers': 2}
  config = json.dumps(make_config(changes))
  one, eight = (_run(CHILDREN, config, count) for count in (1, 8))
  assert one == eight
  accuracy, loss, *_ = json.loads(one)
  assert len(accuracy) == 8 and len(set(loss)) > 4 and np.isfinite(loss).all()


def test_one_device_is_a_special_case_of_several():
  scope, items, shared, expected = _reference()
  spread = devices.spread_shares(scope['in_turn'])
  found = spread(items, devices.replicate(shared))
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value)
  backwards = spread(jax.tree.map(lambda x: x[::-1], items), shared)
  for name, value in expected.items():
    np.testing.assert_array_equal(backwards[name][::-1], value)


def test_the_compilation_cache_is_kept_in_the_folder(tmp_path):
  code = """
import sys, jax
from irlas_jax import devices
devices.use_compilation_cache(sys.argv[1])
jax.jit(lambda x: x * 2 + 1)(3.0)
"""
  _run(code, tmp_path / 'cache')
  assert list((tmp_path / 'cache').iterdir())


def test_the_counter_sees_one_compile_of_one_new_function():
  x = jnp.arange(5.0)
  fn = jax.jit(lambda x: jnp.sin(x) * 2)
  counter = devices.CompileCounter()
  assert counter.total() == (0, 0.0)
  fn(x)
  first = counter.total()
  assert first.number == 1 and first.seconds > 0
  fn(x)
  assert counter.total() == first, 'a second call compiles nothing'


def test_a_second_counter_starts_at_zero():
  x = jnp.arange(6.0)
  jax.block_until_ready(jax.jit(lambda x: jnp.cos(x) * 3)(x))
  assert devices.CompileCounter().total().number == 0


def test_predicted_bytes_cover_arguments_results_and_what_lies_between():
  """A loop over a [1000, 1000] float32 matrix holds 4 MB at least."""

  def fn(x):
    def step(matrix, _):
      return jnp.tanh(matrix @ matrix), None

    return jax.lax.scan(step, jnp.sin(x[:, None] * x), length=3)[0].sum(0)

  compiled = jax.jit(fn).lower(jnp.ones(1000)).compile()
  assert 4e6 + 8e3 <= devices.predicted_bytes(compiled) < 1e8
  small = jax.jit(lambda x: x + 1).lower(jnp.ones(1000)).compile()
  assert 8000 <= devices.predicted_bytes(small) < 10000


def test_available_bytes_are_less_than_the_machine_has():
  free = devices.available_bytes()
  assert free is None or 1e6 < free < 1e15


def test_items_taken_together_are_what_they_are_alone():
  """Whatever their order and number; to rounding, as they share products."""
  scope, (keys, rates), shared, expected = _reference()
  spread = devices.spread_together(scope['work'])
  order = np.array([6, 1, 1, 3, 0, 7, 2, 5, 4])
  found = spread((keys[order], rates[order]), shared)
  assert set(found) == set(expected)
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value[order], rtol=1e-5, atol=1e-5)
    assert isinstance(found[name], jax.Array)


TOGETHER = """
devices.use_cpu_devices(2)
(keys, rates), shared = arguments()
def simple(item, shared):
  return item[1] * 2 + shared[0, 0]
spread = devices.spread_together(simple)
found = spread((keys, rates), shared)
assert len(found.sharding.device_set) == 2
np.testing.assert_array_equal(found, rates * 2 + shared[0, 0])
"""


def test_items_taken_together_are_split_over_devices():
  """All of them on the first would leave the others idle."""
  _run(WORK + TOGETHER)


def test_a_batch_is_split_over_as_many_devices_as_divide_it(monkeypatch):
  """Of twelve devices, ten take five of 50 images each."""
  monkeypatch.setattr(jax, 'device_count', lambda: 12)
  found = [devices.most_dividing(size) for size in (50, 7, 24, 1, 13)]
  assert found == [10, 7, 12, 1, 1]
