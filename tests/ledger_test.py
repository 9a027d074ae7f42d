"""The ledger: what it answers, what it refuses, and what survives a crash."""

import fcntl
import math
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from irlas_jax import ledger, ledger_file

ROOT = str(pathlib.Path(ledger.__file__).parents[1])
CONFIG = {'space': {'name': 'block', 'layers': 12}, 'search': {'budget': 9}}


def _key(i=0, **changes):
  parts = {'hash': f'{i:x}', 'settings': {'lr': 0.1}, 'fidelity': 12}
  return ledger.record_key(**(parts | changes))


def _files(folder):
  return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _fill(workdir, n=3):
  with ledger.open(workdir, CONFIG) as book:
    book.finish({_key(i): {'accuracy': i / 10} for i in range(n)})
  return workdir / ledger.DATABASE


def _python(code, *arguments, **options):
  program = f'import os, sys; from irlas_jax import ledger\n{code}'
  return subprocess.Popen(
    [sys.executable, '-c', program, *map(str, arguments)],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
    **options,
  )


HOLD = """
with ledger.open(sys.argv[1], {'space': {'name': 'block', 'layers': 12},
                               'search': {'budget': 9}}) as book:
  book.finish({ledger.record_key('f00', {'lr': 0.1}, 12): {'accuracy': 0.5}})
  print('held', flush=True)
  sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
  """A process that has finished one row of `tmp_path` and holds it open."""
  process = _python(HOLD, tmp_path, stdin=subprocess.PIPE)
  assert process.stdout.readline() == 'held\n'
  yield process
  process.kill()
  process.communicate()


# Keys and fingerprints.


def test_key_tells_every_part_apart():
  """Two evaluations that differ anywhere must not share a result."""
  keys = {
    _key(),
    _key(1),
    _key(settings={'lr': 0.2}),
    _key(fidelity={'epochs': 12}),
    _key(parent='0'),
    _key(hash='0,1'),
  }
  assert len(keys) == 6


def test_key_takes_settings_or_their_fingerprint_in_any_order():
  """A reordered config must find what was finished before."""
  settings, turned = {'a': 1, 'b': [2, None]}, {'b': (2, None), 'a': 1}
  assert ledger.fingerprint(settings) == ledger.fingerprint(turned)
  assert _key(settings=settings) == _key(settings=ledger.fingerprint(turned))


@pytest.mark.parametrize(
  'config, name',
  [
    ({'a': {'b': [1, {2}]}}, r'config\.a\.b\[1\] is \{2\}'),
    ({'a': math.nan}, r'config\.a is nan'),
    ({'a': -math.inf}, r'config\.a is -inf'),
    ({'a': np.zeros(2)}, r'config\.a is array'),
    ({'a': {3: 4}}, r'config\.a is \{3: 4\}'),
  ],
)
def test_fingerprint_names_what_json_does_not_have(config, name):
  """A value stored by accident of its repr would change between runs."""
  with pytest.raises(ValueError, match=name):
    ledger.fingerprint(config)


def test_writing_an_unmade_key_is_refused(tmp_path):
  """A bare hash would mix evaluations of different settings."""
  with ledger.open(tmp_path, CONFIG) as book:
    for key in ('3fa9', '[1,2,3,4]', _key().replace(',', ', '), None):
      with pytest.raises(ValueError, match='record_key'):
        book.start([key])
    with pytest.raises(ValueError, match='hash 7'):
      ledger.record_key(7, {}, 12)
    assert book.lookup(['3fa9']) == {}


# Answers.


def test_life_of_an_evaluation(tmp_path):
  """Counts and answers follow new -> started -> finished, over two runs."""
  a, b, c = map(_key, range(3))
  before = time.time()
  with ledger.open(tmp_path, CONFIG) as book:
    book.start([a, b, a], ['gene a', 'gene b', 'gene a'])
    book.start([a])
    assert book.attempts([c, b, a]) == {c: 0, b: 1, a: 2}
    assert book.lookup([a, b, c]) == {}
    book.finish({a: {'accuracy': 0.5}})
  with ledger.open(tmp_path, CONFIG) as book:
    book.start([a])
    book.finish({a: {'accuracy': 0.9}, c: {'accuracy': 0.1}})
    assert book.attempts([a, b, c]) == {a: 0, b: 1, c: 0}
    found = book.lookup([c, b, a, c])
  assert list(found) == [c, a]
  first = found[a]
  assert before <= first.started <= first.finished <= time.time()
  assert first.scores == {'accuracy': 0.5}
  settings = ledger.fingerprint({'lr': 0.1})
  assert first[:6] == (a, '0', settings, None, 'gene a', 2)
  assert (found[c].attempts, found[c].started) == (0, None)


def test_parts_are_columns_and_come_back(tmp_path):
  """People query the parts of a key without taking it apart."""
  key = _key(10, fidelity={'epochs': 2}, parent='b')
  with ledger.open(tmp_path, CONFIG) as book:
    book.finish({key: {}})
    record = book.lookup([key])[key]
    query = 'SELECT hash, fidelity, parent, status FROM evaluations'
    row = book.connection.execute(query).fetchone()
  assert (record.hash, record.parent) == ('a', 'b')
  assert record.fidelity == {'epochs': 2}
  assert row == ('a', '{"epochs":2}', 'b', 'finished')


def test_every_float_comes_back_to_the_bit(tmp_path):
  """A replay from rounded scores would propose something else."""
  rng = np.random.default_rng(0)
  single = rng.integers(0, 2**32, 2000, dtype=np.uint32).view(np.float32)
  double = rng.integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)
  special = [0.0, -0.0, 5e-324, math.inf, -math.inf, math.nan, 1e308]
  row = {'single': single, 'double': list(double), 'special': special}
  with ledger.open(tmp_path, CONFIG) as book:
    book.finish({_key(): row})
    back = book.lookup([_key()])[_key()].scores
  for name, values in row.items():
    wanted = np.asarray(values)
    found = np.asarray(back[name], wanted.dtype)
    np.testing.assert_array_equal(found, wanted)
    signs = np.signbit(found) == np.signbit(wanted)
    assert np.all(signs | np.isnan(wanted))


def test_numpy_scalars_keep_their_kind(tmp_path):
  """An index that comes back as a float, or True as 1, breaks its reader."""
  row = {
    'index': np.int32(7),
    'good': np.bool_(True),
    'accuracy': np.float32(0.1),
    'curve': [np.float32(0.5), np.nan],
    'why': 'null',
  }
  with ledger.open(tmp_path, CONFIG) as book:
    book.finish({_key(): row})
    back = book.lookup([_key()])[_key()].scores
  assert back['index'] == 7 and isinstance(back['index'], int)
  assert back['good'] is True and back['why'] == 'null'
  assert back['accuracy'] == float(np.float32(0.1))
  assert back['curve'][0] == 0.5 and math.isnan(back['curve'][1])


def test_sql_reads_the_scores(tmp_path):
  """The text must be strict JSON, or every query fails on one NaN."""
  rows = [math.nan, 0.25, 0.75, math.inf]
  with ledger.open(tmp_path, CONFIG) as book:
    book.finish({_key(i): {'x': x} for i, x in enumerate(rows)})
    query = """SELECT min(json_valid(scores)), count(scores ->> 'x'),
      max(scores ->> 'x'), min(scores ->> 'x') FROM evaluations"""
    assert book.connection.execute(query).fetchone() == (1, 3, math.inf, 0.25)


@pytest.mark.parametrize('value', [None, 1j, object(), {1: 2}])
def test_scores_that_are_no_numbers_are_refused_whole(tmp_path, value):
  """None would come back as NaN; and half a batch must not be recorded."""
  with ledger.open(tmp_path, CONFIG) as book:
    with pytest.raises(ValueError, match='scores.x'):
      book.finish({_key(0): {'x': 1}, _key(1): {'x': value}})
    assert book.lookup([_key(0)]) == {}


def test_log_keeps_the_order_and_repeats(tmp_path):
  """A replay logs everything again and must change nothing."""
  rows = [
    ledger.Proposal(1, 0, _key(3), math.inf),
    ledger.Proposal(0, 1, _key(2), np.float32(0.1), {'arms': [1, 2]}),
    ledger.Proposal(0, 0, _key(2), -0.5),
  ]
  with ledger.open(tmp_path, CONFIG) as book:
    book.log(rows[1:])
    book.log(rows)
    assert book.proposals() == rows[::-1]
    book.log([ledger.Proposal(2, 0, _key(), math.nan)])
    assert math.isnan(book.proposals()[-1].reward)


def test_replay_that_diverges_is_refused(tmp_path):
  """Two searches in one log would look like one that never happened."""
  with ledger.open(tmp_path, CONFIG) as book:
    book.log([ledger.Proposal(4, 0, _key(1), 0.5)])
    other = [ledger.Proposal(p, 0, _key(2), 0.5) for p in (3, 4)]
    with pytest.raises(ledger.LedgerMismatch, match='iteration 4, position 0'):
      book.log(other)
    assert len(book.proposals()) == 1


def test_a_user_exception_passes_and_frees_the_ledger(tmp_path):
  """An OSError of the search's own must not be reported as the ledger's."""
  with pytest.raises(OSError, match='mine'):
    with ledger.open(tmp_path, CONFIG):
      raise OSError('mine')
  with ledger.open(tmp_path, CONFIG):
    pass
  assert list(_files(tmp_path)) == [ledger.DATABASE]


def test_use_after_the_block_is_told_apart_from_damage(tmp_path):
  """A programming mistake must not be reported as a damaged file."""
  with ledger.open(tmp_path, CONFIG) as book:
    pass
  with pytest.raises(sqlite3.ProgrammingError):
    book.lookup([_key()])


def test_import_is_light():
  """`--help` must not wait for jax."""
  code = "print({'jax', 'numpy'} & set(sys.modules))"
  assert _python(code).communicate()[0] == 'set()\n'


# One process at a time.


def test_second_open_in_the_same_process_is_refused(tmp_path):
  """Two searches in one process would count attempts twice."""
  with ledger.open(tmp_path, CONFIG) as book:
    with pytest.raises(ledger.LedgerBusy, match=f'pid {os.getpid()} '):
      with ledger.open(tmp_path, CONFIG):
        pass
    book.finish({_key(): {}})  # the refusal took nothing from the first


def test_second_process_is_refused_at_once_until_the_first_is_killed(
  tmp_path, holder
):
  """The error names workdir and pid; `kill -9` leaves no stale lock."""
  begin = time.perf_counter()
  with pytest.raises(ledger.LedgerBusy) as refusal:
    with ledger.open(tmp_path, CONFIG):
      pass
  assert time.perf_counter() - begin < 1
  assert str(tmp_path) in str(refusal.value)
  assert f'pid {holder.pid} ' in str(refusal.value)
  holder.kill()
  holder.wait()
  with ledger.open(tmp_path, CONFIG) as book:
    assert _key(0xF00) in book.lookup([_key(0xF00)])


def test_lock_file_removed_under_the_hand_is_not_trusted(tmp_path, monkeypatch):
  """Between opening and locking, its last holder may remove the lock file."""
  flock, path = fcntl.flock, tmp_path / ledger_file.LOCK

  def late(descriptor, operation):
    monkeypatch.setattr(fcntl, 'flock', flock)
    path.unlink()
    return flock(descriptor, operation)

  monkeypatch.setattr(fcntl, 'flock', late)
  with ledger.open(tmp_path, CONFIG):
    assert path.read_text().startswith(f'pid {os.getpid()} ')
    with pytest.raises(ledger.LedgerBusy):
      with ledger.open(tmp_path, CONFIG):
        pass


# Another config.


def _change(place, value):
  config = {name: dict(fields) for name, fields in CONFIG.items()}
  head, tail = place.split('.')
  config.setdefault(head, {})[tail] = value
  return config


def test_mismatch_names_every_field_and_the_remedy(tmp_path):
  """Who is refused must see what to change, and nothing may be written."""
  _fill(tmp_path)
  before = _files(tmp_path)
  config = {'space': {'name': 'cell', 'layers': 12}, 'seed': 3}
  with pytest.raises(ledger.LedgerMismatch) as refusal:
    with ledger.open(tmp_path, config):
      pass
  text = str(refusal.value)
  assert str(tmp_path) in text and '--workdir' in text
  assert 'space.name: "block" there, "cell" now' in text
  assert 'search.budget: 9 there, absent now' in text
  assert 'seed: absent there, 3 now' in text
  assert 'layers' not in text
  assert _files(tmp_path) == before


@pytest.mark.parametrize(
  'place, value', [('search.budget', 10), ('search.workers', 2)]
)
def test_free_fields_may_differ(tmp_path, place, value):
  """A finished search is continued with a larger budget."""
  _fill(tmp_path)
  other = _change(place, value)
  for free in [(place,), ('search',)]:
    with ledger.open(tmp_path, other, free=free) as book:
      assert len(book.lookup([_key(1)])) == 1
  for free in [(), ('sea',), ('search.bud',), ('search.budget.x',)]:
    with pytest.raises(ledger.LedgerMismatch, match=place):
      with ledger.open(tmp_path, other, free=free):
        pass


def test_mismatch_after_a_crash_leaves_the_log_alone(tmp_path, holder):
  """A refusal must not fold the crashed run's log into its file."""
  holder.kill()
  holder.wait()
  before = _files(tmp_path)
  assert len(before[ledger.DATABASE + '-wal']) > 0
  (tmp_path / ledger_file.LOCK).unlink()
  for present in (True, False):
    if not present:
      (tmp_path / (ledger.DATABASE + '-shm')).unlink()
    before = _files(tmp_path)
    with pytest.raises(ledger.LedgerMismatch, match='seed'):
      with ledger.open(tmp_path, CONFIG | {'seed': 1}):
        pass
    after = _files(tmp_path)
    assert after.keys() == before.keys()
    for name in (ledger.DATABASE, ledger.DATABASE + '-wal'):
      assert after[name] == before[name]
  with ledger.open(tmp_path, CONFIG) as book:
    assert len(book.lookup([_key(0xF00)])) == 1


