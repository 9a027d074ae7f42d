"""Writing a figure: whole or not at all, and the same bytes each time."""

import os
import pathlib
import tempfile

from matplotlib import figure as figures

DPI = 150


def save(figure: figures.Figure, path) -> pathlib.Path:
  """Writes the figure as a PNG of 150 dots an inch; returns the path.

  A reader of `path` sees the old file or the new one, never a part: the bytes
  go to a neighbouring file first. The name of the plotting library, which
  would make the bytes depend on its version, is left out.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  handle, partial = tempfile.mkstemp(dir=path.parent, suffix='.part')
  try:
    with os.fdopen(handle, 'wb') as file:
      figure.savefig(file, format='png', dpi=DPI, metadata={'Software': None})
    os.chmod(partial, 0o644)  # mkstemp lets nobody else read
    os.replace(partial, path)
  except BaseException:
    os.unlink(partial)
    raise
  return path
