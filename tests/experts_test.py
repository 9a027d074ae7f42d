"""Experts: five blocks, a user's own, and a wrong name."""

import itertools
import json

import networkx as nx
import numpy as np
import pytest

from irlas_jax import experts, graph, kinds
from irlas_jax.spaces import block, genotypes, nsc

# By hand, from the papers' figures: layers, and how many nobody reads.
SHAPES = {
  'resnet': (3, 1),
  'resnet_bottleneck': (4, 1),
  'resnext': (7, 1),
  'densenet': (6, 1),
  'inception': (7, 4),
}
KINDS = {'dense': ('conv', 'sep_conv'), 'separable': ('sep_conv', 'conv')}


def test_the_five_of_the_paper_are_there():
  assert set(experts.EXPERTS) == set(SHAPES)


@pytest.mark.parametrize('operations', KINDS)
@pytest.mark.parametrize('name', SHAPES)
def test_an_expert_fits_the_space_with_its_convolutions(name, operations):
  layers = experts.load(name, operations)
  here, elsewhere = KINDS[operations]
  used = {layer.operation for layer in layers}
  assert here in used and elsewhere not in used
  built = nsc.to_graph(layers, 7)
  assert (len(layers), built.outputs.sum()) == SHAPES[name]
  space = block.block(7, operations)  # the longest has 7 layers
  decoded = space.decode(nsc.to_actions(layers, space))
  assert nsc.from_graph(decoded) == layers


@pytest.mark.parametrize('operations', KINDS)
def test_no_two_experts_are_the_same_block(operations):
  built = [nsc.to_graph(experts.load(name, operations)) for name in SHAPES]
  assert len(set(map(graph.digest, built))) == len(SHAPES)
  views = [
    graph.to_networkx(one, block.OPERATIONS, block.ATTRIBUTES) for one in built
  ]
  match = nx.algorithms.isomorphism.categorical_node_match(
    ['operation', 'kernel'], [None, None]
  )
  assert not any(
    nx.is_isomorphic(a, b, node_match=match)
    for a, b in itertools.combinations(views, 2)
  )


# Every way from a block's input to its output, by the papers' figures.
PATHS = {
  'resnet': {'c3 c3 add', 'add'},
  'resnet_bottleneck': {'c1 c3 c1 add', 'add'},
  'resnext': {'c1 c3 concat c1 add', 'add'},
  'densenet': {
    'concat concat',
    'c1 c3 concat concat',
    'concat c1 c3 concat',
    'c1 c3 concat c1 c3 concat',
  },
  'inception': {'c1', 'c1 c3', 'c1 c5', 'm3 c1'},
}


@pytest.mark.parametrize('name', PATHS)
def test_an_expert_is_what_its_paper_draws(name):
  built = nsc.to_graph(experts.load(name, 'dense'), 7)
  view = graph.to_networkx(built, block.OPERATIONS, block.ATTRIBUTES)
  leaves = [v for v, leaf in view.nodes(data='output') if leaf]

  def word(v):
    node = view.nodes[v]
    letter = {'conv': 'c', 'max_pool': 'm'}.get(node['operation'])
    return f'{letter}{node["kernel"]}' if letter else node['operation']

  paths = nx.all_simple_paths(view, 0, leaves)
  assert {' '.join(map(word, path[1:])) for path in paths} == PATHS[name]


@pytest.mark.parametrize('kind', ['Conv', 'SepConv'])
@pytest.mark.parametrize('operations', KINDS)
def test_a_users_file_takes_the_convolutions_of_the_space(
  tmp_path, operations, kind
):
  path = tmp_path / 'mine.json'
  code = f'(1, {kind}, 5, 0, 0)(2, Concat, 0, 0, 1)(3, Terminal)'
  path.write_text(json.dumps({'genotype': code}))
  expected = (
    block.Choice(KINDS[operations][0], 5, (0,)),
    block.Choice('concat', 0, (0, 1)),
  )
  assert experts.load(str(path), operations) == expected


def test_a_missing_file_is_refused_by_name():
  with pytest.raises(genotypes.GenotypeError, match='nowhere.json'):
    experts.load('nowhere.json', 'dense')


def test_an_unknown_name_lists_the_known_ones():
  with pytest.raises(genotypes.GenotypeError, match="'vgg'") as error:
    experts.load('vgg', 'dense')
  assert all(name in str(error.value) for name in SHAPES)
  assert 'JSON' in str(error.value)


def _walks(kind, text):
  """Every way from a cell's input to its output, as words."""
  cell = kind.view(kind.expert(text))
  cell = graph.Graph(*map(np.asarray, cell))
  size = int((cell.ops >= 0).sum())
  view = nx.DiGraph(np.argwhere(cell.edges).tolist())
  goal = int(np.flatnonzero(cell.outputs)[0])
  assert goal == size - 1
  names = [kind.space.operations[op] for op in cell.ops[:size]]
  paths = nx.all_simple_paths(view, 0, goal)
  return {
    ' '.join(names[v] for v in path[1:] if names[v] not in ('sum', 'output'))
    for path in paths
  }


# Every way through them, by the figures of the benchmarks' papers.
CELL_PATHS = {
  ('nasbench201', 'resnet'): {
    'nor_conv_3x3 nor_conv_3x3 skip_connect',
    'skip_connect',
  },
  ('nasbench101', 'resnet'): {'conv3x3 conv3x3', ''},
  # Two 3x3 convolutions stand for one of 5x5.
  ('nasbench101', 'inception'): {
    'conv1x1',
    'conv3x3',
    'conv3x3 conv3x3',
    'maxpool3x3',
  },
}


@pytest.mark.parametrize('space, name', CELL_PATHS)
def test_an_expert_cell_is_what_its_paper_draws(space, name):
  kind = kinds.SPACES[space].make()
  assert _walks(kind, name) == CELL_PATHS[space, name]


def test_every_expert_cell_is_drawn():
  known = {('nasbench201', name) for name in experts.NASBENCH201_CELLS}
  known |= {('nasbench101', name) for name in experts.NASBENCH101_CELLS}
  assert known == set(CELL_PATHS)


def test_a_genotype_is_named_or_in_a_file_or_itself(tmp_path):
  cells = {'mine': 'a - b'}
  path = tmp_path / 'mine.json'
  path.write_text(json.dumps({'genotype': 'c - d'}))
  assert experts.genotype('mine', cells) == 'a - b'
  assert experts.genotype(str(path), cells) == 'c - d'
  assert experts.genotype('e - f', cells) == 'e - f'
  with pytest.raises(genotypes.GenotypeError, match='nowhere.json'):
    experts.genotype('nowhere.json', cells)