# Damage.


def _overwritten(path):
  data = bytearray(path.read_bytes())
  data[4096:8192] = random.Random(0).randbytes(4096)
  path.write_bytes(data)


def _foreign(path):
  path.unlink()
  with sqlite3.connect(path) as connection:
    connection.execute('CREATE TABLE mine (x)')
  connection.close()


def _sql(*statements):
  def damage(path):
    with sqlite3.connect(path) as connection:
      for statement in statements:
        connection.execute(statement)
    connection.close()

  return damage


def _cut(size):
  return lambda path: os.truncate(path, path.stat().st_size - size)


DAMAGE = {
  'random': lambda path: path.write_bytes(random.Random(0).randbytes(9000)),
  'random page': _overwritten,
  'text': lambda path: path.write_text('a text file\n' * 99),
  'empty': lambda path: path.write_bytes(b''),
  'header only': lambda path: os.truncate(path, 100),
  'a page short': _cut(4096),
  'a byte short': _cut(1),
  'foreign': _foreign,
  'other version': _sql('PRAGMA user_version = 2'),
  'no config': _sql('DROP TABLE meta'),
  'bad config': _sql("UPDATE meta SET value = '{'"),
}


@pytest.mark.parametrize('name', DAMAGE)
def test_damaged_file_is_refused_untouched(tmp_path, name):
  """Opening must not repair, extend or replace what it cannot read."""
  path = _fill(tmp_path, 50)
  DAMAGE[name](path)
  before = _files(tmp_path)
  with pytest.raises(ledger.LedgerCorrupt) as refusal:
    with ledger.open(tmp_path, CONFIG):
      pass
  assert str(path) in str(refusal.value) and '--workdir' in str(refusal.value)
  assert _files(tmp_path) == before


