"""NAS-Bench-201's form, on a made-up file of all cells, and on the real one."""

import os
import pathlib

import numpy as np
import pytest

from irlas_jax.tables import choices, load, nasbench201, table

ACC12 = [
  f'{name}-{part}@12ep'
  for name in ('cifar10', 'cifar100', 'imagenet')
  for part in ('test', 'val')
]
ACC200 = [
  'cifar10:test@200ep(mean)',
  'cifar10:train@200ep',
  'cifar10-valid:val@200ep(one)',
  'cifar100:val@200ep(one)',
  'ImageNet16-120:val@200ep(one)',
]


def make():
  """All cells, the last first; column c of an array holds c + 1 percent."""
  ops = choices.all_actions(nasbench201.SIZES)[::-1].astype(np.uint8)
  ones = np.ones((len(ops), 1), np.float32)
  return {
    'arch_str': nasbench201.cell_names(ops),
    'ops': ops,
    'op_names': np.array(nasbench201.OPERATIONS),
    'edges': np.array(nasbench201.EDGES, np.uint8),
    'dataset_names': np.array(nasbench201.DATASETS),
    'acc12': ones * np.arange(1, 7, dtype=np.float32),
    'acc12_names': np.array(ACC12),
    'acc200': ones * np.arange(1, 6, dtype=np.float32),
    'acc200_names': np.array(ACC200),
    'params_m': ones * np.array([1.073466, 2, 3]),
    'flops_m': ones * np.array([10, 20, 30]),
    'zen': ones * np.array([7, 8, 9]),
    'latency_names': np.array(['phone', 'desk']),
    'latency_ms': ones * np.array([0.5, 1.5]),
  }


@pytest.fixture(name='arrays', scope='module')
def fixture_arrays():
  return make()


def test_names_are_the_official_ones():
  cells = np.array([[4, 2, 1, 2, 1, 1], [0, 0, 0, 0, 0, 3]])
  assert nasbench201.cell_names(cells).tolist() == [
    b'|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+'
    b'|nor_conv_1x1~0|skip_connect~1|skip_connect~2|',
    b'|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|',
  ]


@pytest.mark.parametrize(
  'dataset, expected',
  [
    ('cifar10', [0.02, 0.01, 0.03, 0.01, 0.02, 1073466, 10e6, 7]),
    ('cifar100', [0.04, 0.03, 0.04, 2e6, 20e6, 8]),
    ('ImageNet16-120', [0.06, 0.05, 0.05, 3e6, 30e6, 9]),
  ],
)
def test_columns_are_those_of_the_dataset(arrays, dataset, expected):
  found = nasbench201.parse(arrays, dataset)
  names = ['valid_12', 'test_12', 'valid_200', 'test_200', 'train_200']
  names = names[: len(expected) - 3] + ['params', 'flops', 'zen']
  assert list(found.metrics) == [*names, 'latency_phone', 'latency_desk']
  for name, value in zip(names, expected, strict=True):
    np.testing.assert_allclose(found.metrics[name].values[9], value, rtol=1e-6)
  assert found.metrics['latency_desk'].values[0] == 1.5
  assert found.metrics['latency_desk'].unit == 'ms'
  assert found.metrics['valid_12'].unit == 'fraction'
  assert found.cells.choices[0].tolist() == [4] * 6
  assert found.cells.sizes == (5,) * 6


def test_zen_score_of_a_cell_without_a_path_is_missing(arrays):
  zen = arrays['zen'].copy()
  zen[3] = -1e8
  found = nasbench201.parse({**arrays, 'zen': zen}, 'cifar10').metrics['zen']
  assert np.flatnonzero(np.isnan(found.values)).tolist() == [3]


def edited(name, row, value):
  """A change of one row of one array."""

  def change(arrays):
    array = arrays[name].copy()
    array[row] = value
    return {name: array}

  return change


def swapped_names(arrays):
  texts = arrays['arch_str'].copy()
  texts[[5, 6]] = texts[[6, 5]]
  return {'arch_str': texts}


def repeated_cell(arrays):
  """Row 8 is row 2 again, under its right name."""
  found = {name: arrays[name].copy() for name in ('ops', 'arch_str')}
  for array in found.values():
    array[8] = array[2]
  return found


@pytest.mark.parametrize(
  'change, words',
  [
    (edited('ops', 7, 5), ['`ops` row 7', 'names no operation']),
    (edited('ops', 7, 0), ['`arch_str` row 7', 'is not the cell of `ops`']),
    (swapped_names, ['`arch_str` row 5', '2 of 15625 rows']),
    (repeated_cell, ['`ops` row 8', 'earlier row']),
    (edited('acc12', 4, 100.5), ['`acc12` row 4', '[0, 1]']),
    (edited('acc200', 4, np.nan), ['`acc200` row 4']),
    (edited('params_m', 1, 0), ['`params_m` row 1']),
    (edited('latency_ms', 1, -1), ['`latency_ms` row 1']),
    (edited('zen', 1, np.nan), ['`zen` row 1']),
    (edited('edges', 1, 3), ['`edges`', '(0, 2)']),
    (edited('op_names', 0, 'zero'), ['`op_names`', 'none']),
    (edited('acc12_names', 1, 'other'), ['`acc12_names` has 0 columns']),
    (lambda a: {'ops': a['ops'][:-1]}, ['`ops` has shape (15624, 6)']),
    (lambda a: {'dataset_names': a['ops']}, ['`dataset_names`']),
  ],
)
def test_wrong_array_is_refused_by_name_and_row(arrays, change, words):
  with pytest.raises(table.TableError) as error:
    nasbench201.parse({**arrays, **change(arrays)}, 'cifar10')
  text = str(error.value)
  assert '\n' not in text
  for word in words:
    assert word in text


def real(name):
  """A file of the data folder, or a skip."""
  path = pathlib.Path(os.environ.get('IRLAS_DATA_DIR', 'none')) / name
  if not path.is_file():
    pytest.skip(f'{path}: set IRLAS_DATA_DIR')
  return path


def test_real_file_has_the_published_best_cell():
  """CIFAR-10 test accuracy 94.37 % (Dong & Yang, table 5), index 6111."""
  found = load.load(real('nas-bench-201/nasbench201.npz'))
  test = found.metrics['test_200'].values
  assert test.argmax() == 6111
  np.testing.assert_allclose(test.max(), 0.943733, atol=1e-6)
  zen = np.isnan(found.metrics['zen'].values)
  assert zen.sum() == 341  # cells whose input does not reach the output
