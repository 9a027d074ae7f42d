r"""Do searchers, and does the mirror stimuli reward, find better blocks?

python -m benchmarks.search_quality            # or --minutes=60, and again
python -m benchmarks.search_quality --latency
python -m benchmarks.search_quality --report

Arms are random search and, at the same number of proposals, each other searcher
without an expert (`none`), with the human one (`expert`) and, as a control for
any guidance at all, with a random block of as many layers (`control`). Within a
seed they share the loop's key, the rollouts that mirrors are fitted to and the
scores of children, so a block that two arms propose is trained once.

What counts is measured after a search: the distinct blocks among its last
proposals, and its best by its own reward, are trained again with other keys and
scored on images that no search has seen. They are not the test images.

An interrupted run, `kill -9` included, goes on when the same command is given
again. Two processes may share --results and --workdir if their seeds differ.
"""

import json
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping

from absl import flags
from ml_collections import config_flags

from benchmarks import search_quality_latency as latencies
from benchmarks import search_quality_report as reports
from benchmarks import search_quality_searches as searches
from irlas_jax.reports import records
from launch import cli

_CONFIG = config_flags.DEFINE_config_file(
  'config', 'configs/search_quality.py', 'All but the arms.', lock_config=True
)
_FIRST_SEED = flags.DEFINE_integer('first_seed', 0, 'The first seed.')
_NUM_SEEDS = flags.DEFINE_integer('num_seeds', 10, 'How many seeds.')
_ARMS = flags.DEFINE_list('arms', list(reports.ARMS), 'Which arms to run.')
_RESULTS = flags.DEFINE_string(
  'results', 'benchmarks/results/search_quality', 'Where finished results are.'
)
_WORKDIR = flags.DEFINE_string(
  'workdir', 'runs/search_quality', 'Where the ledgers are.'
)
_MINUTES = flags.DEFINE_float(
  'minutes', 0.0, 'Stop between batches after so long; 0 does not.'
)
_REPORT = flags.DEFINE_bool('report', False, 'Only print the tables.')
_LATENCY = flags.DEFINE_bool(
  'latency', False, 'Only time the blocks of finished results.'
)


class OutOfTime(Exception):
  """The time given is over; what was finished is in the ledgers."""


def run_seeds(
  bench: searches.Bench,
  seeds: Iterable[int],
  names: list[str],
  folders: tuple[pathlib.Path, pathlib.Path],
  check_time: Callable[[], None],
) -> None:
  """Writes what the results folder does not have yet, a file a seed."""
  results, workdir = folders
  for seed in seeds:
    path = results / f'seed_{seed}.json'
    missing = missing_arms(path, bench.config, names)
    if missing:
      began = time.monotonic()
      found = searches.run_seed(bench, seed, missing, workdir, check_time)
      add_result(path, bench.config, seed, found)
      print(f'{path}: {time.monotonic() - began:.0f} s', flush=True)


def missing_arms(path: pathlib.Path, config, names) -> list[str]:
  """The arms that a result file does not have yet.

  Raises:
    ValueError: if it is of another config.
  """
  if not path.exists():
    return list(names)
  found = json.loads(path.read_text())
  reports.check_same(path, 'config', found['config'], config)
  return [name for name in names if name not in found['arms']]


def add_result(path: pathlib.Path, config, seed: int, found: Mapping) -> None:
  """Writes a result file, or adds arms to it, in one step.

  Raises:
    ValueError: if it is there and of another config or environment.
  """
  result = {
    'seed': seed,
    'config': config,
    'environment': reports.environment(),
  }
  result |= found
  if path.exists():
    old = json.loads(path.read_text())
    for name in ('config', 'environment', 'control'):
      reports.check_same(path, name, old[name], result[name])
    for name in ('arms', 'blocks'):
      result[name] = old[name] | result[name]
  result['arms'] = {
    n: result['arms'][n] for n in reports.ARMS if n in result['arms']
  }
  records.write_json(path, result)


def check_time_fn(minutes: float) -> Callable[[], None]:
  """A function that raises OutOfTime once `minutes` are over; 0: never."""
  end = time.monotonic() + 60 * minutes if minutes else math.inf

  def check_time():
    if time.monotonic() > end:
      raise OutOfTime

  return check_time


def main(argv):
  """Runs what is missing, or one of the other stages."""
  del argv
  results, workdir = map(pathlib.Path, (_RESULTS.value, _WORKDIR.value))
  check_time = check_time_fn(_MINUTES.value)
  if _LATENCY.value:
    latencies.use_one_core()
  with cli.session():
    config = reports.plain(_CONFIG.value.to_dict())
    if _REPORT.value:
      print(reports.report(results))
    elif _LATENCY.value:
      print(latencies.write(results))
    else:
      seeds = range(_FIRST_SEED.value, _FIRST_SEED.value + _NUM_SEEDS.value)
      names = reports.known_arms(_ARMS.value)
      try:
        run_seeds(
          searches.make_bench(config),
          seeds,
          names,
          (results, workdir),
          check_time,
        )
      except OutOfTime:
        print('Out of time. The same command goes on from here.')


if __name__ == '__main__':
  cli.run(main)
