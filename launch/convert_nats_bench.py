r"""Makes a table of the official files of NATS-Bench's topology space.

python -m launch.convert_nats_bench --source=NATS-tss-v1_0-3ffb9-simple \
  --out=nats_bench.npz

The source is the folder of one file a cell that the archive
NATS-tss-v1_0-3ffb9-simple.tar extracts to. It is pickles, of which only plain
data is read: a file that asks for anything else is refused. Tested on synthetic
files in the official layout, not on the official files: compare a few numbers
with what their authors publish.
"""

import pathlib
import sys

from absl import app, flags, logging

_SOURCE = flags.DEFINE_string('source', None, 'The folder.')
_OUT = flags.DEFINE_string('out', None, 'The .npz file to write.')
_PARTIAL = flags.DEFINE_bool(
  'partial', False, 'Leave out cells whose file is missing.'
)


def main(argv):
  """Converts, reads what was written, and prints what it holds."""
  del argv
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.INFO)  # it takes minutes: say how far it is
  from irlas_jax.tables import load, nats_bench, table

  source = pathlib.Path(_SOURCE.value or '')
  out = pathlib.Path(_OUT.value or '')
  try:
    nats_bench.convert(source, out, _PARTIAL.value)
    written = load.load(out)
  except (table.TableError, OSError) as error:
    sys.exit(f'{type(error).__name__}: {error}')
  print(f'{out}: {table.summary(written)}')


if __name__ == '__main__':
  flags.mark_flags_as_required(['source', 'out'])
  app.run(main)
