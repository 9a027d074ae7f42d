"""Where the tables of a benchmark go: to the terminal, and to a file if named.

Flags of absl are one namespace, so what several benchmarks share is here.
"""

import pathlib

from absl import flags

_OUTPUT = flags.DEFINE_string(
  'output', None, 'A Markdown file to write as well.'
)
TINY = flags.DEFINE_bool('tiny', False, 'Small sizes: a smoke run.')


def show(text: str) -> None:
  """Prints the text, and writes it where `--output` says."""
  print(text)
  keep(text)


def keep(text: str) -> None:
  """Writes the text where `--output` says, if it does."""
  if _OUTPUT.value:
    pathlib.Path(_OUTPUT.value).write_text(text + '\n')
