"""Pytrees of arrays in folders, by Orbax; a folder is whole or not there.

All processes of a run have to call `save` and `load` alike, on a disk that they
share: Orbax lets each wait for the others.
"""

import os
import pathlib
import shutil
from typing import Any

import jax

from irlas_jax import devices


def save(folder: str | os.PathLike, tree: Any) -> None:
  """Writes a pytree as an Orbax checkpoint; one that is there is replaced.

  The old one is there until the new one is whole; see `load`.
  """
  from orbax.checkpoint import v1 as ocp

  path, new, old = _folders(folder)
  if devices.is_first():
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
      shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(new, ignore_errors=True)
  devices.wait_for_all()
  # As host arrays: those of a GPU would be looked for on one when loaded.
  ocp.save(new, jax.device_get(tree))
  if devices.is_first():
    if path.exists():
      path.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
  devices.wait_for_all()


def load(folder: str | os.PathLike, like: Any = None) -> Any:
  """The pytree of a checkpoint: NumPy arrays in nested dictionaries.

  Args:
    folder: what `save` was told.
    like: a pytree of NumPy arrays, whose structure the result has then.

  Raises:
    FileNotFoundError: if there is none.
  """
  from orbax.checkpoint import v1 as ocp

  path, _, old = _folders(folder)
  # A process that died between two renamings left the old one.
  found = next((x for x in (path, old) if x.is_dir()), None)
  if found is None:
    raise FileNotFoundError(f'{path}: no checkpoint.')
  return ocp.load(found) if like is None else ocp.load(found, like)


def exists(folder: str | os.PathLike) -> bool:
  """Whether `load` would find something."""
  path, _, old = _folders(folder)
  return path.is_dir() or old.is_dir()


def _folders(folder) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
  """Where it is, where the next one is written, where the last one goes."""
  path = pathlib.Path(folder).absolute()
  return (
    path,
    path.with_name(f'{path.name}.new'),
    path.with_name(f'{path.name}.old'),
  )
