"""Plain block networks: shapes by hand, and outputs worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block as networks
from irlas_jax.spaces import block, nsc

Layer = networks.Layer
EPSILON = networks.BN_EPSILON
IDENTITY = Layer('identity', 0, (0,))


def _shapes(model, shape):
  """Flax shapes of all variables, without running anything."""

  def init(key, x):
    return model.init(key, x, True)

  image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  variables = jax.eval_shape(init, jax.random.key(0), image)
  return jax.tree.map(lambda leaf: leaf.shape, variables)


def _block(layers, x, **kernels):
  """A block in evaluation with given kernels, fresh normalisation.

  The 1x1 convolution at its start is the identity unless given.
  """
  width = x.shape[-1]
  model = networks.Block(tuple(layers), width)
  variables = jax.eval_shape(
    lambda key: model.init(key, x, False), jax.random.key(0)
  )
  eye = np.eye(width)[None, None]
  fresh = {'scale': 1.0, 'bias': 0.0, 'mean': 0.0, 'var': 1.0}

  def fill(path, leaf):
    names = [part.key for part in path]
    value = fresh.get(names[-1])
    if value is None:
      value = kernels.get(names[1], eye)
    return jnp.broadcast_to(jnp.asarray(value, jnp.float32), leaf.shape)

  variables = jax.tree_util.tree_map_with_path(fill, variables)
  return np.asarray(model.apply(variables, x, False))


X = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 3, 2)), jnp.float32)
ENTERED = np.maximum(X, 0) / np.sqrt(1 + EPSILON)  # ReLU, 1x1, normalisation


def test_widths_double_from_stage_to_stage():
  assert networks.cifar(12, 3, 2) == networks.Macro((12, 24, 48), (2, 2, 2))


def test_layers_and_leaves_of_a_padded_graph():
  choices = (
    block.Choice('conv', 3, (0,)),
    block.Choice('max_pool', 1, (0,)),
    block.Choice('concat', 0, (0, 1)),
  )
  layers = networks.layers_of(nsc.to_graph(choices, 9), block.OPERATIONS)
  assert layers == tuple(map(tuple, choices))
  assert networks.leaves_of(layers) == (2, 3)
  assert networks.leaves_of(()) == (0,)


def test_an_identity_block_is_its_entry():
  np.testing.assert_allclose(_block([IDENTITY], X), ENTERED, rtol=1e-6)


def test_leaves_are_concatenated_in_their_order():
  """The add comes last and the unread identity before it."""
  layers = [IDENTITY, IDENTITY, Layer('add', 0, (0, 1))]
  found = _block(layers, X)
  expected = np.concatenate([ENTERED, 2 * ENTERED], axis=-1)
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_pools_keep_the_size_and_do_not_count_padding():
  layers = [Layer('max_pool', 3, (0,)), Layer('avg_pool', 3, (0,))]
  found = _block(layers, X)
  assert found.shape == (1, 4, 3, 4)
  corner = ENTERED[0, :2, :2].reshape(4, 2)
  np.testing.assert_allclose(found[0, 0, 0, :2], corner.max(0), rtol=1e-6)
  np.testing.assert_allclose(found[0, 0, 0, 2:], corner.mean(0), rtol=1e-5)
  middle = ENTERED[0, :3].reshape(9, 2)
  np.testing.assert_allclose(found[0, 1, 1, :2], middle.max(0), rtol=1e-6)
  np.testing.assert_allclose(found[0, 1, 1, 2:], middle.mean(0), rtol=1e-5)


def test_a_conv_layer_is_relu_then_convolution_then_normalisation():
  """A negated entry is all zero after the ReLU, and not before it."""
  minus = -np.eye(2)[None, None]
  layers = [Layer('conv', 1, (0,))]
  found = _block(layers, X, enter=minus, layer1=minus)
  np.testing.assert_array_equal(found, 0)
  found = _block(layers, X, layer1=minus)
  np.testing.assert_allclose(found, -ENTERED / np.sqrt(1 + EPSILON), rtol=1e-5)


def test_a_concat_layer_mixes_both_inputs_without_normalisation():
  """Weights [4, 2]: once the first input plus ten times the second."""
  mix = np.concatenate([np.eye(2), 10 * np.eye(2)])[None, None]
  layers = [Layer('avg_pool', 3, (0,)), Layer('concat', 0, (0, 1))]
  pooled = _block(layers[:1], X)
  found = _block(layers, X, layer2=mix)
  np.testing.assert_allclose(found, ENTERED + 10 * pooled, rtol=1e-5)


def test_variables_of_a_cifar_network():
  """Depthwise weights, one block after another, pooling between stages."""
  layers = (Layer('sep_conv', 5, (0,)), Layer('max_pool', 3, (0,)))
  model = networks.BlockNetwork(layers, networks.Macro((4, 8), (2, 1)), 7)
  params = _shapes(model, (8, 8, 3))['params']
  assert params['stem']['kernel'] == (3, 3, 3, 4)
  first, second = params['stage0_block0'], params['stage0_block1']
  assert first['enter']['conv']['kernel'] == (1, 1, 4, 4)
  assert second['enter']['conv']['kernel'] == (1, 1, 8, 4)  # two leaves
  assert first['layer1']['depthwise']['kernel'] == (5, 5, 1, 4)
  assert first['layer1']['pointwise']['kernel'] == (1, 1, 4, 4)
  assert first['layer1']['bn'] == {'scale': (4,), 'bias': (4,)}
  assert 'layer2' not in first
  third = params['stage1_block0']
  assert third['enter']['conv']['kernel'] == (1, 1, 8, 8)
  assert params['head'] == {'kernel': (16, 7), 'bias': (7,)}
  assert set(params) == {
    'stem',
    'stem_bn',
    'stage0_block0',
    'stage0_block1',
    'stage1_block0',
    'head',
  }


def test_variables_of_an_imagenet_network():
  model = networks.BlockNetwork(
    (IDENTITY, IDENTITY), networks.Macro((4, 8), (1, 1), True), 7
  )
  params = _shapes(model, (33, 33, 3))['params']
  assert 'stage0_widen' not in params
  assert params['stage0_reduce']['conv']['kernel'] == (3, 3, 4, 4)
  assert params['stage1_widen']['conv']['kernel'] == (1, 1, 8, 8)
  assert params['stage1_reduce']['conv']['kernel'] == (3, 3, 8, 8)
  assert params['head']['kernel'] == (16, 7)


@pytest.mark.parametrize(
  'imagenet, sides',
  [(False, [(9, 8), (4, 4)]), (True, [(3, 2), (2, 1)])],
)
def test_images_shrink_between_stages(imagenet, sides):
  """9 x 8 halved; or stride 2 in the stem (5 x 4) and before each stage."""
  macro = networks.Macro((4, 8), (1, 1), imagenet)
  model = networks.BlockNetwork((IDENTITY,), macro, 7)

  def outputs(key, x):
    return model.init_with_output(
      key, x, True, capture_intermediates=True, mutable=True
    )

  image = jax.ShapeDtypeStruct((2, 9, 8, 3), jnp.float32)
  logits, variables = jax.eval_shape(outputs, jax.random.key(0), image)
  assert logits.shape == (2, 7)
  for stage, (height, width) in enumerate(sides):
    blocks = variables['intermediates'][f'stage{stage}_block0']
    (out,) = blocks['__call__']
    assert out.shape == (2, height, width, 4 * 2**stage)


def test_training_updates_running_statistics_and_evaluation_reads_them():
  model = networks.BlockNetwork((IDENTITY,), networks.Macro((4,), (1,)), 3)
  images = 2 + jax.random.normal(jax.random.key(1), (8, 4, 4, 1))
  variables = model.init(jax.random.key(0), images, False)
  _, changed = model.apply(variables, images, True, mutable=['batch_stats'])
  kernel = variables['params']['stem']['kernel']
  stem = jax.lax.conv_general_dilated(
    images, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  found = changed['batch_stats']['stem_bn']
  mean, variance = stem.mean((0, 1, 2)), stem.var((0, 1, 2))
  np.testing.assert_allclose(found['mean'], 0.1 * mean, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found['var'], 0.9 + 0.1 * variance, rtol=1e-4)
  alone = model.apply(variables, images[:1], False)
  together = model.apply(variables, images, False)
  np.testing.assert_allclose(together[:1], alone, rtol=1e-4, atol=1e-5)


def test_an_operation_without_a_layer_is_named():
  model = networks.Block((Layer('max_conv', 3, (0,)),), 4)
  with pytest.raises(ValueError, match="'max_conv'"):
    model.init(jax.random.key(0), X, False)


CONVS = (
  Layer('conv', 1, (0,)),
  Layer('conv', 1, (1,)),
  Layer('add', 0, (0, 2)),
)


def _dropped(layers, rate, examples=200):
  """One block in evaluation mode on equal images, with paths dropped."""
  x = jnp.broadcast_to(X, (examples, *X.shape[1:]))
  model = networks.Block(tuple(layers), 2)
  variables = model.init(jax.random.key(0), X, False)
  rngs = {'drop_path': jax.random.key(1)}
  found = model.apply(variables, x, False, rate, rngs=rngs)
  return np.asarray(found), np.asarray(model.apply(variables, X, False))


def test_a_dropped_path_leaves_what_it_was_to_be_added_to():
  """Entry plus a path: plus nothing, or plus twice the path; no third."""
  found, whole = _dropped(CONVS, 0.5)
  model = networks.Block(CONVS, 2)
  variables = model.init(jax.random.key(0), X, False)
  entered = networks.ReluConvBN(2, 1).apply(
    {c: tree['enter'] for c, tree in variables.items()}, X, False
  )
  kinds = [np.asarray(entered)[0], (2 * whole - entered)[0]]
  near = [np.abs(found - kind).max((1, 2, 3)) < 1e-5 for kind in kinds]
  assert (near[0] ^ near[1]).all()
  assert 70 < near[0].sum() < 130  # four standard deviations from 100


@pytest.mark.parametrize(
  'layers',
  [
    (Layer('conv', 1, (0,)), Layer('sep_conv', 3, (1,))),
    (IDENTITY, Layer('add', 0, (0, 1))),
    (
      Layer('conv', 1, (0,)),
      Layer('identity', 0, (1,)),
      Layer('add', 0, (0, 2)),
    ),
  ],
  ids=['chain', 'input', 'identity'],
)
def test_chains_and_identities_are_never_dropped(layers):
  """A chain that is cut would pass nothing on."""
  found, whole = _dropped(layers, 0.9, examples=20)
  np.testing.assert_allclose(found, np.repeat(whole, 20, 0), rtol=1e-5)


@pytest.mark.parametrize(
  'layers, paths',
  [
    ((Layer('max_pool', 3, (0,)), Layer('avg_pool', 3, (0,))), 2),
    ((Layer('conv', 1, (0,)), IDENTITY), 1),
    ((IDENTITY, Layer('conv', 1, (0,)), Layer('concat', 0, (1, 2))), 1),
    ((*CONVS, Layer('add', 0, (3, 2))), 2),
  ],
)
def test_paths_of_a_block(layers, paths, monkeypatch):
  """Leaves, sums and concatenations; a path that is read twice counts twice."""
  seen = []

  class Recorder:
    def __call__(self, x, rate):
      seen.append(rate)
      return x

  monkeypatch.setattr(networks.drop_paths, 'DropPath', Recorder)
  _dropped(layers, 0.25, examples=1)
  assert seen == [0.25] * paths


def test_later_blocks_and_steps_drop_more(monkeypatch):
  """Three blocks, half-way: 1/3, 2/3 and 3/3 of half the rate."""
  seen = []
  monkeypatch.setattr(
    networks.Block,
    '__call__',
    lambda self, x, train, rate=None: seen.append(rate) or x,
  )
  macro = networks.Macro((4, 8), (2, 1))
  model = networks.BlockNetwork(CONVS, macro, 3, drop_path=0.6)
  model.init(jax.random.key(0), X, True, 0.5)
  np.testing.assert_allclose(seen, [0.1, 0.2, 0.3], rtol=1e-6)
  seen.clear()
  model.init(jax.random.key(0), X, False)
  assert seen == [None] * 3


@pytest.mark.parametrize(
  'blocks, width', [((2, 2), 8), ((3, 1), 4), ((1, 1), 8), ((1, 0), 4)]
)
def test_the_auxiliary_head_stands_at_two_thirds(blocks, width):
  """Behind block 2n // 3: its input is as wide as the stage it is in."""
  macro = networks.Macro((4, 8), blocks)
  plain = networks.BlockNetwork((IDENTITY,), macro, 7)
  params = _shapes(plain.clone(auxiliary=True), (8, 8, 3))['params']
  head = params.pop('auxiliary')
  assert head['conv1']['kernel'] == (1, 1, width, 128)
  side = 4 if width == 8 else 2  # 8 pixels pooled by 5 with stride 3, or 4
  assert head['conv2']['kernel'] == (side, side, 128, 768)
  assert head['head']['kernel'] == (768, 7)
  assert params == _shapes(plain, (8, 8, 3))['params']


def test_what_is_for_training_is_gone_at_evaluation():
  """One output, and that of the plain network with the same variables."""
  plain = networks.BlockNetwork(CONVS, networks.Macro((4,), (1,)), 3)
  model = plain.clone(auxiliary=True, drop_path=0.5)
  variables = model.init(jax.random.key(0), X, False)
  found = model.apply(variables, X, False)
  np.testing.assert_array_equal(found, plain.apply(variables, X, False))
  (logits, extra), _ = model.apply(
    variables,
    X,
    True,
    mutable=['batch_stats'],
    rngs={'drop_path': jax.random.key(1)},
  )
  assert logits.shape == extra.shape == (1, 3)
  assert not np.allclose(logits, extra)
