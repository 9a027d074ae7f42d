"""One door for all forms: the right one is taken, refusals name the file."""

import numpy as np
import pytest

from irlas_jax.tables import load, table

OWN = {
  'choices': np.array([3]),
  'metrics': np.array(['valid']),
  'units': np.array(['fraction']),
  'values': np.array([[0.5], [0.25], [1.0]]),
}
OTHERS = {
  'arch_str': {'arch_str': np.array(['|none~0|'])},
  'epoch_budget': {'epoch_budget': np.array([4])},
  'val_acc': {
    name: np.zeros(1) for name in ('key', 'adj', 'val_acc', 'epochs')
  },
}


@pytest.fixture(name='write')
def fixture_write(tmp_path):
  def write(arrays):
    np.savez_compressed(tmp_path / 'table.npz', **arrays)
    return tmp_path / 'table.npz'

  return write


@pytest.mark.parametrize('dataset', ['cifar10', 'mine'])
def test_table_of_ones_own_is_read_whatever_the_dataset(write, dataset):
  found = load.load(write(OWN), dataset)
  assert found.metrics['valid'].values.tolist() == [0.5, 0.25, 1.0]
  assert found.cells.choices.tolist() == [[0], [1], [2]]


def test_refusal_is_one_line_with_file_place_and_remedy(write):
  path = write({**OWN, 'values': np.array([[0.5], [2], [1]])})
  with pytest.raises(table.TableError) as error:
    load.load(str(path))
  text = str(error.value)
  assert text.startswith(f'{path}: `values[valid]` row 1 (2.0)')
  assert text.endswith('BUILD.md.') and '\n' not in text


@pytest.mark.parametrize(
  'form, word',
  [('arch_str', '`ops`'), ('epoch_budget', '`key`'), ('val_acc', '`key`')],
)
def test_form_shows_in_the_arrays(write, form, word):
  """What each form misses first tells which one was taken."""
  with pytest.raises(table.TableError, match=word):
    load.load(write(OTHERS[form]))


def test_unknown_form_lists_what_is_there_and_what_could_be(write):
  with pytest.raises(table.TableError) as error:
    load.load(write({'x': np.zeros(1), 'y': np.zeros(1)}))
  for word in ('It holds x, y', 'arch_str', 'epoch_budget', 'choices'):
    assert word in str(error.value)


@pytest.mark.parametrize('form', OTHERS)
def test_unknown_dataset_lists_those_there_are(write, form):
  with pytest.raises(table.TableError, match="'mnist' is not in it.*cifar10"):
    load.load(write(OTHERS[form]), 'mnist')


def test_missing_file_is_no_table_error(tmp_path):
  with pytest.raises(FileNotFoundError, match='IRLAS_DATA_DIR'):
    load.load(tmp_path / 'none.npz')
