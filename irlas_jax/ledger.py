"""Every evaluation of a search, durable, in one SQLite file of its workdir.

What holds: the file is in write-ahead-log mode with `synchronous=FULL`, so a
function that writes returns after its one commit was synced to the disk.
`kill -9` loses nothing acknowledged, nor does a loss of power where the disk
honours a flush (`NORMAL` would lose the last commits then, to save some
milliseconds beside a training). A commit may be durable before it is
acknowledged, so every write can be repeated. What a damaged log no longer
tells is evaluated again; damage that leaves a file well-formed (a flipped
digit) goes unnoticed. One machine at a time: neither the lock nor the log
works between machines that share a disk.

Scores are stored as `strict_json` writes measured values: exactly, NaN as null.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from irlas_jax import ledger_file, strict_json
from irlas_jax.ledger_file import (
  DATABASE,
  LedgerBusy,
  LedgerCorrupt,
  LedgerError,
  LedgerFull,
  LedgerMismatch,
  LedgerUnwritable,
)

__all__ = [
  'DATABASE',
  'Ledger',
  'LedgerBusy',
  'LedgerCorrupt',
  'LedgerError',
  'LedgerFull',
  'LedgerMismatch',
  'LedgerUnwritable',
  'Proposal',
  'Record',
  'fingerprint',
  'open',
  'record_key',
]

_ADD = """
INSERT INTO evaluations (key, hash, settings, parent, fidelity)
VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"""
_START = """
UPDATE evaluations SET started = ?, genotype = coalesce(?, genotype),
  attempts = attempts + 1 WHERE key = ? AND status = 'started'"""
_WITHDRAW = """
UPDATE evaluations SET attempts = attempts - 1
WHERE key = ? AND status = 'started' AND attempts > 0"""
_FINISH = """
UPDATE evaluations SET finished = ?, scores = ?, status = 'finished'
WHERE key = ? AND status = 'started'"""
_FIND = """
FROM evaluations
WHERE key IN (SELECT value FROM json_each(?)) AND status = ?"""


class Record(NamedTuple):
  """One finished evaluation; times in seconds since 1970."""

  key: str
  hash: str
  settings: str  # fingerprint
  parent: str | None
  genotype: str | None
  attempts: int  # how often started; 0 if finished without a start
  started: float | None  # the last attempt
  finished: float
  fidelity: Any
  scores: dict[str, Any]


class Proposal(NamedTuple):
  """What a search asked for at one place of its order, and what it got."""

  iteration: int
  position: int  # in the iteration's batch
  key: str
  reward: float
  info: dict[str, Any] = {}  # further values, stored like scores


class Ledger(NamedTuple):
  """An open ledger, for the thread that opened it. Writes are all or nothing.

  All raise a `LedgerError`; writing a key that `record_key` did not make, or
  scores that are no numbers, is a ValueError.
  """

  # For further queries; None where another process has it.
  connection: sqlite3.Connection | None
  lookup: Callable  # (keys) -> {key: Record}, finished ones, in keys' order
  attempts: Callable  # (keys) -> {key: starts so far}; 0 if new or finished
  # (keys, genotypes=None, synced=True), before the work; finished: no-op. What
  # is not synced is so with the next write, and a loss of power may undo it.
  start: Callable
  withdraw: Callable  # (keys): a start that the user broke off does not count
  finish: Callable  # ({key: scores}), after the work; the first result stays
  log: Callable  # (Proposals); a repeat is a no-op, another key a Mismatch
  proposals: Callable  # () -> [Proposal] by iteration and position


def fingerprint(config: Any, name: str = 'config') -> str:
  """32 hex digits of the JSON value alone, whatever the order of its keys.

  A value that JSON does not have (NaN too) is a ValueError with its dotted
  name, which starts with `name`.
  """
  return hashlib.sha256(strict_json.dumps(config, name).encode()).hexdigest()[
    :32
  ]


def record_key(
  hash: str, settings: Any, fidelity: Any, parent: str | None = None
) -> str:
  """What an evaluation is remembered under: equal iff all four are.

  `settings` are the evaluator's or their fingerprint, `parent` names whose
  weights it started from. ValueError for what JSON does not have.
  """
  if not isinstance(hash, str) or not isinstance(parent, str | None):
    raise ValueError(f'hash {hash!r} and parent {parent!r} must be strings.')
  if not isinstance(settings, str):
    settings = fingerprint(settings, 'settings')
  parts = map(json.dumps, (hash, settings, parent))
  return f'[{",".join((*parts, strict_json.dumps(fidelity, "fidelity")))}]'


@contextlib.contextmanager
def open(
  workdir: str | os.PathLike, config: dict, free: tuple[str, ...] = ()
) -> Iterator[Ledger]:
  """The ledger of `workdir`, made if there is none; ours until the block ends.

  `config` is plain JSON. Dotted names in `free` (and all under them) may differ
  from the config it was made with, which stays the stored one. Raises the
  errors above, and then leaves what it found as it was.
  """
  text, folder = strict_json.dumps(config, 'config'), pathlib.Path(workdir)
  path = folder.absolute() / DATABASE
  with ledger_file.opened(path, text, free) as connection:
    functions = (
      _lookup,
      _attempts,
      _start,
      _withdraw,
      _finish,
      _log,
      _proposals,
    )
    yield Ledger(
      connection, *(functools.partial(f, connection, path) for f in functions)
    )


def _lookup(connection, path, keys) -> dict[str, Record]:
  query, keys = f'SELECT {", ".join(Record._fields)} {_FIND}', list(keys)
  with ledger_file.named(path):
    rows = connection.execute(query, (json.dumps(keys), 'finished'))
    records = (
      Record._make(
        (*row[:8], json.loads(row[8]), strict_json.numbers(json.loads(row[9])))
      )
      for row in rows
    )
    found = {record.key: record for record in records}
  return {key: found[key] for key in keys if key in found}


def _attempts(connection, path, keys) -> dict[str, int]:
  keys = list(keys)
  with ledger_file.named(path):
    rows = connection.execute(
      f'SELECT key, attempts {_FIND}', (json.dumps(keys), 'started')
    )
    return dict.fromkeys(keys, 0) | dict(rows)


def _start(connection, path, keys, genotypes=None, synced=True) -> None:
  keys = list(keys)
  texts = [None] * len(keys) if genotypes is None else genotypes
  pairs = dict(zip(keys, texts, strict=True))  # a repeated key starts once
  with _transaction(connection, path, synced):
    connection.executemany(_ADD, map(_columns, pairs))
    rows = ((time.time(), text, key) for key, text in pairs.items())
    connection.executemany(_START, rows)


def _withdraw(connection, path, keys) -> None:
  with _transaction(connection, path):
    connection.executemany(_WITHDRAW, [(key,) for key in keys])


def _finish(connection, path, scores) -> None:
  texts = {
    key: strict_json.dumps(row, 'scores', True) for key, row in scores.items()
  }
  with _transaction(connection, path):
    connection.executemany(_ADD, map(_columns, texts))
    rows = ((time.time(), text, key) for key, text in texts.items())
    connection.executemany(_FINISH, rows)


def _log(connection, path, proposals) -> None:
  rows = [
    (
      int(i),
      int(j),
      _columns(key)[0],
      float(reward),
      strict_json.dumps(info, 'info', True),
    )
    for i, j, key, reward, info in proposals
  ]
  add = 'INSERT INTO proposals VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING'
  find = 'SELECT key FROM proposals WHERE iteration = ? AND position = ?'
  with _transaction(connection, path):
    connection.executemany(add, rows)
    for i, j, key, *_ in rows:
      ((logged,),) = connection.execute(find, (i, j))
      if logged != key:
        what = f'at iteration {i}, position {j} the replay proposed {key} and '
        why = f'not {logged}: the code, a library or the device has changed'
        raise LedgerMismatch(path, what + why)


def _proposals(connection, path) -> list[Proposal]:
  query = 'SELECT * FROM proposals ORDER BY iteration, position'
  with ledger_file.named(path):
    return [
      Proposal(
        i,
        j,
        key,
        strict_json.numbers(reward),
        strict_json.numbers(json.loads(info)),
      )
      for i, j, key, reward, info in connection.execute(query)
    ]


def _columns(key) -> tuple:
  """(key, hash, settings, parent, fidelity as JSON)."""
  try:
    hash, settings, parent, fidelity = json.loads(key)
    if record_key(hash, settings, fidelity, parent) != key:
      raise ValueError('its JSON is not canonical')
  except (TypeError, ValueError) as error:
    raise ValueError(f'{key!r} was not made by ledger.record_key.') from error
  return key, hash, settings, parent, strict_json.dumps(fidelity, 'fidelity')


@contextlib.contextmanager
def _transaction(connection, path, synced=True):
  """One commit: all of the block, or nothing."""
  with ledger_file.named(path):
    if not synced:
      connection.execute('PRAGMA synchronous = NORMAL')
    connection.execute('BEGIN IMMEDIATE')
    try:
      yield
      connection.execute('COMMIT')
    finally:
      if connection.in_transaction:
        connection.execute('ROLLBACK')
      if not synced:
        connection.execute('PRAGMA synchronous = FULL')
