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
import errno
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from irlas_jax import strict_json

DATABASE, LOCK = 'ledger.sqlite', 'ledger.lock'
APPLICATION, VERSION = 0x49524C41, 1  # 'IRLA' and the version of the schema
_SCHEMA = f"""
PRAGMA synchronous = FULL;
BEGIN;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE evaluations (
  key TEXT PRIMARY KEY, -- JSON list of the next four
  hash TEXT NOT NULL, settings TEXT NOT NULL, parent TEXT,
  fidelity TEXT NOT NULL, genotype TEXT,
  status TEXT NOT NULL DEFAULT 'started', -- or 'finished'
  attempts INTEGER NOT NULL DEFAULT 0, -- how often started
  started REAL, finished REAL, -- seconds since 1970; of the last attempt
  scores TEXT -- JSON, null is NaN
);
CREATE TABLE proposals (
  iteration INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,
  reward REAL, info TEXT NOT NULL, PRIMARY KEY (iteration, position)
) WITHOUT ROWID;
COMMIT;
"""
_ADD = """
INSERT INTO evaluations (key, hash, settings, parent, fidelity)
VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"""
_START = """
UPDATE evaluations SET started = ?, genotype = coalesce(?, genotype),
  attempts = attempts + 1 WHERE key = ? AND status = 'started'"""
_FINISH = """
UPDATE evaluations SET finished = ?, scores = ?, status = 'finished'
WHERE key = ? AND status = 'started'"""
_FIND = """
FROM evaluations
WHERE key IN (SELECT value FROM json_each(?)) AND status = ?"""


class LedgerError(RuntimeError):
  """Holds (path, what is wrong); its text adds the remedy."""

  remedy = ''

  def __str__(self):
    return '{}: {}. '.format(*self.args) + self.remedy


class LedgerBusy(LedgerError):
  remedy = 'Wait for it, end it, or name another --workdir.'


class LedgerMismatch(LedgerError):
  remedy = 'Name another --workdir, or go back to what ran before.'


class LedgerCorrupt(LedgerError):
  remedy = (
    'The file was left as it is. Move it and its -wal away to begin afresh, '
    'or name another --workdir.'
  )


class LedgerFull(LedgerError):
  remedy = (
    'The disk is full, over quota or failing. Nothing finished before is '
    'lost, only what was being recorded now. Make room and run the same '
    'command again: it continues from there.'
  )


class LedgerUnwritable(LedgerError):
  remedy = 'Name a --workdir that can be created and written.'


# Our SQL is fixed: an error in it (SQLITE_ERROR) means another schema.
_KINDS = {
  sqlite3.SQLITE_BUSY: LedgerBusy,
  sqlite3.SQLITE_FULL: LedgerFull,
  sqlite3.SQLITE_IOERR: LedgerFull,
  sqlite3.SQLITE_CORRUPT: LedgerCorrupt,
  sqlite3.SQLITE_NOTADB: LedgerCorrupt,
  sqlite3.SQLITE_ERROR: LedgerCorrupt,
  sqlite3.SQLITE_READONLY: LedgerUnwritable,
  sqlite3.SQLITE_CANTOPEN: LedgerUnwritable,
}


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

  connection: sqlite3.Connection  # for further queries
  lookup: Callable  # (keys) -> {key: Record}, finished ones, in keys' order
  attempts: Callable  # (keys) -> {key: starts so far}; 0 if new or finished
  start: Callable  # (keys, genotypes=None), before the work; finished: no-op
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
  text, workdir = (
    strict_json.dumps(config, 'config'),
    pathlib.Path(workdir).absolute(),
  )
  path = workdir / DATABASE
  with contextlib.ExitStack() as stack:
    with _named(path):
      workdir.mkdir(parents=True, exist_ok=True)
      stack.callback(_unlock, workdir / LOCK, _lock(workdir / LOCK))
      if not os.path.lexists(path):
        _create(path, text)
      _check(path, json.loads(text), free)
      if not os.access(path, os.W_OK):  # else SQLite opens it to read only
        raise LedgerUnwritable(path, 'no permission to write')
      connection = stack.enter_context(_connected(path, 'mode=rw'))
      connection.execute('PRAGMA synchronous = FULL')
    functions = _lookup, _attempts, _start, _finish, _log, _proposals
    yield Ledger(
      connection, *(functools.partial(f, connection, path) for f in functions)
    )


def _lookup(connection, path, keys) -> dict[str, Record]:
  query, keys = f'SELECT {", ".join(Record._fields)} {_FIND}', list(keys)
  with _named(path):
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
  with _named(path):
    rows = connection.execute(
      f'SELECT key, attempts {_FIND}', (json.dumps(keys), 'started')
    )
    return dict.fromkeys(keys, 0) | dict(rows)


