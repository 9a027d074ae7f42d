"""A trained network in files that need none of our code.

`checkpoint/` holds the variables, by Orbax, as NumPy arrays. `model.export` is
the function from images to logits as one StableHLO program, by `jax.export`:
variables and normalisation inside, any batch size, for CPUs, NVIDIA GPUs and
TPUs.
"""

import importlib.util
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from irlas_jax import devices
from irlas_jax.evaluators import retrained
from irlas_jax.training import checkpoint

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

  All processes of a run have to call it.

  Raises:
    ValueError: if a program is asked for and flatbuffers is missing.
  """
  workdir = pathlib.Path(workdir)
  checkpoint.save(workdir / CHECKPOINT, result.variables)
  if not with_program:
    return [CHECKPOINT]
  devices.told_by_first(_write_program)(workdir, result)
  return [CHECKPOINT, PROGRAM]


def _write_program(workdir: pathlib.Path, result: retrained.Retrained) -> None:
  assert result.inference is not None
  new = workdir / f'{PROGRAM}.new'
  new.write_bytes(program(result.inference, result.variables))
  os.replace(new, workdir / PROGRAM)
