r"""Runs searches that differ in some fields of a config, and compares them.

python -m launch.sweep --config=configs/irlas_digits.py --workdir=runs/sweep \
  --sweep=searcher.q_learning.step_size=0.01,0.1 --sweep=seed=0:5

The same command goes on where it was stopped, and prints the table when all
runs are there. Without Ray, or with --print_commands, it prints the runs that
are missing as commands, one a line, for any scheduler.
"""

import copy
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'What all runs have in common.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Where each run has a folder, and the table is.'
)
_SWEEP = flags.DEFINE_multi_string(
  'sweep',
  None,
  'field=1,2,5 or field=0:5, without the last; with --random also '
  'field=uniform(0.1,0.5) or field=log(0.001,0.1). May be repeated: all '
  'combinations are run.',
)
_RANDOM = flags.DEFINE_integer(
  'random', 0, 'Draw so many settings of all but the seed; 0 runs all.'
)
_RANDOM_SEED = flags.DEFINE_integer('random_seed', 0, 'Of that draw.')
_PARALLEL = flags.DEFINE_integer(
  'parallel', 0, 'Runs at a time; 0 is one a core, or an accelerator.'
)
_ADDRESS = flags.DEFINE_string(
  'address', '', "Of a Ray cluster, host:port or 'auto'; else this machine."
)
_PRINT = flags.DEFINE_bool(
  'print_commands', False, 'Print the missing runs and run nothing.'
)


def main(argv):
  """Runs what is missing, and prints the table."""
  del argv
  with cli.errors():
    from irlas_jax import cluster, sweep_runs, sweeps

    axes = [sweeps.axis(text, _CONFIG.value) for text in _SWEEP.value or ()]
    runs = sweeps.runs(axes, _RANDOM.value, _RANDOM_SEED.value)
    workdir = pathlib.Path(_WORKDIR.value or '')
    configs = {run.name: _config(run.point) for run in runs}
    commands = {run.name: _command(run, workdir) for run in runs}

    def results():
      read = {
        name: sweep_runs.read(workdir / name, config)
        for name, config in configs.items()
      }
      return {name: found for name, found in read.items() if found}

    missing = [name for name in commands if name not in results()]
    if missing and (_PRINT.value or not cluster.is_installed()):
      for name in missing:
        print(sweep_runs.command_line(commands[name]))
      return _note(f'{len(missing)} of {len(runs)} runs are missing.')
    failed = _run({name: commands[name] for name in missing}, workdir)
    _report(runs, results(), workdir)
    if failed:
      sys.exit(f'{failed} runs failed; the same command tries them again.')


def _config(point) -> dict:
  """The config of a run, as plain dictionaries."""
  from irlas_jax import sweeps

  config = copy.deepcopy(_CONFIG.value)
  config.update_from_flattened_dict(point)
  config = config.to_dict()
  if config.get('search', {}).get('workers'):
    raise sweeps.SweepError(
      'search.workers is for one search; of a sweep, --parallel says how many '
      'runs there are at a time: set search.workers=0.'
    )
  if 'search' not in config or 'arms' in config:
    raise sweeps.SweepError('This is no config of launch.search.')
  return config


def _command(run, workdir):
  """The command of a run, with the overrides of this one."""
  from irlas_jax import sweep_runs

  flag = flags.FLAGS['config']
  overrides = {**config_flags.get_override_values(flag), **run.point}
  path = config_flags.get_config_filename(flag)
  return sweep_runs.command(path, overrides, workdir / run.name, cli.given())


def _run(commands, workdir) -> int:
  """Runs them; how many failed."""
  from irlas_jax import sweep_runs
  from irlas_jax.reports import progress

  if not commands:
    return 0
  with progress.Counter('run') as counter:
    counter.start(len(commands))

    def on_done(name, done):
      counter.update(1)
      if done.status:
        _note(f'{name} failed ({done.status}): {done.errors}')

    found = sweep_runs.run(
      commands, workdir, _ADDRESS.value, _PARALLEL.value, on_done
    )
  return sum(done.status != 0 for done in found.values())


def _report(runs, results, workdir) -> None:
  """Prints the table, and writes it beside the runs."""
  from irlas_jax import sweeps
  from irlas_jax.reports import records, table

  text = table.markdown_table(sweeps.rows(runs, results))
  content = [
    run._asdict() | {'result': found and found._asdict()}
    for run in runs
    for found in [results.get(run.name)]
  ]
  records.write_json(workdir / 'sweep.json', records.plain(content))
  (workdir / 'sweep.md').write_text(text + '\n')
  print(text)
  _note(f'Written to {workdir}: sweep.md, sweep.json')


def _note(text) -> None:
  print(text, file=sys.stderr)


if __name__ == '__main__':
  flags.mark_flags_as_required(['config', 'workdir', 'sweep'])
  cli.run(main)