def _start(connection, path, keys, genotypes=None) -> None:
  keys = list(keys)
  texts = [None] * len(keys) if genotypes is None else genotypes
  pairs = dict(zip(keys, texts, strict=True))  # a repeated key starts once
  with _transaction(connection, path):
    connection.executemany(_ADD, map(_columns, pairs))
    rows = ((time.time(), text, key) for key, text in pairs.items())
    connection.executemany(_START, rows)


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
  with _named(path):
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
def _transaction(connection, path):
  """One commit: all of the block, or nothing."""
  with _named(path):
    connection.execute('BEGIN IMMEDIATE')
    try:
      yield
      connection.execute('COMMIT')
    finally:
      if connection.in_transaction:
        connection.execute('ROLLBACK')


@contextlib.contextmanager
def _named(path):
  """Turns what SQLite and the operating system report into our errors."""
  try:
    yield
  except OSError as error:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    raise (LedgerFull if full else LedgerUnwritable)(path, error) from error
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise LedgerCorrupt(path, error) from error
  except sqlite3.Error as error:
    code = getattr(error, 'sqlite_errorcode', -1) & 0xFF  # without its detail
    if code not in _KINDS:
      raise
    raise _KINDS[code](path, error) from error


def _lock(path) -> int:
  """An open file that nobody else can lock as long as this process lives."""
  while True:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      holder = os.read(descriptor, 200).decode() or 'a process just starting'
      os.close(descriptor)
      raise LedgerBusy(path.parent, f'in use by {holder}') from error
    if os.fstat(descriptor).st_nlink:  # else its last holder removed it
      os.ftruncate(descriptor, 0)
      os.write(descriptor, f'pid {os.getpid()} on {os.uname()[1]}'.encode())
      return descriptor
    os.close(descriptor)


def _unlock(path, descriptor) -> None:
  path.unlink(missing_ok=True)  # while it is still ours
  os.close(descriptor)


def _connected(path, query):
  uri = f'{path.as_uri()}?{query}'
  return contextlib.closing(
    sqlite3.connect(uri, uri=True, isolation_level=None)
  )


def _create(path, config) -> None:
  """Makes an empty ledger in one step: it is there whole or not at all."""
  log, new = (path.with_name(path.name + end) for end in ('-wal', '.new'))
  if log.exists():  # SQLite would replay it into the new file
    raise LedgerCorrupt(log, 'the ledger that this log belongs to is gone')
  for leftover in path.parent.glob(f'{new.name}*'):
    leftover.unlink()
  with _connected(new, 'mode=rwc') as connection:
    connection.executescript(_SCHEMA)
    connection.execute("INSERT INTO meta VALUES ('config', ?)", (config,))
    connection.execute('PRAGMA journal_mode = WAL')
  os.replace(new, path)
  folder = os.open(path.parent, os.O_RDONLY)
  os.fsync(folder)
  os.close(folder)


def _check(path, config, free) -> None:
  """Refuses a file that is no ledger, damaged, or of another config.

  Changes nothing: reads without the side files that even a reader makes,
  unless a crash has left a log that has to be read as well.
  """
  log, index = (path.with_name(path.name + end) for end in ('-wal', '-shm'))
  crashed, indexed = log.exists() and log.stat().st_size > 0, index.exists()
  query = 'mode=ro' if crashed else 'mode=ro&immutable=1'
  try:
    with _connected(path, query) as connection:
      old, new = (
        strict_json.flat(_read_config(connection, path)),
        strict_json.flat(config),
      )
      ((page,),) = connection.execute('PRAGMA page_size')
    if path.stat().st_size % page and not crashed:  # SQLite pads it with zeros
      raise LedgerCorrupt(path, 'its last page is cut short')
    places = [
      f'\n  {place}: {old.get(place, "absent")} there, '
      f'{new.get(place, "absent")} now'
      for place in sorted(old.keys() | new.keys())
      if old.get(place) != new.get(place)
      and not any(f'{place}.'.startswith(f'{name}.') for name in free)
    ]
    if places:
      raise LedgerMismatch(path, 'made with another config:' + ''.join(places))
  except BaseException:
    if crashed and not indexed:
      index.unlink(missing_ok=True)
    raise


def _read_config(connection, path) -> dict:
  """The config of a ledger that was found to be ours and whole."""
  for query, wanted, what in (
    ('application_id', APPLICATION, 'an SQLite database, but no ledger; id'),
    ('user_version', VERSION, f'this code reads schema {VERSION}, not'),
    ('quick_check(1)', 'ok', 'damaged,'),
  ):
    ((found,),) = connection.execute(f'PRAGMA {query}')
    if found != wanted:
      raise LedgerCorrupt(path, f'{what} {found}')
  ((text,),) = connection.execute('SELECT value FROM meta')
  return json.loads(text)
