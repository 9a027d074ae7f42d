r"""Trains one genotype fully and reports its test accuracy, once.

python -m launch.train --genotype=runs/irlas_digits/best.json \
  --config=configs/train_digits.py --workdir=runs/irlas_digits_final
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'How it is trained, and on what.', lock_config=True
)
_GENOTYPE = flags.DEFINE_string(
  'genotype', None, 'A JSON file with a genotype, such as best.json.'
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where results go; by default beside the genotype.'
)
_EXPORT = flags.DEFINE_bool(
  'export',
  False,
  'Write the network as a program that needs JAX only, too: model.export.',
)


def main(argv):
  """Reads the genotype, trains it and writes what came out."""
  del argv
  with cli.session():
    from irlas_jax import runs
    from irlas_jax.reports import summary

    path = pathlib.Path(_GENOTYPE.value or '')
    workdir = _WORKDIR.value or path.parent
    genotype = runs.read_genotype(path)
    if _EXPORT.value:
      runs.check_export()
    final = runs.retrain(_CONFIG.value.to_dict(), genotype)
    print(runs.write_network(workdir, final, _EXPORT.value))
    print(summary.write_final(workdir, final))


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'genotype'])
  cli.run(main)
