"""Runs of one-shot methods by a config: one, or several to compare.

A workdir gets `oneshot.json`, the config; `state/`, the last epoch or one not
long before it, from which an interrupted run goes on; and at the end
`result.json` and `best.json`, which `launch.train` takes where the genotype is
one of a space.
"""

import copy
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from irlas_jax import oneshot_methods, sections, strict_json
from irlas_jax.training import checkpoint

CONFIG, RESULT, BEST = 'oneshot.json', 'result.json', 'best.json'
STATE = 'state'
KEEP_EVERY = 20.0  # seconds: short epochs are sooner done again than kept
# What may differ between two calls of one run: no number depends on it.
FREE = ('data_dir', 'contrast')


class Outcome(NamedTuple):
  """A finished run."""

  config: Mapping
  genotype: str
  numbers: dict[str, float]
  curves: dict[str, list[float]]  # one number an epoch


def measure(config: Mapping[str, Any]) -> dict[str, Any]:
  """Runs one config and seed, and keeps nothing.

  Returns its numbers, and its `genotype`.
  """
  outcome = run(config)
  return {'genotype': outcome.genotype, **outcome.numbers}


def run(
  config: Mapping[str, Any],
  workdir: str | os.PathLike | None = None,
  on_epoch: Callable[[int, dict[str, float]], None] = lambda index, found: None,
) -> Outcome:
  """Runs a one-shot method, or goes on with it, or reads what it gave.

  Args:
    config: plain dictionaries; see `configs/` for the sections.
    workdir: where the last epoch is kept, and the result.
    on_epoch: told of every epoch that is run.

  Raises:
    ValueError: for a field that is wrong, or a workdir of another config.
    FileNotFoundError: if data is not there.
  """
  folder = None if workdir is None else pathlib.Path(workdir)
  if folder is not None:
    _check_same(folder, config)
    if (folder / RESULT).is_file():
      return _read(folder, config)
  method = oneshot_methods.make(config)
  if folder is not None:
    _write(folder / CONFIG, strict_json.dumps(config, 'config'))
  state, curves = _trained(config, method, folder, on_epoch)
  final = None if folder is None else folder / 'final'
  genotype, numbers = method.finish(state, final)
  numbers['seconds'] = float(curves['seconds'].sum())
  outcome = Outcome(
    config, genotype, numbers, {k: v.tolist() for k, v in curves.items()}
  )
  if folder is not None:
    _write_outcome(folder, outcome)
  return outcome


def check(config: Mapping[str, Any]) -> None:
  """Refuses a config that cannot run, before any training.

  Raises:
    ValueError, FileNotFoundError: as `run` would.
  """
  oneshot_methods.make(config)


class _Position(NamedTuple):
  """A run between two epochs."""

  state: Any
  curves: dict[str, np.ndarray]  # [epochs], NaN for those to come
  epoch: np.ndarray  # [] how many are done


def _trained(config, method, folder, on_epoch):
  """The state after all epochs, and their curves."""
  key_init, key_epochs = jax.random.split(jax.random.key(config['seed']))
  position = _begin(method, key_init)
  if folder is not None and checkpoint.exists(folder / STATE):
    position = checkpoint.load(folder / STATE, jax.device_get(position))
  state, curves, done = position
  kept = time.monotonic()
  for index in range(int(done), method.num_epochs):
    began = time.monotonic()
    key = jax.random.fold_in(key_epochs, index)
    state, found = method.epoch(key, state, index)
    found = {name: float(value) for name, value in found.items()}
    found['seconds'] = time.monotonic() - began
    for name, value in found.items():
      curves[name][index] = value
    on_epoch(index, found)
    late = time.monotonic() - kept >= KEEP_EVERY
    if folder is not None and (late or index + 1 == method.num_epochs):
      position = _Position(state, curves, np.array(index + 1))
      checkpoint.save(folder / STATE, position)
      kept = time.monotonic()
  return state, curves


