"""One ledger for the processes of one run: the first has it, all are told.

Between runs a workdir is locked; within one, every process asks the same
questions in the same order and gets the first one's answers. So all of them
take the same way, whatever their clocks say, and only one writes.
"""

import contextlib
import os
from collections.abc import Iterator

from irlas_jax import devices, ledger


@contextlib.contextmanager
def open(
  workdir: str | os.PathLike, config: dict, free: tuple[str, ...] = ()
) -> Iterator[ledger.Ledger]:
  """As `ledger.open`, whose errors all processes raise."""
  with contextlib.ExitStack() as stack:
    held: list[ledger.Ledger] = []

    def enter():
      held.append(stack.enter_context(ledger.open(workdir, config, free)))

    devices.told_by_first(enter)()

    def ask(name):
      return devices.told_by_first(lambda *args: getattr(held[0], name)(*args))

    functions = ledger.Ledger._fields[1:]
    connection = held[0].connection if held else None
    yield ledger.Ledger(connection, *map(ask, functions))
