"""What the padded programs of all spaces are held to, and traced counts."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax import devices
from irlas_jax.networks import cost

# Compiles several times faster; what is computed stays the same.
FAST = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}


def _compare_all(network, architectures, dtype):
  """Differences of each architecture, and compiles of the padded program."""
  counter, compiles = devices.CompileCounter(), []

  def measure(*args):
    before = counter.total().number
    result = network.measure(*args)
    compiles.append(counter.total().number - before)
    return result

  counted = network._replace(measure=measure)
  rows = [
    padded_equality.compare(counted, one, seed, dtype, FAST)
    for seed, one in enumerate(architectures)
  ]
  return rows, compiles


def _check_equal(network, architectures, dtype):
  """Architectures by one program, each equal to its plain network."""
  with jax.enable_x64(dtype == np.float64):
    rows, compiles = _compare_all(network, architectures, dtype)
  for row in rows:
    if dtype == np.float64:
      assert max(row) < 1e-8, row
    else:
      assert max(row.loss, row.round_trip) < 1e-5, row
      assert max(row.evaluation, row.statistics) < 1e-4, row
      assert row.gradients < 1e-3, row
    assert row.unused == 0, 'weights that are not there have a gradient'
  calls = 2 * len(architectures)
  assert compiles == [1] + [0] * (calls - 1), 'the graph is not data'


def _count_drawn_kernels(network, graph):
  """Checks initial weights as Flax draws them; how many kernels differ.

  Variance 1 / fan-in, cut at two deviations; each array on its own.
  """
  variables = jax.jit(network.init, compiler_options=FAST)(
    jax.random.key(0), graph
  )
  drawn, kernels = set(), 0
  flat = jax.tree_util.tree_flatten_with_path(network.to_flax(variables, graph))
  for path, array in flat[0]:
    names = [part.key for part in path]
    if names[-1] == 'kernel':
      deviation = np.prod(array.shape[:-1]) ** -0.5
      error = 4 / np.sqrt(2 * array.size)
      assert abs(array.std() / deviation - 1) < error, names
      assert abs(array).max() <= deviation * 2 / 0.8796, names
      drawn.add(array.ravel()[0])
      kernels += 1
    else:
      expected = 1 if names[-1] in ('scale', 'var') else 0
      np.testing.assert_array_equal(array, expected, err_msg=str(names))
  assert len(drawn) == kernels, 'two kernels are the same'
  return kernels


def _random_variables(network, graph):
  """Random variables of a padded network."""
  rng = np.random.default_rng(0)
  template = jax.eval_shape(network.init, jax.random.key(0), graph)
  return jax.tree.map(
    lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), template
  )


@pytest.fixture(scope='session')
def padded():
  """Checks of a `PaddedNetwork`."""
  return types.SimpleNamespace(
    fast=FAST,
    check_equal=_check_equal,
    count_drawn_kernels=_count_drawn_kernels,
    random_variables=_random_variables,
  )


@pytest.fixture(scope='session')
def trace_cost():
  """(Flax network, image shape) -> parameters, multiply-adds; not run."""

  def trace(model, shape):
    def init(key, x):
      return model.init_with_output(key, x, False)

    inputs = jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    _, variables = jax.eval_shape(init, *inputs)
    madds = cost.count_multiply_adds(init, *inputs)
    return cost.count_parameters(variables), madds

  return trace
