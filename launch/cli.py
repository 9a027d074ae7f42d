"""What the launch scripts share: set-up before JAX starts, errors as text."""

import contextlib
import os
import sys
import warnings

from absl import flags

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
_TRACEBACK = flags.DEFINE_bool(
  'traceback', False, 'Show where an error came from, not only what it says.'
)


@contextlib.contextmanager
def session():
  """Sets JAX up, and turns errors that a user can mend into one line."""
  # After the flags: a misspelt one is refused without waiting for JAX.
  from irlas_jax import devices, ledger

  warnings.filterwarnings('ignore', message='.*os.fork.*')
  devices.use_cpu_devices(_CPU_DEVICES.value or len(os.sched_getaffinity(0)))
  devices.use_compilation_cache(_CACHE_DIR.value)
  try:
    yield
  except (ValueError, OSError, ledger.LedgerError) as error:
    if _TRACEBACK.value:
      raise
    sys.exit(f'{type(error).__name__}: {error}')
  except KeyboardInterrupt:
    sys.exit('Interrupted. The same command goes on from here.')
