"""Pickles: plain data is read, whatever else is refused without being run."""

import bz2
import collections
import os
import pickle

import numpy as np
import pytest

from irlas_jax.tables import table, unpickling


@pytest.fixture(name='read')
def fixture_read(tmp_path):
  def read(data):
    (tmp_path / 'file.pickle.pbz2').write_bytes(bz2.compress(data))
    return unpickling.read_bz2(tmp_path / 'file.pickle.pbz2')

  return read


@pytest.mark.parametrize('protocol', (3, 4))
def test_plain_data_comes_back(read, protocol):
  ordered = collections.OrderedDict(a=[1, 2.5, None, True, 'x', b'y'])
  default = collections.defaultdict(list, b=[(1, 2)])
  value = {('cifar10', 777): ordered, 'sets': {1, 2}, 'default': default}
  assert read(pickle.dumps(value, protocol)) == value


def test_numpy_numbers_and_arrays_come_back(read):
  value = {
    'scalar': np.float64(1.073466),
    'integer': np.int64(-3),
    'array': np.arange(6, dtype=np.float32).reshape(2, 3),
  }
  found = read(pickle.dumps(value, protocol=4))
  assert found['scalar'] == 1.073466 and found['integer'] == -3
  np.testing.assert_array_equal(found['array'], value['array'])
  assert found['array'].dtype == np.float32


def test_numpy_numbers_of_older_versions_come_back(read):
  """NumPy 1 has the same functions under numpy.core."""
  new = pickle.dumps(np.float64(0.5), protocol=3)
  old = new.replace(b'cnumpy._core.', b'cnumpy.core.')
  assert old != new
  assert read(old) == 0.5


class Call:
  """Pickles as a call of a function."""

  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


@pytest.mark.parametrize(
  'function, name',
  [
    (os.system, f'{os.system.__module__}.system'),
    (eval, 'builtins.eval'),
    (getattr, 'builtins.getattr'),
    (np.load, 'numpy.load'),
    (bz2.open, 'bz2.open'),
  ],
)
@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_any_other_function_is_named_and_not_called(
  read, tmp_path, function, name, protocol
):
  made = tmp_path / 'made'
  value = {'12': [1.0, Call(function, f'touch {made}')]}
  with pytest.raises(table.TableError) as error:
    read(pickle.dumps(value, protocol))
  assert name in str(error.value).replace('__builtin__', 'builtins')
  assert 'file.pickle.pbz2: refused' in str(error.value)
  assert not made.exists()


def test_way_to_a_function_through_an_attribute_is_refused(read):
  """Protocol 4 may name `dict.get.__class__`, of an allowed class."""
  data = b'\x80\x04\x8c\x08builtins\x8c\x0edict.__class__\x93.'
  with pytest.raises(table.TableError, match='dict.__class__'):
    read(data)


def test_array_of_objects_runs_nothing(read, tmp_path):
  made = tmp_path / 'made'
  value = np.array([Call(os.system, f'touch {made}')], object)
  with pytest.raises(table.TableError, match='system'):
    read(pickle.dumps(value, protocol=4))
  assert not made.exists()


@pytest.mark.parametrize('data', [b'', b'\x80\x04', b'text', b'\x80\x04]\x93.'])
def test_bytes_that_are_no_pickle_are_refused(read, data):
  with pytest.raises(table.TableError, match='file.pickle.pbz2: refused'):
    read(data)


@pytest.mark.parametrize('cut', [1, 20])
def test_file_that_is_cut_short_is_refused(tmp_path, cut):
  path = tmp_path / 'file.pickle.pbz2'
  whole = bz2.compress(pickle.dumps(list(range(1000))))
  path.write_bytes(whole[:-cut])
  with pytest.raises(table.TableError, match='file.pickle.pbz2: refused'):
    unpickling.read_bz2(path)


def test_file_without_compression_is_refused(tmp_path):
  path = tmp_path / 'file.pickle'
  path.write_bytes(pickle.dumps([1]))
  with pytest.raises(table.TableError, match='file.pickle: refused'):
    unpickling.read_bz2(path)
