"""Results as JSON files: each there whole or not at all, and with versions."""

import json
import os
import pathlib
import platform
from importlib import metadata

import numpy as np

_PACKAGES = ('irlas_jax', 'jax', 'jaxlib', 'flax', 'optax', 'numpy')


def versions() -> dict[str, str]:
  """Versions of what a result depends on."""
  found = {'python': platform.python_version()}
  for name in _PACKAGES:
    try:
      found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
      found[name] = 'not installed'
  return found


def plain(value):
  """The value with NaN and infinities, which JSON does not have, as None."""
  if isinstance(value, dict):
    return {name: plain(item) for name, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  return value if not isinstance(value, float) or np.isfinite(value) else None


def write_json(path: pathlib.Path, content) -> None:
  """Writes in one step: the file is there whole or as it was."""
  path.parent.mkdir(parents=True, exist_ok=True)
  new = path.with_name(f'{path.name}.new')
  new.write_text(json.dumps(content, indent=2, allow_nan=False) + '\n')
  os.replace(new, path)
