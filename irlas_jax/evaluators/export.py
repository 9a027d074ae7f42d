"""A trained network in files that need none of our code.

`checkpoint/` holds the variables, by Orbax, as NumPy arrays. `model.export` is
the function from images to logits as one StableHLO program, by `jax.export`:
variables and normalisation inside, any batch size, for CPUs, NVIDIA GPUs and
TPUs.
"""

import importlib.util
import os
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp

from irlas_jax.evaluators import retrained

CHECKPOINT = 'checkpoint'
PROGRAM = 'model.export'
PLATFORMS = ('cpu', 'cuda', 'tpu')


def check() -> None:
  """Refuses what would stop `program`, before anything is trained.

  Raises:
    ValueError: with the remedy.
  """
  if importlib.util.find_spec('flatbuffers') is None:
    raise ValueError(
      'Programs are written with flatbuffers, which is not installed: '
      'pip install flatbuffers.'
    )


def save(folder: str | os.PathLike, variables: Any) -> None:
  """Writes variables as an Orbax checkpoint; one that is there is replaced.

  The old one is there until the new one is whole.
  """
  from orbax.checkpoint import v1 as ocp

  folder = pathlib.Path(folder).absolute()
  folder.parent.mkdir(parents=True, exist_ok=True)
  new, old = (folder.with_name(f'{folder.name}.{x}') for x in ('new', 'old'))
  for leftover in (new, old):
    shutil.rmtree(leftover, ignore_errors=True)
  # As host arrays: those of a GPU would be looked for on one when loaded.
  ocp.save(new, jax.device_get(variables))
  if folder.exists():
    folder.rename(old)
  new.rename(folder)
  shutil.rmtree(old, ignore_errors=True)


def load(folder: str | os.PathLike) -> Any:
  """The variables of a checkpoint, as nested dictionaries.

  Raises:
    FileNotFoundError: if there is none.
  """
  from orbax.checkpoint import v1 as ocp

  folder = pathlib.Path(folder).absolute()
  if not folder.is_dir():
    raise FileNotFoundError(f'{folder}: no checkpoint.')
  return ocp.load(folder)


def program(inference: retrained.Inference, variables: Any) -> bytes:
  """The function images [B, H, W, C] -> logits [B, classes], serialised.

  Images are as the data set has them: uint8, or float32 not yet normalised.

  Raises:
    ValueError: if flatbuffers is missing.
  """
  from jax import export  # no attribute of jax before it is imported

  check()
  variables = jax.tree.map(jnp.asarray, variables)
  (batch,) = export.symbolic_shape('batch')
  shape = (batch, *inference.image.shape)
  images = jax.ShapeDtypeStruct(shape, inference.image.dtype)
  function = jax.jit(lambda images: inference.logits(variables, images))
  exported = export.export(function, platforms=PLATFORMS)(images)
  return bytes(exported.serialize())


def write(
  workdir: str | os.PathLike,
  result: retrained.Retrained,
  with_program: bool = False,
) -> list[str]:
  """Writes what a full training made into `workdir`; the names of the files.

  Raises:
    ValueError: if a program is asked for and flatbuffers is missing.
  """
  workdir = pathlib.Path(workdir)
  save(workdir / CHECKPOINT, result.variables)
  if not with_program:
    return [CHECKPOINT]
  assert result.inference is not None
  new = workdir / f'{PROGRAM}.new'
  new.write_bytes(program(result.inference, result.variables))
  os.replace(new, workdir / PROGRAM)
  return [CHECKPOINT, PROGRAM]
