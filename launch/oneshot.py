r"""Learns an architecture and its weights together: MaskConnect, IRLAS-diff.

python -m launch.oneshot --config=configs/maskconnect_small.py \
  --workdir=runs/maskconnect_small

With --contrast all values of the config's contrast are run, with --seeds=N so
many seeds of each; what is finished is not run again.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'What is learnt, how, on what.', lock_config=True
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where results go.')
_SEEDS = flags.DEFINE_integer('seeds', 1, 'How many, from config.seed on.')
_CONTRAST = flags.DEFINE_bool(
  'contrast', False, 'Run all values of config.contrast.field.'
)


def main(argv):
  """Runs what is not finished, and prints a table of it all."""
  del argv
  with cli.session():
    from irlas_jax import oneshot_runs
    from irlas_jax.reports import table

    config, workdir = (
      _CONFIG.value.to_dict(),
      pathlib.Path(_WORKDIR.value or ''),
    )
    settings = oneshot_runs.settings(config, _SEEDS.value, _CONTRAST.value)
    outcomes = []
    for setting in settings:
      alone = len(settings) == 1
      folder = workdir if alone else workdir / setting.name
      outcomes.append(oneshot_runs.run(setting.config, folder))
      print(f'{setting.name}: {outcomes[-1].genotype}', flush=True)
    for row in oneshot_runs.rows(settings, outcomes):
      lines = [{'what': name, 'found': value} for name, value in row.items()]
      print(f'\n{table.format_table(lines)}')
    print(f'\nWritten to {workdir}: result.json, best.json')


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  cli.run(main)
