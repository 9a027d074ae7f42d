"""Files that are no `.npz`, and arrays that are not what was asked for."""

import pickle
import zipfile

import numpy as np
import pytest

from irlas_jax.tables import arrays, table


def refusal(path):
  """What reading the file says, which has to be one line and name the file."""
  with pytest.raises(table.TableError) as error:
    arrays.read(path)
  text = str(error.value)
  assert '\n' not in text and str(path) in text and 'Get the file anew' in text
  return text


def test_arrays_survive_being_written(tmp_path):
  path = tmp_path / 'new' / 'table.npz'
  arrays.write(path, {'a': np.arange(3), 'b': np.array(['x', 'yz'])})
  found = arrays.read(path)
  assert list(found) == ['a', 'b']
  np.testing.assert_array_equal(found['a'], [0, 1, 2])
  np.testing.assert_array_equal(found['b'], ['x', 'yz'])
  assert [file.name for file in path.parent.iterdir()] == ['table.npz']


def test_target_is_checked_without_a_trace(tmp_path):
  assert arrays.check_target(tmp_path / 'new' / 'a.npz').parent.is_dir()
  assert not list((tmp_path / 'new').iterdir())


def test_folder_is_no_target(tmp_path):
  with pytest.raises(IsADirectoryError, match='Name a file'):
    arrays.check_target(tmp_path)


def test_missing_file_says_where_to_name_one(tmp_path):
  with pytest.raises(FileNotFoundError) as error:
    arrays.read(tmp_path / 'none.npz')
  for word in ('none.npz', '`evaluator.file`', 'IRLAS_DATA_DIR'):
    assert word in str(error.value)


@pytest.mark.parametrize('content', [b'', b'choices,values\n', b'PK\x03\x04'])
def test_file_of_another_kind_is_refused(tmp_path, content):
  path = tmp_path / 'table.npz'
  path.write_bytes(content)
  assert 'this is no .npz file' in refusal(path)


def test_single_array_is_refused(tmp_path):
  path = tmp_path / 'table.npy'
  np.save(path, np.arange(3))
  refusal(path)


def test_file_that_is_cut_short_is_refused(tmp_path):
  path = tmp_path / 'table.npz'
  np.savez_compressed(path, values=np.arange(10_000))
  path.write_bytes(path.read_bytes()[:-30])
  refusal(path)


def test_damaged_array_is_named(tmp_path):
  """The archive's directory is whole; the bytes of one array are not."""
  path = tmp_path / 'table.npz'
  np.savez(path, values=np.arange(1000))
  data = bytearray(path.read_bytes())
  data[2000] ^= 0xFF
  path.write_bytes(data)
  assert '`values`' in refusal(path)


class Bomb:
  """Unpickling it would write a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), 'w')


def test_pickled_array_is_named_and_not_unpickled(tmp_path):
  path = tmp_path / 'table.npz'
  np.savez(path, values=np.array([Bomb(tmp_path / 'written')], object))
  assert '`values`' in refusal(path)
  assert not (tmp_path / 'written').exists()


def test_other_files_in_the_archive_are_refused(tmp_path):
  path = tmp_path / 'table.npz'
  with zipfile.ZipFile(path, 'w') as archive:
    archive.writestr('data.pkl', pickle.dumps([1]))
  assert '`data.pkl`' in refusal(path)


def test_array_of_the_wanted_shape_and_dtype_is_let_through():
  found = {'a': np.zeros((2, 3))}
  assert arrays.get(found, 'a', (None, 3), arrays.NUMBERS) is found['a']


@pytest.mark.parametrize(
  'shape, kinds, text',
  [
    ((2, 4), arrays.NUMBERS, '`a` has shape (2, 3), must be [2, 4]'),
    ((None,), arrays.NUMBERS, '`a` has shape (2, 3), must be [any]'),
    ((2, 3), arrays.INTEGERS, '`a` is of dtype float64, must be integers'),
    ((2, 3), arrays.TEXTS, '`a` is of dtype float64, must be strings'),
  ],
)
def test_array_of_another_shape_or_dtype_is_refused(shape, kinds, text):
  with pytest.raises(table.TableError) as error:
    arrays.get({'a': np.zeros((2, 3))}, 'a', shape, kinds)
  assert str(error.value) == text


def test_array_without_rows_is_refused():
  with pytest.raises(table.TableError, match='shape'):
    arrays.get({'a': np.zeros((0, 3))}, 'a', (None, 3), arrays.NUMBERS)


def test_array_that_is_not_there_is_named_beside_those_that_are():
  with pytest.raises(table.TableError, match='`b` is not there; it holds a'):
    arrays.get({'a': np.zeros(1)}, 'b', (1,), arrays.NUMBERS)


@pytest.mark.parametrize('bad', [-0.01, 1.01, 94.2, np.nan, np.inf])
def test_accuracy_outside_of_a_fraction_is_refused(bad):
  with pytest.raises(table.TableError, match='`a` row 1 .*1 of 3 rows'):
    arrays.fractions('a', np.array([0.0, bad, 1.0]))


@pytest.mark.parametrize('bad', [0.0, -1.0, np.nan, np.inf])
def test_cost_that_is_not_positive_is_refused(bad):
  with pytest.raises(table.TableError, match='`a` row 2 '):
    arrays.positive('a', np.array([[1.0, 2], [3, 4], [5, bad]]))


def test_repeated_rows_are_those_after_the_first():
  rows = np.array([[1, 2], [2, 1], [1, 2], [1, 2]])
  assert arrays.repeated(rows).tolist() == [False, False, True, True]
  texts = np.array([b'ab', b'a', b'ab'])
  assert arrays.repeated(texts).tolist() == [False, False, True]


@pytest.mark.parametrize('texts', [['a', ''], ['a', 'a']])
def test_names_are_distinct_and_not_empty(texts):
  with pytest.raises(table.TableError, match='`n` row 1 '):
    arrays.names({'n': np.array(texts)}, 'n')
