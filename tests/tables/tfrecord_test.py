"""TFRecord files: checksums against published ones, and damaged files."""

import struct

import pytest

from irlas_jax.tables import table, tfrecord

MASK = 0xA282EAD8


def masked(crc):
  return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def encode(records):
  """A TFRecord file of these records."""
  data = b''
  for record in records:
    head = struct.pack('<Q', len(record))
    crcs = [int(tfrecord.masked_crc32c([part])[0]) for part in (head, record)]
    data += head + struct.pack('<I', crcs[0])
    data += record + struct.pack('<I', crcs[1])
  return data


def read(tmp_path, data):
  path = tmp_path / 'file.tfrecord'
  path.write_bytes(data)
  return list(tfrecord.batches(path))


def test_checksums_are_the_published_ones():
  """RFC 3720, B.4, and the check value of CRC-32C; all lengths at once."""
  blocks = {
    b'': 0,
    bytes(32): 0x8A9136AA,
    b'\xff' * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
    b'123456789': 0xE3069283,
  }
  assert tfrecord.crc32c(list(blocks)).tolist() == list(blocks.values())
  assert tfrecord.masked_crc32c([b'123456789'])[0] == masked(0xE3069283)


def test_records_come_back_whatever_their_length(tmp_path):
  records = [b'', b'123456789', b'x' * 1000]
  assert read(tmp_path, encode(records)) == [records]


def test_batches_are_of_limited_size(tmp_path, monkeypatch):
  monkeypatch.setattr(tfrecord, 'BATCH', 2)
  records = [bytes([i]) for i in range(5)]
  found = read(tmp_path, encode(records))
  assert found == [records[:2], records[2:4], records[4:]]


def test_empty_file_has_no_record(tmp_path):
  assert read(tmp_path, b'') == []


@pytest.mark.parametrize(
  'position, what',
  [
    (16 + 0, 'record 1 has another checksum than its length'),
    (16 + 9, 'record 1 has another checksum than its length'),
    (16 + 12, 'record 1 has another checksum than its data'),
    (16 + 21, 'record 1 has another checksum than its data'),
  ],
)
def test_damaged_byte_is_found(tmp_path, position, what):
  """In the length, its checksum, the data and its checksum."""
  data = bytearray(encode([b'', b'123456789', b'x']))
  data[position] ^= 0x10
  with pytest.raises(table.TableError, match=what):
    read(tmp_path, bytes(data))


@pytest.mark.parametrize('cut', [1, 4, 5, 12, 20])
def test_file_that_is_cut_short_is_refused(tmp_path, cut):
  data = encode([b'abc', b'123456789'])[:-cut]
  with pytest.raises(table.TableError, match='record 1 is cut short'):
    read(tmp_path, data)


def test_other_file_is_refused(tmp_path):
  with pytest.raises(table.TableError, match='record 0 .*Download'):
    read(tmp_path, b'{"not": "a TFRecord file"}' * 10)