def _begin(method, key) -> _Position:
  state = method.init(key)
  _, found = jax.eval_shape(
    lambda key, state: method.epoch(key, state, 0), key, state
  )
  curves = {
    name: np.full(method.num_epochs, np.nan) for name in (*found, 'seconds')
  }
  return _Position(state, curves, np.array(0))


def _check_same(folder: pathlib.Path, config: Mapping) -> None:
  """Refuses to mix two runs in one workdir."""
  path = folder / CONFIG
  if not path.is_file():
    return
  before, now = map(strict_json.flat, (json.loads(path.read_text()), config))
  differing = sorted(
    name
    for name in {*before, *now}
    if before.get(name) != now.get(name) and name.split('.')[0] not in FREE
  )
  if differing:
    raise sections.ConfigError(
      f'{folder} has a run of another config, which differs in '
      f'{", ".join(differing)}: choose another workdir.'
    )


def _write(path: pathlib.Path, text: str) -> None:
  """A file that is whole or not there."""
  path.parent.mkdir(parents=True, exist_ok=True)
  new = path.with_name(f'{path.name}.new')
  new.write_text(text)
  new.replace(path)


def _write_outcome(folder: pathlib.Path, outcome: Outcome) -> None:
  kept = outcome._asdict()
  config = strict_json.dumps(kept.pop('config'), 'config')
  genotype = json.dumps(outcome.genotype)
  best = f'{{"genotype":{genotype},"config":{config}}}'
  _write(folder / BEST, best)
  _write(folder / RESULT, strict_json.dumps(kept, 'result', measured=True))


def _read(folder: pathlib.Path, config: Mapping) -> Outcome:
  kept = json.loads((folder / RESULT).read_text())
  return Outcome(
    config,
    kept['genotype'],
    strict_json.numbers(kept['numbers']),
    strict_json.numbers(kept['curves']),
  )


class Setting(NamedTuple):
  """A run among several."""

  name: str  # of its folder
  arm: str
  config: Mapping


def settings(
  config: Mapping[str, Any], seeds: int = 1, contrast: bool = False
) -> list[Setting]:
  """The runs of a comparison: seeds from `seed` on, of every arm.

  An arm is the config with one of `contrast.values` as `contrast.field`.

  Raises:
    ConfigError: for no seeds, or a contrast of a field that is not there.
  """
  if seeds < 1:
    raise sections.ConfigError(f'There are {seeds} seeds: at least 1.')
  arms = {'': config}
  if contrast:
    sections.check_sections(config, 'contrast')
    arms = sections.bind(
      'contrast',
      lambda field, values: {
        str(value): _changed(config, field, value) for value in values
      },
      config['contrast'],
    )
  return [
    Setting(f'{arm}_seed{seed}'.lstrip('_'), arm, {**changed, 'seed': seed})
    for arm, changed in arms.items()
    for seed in range(config['seed'], config['seed'] + seeds)
  ]


def _changed(config: Mapping, field: str, value) -> dict:
  changed = copy.deepcopy(dict(config))
  *path, name = field.split('.')
  place = changed
  for part in path:
    place = place.get(part, {})
  if name not in place:
    raise sections.ConfigError(f'contrast.field is {field!r}: no such field.')
  place[name] = value
  return changed


def rows(
  settings: Sequence[Setting], outcomes: Sequence[Outcome]
) -> list[dict[str, Any]]:
  """A row an arm: how many seeds, and mean ± standard deviation of numbers."""
  found = []
  for arm in dict.fromkeys(setting.arm for setting in settings):
    own = [
      outcome.numbers
      for setting, outcome in zip(settings, outcomes, strict=True)
      if setting.arm == arm
    ]
    names = sorted({name for numbers in own for name in numbers})
    found.append(
      {'arm': arm or 'this config', 'seeds': len(own)}
      | {name: _spread([n[name] for n in own]) for name in names}
    )
  return found


def _spread(values: Sequence[float]) -> str:
  mean = np.mean(values)
  if len(values) == 1:
    return f'{mean:.5g}'
  return f'{mean:.5g} ± {np.std(values, ddof=1):.2g}'
