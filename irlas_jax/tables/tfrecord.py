"""Reads TFRecord files: records of bytes, each with two checksums.

A record is its length (8 bytes, little-endian), a masked CRC-32C of that (4),
the bytes, and a masked CRC-32C of those (4). Checksums of many records are
computed at once, one byte of each at a time: a loop over bytes in Python would
take longer than all other reading.
"""

import functools
import os
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from irlas_jax.tables.table import TableError

BATCH = 4096  # records whose checksums are computed at once


def _crc_table():
  """CRC-32C of each byte [256] (Castagnoli polynomial, bits reversed)."""
  table: np.ndarray = np.arange(256, dtype=np.uint32)
  for _ in range(8):
    table = (table >> 1) ^ ((table & 1) * np.uint32(0x82F63B78))
  return table


_TABLE = _crc_table()


def crc32c(blocks: Sequence[bytes]) -> np.ndarray:
  """CRC-32C of each of `n` blocks, [n] uint32. They may differ in length."""
  lengths = np.array([len(block) for block in blocks])
  width = int(lengths.max(initial=0))
  padded = b''.join(block.ljust(width, b'\0') for block in blocks)
  grid = np.frombuffer(padded, np.uint8).reshape(len(blocks), width)
  crc = np.full(len(blocks), 0xFFFFFFFF, np.uint32)
  for column, bytes_ in enumerate(np.ascontiguousarray(grid.T)):
    new = _TABLE[(crc ^ bytes_) & 0xFF] ^ (crc >> 8)
    crc = np.where(column < lengths, new, crc)
  return ~crc


def masked_crc32c(blocks: Sequence[bytes]) -> np.ndarray:
  """What the format stores: the CRC-32C rotated and shifted, [n] uint32."""
  crc = crc32c(blocks)
  return ((crc >> 15) | (crc << 17)) + np.uint32(0xA282EAD8)


@functools.lru_cache(maxsize=4096)  # few lengths occur, each very often
def _length_crc(head: bytes) -> int:
  return int(masked_crc32c([head])[0])


def batches(path: str | os.PathLike) -> Iterator[list[bytes]]:
  """The records of a file, in lists of up to `BATCH`.

  Raises:
    FileNotFoundError: if there is no such file.
    TableError: if the file is cut short, is no TFRecord or a checksum is wrong;
      it names the record, counted from 0.
  """
  with open(path, 'rb') as file:
    size = os.fstat(file.fileno()).st_size
    done = 0
    while file.tell() < size:
      records, stored = _read_batch(path, file, size, done)
      wrong = np.flatnonzero(masked_crc32c(records) != stored)
      if len(wrong):
        raise _bad(path, done + wrong[0], 'has another checksum than its data')
      yield records
      done += len(records)


def _read_batch(path, file: BinaryIO, size, done):
  """Up to `BATCH` records and the checksums [n] stored of them."""
  records: list[bytes] = []
  stored: list[int] = []
  at = file.tell()
  while at < size and len(records) < BATCH:
    index = done + len(records)
    head = file.read(12)
    if len(head) < 12:
      raise _bad(path, index, 'is cut short')
    length, length_crc = struct.unpack('<QI', head)
    if _length_crc(head[:8]) != length_crc:
      raise _bad(path, index, 'has another checksum than its length')
    at += length + 16
    if at > size:
      raise _bad(path, index, 'is cut short')
    records.append(file.read(length))
    stored.append(int.from_bytes(file.read(4), 'little'))
  return records, np.array(stored, np.uint32)


def _bad(path, index, what) -> TableError:
  return TableError(
    f'{path}: record {index} {what}. Download the file again, and check its '
    'size; a TFRecord file is wanted.'
  )
