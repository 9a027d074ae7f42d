"""Running a sweep's searches on Ray, a process each, and what they left.

A run is `launch.search` in its own workdir, so what a sweep runs can be run by
hand or by any scheduler, and a run that was cut off goes on from its ledger.
"""

import ctypes
import json
import math
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from irlas_jax import cluster, sweeps

BEST, FINAL = 'best.json', 'final.json'
_LAST = 500  # characters of what a failed run said
_PR_SET_PDEATHSIG = 1


class Done(NamedTuple):
  """What a run's process came to."""

  status: int
  errors: str  # the end of what it said
  files: dict[str, str]  # what it left of BEST and FINAL


def command(
  path: str,
  overrides: Mapping[str, Any],
  workdir: pathlib.Path,
  flags: Sequence[str] = (),
) -> list[str]:
  """The arguments of `python` that run a search by a config at `path`."""
  return [
    *('-m', 'launch.search', f'--config={path}'),
    *(f'--config.{field}={value}' for field, value in overrides.items()),
    *flags,
    f'--workdir={workdir}',
  ]


def command_line(arguments: Sequence[str]) -> str:
  """For a shell."""
  return shlex.join(['python', *arguments])


def read(workdir: pathlib.Path, config: Mapping) -> sweeps.Result | None:
  """What a run left, if it is finished and was of this config."""
  best = _read(workdir / BEST)
  final = _read(workdir / FINAL) if config.get('retrain') else {}
  if best is None or final is None:
    return None
  if best['config'] != json.loads(json.dumps(config)):
    return None
  scores = best['scores']
  return sweeps.Result(
    *map(
      _number,
      (
        best['reward'],
        scores['accuracy'],
        final.get('test_accuracy'),
        scores['params'],
        scores['madds'],
      ),
    )
  )


def _read(path: pathlib.Path) -> dict | None:
  try:
    return json.loads(path.read_text())
  except FileNotFoundError:
    return None


def _number(value) -> float:
  return math.nan if value is None else float(value)


def run(
  commands: Mapping[str, Sequence[str]],
  workdir: pathlib.Path,
  address: str = '',
  parallel: int = 0,
  on_done: Callable[[str, Done], None] = lambda name, done: None,
) -> dict[str, Done]:
  """Runs commands by Ray; a run whose machine is lost is run again.

  Args:
    commands: {name: arguments of python}.
    workdir: each run's is the folder of its name; what is reported of a run on
      another machine is copied there.
    address: of a cluster, see `cluster.connected`.
    parallel: runs at a time; 0 is one a core, or an accelerator.
    on_done: told when a run has ended.
  """
  count = parallel or len(os.sched_getaffinity(0))
  with cluster.connected(address, count) as ray:
    share = cluster.share(ray, parallel) if parallel else _one_each(ray)
    task = ray.remote(execute).options(max_retries=3, **share.options)
    here = os.getcwd()
    calls = {
      task.remote(arguments, str(workdir / name), here, share.cores): name
      for name, arguments in commands.items()
    }
    finished: dict[str, Done] = {}
    waiting = list(calls)
    while waiting:
      (call,), waiting = ray.wait(waiting)
      name, done = calls[call], _result(ray, call)
      _keep(workdir / name, done.files)
      finished[name] = done
      on_done(name, done)
  return finished


def _one_each(ray) -> cluster.Share:
  """A core or an accelerator a run."""
  places = sum(
    int(node['Resources'].get('CPU', 0))
    for node in ray.nodes()
    if node['Alive']
  )
  return cluster.share(ray, max(places, 1))


def _result(ray, call) -> Done:
  try:
    return ray.get(call)
  except ray.exceptions.RayError as error:
    return Done(-1, str(error)[-_LAST:], {})


def _keep(folder: pathlib.Path, files: Mapping[str, str]) -> None:
  folder.mkdir(parents=True, exist_ok=True)
  for name, text in files.items():
    if not (folder / name).exists():
      (folder / name).write_text(text)


def execute(
  arguments: Sequence[str], workdir: str, directory: str, cores: int
) -> Done:
  """What runs in a worker: the command, which ends when the worker does."""
  cluster.keep_to(cores)
  done = subprocess.run(
    [sys.executable, *arguments],
    cwd=directory,
    capture_output=True,
    text=True,
    preexec_fn=_end_with_parent,
  )
  found = {
    name: path.read_text()
    for name in (BEST, FINAL)
    if (path := pathlib.Path(directory, workdir, name)).exists()
  }
  return Done(done.returncode, done.stderr[-_LAST:].strip(), found)


def _end_with_parent() -> None:
  """Else a lost worker's search holds its workdir against the next one."""
  ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
