r"""Searches architectures, or resumes a search.

python -m launch.search --config=configs/irlas_digits.py \
  --workdir=runs/irlas_digits

On Ray workers: --config.search.workers=N, here or, with
--config.search.address=HOST:PORT, on a cluster.
"""

import pathlib

from absl import flags
from ml_collections import config_flags

from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'What is searched, by whom, for what.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where the ledger and the results are.'
)


def main(argv):
  """Runs the search, then trains its best block fully."""
  del argv
  with cli.session():
    from irlas_jax import full_training, runs
    from irlas_jax.reports import progress, summary

    config = _CONFIG.value.to_dict()
    workdir = pathlib.Path(_WORKDIR.value or '')
    if config.get('retrain'):
      full_training.check(config | config['retrain'])
    with (
      runs.connected(config),  # before JAX computes
      progress.Bar(shown=runs.is_first()) as bar,
    ):
      outcome = runs.run(config, workdir, bar.start, bar.update, bar.trained)

    def report():
      print(summary.write_search(workdir, outcome))
      if config.get('retrain'):
        final = config | config['retrain']
        genotype = full_training.canonical_genotype(
          outcome.best.genotype, final
        )
        text = summary.read_final(workdir, final, genotype)
        if text is None:
          print('Training the best block fully ...')
          trained = full_training.retrain(final, genotype)
          text = summary.write_final(workdir, trained)
        print(text)

    runs.told_by_first(report)()


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  cli.run(main)
