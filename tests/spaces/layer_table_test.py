"""Networks as text, and what is no network."""

import pytest

from irlas_jax.spaces import genotypes, layer_table

TEXT = 'C(64,3) - [C(32,3,2) C(16,5)] M(3,2) A(2,2) GAP D(128) D(10)'


def test_a_text_is_its_layers():
  first, removed, start, end, pool, *_, last = layer_table.read(TEXT)
  assert first == layer_table.Layer('conv', 64, 3, 1)
  assert removed is None
  assert start == layer_table.Layer('conv', 32, 3, 2, skip_start=True)
  assert end == layer_table.Layer('conv', 16, 5, 1, skip_end=True)
  assert pool == layer_table.Layer('max_pool', 0, 3, 2)
  assert last == layer_table.Layer('fully_connected', 10)
  assert layer_table.text_of(layer_table.read(TEXT)) == TEXT
  assert layer_table.compact(TEXT) == TEXT.replace('- ', '')


@pytest.mark.parametrize(
  'text, words',
  [
    ('C(8,3) X(3)', r"layer 2, 'X\(3\)', is no layer"),
    ('C(8,3) C(0,3)', 'layer 2, .* has a 0'),
    ('C(8,3) C(8,3,0)', 'layer 2, .* has a 0'),
    ('C(8,3) [M(2,2)]', 'layer 2, .* for convolutions'),
    ('[C(8,3) M(2,2) C(8,3)]', 'layer 2 stands in brackets'),
    ('[C(8,3) [C(8,3)]', 'layer 2: brackets do not match'),
    ('C(8,3)] C(8,3)', 'layer 1: brackets do not match'),
    ('[C(8,3) C(8,3)', 'not closed'),
    ('GAP C(8,3)', 'layer 2 follows GAP or D'),
    ('D(8) M(2,2)', 'layer 2 follows GAP or D'),
    ('', 'no layer'),
    ('- -', 'no layer'),
  ],
)
def test_what_is_no_network_is_refused_by_its_layer(text, words):
  with pytest.raises(genotypes.GenotypeError, match=words):
    layer_table.read(text)


def test_a_pool_that_images_are_too_small_for_is_named():
  layers = layer_table.read('C(8,3,2) M(2,2) C(8,3) A(2,1)')
  layer_table.check_image(layers, 8)
  with pytest.raises(genotypes.GenotypeError, match='layer 4 pools .* reads 1'):
    layer_table.check_image(layers, 4)


def test_families_at_a_tiny_size():
  assert layer_table.vgg((8, 16), (2, 1)) == (
    'C(8,3) C(8,3) M(2,2) C(16,3) M(2,2)'
  )
  assert layer_table.resnet((8, 16), (1, 2)) == (
    'C(8,3) [C(8,3) C(8,3)] [C(16,3,2) C(16,3)] [C(16,3) C(16,3)] GAP'
  )


def test_uniform_scaling_stops_at_the_least_size():
  """25 % of 64, of 20 (at least 10) and of 8, which is below that anyway."""
  found = layer_table.uniform('C(64,3) C(20,3) [C(8,3)] M(2,2) D(50)', (25, 50))
  assert found == [
    'C(16,3) C(10,3) [C(8,3)] M(2,2) D(12)',
    'C(32,3) C(10,3) [C(8,3)] M(2,2) D(25)',
  ]