@pytest.mark.parametrize('name', ['random page', 'text', 'header only'])
def test_damage_beside_a_crashed_log_is_refused_untouched(
  tmp_path, holder, name
):
  """The log of a crash is evidence too; reading it must not use it up."""
  holder.kill()
  holder.wait()
  (tmp_path / ledger_file.LOCK).unlink()
  (tmp_path / (ledger.DATABASE + '-shm')).unlink()
  DAMAGE[name](tmp_path / ledger.DATABASE)
  before = _files(tmp_path)
  with pytest.raises(ledger.LedgerCorrupt):
    with ledger.open(tmp_path, CONFIG):
      pass
  assert _files(tmp_path) == before


def test_log_without_its_ledger_is_refused(tmp_path, holder):
  """SQLite would replay the old log into the new, empty file."""
  holder.kill()
  holder.wait()
  (tmp_path / ledger.DATABASE).unlink()
  with pytest.raises(ledger.LedgerCorrupt, match='-wal: .* is gone'):
    with ledger.open(tmp_path, CONFIG):
      pass
  assert not (tmp_path / ledger.DATABASE).exists()


def test_scores_damaged_by_hand_are_reported(tmp_path):
  """What is found only on reading must name the file as well."""
  path = _fill(tmp_path)
  _sql("UPDATE evaluations SET scores = '{'")(path)
  with ledger.open(tmp_path, CONFIG) as book:
    with pytest.raises(ledger.LedgerCorrupt, match=str(path)):
      book.lookup([_key(0)])


