r"""Three searches at equal budget and a full training, in pieces of minutes.

python -m benchmarks.cifar10_search --config=configs/cifar10_search.py \
  --workdir=runs/cifar10_search --minutes=9

IRLAS, the same with lambda = 0 and random search take turns, an iteration each,
with one compiled evaluator; every evaluation is durable in the ledger of its
search. Then the block with the best validation accuracy is trained fully. The
same command goes on where a piece ended, until it prints the report, which
stays in report.md. Time counts from the start of the process, compilation
included, over all pieces.

Test images are looked at after the marks (5, 10, 20, 30 minutes) and at the
end, for the report alone.
"""

import pathlib
import time

from absl import flags
from ml_collections import config_flags

from benchmarks import cifar10_pieces as pieces
from irlas_jax import full_training
from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'What is searched and trained.', lock_config=True
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Where all is kept.')
_MINUTES = flags.DEFINE_float('minutes', 30.0, 'Length of this piece.')


def main(argv):
  """Runs one piece."""
  del argv
  began = time.monotonic()
  with cli.session():
    config = _CONFIG.value.to_dict()
    workdir = pathlib.Path(_WORKDIR.value)
    full_training.check({**config, **config['retrain']})
    workdir.mkdir(parents=True, exist_ok=True)
    clock = pieces.Clock(workdir, _MINUTES.value, began)
    try:
      found = pieces.run_searches(config, workdir, clock.late)
      best = max(found, key=lambda one: one.best.scores['accuracy'])
      final = pieces.run_final(config, workdir, best.best.genotype, clock)
      text = pieces.report(found, best, final, clock)
      (workdir / 'report.md').write_text(text)
      print(text)
    except pieces.OutOfTime:
      print(
        f'{clock.minutes():.1f} minutes spent, not done yet: the same command '
        'goes on.'
      )
    finally:
      clock.keep()


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  cli.run(main)
