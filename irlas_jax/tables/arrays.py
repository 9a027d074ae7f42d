"""The arrays of an `.npz` file: read, written, and checked one by one.

The checks name the array and its first bad row; `load.load` adds the file and
what to do about it.
"""

import contextlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from irlas_jax.tables.table import TableError

Arrays = Mapping[str, np.ndarray]

INTEGERS, NUMBERS, TEXTS = 'iu', 'fiu', 'SU'  # kinds of dtype
_WORDS = {INTEGERS: 'integers', NUMBERS: 'numbers', TEXTS: 'strings'}
# What NumPy raises of a file that is damaged, cut short or of another kind.
_UNREADABLE = (ValueError, EOFError, KeyError, MemoryError)
_DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError)


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """All arrays of an `.npz` file. Nothing in it is executed: no pickles.

  Raises:
    FileNotFoundError: if there is no such file; it says where to name one.
    TableError: if it is damaged, or holds something else than arrays.
  """
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise FileNotFoundError(
      f'{path}: no such file. Name the table with the config field '
      '`evaluator.file`, or set the environment variable IRLAS_DATA_DIR to '
      'the folder that holds it.'
    )
  with _refused(str(path)), path.open('rb') as file:
    if not zipfile.is_zipfile(file):
      raise ValueError('this is no .npz file')
    file.seek(0)
    data = np.load(file, allow_pickle=False)
    return {name: _member(path, data, name) for name in data.files}


def _member(path, data, name):
  with _refused(f'{path}: `{name}`'):
    value = data[name]
    if not isinstance(value, np.ndarray):  # some other file in the archive
      raise ValueError('this is no array')
    return value


@contextlib.contextmanager
def _refused(place) -> Iterator[None]:
  """Turns what NumPy says of a bad file into one line that names the place."""
  try:
    yield
  except TableError:
    raise
  except (*_UNREADABLE, *_DAMAGED) as error:
    reason = ' '.join(str(error).split()).rstrip('.') or type(error).__name__
    raise TableError(
      f'{place}: cannot be read ({reason}). Get the file anew, or write it '
      'with numpy.savez_compressed from arrays that are not of dtype object.'
    ) from error


def check_target(path: str | os.PathLike) -> pathlib.Path:
  """Where a file is to be written; its folder is made.

  Raises:
    OSError: if none can be written there.
  """
  path = pathlib.Path(path).expanduser()
  if path.is_dir():
    raise IsADirectoryError(f'{path}: is a folder. Name a file to write.')
  path.parent.mkdir(parents=True, exist_ok=True)
  _part(path).touch()
  _part(path).unlink()
  return path


def _part(path):
  return path.with_name(path.name + '.part')


def write(path: str | os.PathLike, arrays: Arrays) -> None:
  """Writes an `.npz` file, whole or not at all."""
  path = check_target(path)
  with _part(path).open('wb') as file:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
  os.replace(_part(path), path)


def get(
  arrays: Arrays, name: str, shape: Sequence[int | None], kinds: str
) -> np.ndarray:
  """The array of that name.

  Args:
    arrays: those of a file.
    name: which.
    shape: what it must have; None is any size of 1 or more.
    kinds: one of `INTEGERS`, `NUMBERS` and `TEXTS`.

  Raises:
    TableError: if it is not there, or of another shape or dtype.
  """
  if name not in arrays:
    raise TableError(f'`{name}` is not there; it holds {", ".join(arrays)}')
  array = arrays[name]
  fits = len(shape) == array.ndim and all(
    size > 0 if wanted is None else size == wanted
    for size, wanted in zip(array.shape, shape, strict=True)
  )
  if not fits:
    wanted = ', '.join('any' if size is None else str(size) for size in shape)
    raise TableError(f'`{name}` has shape {array.shape}, must be [{wanted}]')
  if array.dtype.kind not in kinds:
    raise TableError(
      f'`{name}` is of dtype {array.dtype}, must be {_WORDS[kinds]}'
    )
  return array


def names(arrays: Arrays, name: str, size: int | None = None) -> list[str]:
  """An array of names [size] as a list of distinct strings."""
  array = get(arrays, name, (size,), TEXTS)
  found = [str(text) for text in array.astype('U')]
  refuse_rows(
    name, np.array([not t or t in found[:i] for i, t in enumerate(found)]),
    'is empty or a repetition', found,
  )  # fmt: skip
  return found


def fractions(name: str, values: np.ndarray) -> np.ndarray:
  """Accuracies [N, ...] as they are, if all are in [0, 1]."""
  good = (values >= 0) & (values <= 1)  # which NaN is not
  refuse_rows(name, ~good, 'is no accuracy in [0, 1]', values)
  return values


def positive(name: str, values: np.ndarray) -> np.ndarray:
  """Counts or durations [N, ...] as they are, if all are finite and > 0."""
  good = np.isfinite(values) & (values > 0)
  refuse_rows(name, ~good, 'is not finite and greater than 0', values)
  return values


def refuse_rows(name: str, bad: np.ndarray, what: str, values=None) -> None:
  """Refuses an array for the first row in which `bad` [N, ...] is true."""
  rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
  if len(rows):
    row = rows[0]
    shown = '' if values is None else f' ({_shown(values[row])})'
    raise TableError(
      f'`{name}` row {row}{shown} {what}; {len(rows)} of {len(bad)} rows are so'
    )


def _shown(value) -> str:
  text = ' '.join(str(value).split())
  return text if len(text) <= 100 else text[:100] + ' ...'


def repeated(rows: np.ndarray) -> np.ndarray:
  """Whether each row of [N, ...] repeats an earlier one, [N] bool."""
  rows = np.ascontiguousarray(rows).reshape(len(rows), -1)
  whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
  _, first = np.unique(whole[:, 0], return_index=True)
  again = np.ones(len(rows), bool)
  again[first] = False
  return again
