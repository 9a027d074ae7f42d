r"""Trains one network fully and reports its test accuracy, once.

python -m launch.train --genotype=runs/irlas_digits/best.json \
  --config=configs/train_digits.py --workdir=runs/irlas_digits_final

Interrupted, the same command goes on from the last evaluation.
"""

import pathlib
import time

from absl import flags
from ml_collections import config_flags

from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'How it is trained, and on what.', lock_config=True
)
_GENOTYPE = flags.DEFINE_string(
  'genotype',
  None,
  'A JSON file with a genotype, such as best.json; none where the config names '
  'a whole network.',
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where results go; by default beside the genotype.'
)
_EXPORT = flags.DEFINE_bool(
  'export',
  False,
  'Write the network as a program that needs JAX only, too: model.export.',
)


_MINUTES = flags.DEFINE_float(
  'minutes',
  None,
  'Stop after so many; the same command goes on. Without it, at the end.',
)


def main(argv):
  """Reads the genotype, if there is one, trains and writes what came out."""
  del argv
  began = time.monotonic()

  def late():
    minutes = _MINUTES.value
    return minutes is not None and time.monotonic() - began > 60 * minutes

  with cli.session():
    from irlas_jax import full_training, runs
    from irlas_jax.reports import summary

    config, genotype = _CONFIG.value.to_dict(), None
    full_training.check_network(config, _GENOTYPE.value)
    if _GENOTYPE.value:
      config = full_training.with_space_of(_GENOTYPE.value, config)
      genotype = full_training.read_genotype(_GENOTYPE.value, config)
    elif not _WORKDIR.value:
      raise ValueError('Give --workdir: there is no genotype to write beside.')
    if _EXPORT.value:
      full_training.check_export(config)
    workdir = _WORKDIR.value or pathlib.Path(_GENOTYPE.value or '').parent
    try:
      final = full_training.retrain(
        config, genotype, workdir=workdir, should_stop=late, together=True
      )
    except full_training.Stopped as stopped:
      if runs.is_first():
        print(stopped)
      return
    written = full_training.write_network(workdir, final, _EXPORT.value)
    if runs.is_first():
      print(written)
      print(summary.write_final(workdir, final))


if __name__ == '__main__':
  flags.mark_flag_as_required('config')
  cli.run(main)
