r"""Makes a table of the official files of NAS-Bench-101, without TensorFlow.

python -m launch.convert_nasbench101 --source=nasbench_only108.tfrecord \
  --out=nasbench101.npz

nasbench_full.tfrecord, which has 4, 12 and 36 epochs beside 108, works alike.
Numbers are means over the three repeats of a training. Tested on synthetic
files in the official layout, not on the official files: compare a few numbers
with what their authors publish.
"""

import pathlib
import sys

from absl import app, flags, logging

_SOURCE = flags.DEFINE_string('source', None, 'The .tfrecord file.')
_OUT = flags.DEFINE_string('out', None, 'The .npz file to write.')


def main(argv):
  """Converts, reads what was written, and prints what it holds."""
  del argv
  if not flags.FLAGS['verbosity'].present:
    logging.set_verbosity(logging.INFO)  # it takes minutes: say how far it is
  from irlas_jax.tables import load, nasbench_tfrecord, table

  source = pathlib.Path(_SOURCE.value or '')
  out = pathlib.Path(_OUT.value or '')
  try:
    nasbench_tfrecord.convert(source, out)
    written = load.load(out)
  except (table.TableError, OSError) as error:
    sys.exit(f'{type(error).__name__}: {error}')
  print(f'{out}: {table.summary(written)}')
  print('NAS-Bench-101 has 423624 cells.')


if __name__ == '__main__':
  flags.mark_flags_as_required(['source', 'out'])
  app.run(main)