def test_crash_while_being_made_is_made_again(tmp_path):
  """Half a new file and its journal are not a ledger and not in the way."""
  for end in ('.new', '.new-journal', '.new-wal'):
    (tmp_path / (ledger.DATABASE + end)).write_bytes(b'half')
  _fill(tmp_path)
  assert list(_files(tmp_path)) == [ledger.DATABASE]


# No room, no permission.


def test_full_database_keeps_earlier_rows_and_goes_on(tmp_path):
  """Nothing finished is lost, and the same rows fit once there is room."""
  big = {_key(i): {'curve': np.linspace(0, 1, 999)} for i in range(5, 25)}
  with ledger.open(tmp_path, CONFIG) as book:
    book.finish({_key(0): {'accuracy': 0.5}})
    book.connection.execute('PRAGMA max_page_count = 12')
    with pytest.raises(ledger.LedgerFull, match='Nothing finished before is'):
      book.finish(big)
    assert list(book.lookup([_key(0), *big])) == [_key(0)]
    book.connection.execute('PRAGMA max_page_count = 1000000')
    book.finish(big)
  with ledger.open(tmp_path, CONFIG) as book:
    assert len(book.lookup([_key(0), *big])) == 21


FULL = """
import resource, numpy
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # -1: none
key = lambda i: ledger.record_key(f'{i:x}', {'lr': 0.1}, 12)
try:
  with ledger.open(sys.argv[1], {}) as book:
    for i in range(60):
      book.start([key(i)])
      book.finish({key(i): {'curve': numpy.linspace(i, 1, 200)}})
      print(i, flush=True)
except ledger.LedgerFull as error:
  print(error)
"""


