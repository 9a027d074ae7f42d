r"""Compares searchers: on a benchmark table, or by what papers claim of them.

python -m launch.table --config=configs/nasbench201_comparison.py \
  --workdir=runs/nasbench201_comparison

python -m launch.table --config=configs/claims.py --workdir=runs/claims \
  --rows=metaqnn,nasnet

A config with `arms` is of searches over a table, hundreds of seeds an arm; one
with `rows` of searches that train, a row a claim.
"""

import pathlib
import shlex
import sys

from absl import flags
from ml_collections import config_flags

from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Which table, which arms, how many seeds.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where the ledger and the results are.'
)
_ROWS = flags.DEFINE_list(
  'rows', [], 'Of a config of claims: which of its rows; all by default.'
)


def main(argv):
  """Runs the searches that are missing, and reports on all."""
  del argv
  with cli.session():
    config = _CONFIG.value.to_dict()
    workdir = pathlib.Path(_WORKDIR.value or '')
    if 'rows' in config:
      _claims(config, workdir)
    elif _ROWS.value:
      raise ValueError('--rows is for a config of claims: leave it out.')
    else:
      _study(config, workdir)


def _study(config, workdir):
  """Searches over a table."""
  from irlas_jax import comparison, runs, tabular
  from irlas_jax.reports import progress, study

  with progress.Counter('search', shown=runs.is_first()) as counter:
    found = tabular.run(config, workdir, counter.start, counter.update)
  took = f'{found.num_run} searches were run in {found.seconds:.1f} s.'
  summary = comparison.summarise(found)
  if runs.is_first():
    print(study.write_study(workdir, config, summary, took))


def _claims(config, workdir):
  """Searches that train, by the rows of a config."""
  from irlas_jax import claim_rows, claims, comparison, runs
  from irlas_jax.reports import claims as reports
  from irlas_jax.reports import progress

  rows = claim_rows.read(config, _ROWS.value)

  def on_seed(measured):
    if runs.is_first():
      command = _command(workdir, measured.row.name)
      intervals = comparison.mean_interval
      reports.write_row(workdir, measured, command, intervals)
      reports.write_results(workdir, list(config['rows']))

  with progress.Counter('search', shown=runs.is_first()) as counter:
    claims.run(rows, workdir, counter.start, counter.update, on_seed)
  if runs.is_first():
    print(reports.write_results(workdir, list(config['rows'])))


def _command(workdir, name):
  """What runs one row of the config, as it was changed just now."""
  config = [
    word
    for word in sys.argv
    if word.startswith('--config')
    and not word.startswith('--config.rows.')
    or word.startswith(f'--config.rows.{name}.')
  ]
  more = f'--workdir={workdir}', f'--rows={name}'
  return shlex.join(['python', '-m', 'launch.table', *config, *more])


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir'])
  cli.run(main)
