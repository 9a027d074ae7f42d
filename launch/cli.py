"""What the launch scripts share: set-up before JAX starts, errors as text."""

import contextlib
import os
import sys

from absl import app, flags, logging

_CACHE_DIR = flags.DEFINE_string(
  'cache_dir',
  '~/.cache/irlas_jax',
  'Where compiled programs are kept between runs.',
)
_CPU_DEVICES = flags.DEFINE_integer(
  'cpu_devices',
  0,
  'How many devices to split a CPU into; 0 is one a core. Children are spread '
  'over devices.',
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator',
  None,
  'Of a run of several processes, one or more a host: host:port of process 0, '
  "or 'auto' where the environment says it (a TPU pod, Slurm).",
)
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', 1, 'How many there are.')
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', 0, 'Which this is, from 0; process 0 writes and prints.'
)
_TRACEBACK = flags.DEFINE_bool(
  'traceback', False, 'Show where an error came from, not only what it says.'
)


def run(main) -> None:
  """Parses the flags and runs `main(argv)`; errors become one line of text."""
  app.run(main, flags_parser=_parse)


def _parse(argv):
  """absl's parser; a config that rejects an override does so in one line."""
  try:
    return app.parse_flags_with_usage(argv)
  except Exception as error:
    if '--traceback' in argv:
      raise
    sys.exit(f'Refused: {" ".join(str(error).split())}')


@contextlib.contextmanager
def session():
  """Sets JAX up, and turns errors that a user can mend into one line."""
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.WARNING)
  # After the flags: a misspelt one is refused without waiting for JAX.
  from irlas_jax import runs

  runs.set_up(
    _CPU_DEVICES.value or len(os.sched_getaffinity(0)), _CACHE_DIR.value
  )
  if _COORDINATOR.value:
    runs.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  with errors(runs.ERRORS):
    yield


@contextlib.contextmanager
def errors(mendable: tuple[type[Exception], ...] = (ValueError, OSError)):
  """Turns errors that a user can mend into one line."""
  try:
    yield
  except mendable as error:
    if _TRACEBACK.value:
      raise
    sys.exit(f'{type(error).__name__}: {error}')
  except KeyboardInterrupt:
    sys.exit('Interrupted. The same command goes on from here.')


def given() -> list[str]:
  """Those of the flags above that every run of a sweep is to have, as given."""
  own = (_CACHE_DIR, _CPU_DEVICES)
  return [
    f'--{flag.name}={flag.value}'
    for flag in own
    if flags.FLAGS[flag.name].present
  ]
