"""Every space's graphs as text, its experts, and what its nodes are called."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import experts, graph, kinds
from irlas_jax.policies import sampling
from irlas_jax.rewards import features
from irlas_jax.spaces import genotypes

pytestmark = pytest.mark.usefixtures('quick_compiles')
ARGUMENTS = {
  'block': ('block', {'num_layers': 7, 'operations': 'dense'}),
  'block separable': ('block', {'num_layers': 7, 'operations': 'separable'}),
  'nasbench201': ('nasbench201', {}),
  'nasbench101': ('nasbench101', {}),
  'nasbench101 steps': ('nasbench101', {'encoding': 'steps'}),
  'nasnet': ('nasnet', {}),
  'metaqnn': ('metaqnn', {'num_layers': 6, 'units': (64, 16)}),
  'nas_rl': (
    'nas_rl',
    {'num_layers': 5, 'strides': (1, 2), 'pooled_layers': (2,)},
  ),
  'nas_rl_recurrent': ('nas_rl_recurrent', {}),
  'n2n': (
    'n2n',
    {'family': 'resnet', 'widths': (16, 32), 'depths': (2, 2)},
  ),
  'n2n shrinkage': (
    'n2n',
    {'teacher': 'C(64,5) M(2,2) C(64,3) D(128)', 'stage': 'shrinkage'},
  ),
  'choices': ('choices', {'sizes': (3, 1, 4)}),
}
EXPERTS = {
  'block': tuple(experts.EXPERTS),
  'block separable': tuple(experts.EXPERTS),
  'nasbench201': ('resnet',),
  'nasbench101': ('resnet', 'inception'),
  'nasbench101 steps': ('resnet', 'inception'),
  'nasnet': ('nasnet_a',),
  'metaqnn': (),
  'nas_rl': (),
  'nas_rl_recurrent': ('lstm',),
  'n2n': (),
  'n2n shrinkage': (),
  'choices': (),
}
# Text of each kind that is no built-in expert.
TEXTS = {
  'nasbench201': '|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|',
  'nasbench101': 'conv1x1 | 0-1 1-2',
  'nasbench101 steps': 'conv1x1 | 0-1 1-2',
  'nasnet': (
    f'normal: {" ".join(5 * ["add(conv_1x1 0, identity 1)"])}; '
    f'reduction: {" ".join(5 * ["concat(identity 1, identity 0)"])}'
  ),
  'metaqnn': 'C(64,3) P(5,3) C(512,5) P(2,2) FC(64) FC(16) SM',
  'nas_rl': (
    'C(3,5,24) S(2,1) from 0; C(1,1,64) P(2) from 0; C(7,3,36) from 1 2'
  ),
  'nas_rl_recurrent': (
    f'{", ".join(15 * ["elem_mult relu"])}; inject: add tanh into 14; cell: 0'
  ),
  'n2n': 'C(16,3) [C(16,3)] - - - [C(32,3,2) C(32,3)] [C(32,3)] - GAP',
  'n2n shrinkage': 'C(16,1) M(2,2) C(64,3) D(76)',
  'choices': '2-0-3',
}


@pytest.fixture(name='built', scope='module', params=ARGUMENTS)
def fixture_built(request):
  """A kind, and 12 of its graphs."""
  name, arguments = ARGUMENTS[request.param]
  kind = kinds.SPACES[name].make(**arguments)

  @jax.jit
  def sample(key):
    actions = sampling.uniform_lengths(key, kind.space, 12)
    return actions, jax.vmap(kind.space.decode)(actions)

  actions, graphs = jax.device_get(sample(jax.random.key(0)))
  one_by_one = [
    jax.tree.map(lambda x, i=i: x[i], graphs) for i in range(len(actions))
  ]
  return request.param, kind, one_by_one


def test_every_kind_is_tried():
  assert {name for name, _ in ARGUMENTS.values()} == set(kinds.SPACES)
  assert set(ARGUMENTS) == set(EXPERTS)


def test_text_and_graph_say_the_same(built):
  """A genotype that reads back as another network would be another result."""
  _, kind, graphs = built
  texts = [kind.describe(one) for one in graphs]
  for text, one in zip(texts, graphs, strict=True):
    assert '\n' not in text
    parsed = kind.parse(text)
    assert kind.describe(parsed) == text
    assert graph.digest(parsed) == graph.digest(one)
  different = {graph.digest(one) for one in graphs}
  assert len(set(texts)) >= len(different) > 5


def test_an_expert_is_named_or_written_or_in_a_file(built, tmp_path):
  """All three are the same graph, and the space has it."""
  name, kind, _ = built
  texts = [TEXTS[name]] if name in TEXTS else []
  for expert in (*EXPERTS[name], *texts):
    found = kind.expert(expert)
    text = kind.describe(found)
    path = tmp_path / 'expert.json'
    path.write_text(json.dumps({'genotype': text}))
    for again in (kind.expert(str(path)), kind.parse(text)):
      assert graph.digest(again) == graph.digest(found)
    if name in TEXTS:
      assert graph.digest(kind.expert(text)) == graph.digest(found)
    if not name.startswith('block'):  # whose own size is not the space's
      again, own = jax.device_get(_through_actions(kind.space, found))
      assert kind.describe(again) == text
      assert own.all(), 'an illegal action'


@functools.partial(jax.jit, static_argnums=0)
def _through_actions(space, graph):
  """A graph's actions as a graph again, and whether each is legal."""
  actions = space.encode(graph)
  masks = sampling.legal_masks(space, actions)
  own = jnp.take_along_axis(masks, actions[:, None], 1)
  return space.decode(actions), own


