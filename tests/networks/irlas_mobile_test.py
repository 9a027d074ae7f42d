"""The published network: its size, its logits, its checkpoint, training."""

import functools
import json
import pathlib
import runpy

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import cost, irlas_mobile

_FOLDER = pathlib.Path(__file__).parents[1] / 'fixtures' / 'irlas_mobile'
_RULES = runpy.run_path(str(_FOLDER / 'weights.py'))


@pytest.fixture(scope='module')
def shapes():
  """Names and shapes of the published checkpoint."""
  return json.loads((_FOLDER / 'state_dict.json').read_text())['state_dict']


@pytest.fixture(scope='module')
def checkpoint(shapes):
  """The checkpoint that the golden logits were computed with."""
  return _RULES['fill'](shapes)


@pytest.fixture(scope='module')
def variables(checkpoint):
  return irlas_mobile.from_torch(checkpoint)


@pytest.fixture(scope='module')
def abstract():
  return _abstract_variables(1000)


def _abstract_variables(num_classes):
  model = irlas_mobile.network(num_classes)
  init = functools.partial(model.init, train=False)
  return jax.eval_shape(init, jax.random.key(0), jnp.ones((1, 64, 64, 3)))


def _predict(variables, images):
  model = irlas_mobile.network()
  return model.apply(variables, images, train=False)


def test_logits_are_those_of_the_pytorch_network(variables):
  """Fails on any other padding, epsilon, order of layers or of axes.

  Asked for is 1e-4 of the spread; the two agree to 4e-7 on a CPU.
  """
  golden = np.load(_FOLDER / 'logits.npz')['logits']
  with jax.default_matmul_precision('highest'):
    logits = jax.jit(_predict)(variables, _RULES['images']())
  spread = golden.max() - golden.min()
  chex.assert_trees_all_close(logits, golden, rtol=0, atol=1e-5 * spread)


def test_golden_logits_tell_the_images_apart():
  """Fails if the golden file would accept a network that ignores its input."""
  first, second = np.load(_FOLDER / 'logits.npz')['logits']
  assert np.abs(first - second).mean() > 1e-2 * (first.max() - first.min())


def test_the_network_has_as_many_parameters_as_the_checkpoint(abstract, shapes):
  """Fails if a layer is missing or too wide."""
  statistics = ('running_mean', 'running_var', 'num_batches_tracked')
  published = sum(
    int(np.prod(shape))
    for name, shape in shapes.items()
    if not name.endswith(statistics)
  )
  assert cost.count_parameters(abstract) == published == 9_962_600


def _block_madds(size, width, c):
  """A block on size x size positions: depthwise, pointwise, and 1x1s."""
  adapters = 0 if width == c else 3 * width * c
  ones = 2 * (width + width * c)
  return size**2 * (ones + (9 * c + c * c) + (25 * c + c * c) + adapters)


def test_multiply_adds_are_those_of_the_layer_table(abstract):
  """Fails if a stride or a group is lost; 1,418,807,296, published as 1,419 M.

  By hand: 10.8 M in the stem, 28.9, 154.1, 135.3 and 134.9 M in the
  transitions, 17.1, 55.0, 54.0, 3 x 234.6 and 52.4 M in the blocks, 1.5 M in
  the last layer.
  """
  stem = 112**2 * 9 * 3 * 32
  transitions = 56**2 * 9 * 32 * 32
  for size, width, c in ((28, 96, 128), (14, 384, 256), (7, 768, 512)):
    transitions += (2 * size) ** 2 * width * c + size**2 * 9 * c * c
  blocks = _block_madds(56, 32, 32) + _block_madds(28, 128, 128)
  blocks += _block_madds(14, 256, 256) + 3 * _block_madds(14, 768, 256)
  blocks += _block_madds(7, 512, 512)
  by_hand = stem + transitions + blocks + 1536 * 1000
  images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
  counted = cost.count_multiply_adds(_predict, abstract, images)
  assert counted == by_hand == 1_418_807_296
  assert counted == pytest.approx(1419e6, rel=1e-3)


def test_a_checkpoint_becomes_what_init_returns(abstract, variables):
  """Fails if trees, shapes or types differ: an optimiser would notice late."""
  chex.assert_trees_all_equal_shapes_and_dtypes(abstract, variables)


class _Tensor:
  """What `from_torch` may use of a tensor that needs gradients, on a GPU."""

  def __init__(self, array):
    self.shape, self._array = array.shape, array

  def detach(self):
    return self

  def cpu(self):
    return self._array


def test_counters_prefix_and_tensors_change_nothing(checkpoint, variables):
  """Fails if a checkpoint saved from several devices is refused."""
  means = [name for name in checkpoint if name.endswith('running_mean')]
  counters = {
    name.replace('running_mean', 'num_batches_tracked'): np.array(7)
    for name in means
  }
  entries = (checkpoint | counters).items()
  saved = {f'module.{name}': _Tensor(value) for name, value in entries}
  chex.assert_trees_all_equal(irlas_mobile.from_torch(saved), variables)


def test_variables_do_not_share_memory_with_the_checkpoint(checkpoint):
  """Fails if training on in PyTorch would change the converted weights."""
  source = checkpoint | {'fc.bias': np.zeros(1000, np.float32)}
  variables = irlas_mobile.from_torch(source)
  source['fc.bias'] += 1
  chex.assert_trees_all_equal(variables['params']['fc']['bias'].sum(), 0.0)


