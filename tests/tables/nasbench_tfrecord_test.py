"""The official layout of NAS-Bench-101, written here by hand, and read back."""

import base64
import importlib.util
import json
import pathlib
import struct

import numpy as np
import pytest

from irlas_jax.tables import load, nasbench_tfrecord, table

CHAIN = ('010001000', 'input,conv1x1-bn-relu,output')
WHOLE = (
  '0111111001000000010000000100000001000000010000000',
  'input,conv3x3-bn-relu,maxpool3x3,conv1x1-bn-relu,maxpool3x3,conv3x3-bn-relu,'
  'output',
)
KEYS = ['a' * 32, 'b' * 32]
NEW = 'c' * 32


def neighbour(name):
  """Another test module's helpers."""
  path = pathlib.Path(__file__).with_name(f'{name}.py')
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


encode = neighbour('tfrecord_test').encode


def varint(value):
  data = b''
  while value >= 0x80:
    data += bytes([value & 0x7F | 0x80])
    value >>= 7
  return data + bytes([value])


def nested(number, data):
  return varint(number << 3 | 2) + varint(len(data)) + data


def evaluation(epoch, seconds, *accuracies):
  """EvaluationData, with the checkpoint's path that the reader skips."""
  numbers = (epoch, seconds, *accuracies)
  data = b''.join(
    bytes([number << 3 | 1]) + struct.pack('<d', value)
    for number, value in enumerate(numbers, start=1)
  )
  return data + nested(6, b'/model.ckpt-1')


def metrics(params, epochs, seconds, train, valid, test):
  """ModelMetrics of a training with three evaluations."""
  evaluations = [
    evaluation(0.0, 0.0, 0.1, 0.1, 0.1),
    evaluation(epochs / 2, seconds / 2, 0.2, 0.2, 0.2),
    evaluation(epochs, seconds, train, valid, test),
  ]
  data = b''.join(nested(1, one) for one in evaluations)
  total = b'\x19' + struct.pack('<d', 2 * seconds)  # field 3, double
  return data + b'\x10' + varint(params) + total


def record(key, epochs, cell, data):
  text = base64.b64encode(data).decode()
  return json.dumps([key, epochs, *cell, text]).encode()


def trainings():
  """Two cells, two numbers of epochs, two repeats each."""
  for repeat in (0, 1):
    for key, cell, params, base in (
      (KEYS[1], WHOLE, 49979274, 0.5),
      (KEYS[0], CHAIN, 227274, 0.25),
    ):
      for epochs in (108, 4):
        valid = base + epochs / 1000 + 0.02 * repeat
        numbers = (10 * epochs + repeat, 0.75, valid, valid - 0.1)
        yield record(key, epochs, cell, metrics(params, epochs, *numbers))


@pytest.fixture(name='convert')
def fixture_convert(tmp_path):
  def convert(records):
    source = tmp_path / 'nasbench.tfrecord'
    source.write_bytes(encode(records))
    nasbench_tfrecord.convert(source, tmp_path / 'table.npz')
    return tmp_path / 'table.npz'

  return convert


def test_means_over_repeats_come_back(convert):
  """By hand: repeats differ by 0.02 in accuracy and by 1 s."""
  found = load.load(convert(trainings()))
  expected = {
    'valid_4': [0.514, 0.264],
    'valid_108': [0.618, 0.368],
    'test_108': [0.518, 0.268],
    'train_4': [0.75, 0.75],
    'seconds_4': [40.5, 40.5],
    'seconds_108': [1080.5, 1080.5],
    'params': [49979274, 227274],
  }
  for name, values in expected.items():
    np.testing.assert_allclose(found.metrics[name].values, values, rtol=1e-6)
  assert len(found.metrics) == 4 * 2 + 1
  assert found.cells.operations.tolist() == [
    [-1, 0, 2, 1, 2, 0, -2],
    [-1, 1, -2, -3, -3, -3, -3],
  ]
  assert found.cells.adjacency[0].sum() == 6 + 5
  assert np.argwhere(found.cells.adjacency[1]).tolist() == [[0, 1], [1, 2]]


def test_arrays_are_those_of_the_form(convert):
  with np.load(convert(trainings())) as arrays:
    assert arrays['key'].tolist() == [KEYS[1].encode(), KEYS[0].encode()]
    assert arrays['epochs'].tolist() == [4, 108]
    assert arrays['n_vertices'].tolist() == [7, 3]
    assert arrays['params'].tolist() == [49979274, 227274]


GOOD = metrics(1000, 4, 40.0, 0.5, 0.5, 0.5)
LAST = nested(1, evaluation(4, 40.0, 0.5, 0.5, 0.5))


@pytest.mark.parametrize(
  'wrong, word',
  [
    (b'not JSON', 'Expecting value'),
    (b'[1, 2]', 'unpack'),
    (b'{}', 'unpack'),
    (json.dumps([NEW, 4, '0', None, '']).encode(), 'split'),
    (record(NEW, 4, ('0100', 'input,conv5x5'), GOOD), "'conv5x5'"),
    (record(NEW, 4, ('010', 'input,output'), GOOD), 'no matrix'),
    (record(NEW, 4, ('0200', 'input,output'), GOOD), 'no matrix'),
    (record(KEYS[0], 4, CHAIN, GOOD[:-4]), 'cut short'),
    (record(KEYS[0], 4, CHAIN, GOOD + b'\x80'), 'cut short'),
    (record(KEYS[0], 4, CHAIN, GOOD + b'\x0b'), 'wire type 3'),
    (record(KEYS[0], 4, CHAIN, GOOD[len(LAST) :]), '2 evaluations'),
    (record(KEYS[0], 4, CHAIN, LAST * 3), 'no number of parameters'),
    (
      record(KEYS[0], 4, CHAIN, nested(1, b'') * 3 + b'\x10\x01'),
      'train_time, train_acc, val_acc, test_acc',
    ),
    (json.dumps([KEYS[0], 4, *CHAIN, '%%%']).encode(), 'base64'),
  ],
)
def test_wrong_record_is_named(convert, wrong, word):
  records = [*trainings(), wrong]
  with pytest.raises(table.TableError) as error:
    convert(records)
  text = str(error.value)
  assert f'record {len(records) - 1} ' in text and word in text
  assert '\n' not in text and 'nasbench_only108.tfrecord' in text


def test_missing_repeat_is_refused(convert):
  """A file cut at the end of a record is told by its repeats."""
  with pytest.raises(table.TableError, match='1 to 2 times.*again'):
    convert(list(trainings())[:-1])


def test_file_without_records_is_refused(convert):
  with pytest.raises(table.TableError, match='holds no record'):
    convert([])


def test_unknown_fields_are_skipped():
  """Of every wire type, as a newer version of the message may have."""
  extra = b'\xa0\x06\x05' + b'\xa5\x06abcd' + b'\xa1\x06abcdefgh'
  found = nasbench_tfrecord.model_metrics(extra + GOOD + nested(100, b'new'))
  assert found == (1000, 40.0, 0.5, 0.5, 0.5)


@pytest.mark.parametrize('params', [0, 127, 128, 16384, 49979274])
def test_numbers_of_any_length_are_read(params):
  """Seven bits a byte: 128 is the first whose first byte is 0x80."""
  data = metrics(params, 4, 40.0, 0.5, 0.5, 0.5)
  assert nasbench_tfrecord.model_metrics(data)[0] == params
