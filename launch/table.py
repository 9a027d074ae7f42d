r"""Compares searchers on a benchmark table, over hundreds of seeds.

python -m launch.table --config=configs/nasbench201_comparison.py \
  --workdir=runs/nasbench201_comparison
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Which table, which arms, how many seeds.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where the ledger and the results are.'
)


def main(argv):
  """Runs the searches that are missing, and reports on all."""
  del argv
  with cli.session():
    from irlas_jax import comparison, runs, tabular
    from irlas_jax.reports import progress, study

    config = _CONFIG.value.to_dict()
    workdir = pathlib.Path(_WORKDIR.value or '')
    with progress.Counter('search', shown=runs.is_first()) as counter:
      found = tabular.run(config, workdir, counter.start, counter.update)
    took = f'{found.num_run} searches were run in {found.seconds:.1f} s.'
    summary = comparison.summarise(found)
    if runs.is_first():
      print(study.write_study(workdir, config, summary, took))


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  cli.run(main)