@pytest.mark.parametrize('limit', [0, 20_000, 100_000, 200_000])
def test_full_disk_ends_clearly_and_the_same_command_continues(tmp_path, limit):
  """Wherever room runs out, what was acknowledged is there afterwards."""
  out, error = _python(FULL, tmp_path, limit).communicate()
  *done, message = out.splitlines()
  assert error == '' and 'continues from there' in message
  assert str(tmp_path) in message and len(done) < 60
  out, error = _python(FULL, tmp_path, -1).communicate()
  assert error == '' and len(out.splitlines()) == 60
  with ledger.open(tmp_path, {}) as book:
    found = book.lookup([_key(i) for i in range(60)])
    assert [row.scores['curve'][0] for row in found.values()] == list(range(60))
    assert [found[_key(i)].attempts for i in range(len(done))] == [1] * len(
      done
    )


@pytest.mark.parametrize('under', ['', 'below'])
def test_file_in_place_of_the_workdir(tmp_path, under):
  """The error says which path, not just errno 17."""
  (tmp_path / 'x').write_text('not a folder')
  with pytest.raises(ledger.LedgerUnwritable, match='x.*--workdir'):
    with ledger.open(tmp_path / 'x' / under, CONFIG):
      pass


@pytest.fixture
def public():
  """A folder that users other than us can enter."""
  with tempfile.TemporaryDirectory() as name:
    os.chmod(name, 0o755)
    yield pathlib.Path(name)


