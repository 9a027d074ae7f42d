"""The official hash against the keys of the benchmark's own files."""

import hashlib
import os
import pathlib

import numpy as np
import pytest

from irlas_jax import graph as graphs
from irlas_jax.spaces import module_hash, nasbench101
from irlas_jax.types import Graph


def _md5(text):
  return hashlib.md5(text.encode()).hexdigest()


def test_input_and_output_alone_by_hand():
  """Out-degree, in-degree, label; two rounds of sources|readers|itself."""
  first, last = _md5('(1, 0, -1)'), _md5('(0, 1, -2)')
  for _ in range(2):
    first, last = _md5(f'|{last}|{first}'), _md5(f'{first}||{last}')
  expected = _md5(str(sorted([first, last])))
  assert module_hash.module_hash(nasbench101.parse('| 0-1')) == expected


def test_numbering_and_padding_do_not_count_but_operations_do():
  text = 'conv3x3 conv1x1 maxpool3x3 | 0-1 0-2 0-3 1-4 2-4 3-4'
  graph = nasbench101.parse(text)
  name = module_hash.module_hash(graph)
  other = graphs.permute(graphs.resize(graph, 5), [0, 3, 1, 2, 4])
  assert not np.array_equal(other.ops[:5], graph.ops[:5])
  assert module_hash.module_hash(other) == name
  changed = nasbench101.parse(text.replace('conv1x1', 'conv3x3'))
  assert module_hash.module_hash(changed) != name


@pytest.mark.parametrize(
  'name, distinct',
  [('ecnas_4v', 91), ('ecnas_5v', 2532), ('nasbench101_sample30001', 30001)],
)
def test_every_key_of_the_data_is_reproduced(name, distinct):
  root = os.environ.get('IRLAS_DATA_DIR')
  if not root:
    pytest.skip('IRLAS_DATA_DIR is not set: no NAS-Bench-101 to read.')
  path = pathlib.Path(root) / 'nas-bench-101' / f'{name}.npz'
  if not path.is_file():
    pytest.skip(f'IRLAS_DATA_DIR has no {name}.npz.')
  with np.load(path) as data:
    cells = nasbench101.from_matrices(data['adj'], data['ops'])
    keys = data['key'].astype(str).tolist()
  found = [
    module_hash.module_hash(Graph(*row)) for row in zip(*cells, strict=True)
  ]
  assert found == keys
  assert len(set(found)) == distinct
