"""The text form: what is read, what is refused, and by which words."""

import json

import jax
import numpy as np
import pytest

from irlas_jax.spaces import block, nsc
from irlas_jax.spaces.genotypes import GenotypeError

RESIDUAL = '(1, Conv, 3, 0, 0)(2, Conv, 3, 1, 0)(3, Add, 0, 0, 2)(4, Terminal)'
LAYERS = (
  block.Choice('conv', 3, (0,)),
  block.Choice('conv', 3, (1,)),
  block.Choice('add', 0, (0, 2)),
)


def _random_layers(rng, operations, num_layers):
  table = block.choices(num_layers, operations)
  options = [[c for c in table if c.preds[-1] <= t] for t in range(num_layers)]
  return tuple(choices[rng.integers(len(choices))] for choices in options)


def test_a_code_is_read_layer_by_layer():
  assert nsc.parse(RESIDUAL) == LAYERS


def test_a_code_is_written_as_it_is_read():
  assert nsc.text_of(LAYERS) == RESIDUAL


def test_every_operation_has_a_name_that_is_read():
  names = [nsc.NAMES[name] for name in block.OPERATIONS if name != 'input']
  assert len(set(names)) == len(block.OPERATIONS) - 1
  for operation, name in nsc.NAMES.items():
    kernel = block.KERNELS[operation][-1]
    merge = operation in block.MERGES
    code = f'(1,conv,1,0,0)(2,{name},{kernel},0,{int(merge)})(3,Terminal)'
    preds = (0, 1) if merge else (0,)
    assert nsc.parse(code)[1] == block.Choice(operation, kernel, preds)


@pytest.mark.parametrize(
  'text',
  [
    '(1,SEP_CONV,3,0,0)(2,ADD,-,1,0)(3,terminal)',
    '( 1 , sepconv , 3 , 0 , 0 ) ( 2 , add , 0 , 0 , 1 )\n( 3 , TERMINAL )\n',
    '(1, Sep_Conv, 3, -, -), (2, Add, -, -, 1); (3, Terminal)',
    '(1, SepConv, 3, 0, 0)(2, Add, 0, 0, 1)(3, Terminal, 0, 0, 0)',
  ],
)
def test_case_underscores_dashes_and_order_of_a_pair_do_not_matter(text):
  expected = (block.Choice('sep_conv', 3, (0,)), block.Choice('add', 0, (0, 1)))
  assert nsc.parse(text) == expected


REFUSED = {
  # the layer and the rule that the message names, and a code that breaks it
  'Layer 1 has the unknown operation .Convolution.: choose one of Conv, '
  'SepConv': '(1, Convolution, 3, 0, 0)(2, Terminal)',
  'Layer 1 has the unknown operation .Input.': '(1,Input,0,0,0)(2,Terminal)',
  'Layer 2 reads layer 2: predecessors are 0 .* to 1': (
    '(1, Conv, 3, 0, 0)(2, Conv, 3, 2, 0)(3, Terminal)'
  ),
  'Layer 1 reads layer 3': '(1, Conv, 3, 3, 0)(2, Conv, 3, 1, 0)(3, Terminal)',
  'Layer 2 reads layer 5': '(1, Conv, 3, 0, 0)(2, Add, 0, 0, 5)(3, Terminal)',
  'Layer 1 reads layer -1': '(1, Conv, 3, -1, 0)(2, Terminal)',
  'No terminal after layer 2: a code ends with .3, Terminal.': (
    '(1, Conv, 3, 0, 0)(2, Conv, 3, 1, 0)'
  ),
  'Layer 3 stands after the terminal': (
    '(1, Conv, 3, 0, 0)(2, Terminal)(3, Conv, 3, 1, 0)'
  ),
  'Layer 3 stands after the terminal: nothing': (
    '(1, Conv, 3, 0, 0)(2, Terminal)(3, Terminal)'
  ),
  'The terminal, layer 2, reads 0, 1, 0: write .2, Terminal.': (
    '(1, Conv, 3, 0, 0)(2, Terminal, 0, 1, 0)'
  ),
  'Layer 1 is the terminal': '(1, Terminal)',
  'Layer 2 has index .3.': '(1, Conv, 3, 0, 0)(3, Conv, 3, 1, 0)(3, Terminal)',
  'Layer 1 has index .0.': '(0, Conv, 3, 0, 0)(1, Terminal)',
  'Layer 2 has index .7.': '(1, Conv, 3, 0, 0)(7, Terminal)',
  'Layer 1 has kernel 2: Conv takes 1 or 3 or 5': '(1,Conv,2,0,0)(2,Terminal)',
  'Layer 1 has kernel 0: Conv': '(1, Conv, -, 0, 0)(2, Terminal)',
  'Layer 1 has kernel 5: MaxPool takes 1 or 3': (
    '(1, MaxPool, 5, 0, 0)(2, Terminal)'
  ),
  'Layer 2 has kernel 3: Concat takes 0': (
    '(1, Conv, 3, 0, 0)(2, Concat, 3, 0, 1)(3, Terminal)'
  ),
  'Layer 2 reads layer 1 twice: Add takes two different': (
    '(1, Conv, 3, 0, 0)(2, Add, 0, 1, 1)(3, Terminal)'
  ),
  'Layer 1 reads layer 0 twice': '(1, Concat, 0, 0, 0)(2, Terminal)',
  'Layer 2 has a second predecessor 1: Identity reads one': (
    '(1, Conv, 3, 0, 0)(2, Identity, 0, 0, 1)(3, Terminal)'
  ),
  'Layer 1 has 4 fields': '(1, Conv, 3, 0)(2, Terminal)',
  'Layer 1 has 6 fields': '(1, Conv, 3, 0, 0, 0)(2, Terminal)',
  'Layer 1 has 1 fields': '()(2, Terminal)',
  'Layer 1 has .three. where a whole number': (
    '(1, Conv, three, 0, 0)(2, Terminal)'
  ),
  'Layer 1 has .0.5. where a whole number': '(1,Conv,3,0.5,0)(2,Terminal)',
  'Not a network structure code: ..\\. Write layers as': '',
  'Not a network structure code: .conv': 'conv 3x3',
  'Not a network structure code': '(1, Conv, 3, 0, 0)(2, Terminal) and more',
  'Not a network structure code: .\\(\\(1': '((1,Conv,3,0,0)(2,Terminal))',
  'Not a network structure code: .\\(1, Conv, 3, 0, 0.': (
    '(1, Conv, 3, 0, 0(2, Terminal)'
  ),
}


