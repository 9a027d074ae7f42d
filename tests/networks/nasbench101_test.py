"""NAS-Bench-101 networks: channels, shapes and cells worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.networks import block
from irlas_jax.networks import nasbench101 as networks
from irlas_jax.networks.nasbench201 import nodes_of
from irlas_jax.spaces import nasbench101 as space
from irlas_jax.types import Graph

MACRO = block.Macro((4, 8), (2, 1))
SCALE = 1 / np.sqrt(1 + block.BN_EPSILON)  # of a fresh normalisation
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 3, 5)), jnp.float32)
RELU = np.maximum(X, 0) * SCALE  # the input through a projection that is eye


@pytest.fixture(autouse=True)
def quick(quick_compiles):
  """Programs of milliseconds: what counts is how long they compile."""


def _graph(edges, names=None, size=7):
  """A cell of (source, target) pairs; what is between has `names`."""
  count = 1 + max(target for _, target in edges)
  names = names or ['conv3x3'] * (count - 2)
  ops = np.full(size, -1, np.int32)
  for v, name in enumerate(['input', *names, 'output']):
    ops[v] = space.OPERATIONS.index(name)
  matrix = np.zeros((size, size), bool)
  matrix[tuple(np.transpose(edges))] = True
  outputs = (np.arange(size) == count - 1).astype(np.int8)
  return Graph(ops, np.zeros((size, 0), np.int32), matrix, outputs)


LINE = ((0, 1), (1, 2), (2, 3))
PLAIN = ((0, 1),)  # input to output
MEET = ((0, 1), (0, 2), (1, 3), (2, 3), (3, 4))
FORK = ((0, 1), (0, 2), (1, 3), (2, 3))
FORK3 = ((0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 4))
SPREAD = ((0, 1), (1, 2), (1, 3), (2, 4), (3, 4))
SHORTCUT = ((0, 1), (0, 3), (1, 2), (1, 4), (2, 3), (3, 4))
BESIDE = ((0, 1), (1, 2), (0, 2))  # one vertex, and the input at the output
CELLS = (LINE, PLAIN, MEET, FORK, FORK3, SPREAD, SHORTCUT, BESIDE)
CHANNELS = [
  (LINE, 8, [8, 8, 8]),
  (PLAIN, 5, [5]),
  (MEET, 16, [16, 16, 16, 16]),
  (FORK, 8, [4, 4, 8]),
  (FORK, 15, [8, 7, 15]),
  (FORK3, 8, [3, 3, 2, 8]),  # a rest of two
  (FORK3, 15, [5, 5, 5, 15]),
  (SPREAD, 8, [4, 4, 4, 8]),
  (SPREAD, 9, [5, 5, 4, 9]),  # vertex 1 is as wide as the wider reader
  (SHORTCUT, 8, [4, 4, 4, 8]),
  (SHORTCUT, 15, [8, 7, 7, 15]),  # vertex 2 follows vertex 3
  (BESIDE, 7, [7, 7]),  # the input takes no share
]


@pytest.mark.parametrize('edges, width, expected', CHANNELS)
def test_channels_of_vertices(edges, width, expected):
  found = networks.vertex_channels(_graph(edges), width)
  padding = [0] * (6 - len(expected))
  assert found.tolist() == [0, *expected, *padding]


def test_channels_of_many_cells_at_once():
  graphs = [_graph(edges) for edges in CELLS]
  batch = jax.tree.map(
    lambda *x: np.stack(x).reshape(2, 4, *x[0].shape), *graphs
  )
  found = networks.vertex_channels(batch, 13).reshape(8, 7)
  alone = [networks.vertex_channels(graph, 13) for graph in graphs]
  np.testing.assert_array_equal(found, alone)


def test_channels_that_run_out_are_named():
  batch = jax.tree.map(lambda *x: np.stack(x), _graph(LINE), _graph(FORK3))
  with pytest.raises(ValueError, match=r'vertex 3 of cell \(1,\).*width, 2'):
    networks.vertex_channels(batch, 2)


def test_a_vertex_off_the_paths_is_named():
  with pytest.raises(ValueError, match='vertex 2 gets no channels: prune'):
    networks.vertex_channels(_graph(((0, 1), (0, 2), (1, 3))), 8)


def _cell(edges, names, x=X):
  """What a cell of the width of `x` computes; all kernels are identities."""
  graph = _graph(edges, names)
  nodes = nodes_of(graph, space.OPERATIONS)
  channels = networks.vertex_channels(graph, x.shape[-1])[1 : len(nodes) + 1]
  cell = networks.Cell(nodes, tuple(channels.tolist()))
  shapes = jax.eval_shape(
    lambda key: cell.init(key, x, False), jax.random.key(0)
  )
  fresh = {'scale': 1.0, 'bias': 0.0, 'mean': 0.0, 'var': 1.0}

  def fill(path, leaf):
    value = fresh.get(path[-1].key, None)
    if value is None:
      value = jnp.eye(*leaf.shape[-2:])
    return jnp.broadcast_to(value, leaf.shape)

  variables = jax.tree_util.tree_map_with_path(fill, shapes)
  return cell.apply(variables, x, False)


def _close(found, expected):
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_input_to_output_is_a_projection():
  """1x1, normalisation, then ReLU."""
  _close(_cell(PLAIN, []), RELU)


def test_the_output_concatenates_and_truncates_what_it_leaves():
  """Of five channels vertex 1 has three, vertex 2 two: the first two of it."""
  edges = ((0, 1), (1, 2), (1, 3), (2, 3))
  found = _cell(edges, ['conv1x1', 'conv1x1'])
  first, second = SCALE * RELU[..., :3], SCALE**2 * RELU[..., :2]
  _close(found, np.concatenate([first, second], axis=-1))


def test_a_vertex_adds_what_it_reads_and_the_projected_input():
  edges = ((0, 1), (0, 2), (1, 2), (2, 3))
  found = _cell(edges, ['conv1x1', 'conv1x1'])
  _close(found, SCALE * (RELU + SCALE * RELU))


def test_the_output_adds_the_projected_input():
  _close(_cell(BESIDE, ['conv1x1']), SCALE * RELU + RELU)


def test_a_pool_takes_the_largest_of_its_window():
  found = _cell(((0, 1), (1, 2)), ['maxpool3x3'])
  assert found.shape == X.shape
  _close(found[:, 0, 0], RELU[:, :2, :2].max((1, 2)))
  _close(found[:, 2, 1], RELU[:, 1:].max((1, 2)))


def test_a_3x3_convolution_sums_its_neighbours():
  """All nine weights the identity; padding is zero."""
  found = _cell(((0, 1), (1, 2)), ['conv3x3'])
  _close(found[:, 0, 0], SCALE * RELU[:, :2, :2].sum((1, 2)))
  _close(found[:, 1, 1], SCALE * RELU[:, :3].sum((1, 2)))


def _network(edges, names=None, macro=MACRO, num_classes=3):
  graph = _graph(edges, names)
  return networks.network(graph, space.OPERATIONS, macro, num_classes)


def _shapes(model, shape):
  image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)

  def init(key, x):
    return model.init_with_output(
      key, x, True, capture_intermediates=True, mutable=True
    )

  found = jax.eval_shape(init, jax.random.key(0), image)
  return jax.tree.map(lambda leaf: leaf.shape, found)


def test_variables_of_the_benchmarks_network():
  """Three stacks of three cells at widths 128, 256, 512, split in three."""
  edges = (*FORK3, (0, 4))
  names = ['conv3x3', 'conv1x1', 'maxpool3x3']
  model = _network(edges, names, block.cifar(128, 3, 3), 10)
  logits, variables = _shapes(model, (32, 32, 3))
  assert logits == (2, 10)
  params = variables['params']
  cells = {f'stack{s}_cell{i}' for s in range(3) for i in range(3)}
  assert set(params) == {'stem', 'head'} | cells
  assert params['stem']['conv'] == {'kernel': (3, 3, 3, 128)}
  assert params['stem']['bn'] == {'scale': (128,), 'bias': (128,)}
  kernels = jax.tree.map(
    lambda leaf: leaf['conv']['kernel'],
    [params['stack0_cell0'], params['stack1_cell0'], params['stack1_cell1']],
    is_leaf=lambda leaf: 'conv' in leaf,
  )
  for found, before, width, one, two, three in zip(
    kernels,
    (128, 128, 256),
    (128, 256, 256),
    (43, 86, 86),
    (43, 85, 85),
    (42, 85, 85),
    strict=True,
  ):
    assert found == {
      'project1': (1, 1, before, one),
      'vertex1': (3, 3, one, one),
      'project2': (1, 1, before, two),
      'vertex2': (1, 1, two, two),
      'project3': (1, 1, before, three),
      'project4': (1, 1, before, width),
    }
  for s in range(3):
    (out,) = variables['intermediates'][f'stack{s}_cell2']['__call__']
    assert out == (2, 32 // 2**s, 32 // 2**s, 128 * 2**s)
  assert params['head'] == {'kernel': (512, 10), 'bias': (10,)}


def test_odd_sides_are_rounded_up_between_stacks():
  _, variables = _shapes(_network(PLAIN), (9, 7, 3))
  (out,) = variables['intermediates']['stack1_cell0']['__call__']
  assert out == (2, 5, 4, 8)


def test_a_network_with_weights_by_hand():
  """One stack of one plain cell: stem, cell and head on constant images."""
  model = _network(PLAIN, macro=block.Macro((2,), (1,)))
  images = jnp.stack([jnp.full((3, 3, 1), 2.0), jnp.full((3, 3, 1), -2.0)])
  variables = jax.jit(model.init, static_argnums=2)(
    jax.random.key(0), images, False
  )
  params = variables['params']
  stem = jnp.zeros((3, 3, 1, 2)).at[1, 1, 0].set(jnp.array([1.0, -1.0]))
  project = jnp.array([[1.0, 0.5], [0.25, 1.0]])
  head = jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
  params['stem']['conv']['kernel'] = stem
  params['stack0_cell0']['project1']['conv']['kernel'] = project[None, None]
  params['head'] = {'kernel': head, 'bias': jnp.array([0.0, 0.0, 1.0])}
  logits = model.apply(variables, images, False)
  # The stem leaves (2, 0) of the first image and (0, 2) of the second.
  expected = SCALE**2 * np.array([[2, 1, 4], [0.5, 2, 1]]) + [0, 0, 1]
  _close(logits, expected)


def test_training_updates_the_statistics():
  """Under jit; the gradient reaches the stem."""
  model = _network(SPREAD, ['conv3x3', 'maxpool3x3', 'conv1x1'])
  images = jax.random.normal(jax.random.key(1), (4, 4, 4, 3))
  variables = jax.jit(model.init, static_argnums=2)(
    jax.random.key(0), images, False
  )

  @jax.jit
  def step(params):
    logits, changed = model.apply(
      variables | {'params': params}, images, True, mutable=['batch_stats']
    )
    return jax.nn.log_softmax(logits)[:, 0].mean(), changed['batch_stats']

  gradients, changed = jax.grad(step, has_aux=True)(variables['params'])
  assert np.abs(gradients['stem']['conv']['kernel']).max() > 0
  differ = jax.tree.map(
    lambda x, y: np.any(x != y), changed, variables['batch_stats']
  )
  assert all(jax.tree.leaves(differ))


def test_the_imagenet_macro_is_refused():
  with pytest.raises(ValueError, match='imagenet=False'):
    _network(PLAIN, macro=block.Macro((4,), (1,), True))


def test_an_operation_without_a_layer_is_named():
  cell = networks.Cell((networks.Node('conv5x5', (0,)),), (5,))
  with pytest.raises(ValueError, match="'conv5x5'"):
    cell.init(jax.random.key(0), X, False)
