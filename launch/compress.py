r"""Compresses a network by N2N learning: removes layers, then shrinks the rest.

python -m launch.compress --config=configs/n2n_small.py --workdir=runs/n2n_small

The teacher is the config's, or another: --teacher=WORKDIR of a full training,
a JSON file with a genotype, or the layers themselves. Interrupted, the same
command goes on: with the next student of a search, or the training that it was
in.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'How it is compressed, on what.', lock_config=True
)
_TEACHER = flags.DEFINE_string(
  'teacher',
  '',
  'A workdir of launch.train, a JSON file with a genotype, or layers such as '
  '"C(16,3) M(2,2)"; by default what the config says.',
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where results go.')


def main(argv):
  """Compresses, and prints what came out beside the baselines."""
  del argv
  with cli.session():
    from irlas_jax import compression
    from irlas_jax.reports import compressed

    config = _CONFIG.value.to_dict()
    workdir = pathlib.Path(_WORKDIR.value or '')
    outcome = compression.run(config, workdir, _TEACHER.value, shown=True)
    print(compressed.write(workdir, outcome))


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  cli.run(main)