@pytest.mark.parametrize('message', REFUSED)
def test_a_broken_rule_is_named_with_its_layer(message):
  with pytest.raises(GenotypeError, match=message):
    nsc.parse(REFUSED[message])


@pytest.mark.parametrize('max_layers', [1, 3, block.MAX_LAYERS])
def test_one_layer_too_many_is_refused_and_one_less_is_not(max_layers):
  layers = [block.Choice('identity', 0, (t,)) for t in range(max_layers + 1)]
  assert len(nsc.parse(nsc.text_of(layers[:-1]), max_layers)) == max_layers
  message = f'Layer {max_layers + 1} is one too many.*at most {max_layers}'
  with pytest.raises(GenotypeError, match=message):
    nsc.parse(nsc.text_of(layers), max_layers)


@pytest.mark.parametrize('operations', block.OPERATION_SETS)
@pytest.mark.parametrize('num_layers', [1, 2, 6, 23])
def test_text_graph_and_actions_say_the_same(num_layers, operations):
  rng = np.random.default_rng(num_layers)
  space = block.block(num_layers, operations)
  decode = jax.jit(space.decode)
  for _ in range(25):
    layers = _random_layers(rng, operations, rng.integers(1, num_layers + 1))
    assert nsc.parse(nsc.text_of(layers)) == layers
    graph = nsc.to_graph(layers, num_layers)
    assert nsc.from_graph(graph) == layers
    decoded = decode(nsc.to_actions(layers, space))
    for field, want in zip(decoded, graph, strict=True):
      np.testing.assert_array_equal(field, want)
      assert field.dtype == want.dtype


def test_a_block_too_long_for_the_space_is_refused():
  with pytest.raises(GenotypeError, match='Layer 3 is one too many.*has 2'):
    nsc.to_actions(LAYERS, block.block(2, 'dense'))


def test_an_operation_that_the_space_lacks_is_refused_by_layer():
  layers = (block.Choice('max_pool', 3, (0,)), LAYERS[1])
  with pytest.raises(GenotypeError, match='Layer 2 is a Conv.*operations'):
    nsc.to_actions(layers, block.block(4, 'separable'))


def test_the_genotype_of_a_file_is_read_beside_other_entries(tmp_path):
  path = tmp_path / 'best.json'
  path.write_text(json.dumps({'accuracy': 0.9, 'genotype': RESIDUAL}))
  assert nsc.read(path) == nsc.read(str(path)) == LAYERS


@pytest.mark.parametrize(
  'content, message',
  [
    (b'(1, Conv, 3, 0, 0)(2, Terminal)', 'is not JSON'),
    (b'\xff\xfe\x00', 'is not JSON'),
    (b'{"accuracy": 0.9}', 'has no genotype: expected'),
    (b'{"genotype": 3}', 'has no genotype'),
    (b'["(1, Conv, 3, 0, 0)(2, Terminal)"]', 'has no genotype'),
    (
      b'{"genotype": "(1, Conv, 7, 0, 0)(2, Terminal)"}',
      'Layer 1 has kernel 7',
    ),
  ],
)
def test_a_file_that_is_no_genotype_is_refused_by_name(
  tmp_path, content, message
):
  path = tmp_path / 'user.json'
  path.write_bytes(content)
  with pytest.raises(GenotypeError, match=f'user.json.*{message}'):
    nsc.read(path)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
  with pytest.raises(GenotypeError, match='none.json: no such genotype'):
    nsc.read(tmp_path / 'none.json')


def test_a_file_with_a_block_too_long_is_refused(tmp_path):
  path = tmp_path / 'long.json'
  path.write_text(json.dumps({'genotype': RESIDUAL}))
  with pytest.raises(GenotypeError, match='long.json: Layer 3 is one too'):
    nsc.read(path, max_layers=2)
