"""The official layout of NATS-Bench, written here, and read back."""

import bz2
import collections
import copy
import pickle

import numpy as np
import pytest

from irlas_jax.tables import load, nats_bench, table

NAMES = [
  '|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+'
  '|nor_conv_1x1~0|skip_connect~1|skip_connect~2|',
  '|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|',
  '|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|',
]
SUBSETS = {
  'cifar10-valid': ('x-valid', 'ori-test'),
  'cifar10': ('ori-test',),
  'cifar100': ('x-valid', 'x-test', 'ori-test'),
  'ImageNet16-120': ('x-valid', 'x-test', 'ori-test'),
}
SEEDS = {'12': [111], '200': [777, 888, 999]}


def trial(index, dataset, seed, epochs):
  """The state of a ResultsCount: every number tells where it is from.

  Accuracies are the last epoch's only where the official files have no other.
  """
  offset = list(SUBSETS).index(dataset) + seed / 1000
  accuracies, times = {}, {}
  for i, subset in enumerate(SUBSETS[dataset]):
    for epoch in range(epochs):
      if subset in ('x-valid', 'ori-test') or epoch == epochs - 1:
        accuracies[f'{subset}@{epoch}'] = 10 * i + offset + epoch / 10
      times[f'{subset}@{epoch}'] = 0.5 + i
  train = {epoch: 50 + offset + epoch / 10 for epoch in range(epochs)}
  return {
    'name': dataset,
    'net_state_dict': None,
    'train_acc1es': train,
    'train_acc5es': {epoch: 99.0 for epoch in range(epochs)},
    'train_losses': {epoch: 1.0 for epoch in range(epochs)},
    'train_times': collections.OrderedDict((e, 2.0) for e in range(epochs)),
    'arch_config': {'channel': 16, 'num_cells': 5, 'arch_str': NAMES[index],
                    'class_num': 10},
    'params': np.float64(0.073306 + index),
    'flop': 7.78251 + index,
    'seed': str(seed),
    'epochs': epochs,
    'latency': [0.0125 * (index + 1)],
    'eval_names': list(SUBSETS[dataset]),
    'eval_acc1es': accuracies,
    'eval_times': times,
    'eval_losses': {key: 1.0 for key in accuracies},
  }  # fmt: skip


def cell(index):
  """What the file of a cell holds."""
  return collections.OrderedDict(
    (
      hp,
      {
        'arch_index': index,
        'arch_str': NAMES[index],
        'all_results': {
          (dataset, seed): trial(index, dataset, seed, int(hp))
          for dataset in SUBSETS
          for seed in seeds
        },
        'dataset_seed': {dataset: list(seeds) for dataset in SUBSETS},
        'clear_net_done': True,
      },
    )
    for hp, seeds in SEEDS.items()
  )


META = {
  'meta_archs': NAMES,
  'total_archs': len(NAMES),
  'arch2infos': None,
  'evaluated_indexes': set(),
}


def dump(path, value):
  path.write_bytes(bz2.compress(pickle.dumps(value, protocol=4)))


@pytest.fixture(name='folder')
def fixture_folder(tmp_path):
  folder = tmp_path / 'NATS-tss-v1_0-3ffb9-simple'
  folder.mkdir()
  dump(folder / 'meta.pickle.pbz2', META)
  for index in range(len(NAMES)):
    dump(folder / f'{index:06}.pickle.pbz2', cell(index))
  return folder


def convert(folder, **arguments):
  path = folder.parent / 'table.npz'
  nats_bench.convert(folder, path, **arguments)
  return load.load(path)


def test_cells_keep_their_order(folder):
  found = convert(folder)
  assert found.cells.sizes == (5,) * 6
  assert found.cells.choices.tolist() == [
    [4, 2, 1, 2, 1, 1],
    [0, 0, 0, 0, 0, 3],
    [1, 0, 0, 0, 0, 0],
  ]


def test_numbers_come_from_the_right_place(folder):
  """By hand from `trial`: data set (0-3) + seed / 1000 + last epoch / 10 + 10 a
  subset, in percent; the mean of the seeds 777, 888 and 999 is 888."""
  found = convert(folder).metrics
  expected = {
    'cifar10_valid_12': (0 + 0.111 + 1.1) / 100,
    'cifar10_test_12': (1 + 0.111 + 1.1) / 100,
    'cifar10_train_12': (50 + 1 + 0.111 + 1.1) / 100,
    'cifar10_valid_200': (0 + 0.888 + 19.9) / 100,
    'cifar10_test_200': (1 + 0.888 + 19.9) / 100,
    'cifar100_valid_200': (2 + 0.888 + 19.9) / 100,
    'cifar100_test_200': (10 + 2 + 0.888 + 19.9) / 100,
    'imagenet16_test_12': (10 + 3 + 0.111 + 1.1) / 100,
    'cifar10_seconds_12': 12 * 2 + 0.5,
    'imagenet16_seconds_200': 200 * 2 + 0.5,
    'cifar10_params': 73306,
    'cifar100_flops': 7782510,
    'imagenet16_latency': 0.0125,
  }
  for name, value in expected.items():
    np.testing.assert_allclose(found[name].values[0], value, rtol=1e-6)
  np.testing.assert_allclose(found['cifar10_params'].values[2], 2073306)
  assert len(found) == 3 * (2 * 4 + 3)
  units = [found[f'cifar10_{name}'].unit for name in ('test_12', 'latency')]
  assert units == ['fraction', 's']


