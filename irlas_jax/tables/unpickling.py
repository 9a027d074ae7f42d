"""Unpickles plain data only: containers, numbers, strings, NumPy arrays.

A pickle names functions to call. Here those of the list below are called and
no other, so that a file from elsewhere cannot run a program.
"""

import bz2
import collections
import io
import os
import pathlib
import pickle
from typing import Any

import numpy as np

from irlas_jax.tables.table import TableError


def _reconstruct(kind, shape, code):
  """An empty array, which unpickling then fills."""
  del kind, shape, code
  return np.empty(0, np.int8)


def _scalar(dtype, data):
  """A NumPy number from its bytes."""
  return np.frombuffer(data, dtype)[0]


_BUILTINS = (bool, bytearray, complex, dict, float, frozenset, int, list, set)
# NumPy pickles by functions of its own, whose place has moved.
_ALLOWED: dict[tuple[str, str], Any] = {
  **{('builtins', kind.__name__): kind for kind in _BUILTINS},
  ('collections', 'OrderedDict'): collections.OrderedDict,
  ('collections', 'defaultdict'): collections.defaultdict,
  ('numpy', 'dtype'): np.dtype,
  ('numpy', 'ndarray'): None,  # an argument of `_reconstruct`, never called
  **{
    (module, name): function
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
    for name, function in (
      ('_reconstruct', _reconstruct),
      ('scalar', _scalar),
    )
  },
}


class _Unpickler(pickle.Unpickler):
  """An unpickler that knows the functions above only."""

  def find_class(self, module, name):
    if (module, name) in _ALLOWED:
      return _ALLOWED[module, name]
    raise TableError(f'it asks for {module}.{name}, which is no plain data')


def read_bz2(path: str | os.PathLike) -> Any:
  """What a bz2-compressed pickle holds.

  Raises:
    FileNotFoundError: if there is no such file.
    TableError: if it is damaged, or holds anything but plain data.
  """
  data = pathlib.Path(path).read_bytes()
  try:
    return _Unpickler(io.BytesIO(bz2.decompress(data))).load()
  # Unpickling may raise anything at all, says its documentation.
  except Exception as error:
    reason = ' '.join(str(error).split()) or type(error).__name__
    raise TableError(
      f'{path}: refused ({reason}). Get the file anew from its authors.'
    ) from error
