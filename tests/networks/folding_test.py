"""Folding: the same outputs by less, for every network of the library."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import (
  block,
  folding,
  irlas_mobile,
  mobilenet_v2,
  nasbench101,
  nasbench201,
  resnext,
)
from irlas_jax.spaces import nasbench101 as space101
from irlas_jax.spaces import nasbench201 as space201

pytestmark = pytest.mark.usefixtures('quick_compiles')
MACRO = block.Macro((4, 8), (1, 1))
IMAGENET = block.Macro((4, 8), (1, 1), True)
IMAGES = jax.random.normal(jax.random.key(9), (2, 16, 16, 3))
# conv-bn of each kind, a merge of both sorts, and pooling
LAYERS = (
  block.Layer('conv', 3, (0,)),
  block.Layer('sep_conv', 3, (1,)),
  block.Layer('avg_pool', 3, (0,)),
  block.Layer('add', 0, (1, 2)),
  block.Layer('concat', 0, (3, 4)),
)
CELL = (
  '|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|'
  '+|skip_connect~0|none~1|nor_conv_3x3~2|'
)


def _nasbench101():
  """A 3x3 and a 1x1 convolution and a pool; the output reads the last two."""
  edges = np.triu(np.ones((5, 5), int), 1)
  edges[1, 4] = 0
  cells = space101.from_matrices(edges[None], np.array([[-1, 0, 1, 2, -2]]))
  graph = jax.tree.map(lambda x: np.asarray(x)[0], cells)
  return nasbench101.network(graph, space101.OPERATIONS, MACRO, 5)


def _nasbench201():
  graph = space201.effective(space201.parse(CELL))
  return nasbench201.network(graph, space201.OPERATIONS, MACRO, 5)


# Each network, and how many of its normalisations no convolution precedes.
NETWORKS = {
  'block': (lambda: block.BlockNetwork(LAYERS, MACRO, 5), 0),
  'imagenet': (lambda: block.BlockNetwork(LAYERS, IMAGENET, 5), 0),
  'irlas_mobile': (lambda: irlas_mobile.network(5), 0),
  'nasbench101': (_nasbench101, 0),
  'nasbench201': (_nasbench201, 1),
  'mobilenet_v2': (lambda: mobilenet_v2.network(5, 0.25), 0),
  'resnext': (lambda: resnext.network(5, (1, 1), 2, 4), 0),
}


def _random(module, *inputs):
  """Variables far from those at the start of training."""
  shapes = jax.eval_shape(
    lambda: module.init(jax.random.key(0), *inputs, False)
  )
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    match path[-1].key:
      case 'kernel':
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5
        return rng.normal(size=leaf.shape).astype(np.float32) * scale
      case 'var' | 'scale':
        return rng.uniform(0.5, 2, leaf.shape).astype(np.float32)
    return 0.3 * rng.normal(size=leaf.shape).astype(np.float32)

  variables = jax.tree_util.tree_map_with_path(draw, shapes)
  return jax.tree.map(jnp.float32, variables)


class _Ran(NamedTuple):
  variables: Any
  outputs: Any
  program: list[str]  # operations, inner functions included


def _run(apply, variables, inputs):
  lowered = jax.jit(apply).lower(variables, *inputs)
  lines = lowered.as_text().splitlines()
  program = [line for line in lines if ' = stablehlo.' in line]
  return _Ran(variables, lowered.compile()(variables, *inputs), program)


def _both(module, *inputs):
  """What a module does before, and after folding."""
  variables = _random(module, *inputs)
  folded = folding.fold(module, *inputs)
  converted = jax.jit(folded.convert)(variables)
  before = _run(lambda v, *x: module.apply(v, *x, False), variables, inputs)
  return before, _run(folded.apply, converted, inputs)


@pytest.mark.parametrize('name', NETWORKS)
def test_a_folded_network_gives_the_same_by_less(name):
  """A wrong pair, axis or order changes outputs; what stays is in the ops."""
  build, kept = NETWORKS[name]
  before, after = _both(build(), IMAGES)
  size = np.abs(before.outputs).max()
  assert np.std(before.outputs, axis=0).max() > 1e-3 * size > 0
  np.testing.assert_allclose(
    after.outputs / size, before.outputs / size, rtol=0, atol=1e-5
  )
  assert set(after.variables) == {'params'}
  leaves = jax.tree_util.tree_leaves_with_path(after.variables)
  assert sum(path[-1].key == 'scale' for path, _ in leaves) == kept
  assert any('rsqrt' in line for line in before.program)
  assert not any('rsqrt' in line for line in after.program)
  assert not any('subtract' in line for line in after.program)
  assert len(after.program) < 0.8 * len(before.program)


class _Awkward(nn.Module):
  """Normalisations of which some must not be folded."""

  kind: str

  @nn.compact
  def __call__(self, x, train):
    conv = nn.Conv(3, (3, 3), name='conv')

    def norm(name, **fields):
      return nn.BatchNorm(use_running_average=not train, name=name, **fields)

    match self.kind:
      case 'first':
        return conv(norm('norm')(x))
      case 'after relu':
        return norm('norm')(nn.relu(conv(x)))
      case 'read twice':
        y = conv(x)
        return norm('norm')(y) + nn.relu(y)
      case 'both out':
        y = conv(x)
        return norm('norm')(y), y
      case 'two norms':
        y = conv(x)
        return norm('norm')(y) - norm('other')(y)
      case 'one norm, two convolutions':
        shared = norm('norm')
        return shared(conv(x)) + shared(nn.Conv(3, (1, 1))(x))
      case 'called twice':
        return norm('norm')(conv(conv(x)))
      case 'a row of norms':
        return norm('other')(norm('norm')(conv(x)))
      case 'no scale':
        return norm('norm', use_scale=False, use_bias=False)(conv(x))
      case 'epsilon':
        return norm('norm', epsilon=0.5)(conv(x))
      case 'other axis':
        return norm('norm', axis=1)(conv(x))


@pytest.mark.parametrize(
  'kind, kept',
  {
    'first': {'norm'},
    'after relu': {'norm'},
    'read twice': {'norm'},
    'both out': {'norm'},
    'two norms': {'norm', 'other'},
    'one norm, two convolutions': {'norm'},
    'called twice': {'norm'},
    'a row of norms': {'other'},
    'no scale': set(),
    'epsilon': set(),
  }.items(),
)
def test_what_others_read_too_is_not_folded(kind, kept):
  """Each stays as a scale and a shift where folding would change an output."""
  before, after = _both(_Awkward(kind), IMAGES)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    after.outputs,
    before.outputs,
  )
  params = after.variables['params']
  norms = {name for name, leaf in params.items() if 'scale' in leaf}
  assert norms == kept


def test_numbers_by_hand():
  """A 1x1 convolution by 3 and a norm: ((3 x) - 1) / 2 * 4 + 5 = 6 x + 3."""
  conv = block.ReluConvBN(1, 1)
  folded = folding.fold(conv, jnp.ones((1, 1, 1, 1)))
  one = jnp.ones(1)
  converted = folded.convert(
    {
      'params': {
        'conv': {'kernel': jnp.full((1, 1, 1, 1), 3.0)},
        'bn': {'scale': 4 * one, 'bias': 5 * one},
      },
      'batch_stats': {'bn': {'mean': one, 'var': 4 * one - block.BN_EPSILON}},
    }
  )
  (weights,) = converted['params'].values()
  np.testing.assert_allclose(weights['kernel'], [[[[6.0]]]], rtol=1e-6)
  np.testing.assert_allclose(weights['bias'], [3.0], rtol=1e-6)
  image = jnp.full((1, 1, 1, 1), 2.0)
  np.testing.assert_allclose(folded.apply(converted, image), 15.0, rtol=1e-6)


def test_another_axis_is_refused():
  with pytest.raises(ValueError, match='normalisation norm .* axis 1:'):
    folding.fold(_Awkward('other axis'), IMAGES)


def test_nothing_is_run_and_the_module_is_as_before():
  """Shapes do; interception ends with the call."""
  module = block.ReluConvBN(2, 3)
  shape = jax.ShapeDtypeStruct((1, 10**6, 10**6, 3), jnp.float32)
  folding.fold(module, shape)
  params = module.init(jax.random.key(0), IMAGES, False)['params']
  assert set(params['conv']) == {'kernel'} and 'bn' in params


def test_a_module_without_variables():
  """Fails if a network has to have parameters."""

  class Pool(nn.Module):
    @nn.compact
    def __call__(self, x, train):
      return block.max_pool(x, 3)

  folded = folding.fold(Pool(), IMAGES)
  found = folded.apply(folded.convert({}), IMAGES)
  np.testing.assert_array_equal(found, block.max_pool(IMAGES, 3))