def test_another_number_of_classes_has_its_own_last_layer(checkpoint):
  """Fails if the head is fixed at 1000, or is not checked."""
  head = {'fc.weight': np.ones((10, 1536)), 'fc.bias': np.ones(10)}
  variables = irlas_mobile.from_torch(checkpoint | head, num_classes=10)
  expected = _abstract_variables(10)
  chex.assert_trees_all_equal_shapes_and_dtypes(expected, variables)
  with pytest.raises(ValueError, match='num_classes') as error:
    irlas_mobile.from_torch(checkpoint, num_classes=10)
  assert 'expected shape (10, 1536), found (1000, 1536)' in str(error.value)


def test_all_entries_that_do_not_fit_are_named_at_once(checkpoint):
  """Fails if the first wrong entry hides the others."""
  wrong = checkpoint | {
    'layer1.1.op1.1.weight': np.ones((32, 1, 3, 3)),
    'layer5.0.1.weight': np.ones((2, 2)),
    'layer5.0.2.num_batches_tracked': np.array(0),
  }
  del wrong['layer3.2.op3.1.running_var']
  with pytest.raises(ValueError) as error:
    irlas_mobile.from_torch(wrong)
  assert str(error.value).splitlines()[1:] == [
    'layer1.1.op1.1.weight: expected shape (32, 1, 1, 1), found (32, 1, 3, 3)',
    'layer3.2.op3.1.running_var: expected shape (768,), found none, missing',
    'layer5.0.1.weight: expected shape none, surplus, found (2, 2)',
    'layer5.0.2.num_batches_tracked: expected shape none, surplus, found ()',
  ]


@pytest.mark.parametrize('width', [4, 6], ids=['same width', 'adapted'])
def test_every_parameter_of_a_block_matters(width):
  """Fails if a branch is cut off from the block's output.

  Not in training: there a mean taken out later cancels some of the biases.
  """
  block = irlas_mobile.Block(features=4)
  generator = np.random.RandomState(0)
  images = generator.standard_normal((2, 5, 5, width)).astype(np.float32)
  init = functools.partial(block.init, train=False)
  variables = jax.tree.map(
    lambda leaf: generator.uniform(0.5, 1.5, leaf.shape).astype(np.float32),
    jax.eval_shape(init, jax.random.key(0), images),
  )

  def loss_fn(params):
    y = block.apply(variables | {'params': params}, images, train=False)
    return jnp.mean((y - 1) ** 2)

  grads = jax.jit(jax.grad(loss_fn))(variables['params'])
  chex.assert_tree_all_finite(grads)
  for path, grad in jax.tree_util.tree_leaves_with_path(grads):
    assert jnp.abs(grad).max() > 1e-6, jax.tree_util.keystr(path)


def _train(variables, images):
  """Mean squared logit in training, and the new statistics."""
  model = irlas_mobile.network()
  logits, mutated = model.apply(
    variables, images, train=True, mutable='batch_stats'
  )
  return jnp.mean(logits**2), mutated['batch_stats']


def test_the_whole_network_differentiates(abstract):
  """Fails if a gradient cannot be traced, or lacks a parameter."""
  images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)

  def loss_fn(params, stats, images):
    return _train({'params': params, 'batch_stats': stats}, images)

  grad_fn = jax.grad(loss_fn, has_aux=True)
  args = abstract['params'], abstract['batch_stats'], images
  grads, stats = jax.eval_shape(grad_fn, *args)
  found = {'params': grads, 'batch_stats': stats}
  chex.assert_trees_all_equal_shapes_and_dtypes(found, abstract)


def test_training_moves_the_statistics(variables):
  """Fails at another momentum, or if training keeps the running mean.

  The first layer's is 0.9 of the old one and 0.1 of the batch's.
  """
  images = jax.random.normal(jax.random.key(0), (2, 32, 32, 3))
  loss, stats = jax.jit(_train)(variables, images)
  chex.assert_tree_all_finite((loss, stats))
  x = jax.lax.conv_general_dilated(
    images,
    variables['params']['conv1']['kernel'],
    window_strides=(2, 2),
    padding=((1, 1), (1, 1)),
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  old = variables['batch_stats']['bn1']['mean']
  expected = 0.9 * old + 0.1 * x.mean((0, 1, 2))
  chex.assert_trees_all_close(stats['bn1']['mean'], expected, atol=1e-5)


@pytest.mark.parametrize('size', [32, 97, 256])
def test_other_image_sizes_are_averaged_whole(abstract, size):
  """Fails if the pooling needs 7x7 features."""
  images = jax.ShapeDtypeStruct((5, size, size, 3), jnp.float32)
  chex.assert_shape(jax.eval_shape(_predict, abstract, images), (5, 1000))


@pytest.mark.parametrize(
  'images', [jnp.ones((1, 3, 64, 64)), jnp.ones((1, 64, 64, 3), jnp.uint8)]
)
def test_images_of_another_layout_or_type_are_refused(abstract, images):
  """Fails if channels-first images or raw bytes are taken for images."""
  with pytest.raises(AssertionError):
    jax.eval_shape(_predict, abstract, images)
