"""NAS-Bench-201 networks: shapes as published, and cells worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block
from irlas_jax.networks import nasbench201 as networks
from irlas_jax.spaces import nasbench201 as space

NONE, SKIP, CONV1, CONV3, POOL = range(5)
IDENTITY = (NONE, NONE, NONE, SKIP, NONE, NONE)  # the edge from 0 to 3
MACRO = block.Macro((4, 8), (1, 1))
EPSILON = block.BN_EPSILON
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 4)), jnp.float32)


@pytest.fixture(autouse=True)
def quick(quick_compiles):
  """Programs of milliseconds: what counts is how long they compile."""


def _graph(*edges):
  """The cell of six operations: edges 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
  decode = space.nasbench201().decode
  return jax.tree.map(np.asarray, decode(jnp.array(edges)))


def _cell(*edges, x=X, kernel=None):
  """What a cell computes of `x`; convolutions have one kernel, [c, c]."""
  cell = networks.Cell(networks.nodes_of(_graph(*edges), space.OPERATIONS))
  variables = cell.init(jax.random.key(0), x, False)

  def fill(path, leaf):
    conv = kernel is not None and path[-1].key == 'kernel'
    return jnp.broadcast_to(kernel, leaf.shape) if conv else leaf

  variables = jax.tree_util.tree_map_with_path(fill, variables)
  return cell.apply(variables, x, False)


def _network(*edges, macro=MACRO, num_classes=3):
  return networks.network(_graph(*edges), space.OPERATIONS, macro, num_classes)


def _shapes(model, shape):
  image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)

  def init(key, x):
    return model.init_with_output(
      key, x, True, capture_intermediates=True, mutable=True
    )

  found = jax.eval_shape(init, jax.random.key(0), image)
  return jax.tree.map(lambda leaf: leaf.shape, found)