def edit(folder, change, index=1):
  """Writes the file of a cell with a change made to it."""
  value = copy.deepcopy(cell(index))
  change(value)
  dump(folder / f'{index:06}.pickle.pbz2', value)


def test_what_is_not_recorded_is_missing(folder):
  def change(value):
    for hp in value.values():
      for (dataset, _), state in hp['all_results'].items():
        state['latency'] = None
        if dataset == 'cifar100':
          state['eval_acc1es'] = {'ori-test@0': 1.0}
          state['train_times'] = None
    del value['200']['dataset_seed']['ImageNet16-120']

  edit(folder, change)
  found = convert(folder).metrics
  missing = {n for n, metric in found.items() if np.isnan(metric.values).any()}
  assert missing == {
    *(f'{name}_latency' for name in ('cifar10', 'cifar100', 'imagenet16')),
    *(f'cifar100_{n}' for n in ('valid_12', 'test_12', 'seconds_12')),
    *(f'cifar100_{n}' for n in ('valid_200', 'test_200', 'seconds_200')),
    *(f'imagenet16_{n}_200' for n in ('valid', 'test', 'train', 'seconds')),
  }
  assert np.isnan(found['cifar100_test_12'].values).tolist() == [0, 1, 0]


def test_costs_that_differ_are_those_of_the_seed_888(folder):
  """As the official reader has it."""

  def change(value):
    value['12']['dataset_seed']['cifar10'] = [777, 888]
    states = value['12']['all_results']
    for seed, flops in ((777, 1.0), (888, 2.0)):
      state = states['cifar10', 111] | {'flop': flops}
      states['cifar10', seed] = state

  edit(folder, change)
  assert convert(folder).metrics['cifar10_flops'].values[1] == 2e6


def other_cell(value):
  value['200']['arch_str'] = NAMES[0]


def other_epochs(value):
  value['12']['all_results']['cifar10', 111]['epochs'] = 90


def differing_costs(value):
  value['12']['dataset_seed']['cifar10'] = [111, 777]
  states = value['12']['all_results']
  states['cifar10', 777] = states['cifar10', 111] | {'flop': 1.0}


@pytest.mark.parametrize(
  'change, word',
  [
    (lambda value: value.pop('200'), "KeyError: '200'"),
    (lambda value: value['12'].pop('all_results'), 'all_results'),
    (other_cell, 'it is of cell'),
    (other_epochs, "90 epochs under '12'"),
    (differing_costs, '[111, 777] differ'),
  ],
)
def test_other_layout_is_refused_by_file(folder, change, word):
  edit(folder, change)
  with pytest.raises(table.TableError) as error:
    convert(folder)
  text = str(error.value)
  assert '000001.pickle.pbz2' in text and word in text and '\n' not in text


def test_unknown_operation_is_named(folder):
  names = [NAMES[0], NAMES[1].replace('nor_conv_3x3', 'nor_conv_7x7')]
  dump(folder / 'meta.pickle.pbz2', META | {'meta_archs': names})
  with pytest.raises(table.TableError, match='`meta_archs` 1, .*7x7.*avg_pool'):
    convert(folder)


@pytest.mark.parametrize(
  'meta', [[], {}, {'meta_archs': []}, {'meta_archs': [[]]}]
)
def test_other_meta_file_is_refused(folder, meta):
  dump(folder / 'meta.pickle.pbz2', meta)
  with pytest.raises(table.TableError, match='meta.pickle.pbz2: .*meta_archs'):
    convert(folder)


def test_missing_file_is_refused_or_left_out(folder):
  (folder / '000001.pickle.pbz2').unlink()
  with pytest.raises(FileNotFoundError, match='1 of 3 .*first 000001.*partial'):
    convert(folder)
  found = convert(folder, partial=True)
  assert found.cells.choices[:, 0].tolist() == [4, 1]
  np.testing.assert_allclose(
    found.metrics['cifar10_params'].values, [73306, 2073306]
  )


def test_folder_without_files_is_refused(folder, tmp_path):
  for index in range(3):
    (folder / f'{index:06}.pickle.pbz2').unlink()
  with pytest.raises(FileNotFoundError, match='3 of 3 cells'):
    convert(folder, partial=True)
  with pytest.raises(FileNotFoundError, match='meta.pickle.pbz2'):
    convert(tmp_path / 'other')


def test_metric_that_no_file_has_is_refused(folder):
  def change(value):
    for state in value['12']['all_results'].values():
      state['eval_acc1es'] = {}

  for index in range(3):
    edit(folder, change, index)
  with pytest.raises(table.TableError, match='no cell has cifar10_valid_12'):
    convert(folder)