def test_what_is_no_expert_is_refused_in_one_line(built, tmp_path):
  _, kind, _ = built
  for expert in ('nonesuch', str(tmp_path / 'nowhere.json')):
    with pytest.raises(genotypes.GenotypeError) as error:
      kind.expert(expert)
    assert '\n' not in str(error.value) and expert in str(error.value)


def test_every_node_has_one_name_at_each_resolution(built):
  """A node after the input without one is a node that the reward misses.

  Only `none` has none: it computes nothing.
  """
  _, kind, graphs = built
  nodes = {
    (int(op), *map(int, attrs))
    for one in graphs
    for cell in _cells(one)
    for op, attrs in zip(cell.ops, cell.attrs, strict=True)
    if op > 0
  }
  for resolution, labels in kind.resolutions.items():
    assert len(set(labels.names)) == len(labels.names) == len(labels.patterns)
    for node in nodes:
      fitting = [
        label
        for label, patterns in zip(labels.names, labels.patterns, strict=True)
        if any(_fits(pattern, node) for pattern in patterns)
      ]
      expected = kind.space.operations[node[0]] != 'none'
      assert len(fitting) == expected, (resolution, node, fitting)


def _cells(one):
  return graph.cells(one) if one.ops.ndim > 1 else [one]


def _fits(pattern, node):
  assert len(pattern) == len(node)
  pairs = zip(pattern, node, strict=True)
  return all(wanted in (features.ANY, value) for wanted, value in pairs)


def test_a_view_keeps_what_is_computed(built):
  """Topology is read from it: still a graph from the input to an output."""
  _, kind, graphs = built
  view = jax.jit(kind.view)
  for one in graphs:
    viewed = jax.device_get(view(one))
    cells = _cells(one)
    # Of several cells, one graph in which each has its output as a node.
    size = len(cells) * (len(cells[0].ops) + (len(cells) > 1))
    assert viewed.ops.shape == (size,) and viewed.ops[0] == 0
    assert not np.tril(viewed.edges).any()
    real = viewed.ops >= 0
    assert not viewed.edges[~real].any() and not viewed.edges[:, ~real].any()
