"""The ledger's file: who may open it, and what it has to be.

A workdir is locked for one process by the operating system, which frees it
when that process ends. A file is made whole or not at all, and checked before
anything is written to it.
"""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import sqlite3
from collections.abc import Iterator

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


class LedgerError(RuntimeError):
  """Holds (path, what is wrong); its text adds the remedy."""

  remedy = ''

  def __str__(self):
    return '{}: {}. '.format(*self.args) + self.remedy


class LedgerBusy(LedgerError):
  """Another process holds the workdir."""

  remedy = 'Wait for it, end it, or name another --workdir.'


class LedgerMismatch(LedgerError):
  """The workdir is another search's: its config or its proposals differ."""

  remedy = 'Name another --workdir, or go back to what ran before.'


class LedgerCorrupt(LedgerError):
  """The file is damaged, or no ledger of this version."""

  remedy = (
    'The file was left as it is. Move it and its -wal away to begin afresh, '
    'or name another --workdir.'
  )


class LedgerFull(LedgerError):
  """The disk takes no more."""

  remedy = (
    'The disk is full, over quota or failing. Nothing finished before is '
    'lost, only what was being recorded now. Make room and run the same '
    'command again: it continues from there.'
  )


class LedgerUnwritable(LedgerError):
  """The workdir cannot be created or written."""

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


@contextlib.contextmanager
def opened(
  path: pathlib.Path, config: str, free: tuple[str, ...]
) -> Iterator[sqlite3.Connection]:
  """A connection to the checked ledger at `path`, ours until the block ends.

  `config` is JSON; dotted names in `free` may differ from the stored one.
  """
  workdir = path.parent
  with contextlib.ExitStack() as stack:
    with named(path):
      workdir.mkdir(parents=True, exist_ok=True)
      stack.callback(_unlock, workdir / LOCK, _lock(workdir / LOCK))
      if not os.path.lexists(path):
        _create(path, config)
      _check(path, json.loads(config), free)
      if not os.access(path, os.W_OK):  # else SQLite opens it to read only
        raise LedgerUnwritable(path, 'no permission to write')
      connection = stack.enter_context(_connected(path, 'mode=rw'))
      connection.execute('PRAGMA synchronous = FULL')
    yield connection


@contextlib.contextmanager
def named(path):
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
