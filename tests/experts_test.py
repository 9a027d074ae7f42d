"""Experts: five blocks, a user's own, and a wrong name."""

import itertools
import json

import networkx as nx
import pytest

from irlas_jax import experts, graph
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
