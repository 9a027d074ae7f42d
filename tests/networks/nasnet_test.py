"""NASNet as plain modules: the stack by its shapes, cells by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block, nasnet, nasnet_plan
from irlas_jax.spaces import nasnet as space

EPSILON = block.BN_EPSILON
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6, 2)), jnp.float32)
SIMPLE = space.parse(
  'normal: add(sep_conv_3x3 0, identity 1); '
  'reduction: concat(identity 0, max_pool_3x3 1)'
)


@pytest.fixture(autouse=True)
def quick(quick_compiles):
  """Programs of milliseconds: what counts is how long they compile."""


def _shapes(model, shape, train=True):
  image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)

  def init(key, x):
    return model.init_with_output(
      key, x, train, capture_intermediates=True, mutable=True
    )

  found = jax.eval_shape(init, jax.random.key(0), image)
  return jax.tree.map(lambda leaf: leaf.shape, found)


def _network(macro, **fields):
  model = nasnet.network(SIMPLE, space.OPERATIONS, macro, 10)
  return model.clone(**fields)


def test_the_stack_for_cifar():
  """A wide stem, reductions between the stages, widths doubled at them."""
  logits, variables = _shapes(_network(block.cifar(4, 3, 2)), (9, 8, 3))
  assert logits == (2, 10)
  params = variables['params']
  names = [f'stage{s}_cell{i}' for s in range(3) for i in range(2)]
  reductions = ['stage1_reduce', 'stage2_reduce']
  assert set(params) == {*names, *reductions, 'stem', 'stem_bn', 'head'}
  assert params['stem'] == {'kernel': (3, 3, 3, 12)}
  seen = variables['intermediates']
  outs = {name: seen[name]['__call__'][0] for name in names + reductions}
  assert outs['stage0_cell1'] == (2, 9, 8, 4)
  assert outs['stage1_reduce'] == (2, 5, 4, 8)
  assert outs['stage2_cell0'] == (2, 3, 2, 16)
  # What is read twice as large is halved by two convolutions, else by one.
  first, second = params['stage1_cell0'], params['stage1_cell1']
  assert first['previous']['even'] == {'kernel': (1, 1, 4, 4)}
  assert first['input']['conv0'] == {'kernel': (1, 1, 8, 8)}
  assert second['previous']['conv0'] == {'kernel': (1, 1, 8, 8)}
  cell = params['stage1_reduce']
  assert set(cell) == {'input', 'previous', 'block0_first', 'block0_concat'}
  assert cell['block0_first']['conv0'] == {'kernel': (1, 1, 8, 8)}
  assert cell['block0_concat'] == {'kernel': (1, 1, 16, 8)}


def test_the_stack_for_imagenet():
  """Two reduction cells at a quarter and half of the width come before."""
  macro = block.cifar(8, 3, 1)._replace(imagenet=True)
  logits, variables = _shapes(_network(macro), (65, 65, 3))
  assert variables['params']['stem'] == {'kernel': (3, 3, 3, 32)}
  seen = variables['intermediates']
  outs = {
    name: cell['__call__'][0]
    for name, cell in seen.items()
    if 'cell' in name or 'reduce' in name
  }
  assert outs == {
    'stem_cell0': (2, 16, 16, 2),
    'stem_cell1': (2, 8, 8, 4),
    'stage0_cell0': (2, 8, 8, 8),
    'stage1_reduce': (2, 4, 4, 16),
    'stage1_cell0': (2, 4, 4, 16),
    'stage2_reduce': (2, 2, 2, 32),
    'stage2_cell0': (2, 2, 2, 32),
  }


def test_an_auxiliary_head_and_dropped_paths_are_the_trainings():
  """The head reads the output of the second reduction cell."""
  model = _network(block.cifar(4, 3, 1), auxiliary=True, drop_path=0.3)
  image = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)

  def logits(train):
    keys = {'params': jax.random.key(0), 'drop_path': jax.random.key(1)}
    return lambda x: model.init_with_output(keys, x, train)

  (main, extra), variables = jax.eval_shape(logits(True), image)
  assert main.shape == extra.shape == (2, 10)
  conv1 = variables['params']['auxiliary']['conv1']['kernel']
  assert conv1.shape == (1, 1, 16, 128), 'one leaf of the last width'
  main, _ = jax.eval_shape(logits(False), image)
  assert main.shape == (2, 10)


def _cell(text, x=X, previous=X, width=2):
  """What the normal or reduction cell of one block computes, and its weights.

  Convolutions are identities as far as they can be.
  """
  pair = f'normal: {text}; reduction: {text}'
  plans = nasnet_plan.plans_of(space.parse(pair), space.OPERATIONS)

  def fill(path, leaf):
    names = [part.key for part in path]
    if names[-1] != 'kernel':
      return leaf
    kernel = np.zeros(leaf.shape)
    centre = tuple(side // 2 for side in leaf.shape[:2])
    depthwise = 'depthwise' in names[-2]
    kernel[centre] = 1 if depthwise else np.eye(*leaf.shape[2:])
    return jnp.asarray(kernel, jnp.float32)

  def run(plan):
    cell = nasnet.Cell(plan, width)
    variables = cell.init(jax.random.key(0), previous, x, False)
    variables = jax.tree_util.tree_map_with_path(fill, variables)
    return cell.apply(variables, previous, x, False)

  return tuple(map(run, plans))


def test_both_inputs_are_projected_and_identities_are_added():
  """State 0 is x, state 1 the previous one; each goes through a ReLU."""
  out, _ = _cell('add(identity 0, identity 1)', previous=-X)
  expected = np.abs(X) / np.sqrt(1 + EPSILON)
  np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_an_input_that_nobody_reads_is_part_of_the_output():
  """In the reduction cell halved; one channel is of odd pixels."""
  normal, reduction = _cell('add(identity 0, identity 0)', previous=X + 9)
  here = np.maximum(X, 0) / np.sqrt(1 + EPSILON)
  before = (X + 9) / np.sqrt(1 + EPSILON)
  expected = np.concatenate([before, 2 * here], axis=-1)
  np.testing.assert_allclose(normal, expected, rtol=1e-5)
  halved = before / np.sqrt(1 + EPSILON)
  assert reduction.shape == (2, 2, 3, 4)
  np.testing.assert_allclose(
    reduction[..., 0], halved[:, ::2, ::2, 0], rtol=1e-5
  )
  # Its kernel is the identity's first column too: channel 0, odd pixels.
  np.testing.assert_allclose(
    reduction[..., 1], halved[:, 1::2, 1::2, 0], rtol=1e-5
  )
  twice = 2 * here[:, ::2, ::2] / np.sqrt(1 + EPSILON)
  np.testing.assert_allclose(reduction[..., 2:], twice, rtol=1e-5)


@pytest.mark.parametrize(
  'operation, norms',
  [
    ('conv_1x1', 1),
    ('conv_3x3', 1),
    ('dil_conv_3x3', 1),
    ('conv_1x3_3x1', 1),
    ('conv_1x7_7x1', 1),
    ('sep_conv_3x3', 2),
    ('sep_conv_7x7', 2),
  ],
)
def test_convolutions_have_a_relu_before_and_a_normalisation_behind(
  operation, norms
):
  """A kernel that is an identity leaves the ReLU and the normalisations."""
  normal, reduction = _cell(f'add({operation} 0, {operation} 0) -> 1 2')
  here = np.maximum(X, 0) / np.sqrt(1 + EPSILON) ** (1 + norms)
  np.testing.assert_allclose(normal[..., 2:], 2 * here, rtol=1e-5)
  expected = 2 * here[:, ::2, ::2]
  np.testing.assert_allclose(reduction[..., 2:], expected, rtol=1e-5)


def test_pools_do_not_count_padding_and_have_the_stride():
  text = 'add(avg_pool_3x3 0, max_pool_5x5 0) -> 1 2'
  normal, reduction = _cell(text)
  x = np.maximum(X, 0) / np.sqrt(1 + EPSILON)
  corner = x[:, :2, :2].mean((1, 2)) + x[:, :3, :3].max((1, 2))
  np.testing.assert_allclose(normal[:, 0, 0, 2:], corner, rtol=1e-5)
  inner = x[:, 1:4, 1:4].mean((1, 2)) + x[:, :4, :5].max((1, 2))
  np.testing.assert_allclose(normal[:, 2, 2, 2:], inner, rtol=1e-5)
  np.testing.assert_allclose(reduction[:, 1, 1, 2:], inner, rtol=1e-5)