def test_variables_of_the_benchmarks_network():
  """Three stages of five cells at widths 16, 32, 64 on halved images."""
  edges = (CONV3, NONE, CONV1, SKIP, NONE, POOL)
  model = _network(*edges, macro=block.cifar(16, 3, 5), num_classes=100)
  logits, variables = _shapes(model, (32, 32, 3))
  assert logits == (2, 100)
  params = variables['params']
  cells = {f'stage{s}_cell{i}' for s in range(3) for i in range(5)}
  others = {'stem', 'stem_bn', 'stage1_reduce', 'stage2_reduce'}
  assert set(params) == cells | others | {'head_bn', 'head'}
  assert params['stem'] == {'kernel': (3, 3, 3, 16)}
  assert params['stem_bn'] == {'scale': (16,), 'bias': (16,)}
  for s, width in enumerate((16, 32, 64)):
    cell = params[f'stage{s}_cell4']
    assert set(cell) == {'node1', 'node4'}  # edges 0-1 and 1-2
    assert cell['node1']['conv'] == {'kernel': (3, 3, width, width)}
    assert cell['node4']['conv'] == {'kernel': (1, 1, width, width)}
    assert cell['node4']['bn'] == {'scale': (width,), 'bias': (width,)}
    (out,) = variables['intermediates'][f'stage{s}_cell0']['__call__']
    assert out == (2, 32 // 2**s, 32 // 2**s, width)
  reduction = params['stage1_reduce']
  assert reduction['conv1']['conv'] == {'kernel': (3, 3, 16, 32)}
  assert reduction['conv2']['conv'] == {'kernel': (3, 3, 32, 32)}
  assert reduction['shortcut'] == {'kernel': (1, 1, 16, 32)}
  assert params['head'] == {'kernel': (64, 100), 'bias': (100,)}


@pytest.mark.parametrize(
  'edges, times',
  [
    (IDENTITY, 1),
    ((SKIP,) * 6, 4),  # 1: x; 2: x + x; 3: x + x + 2 x
    ((SKIP, NONE, SKIP, NONE, NONE, SKIP), 1),  # 0-1-2-3
    ((NONE, SKIP, NONE, NONE, SKIP, SKIP), 1),  # 0-2-3; node 1 is zero
    ((SKIP, NONE, NONE, NONE, SKIP, SKIP), 1),  # 0-1-3; node 2 is zero
    ((NONE, NONE, SKIP, NONE, SKIP, SKIP), 0),  # nothing leaves the input
  ],
)
def test_skip_connections_add_up_along_the_paths(edges, times):
  np.testing.assert_allclose(_cell(*edges), times * X, rtol=1e-6)


def test_a_pool_does_not_count_padding():
  found = _cell(SKIP, NONE, NONE, NONE, POOL, NONE)
  corner = X[:, :2, :2].mean((1, 2))
  np.testing.assert_allclose(found[:, 0, 0], corner, rtol=1e-5, atol=1e-6)
  middle = X[:, 1:4, :3].mean((1, 2))
  np.testing.assert_allclose(found[:, 2, 1], middle, rtol=1e-5, atol=1e-6)


def test_a_convolution_is_relu_then_convolution_then_normalisation():
  """Of minus the identity; the ReLU comes before, not after."""
  found = _cell(NONE, NONE, NONE, CONV1, NONE, NONE, kernel=-jnp.eye(4))
  expected = -np.maximum(X, 0) / np.sqrt(1 + EPSILON)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_3x3_convolution_sums_its_neighbours():
  """All nine weights the identity: nine times the mean over the window."""
  found = _cell(NONE, NONE, NONE, CONV3, NONE, NONE, kernel=jnp.eye(4))
  expected = np.maximum(X, 0)[:, :3, 1:4].sum((1, 2)) / np.sqrt(1 + EPSILON)
  np.testing.assert_allclose(found[:, 1, 2], expected, rtol=1e-5, atol=1e-6)


def test_a_reduction_adds_a_pooled_shortcut():
  """Convolutions that are zero leave the mean of 2 x 2 pixels, projected."""
  model = networks.ResidualReduction(6)
  variables = model.init(jax.random.key(0), X, False)
  zeros = jax.tree.map(jnp.zeros_like, variables['params'])
  kernel = variables['params']['shortcut']['kernel']
  params = zeros | {'shortcut': {'kernel': kernel}}
  found = model.apply(variables | {'params': params}, X, False)
  pooled = X.reshape(2, 2, 2, 2, 2, 4).mean((2, 4))
  np.testing.assert_allclose(found, pooled @ kernel[0, 0], rtol=1e-4, atol=1e-6)
  whole = model.apply(variables, X, False)
  assert whole.shape == (2, 2, 2, 6)
  assert np.abs(whole - found).max() > 1e-3


@pytest.fixture(scope='module')
def identity():
  """A network of identity cells, its variables and logits of two images."""
  model = _network(*IDENTITY)
  images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
  logits, variables = jax.jit(
    lambda key, x: model.init_with_output(key, x, False)
  )(jax.random.key(0), images)
  return images, variables, logits


def test_a_network_of_identity_cells_is_one_without_cells(identity):
  images, variables, logits = identity
  assert logits.shape == (2, 3) and np.abs(logits[0] - logits[1]).max() > 1e-3
  bare = _network(*IDENTITY, macro=MACRO._replace(blocks=(0, 0)))
  np.testing.assert_array_equal(bare.apply(variables, images, False), logits)


@pytest.mark.parametrize('train', [False, True])
def test_a_network_of_nothing_does_not_see_the_image(identity, train):
  images, variables, _ = identity
  model = _network(*[NONE] * 6)
  logits, _ = model.apply(variables, images, train, mutable=['batch_stats'])
  other, _ = model.apply(variables, images + 1, train, mutable=['batch_stats'])
  assert np.all(np.isfinite(logits))
  np.testing.assert_array_equal(logits, other)
  np.testing.assert_array_equal(logits[0], logits[1])


def test_training_updates_the_statistics_of_convolutions():
  """Under jit; the gradient reaches the stem."""
  macro = block.Macro((4,), (1,))
  model = _network(CONV3, NONE, NONE, NONE, CONV1, NONE, macro=macro)
  images = jax.random.normal(jax.random.key(1), (4, 4, 4, 3))
  variables = model.init(jax.random.key(0), images, False)

  @jax.jit
  def step(params):
    logits, changed = model.apply(
      variables | {'params': params}, images, True, mutable=['batch_stats']
    )
    return jax.nn.log_softmax(logits)[:, 0].mean(), changed['batch_stats']

  gradients, changed = jax.grad(step, has_aux=True)(variables['params'])
  assert np.abs(gradients['stem']['kernel']).max() > 0
  differ = jax.tree.map(
    lambda x, y: np.any(x != y), changed, variables['batch_stats']
  )
  assert all(jax.tree.leaves(differ))


def test_a_pruned_cell_computes_the_same():
  """Edges 0-2 and 1-2 of node 2 that nobody reads, and a none, go."""
  graph = _graph(CONV1, CONV3, POOL, NONE, SKIP, NONE)
  pruned = jax.tree.map(np.asarray, space.effective(graph))
  assert (pruned.ops >= 0).sum() < (graph.ops >= 0).sum()
  cells = [
    networks.Cell(networks.nodes_of(g, space.OPERATIONS))
    for g in (graph, pruned)
  ]
  variables = cells[0].init(jax.random.key(0), X, False)
  kept = cells[1].init(jax.random.key(0), X, False)
  kept = {kind: {'node1': variables[kind]['node1']} for kind in kept}
  np.testing.assert_array_equal(
    cells[1].apply(kept, X, False), cells[0].apply(variables, X, False)
  )


def test_a_cell_pruned_to_nothing_is_zero():
  graph = jax.tree.map(np.asarray, space.effective(_graph(*[NONE] * 6)))
  cell = networks.Cell(networks.nodes_of(graph, space.OPERATIONS))
  np.testing.assert_array_equal(cell.apply({}, X, False), 0)


def test_images_that_do_not_halve_are_named():
  model = _network(*IDENTITY)
  with pytest.raises(ValueError, match='8 x 7 .* multiples of 2'):
    jax.eval_shape(
      lambda key: model.init(key, jnp.zeros((1, 8, 7, 3)), False),
      jax.random.key(0),
    )


def test_the_imagenet_macro_is_refused():
  with pytest.raises(ValueError, match='imagenet=False'):
    _network(*IDENTITY, macro=block.Macro((4,), (1,), True))


def test_an_operation_without_a_layer_is_named():
  cell = networks.Cell((networks.Node('max_pool_3x3', (0,)),))
  with pytest.raises(ValueError, match="'max_pool_3x3'"):
    cell.apply({}, X, False)


def test_an_output_before_the_last_node_is_named():
  graph = _graph(*IDENTITY)
  outputs = np.roll(graph.outputs, -1)
  with pytest.raises(ValueError, match=r'nodes \[8\].*last node, 9'):
    networks.nodes_of(graph._replace(outputs=outputs), space.OPERATIONS)