@pytest.mark.parametrize(
  'modes, message', [((0o644, 0o555), 'denied'), ((0o444, 0o777), 'to write')]
)
def test_no_permission_is_refused_when_opened(public, modes, message):
  """A read-only place found only after the first training is a day lost."""
  path = _fill(public / 'run')
  before = _files(path.parent)
  path.chmod(modes[0])
  path.parent.chmod(modes[1])
  code = """
if not os.getuid():  # nothing is forbidden to root
  os.setuid(65534)
try:
  with ledger.open(sys.argv[1], {'space': {'name': 'block', 'layers': 12},
                                 'search': {'budget': 9}}):
    print('opened')
except ledger.LedgerUnwritable as error:
  print(error)
"""
  out, error = _python(code, path.parent).communicate()
  path.parent.chmod(0o755)
  assert error == '' and message in out and 'created and written' in out, out
  assert _files(path.parent) == before


# Crashes.

WORK = """
import itertools
with ledger.open(sys.argv[1], {}) as book:
  for i in itertools.count():
    keys = [ledger.record_key(f'{sys.argv[2]}-{i}-{j}', 's', 1)
            for j in range(3)]
    book.start(keys, ['gene'] * 3)
    print('started', *keys, sep='\\t', flush=True)
    book.finish({key: {'accuracy': 0.1, 'curve': [float(i)]} for key in keys})
    print('finished', *keys, sep='\\t', flush=True)
"""


def test_kill_at_any_moment_loses_nothing_acknowledged(tmp_path):
  """What the process said it had recorded must be there after `kill -9`."""
  rng, started, finished = random.Random(0), set(), set()
  for turn in range(10):
    process = _python(WORK, tmp_path, turn)
    if turn % 3:  # every third is killed while it starts up
      process.stdout.readline()
    time.sleep(rng.uniform(0.0, 0.15))
    process.send_signal(signal.SIGKILL)
    out = process.communicate()[0]
    for line in out.splitlines(keepends=True):
      if line.endswith('\n'):
        what, *keys = line.rstrip('\n').split('\t')
        {'started': started, 'finished': finished}[what].update(keys)
  with ledger.open(tmp_path, {}) as book:
    found = book.lookup(finished)
    assert found.keys() == finished and len(finished) > 20
    assert all(row.scores['accuracy'] == 0.1 for row in found.values())
    known = book.lookup(started).keys()
    assert all(n > 0 for n in book.attempts(started - known).values())
    check = book.connection.execute('PRAGMA integrity_check').fetchone()
    assert check == ('ok',)


def test_withdrawn_start_does_not_count(tmp_path):
  """Otherwise a user who interrupts twice would have a child given up."""
  one, two = _key(1), _key(2)
  with ledger.open(tmp_path, CONFIG) as book:
    book.start([one, two])
    book.withdraw([one])
    assert book.attempts([one, two]) == {one: 0, two: 1}
    book.withdraw([one])  # never below none
    assert book.attempts([one]) == {one: 0}
    book.finish({two: {'accuracy': 0.5}})
    book.withdraw([two])  # what is finished stays
    assert book.lookup([two])[two].attempts == 1


def test_a_start_that_is_not_synced_is_a_start(tmp_path):
  """And what is written after it is as durable as ever."""
  with ledger.open(tmp_path, {}) as book:
    book.start([_key()], ['text'], False)
    assert book.attempts([_key()]) == {_key(): 1}
    with pytest.raises(ValueError):
      book.start(['unmade'], ['text'], False)
    ((level,),) = book.connection.execute('PRAGMA synchronous')
    assert level == 2  # FULL
    book.finish({_key(): {'accuracy': 0.5}})
    assert book.lookup([_key()])[_key()].genotype == 'text'
