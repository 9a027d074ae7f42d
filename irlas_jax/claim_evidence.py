"""What a search found best, trained again: the evidence behind a claim.

By the recipe of the search's children, all that the arms of a seed found by one
program; or fully, by `retrain` of the arm's config, as a paper's final networks
are. Either way with keys that no search has, and scored on test data, which no
search sees.
"""

import functools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax import (
  evaluations,
  experiment,
  full_training,
  graph,
  kinds,
  ledger,
  search,
)
from irlas_jax.types import DIVERGED, OK, Proposals

EVIDENCE = 1 << 31  # folded into a seed's key, of which a search has the first


class Arm(NamedTuple):
  """What all searches of an arm share, so that it is compiled once."""

  config: dict[str, Any]
  parts: experiment.Parts  # of the first seed
  evidence: evaluations.Evaluation  # on test data
  children: str  # fingerprint of what children depend on, but the seed


def _key(seed: int, repeat: int) -> jax.Array:
  key = jax.random.fold_in(jax.random.key(seed), EVIDENCE)
  return jax.random.fold_in(key, repeat)


def by_children(
  arms: Mapping[str, Arm],
  searches: Mapping[str, dict],
  seed: int,
  repeats: int,
  book: ledger.Ledger,
) -> dict[str, list[dict]]:
  """Rows of scores, one a repeat, of what each search found best."""
  rows: dict[str, list[dict]] = {name: [] for name in arms}
  for children in dict.fromkeys(arm.children for arm in arms.values()):
    names = [name for name in arms if arms[name].children == children]
    arm, best = arms[names[0]], [searches[name] for name in names]
    for repeat in range(repeats):
      problem = _problem(arm.parts, arm.evidence, seed, repeat)
      found = _answers(problem, arm.parts.kind, best, book)
      for name, row in zip(names, found, strict=True):
        rows[name].append(row)
  return rows


def _answers(
  problem: search.Problem,
  kind: kinds.SpaceKind,
  best: Sequence[Mapping[str, Any]],
  book: ledger.Ledger,
) -> list[dict]:
  """Rows of scores; what is known is not even decoded."""
  settings = ledger.fingerprint(problem.settings, 'settings')
  keys = [
    ledger.record_key(one['digest'], settings, problem.fidelity) for one in best
  ]
  known = book.lookup(keys)
  texts = [
    one['best'] for one, key in zip(best, keys, strict=True) if key not in known
  ]
  if texts:
    actions = _actions(kind, texts)
    search.answer(problem, book, Proposals(actions, actions, ()))
    known = book.lookup(keys)
  return [known[key].scores for key in keys]


def _problem(
  parts: experiment.Parts,
  evidence: evaluations.Evaluation,
  seed: int,
  repeat: int,
) -> search.Problem:
  """The training of children by `evidence`, with keys that no search has."""
  more = {'purpose': 'evidence', 'repeat': repeat}
  return parts.problem._replace(
    prepare=evidence.prepare,
    evaluate=functools.partial(evidence.evaluate, _key(seed, repeat)),
    bar=evidence.bar,
    settings=evaluations.with_seed(evidence, seed).settings | more,
    fidelity=evidence.fidelity,
    population=evidence.population,
    num_evaluations=evidence.num_evaluations,
  )


def _actions(kind: kinds.SpaceKind, genotypes: Sequence[str]) -> jax.Array:
  """[n, T]"""
  space = kind.space
  steps = jax.ShapeDtypeStruct((space.num_steps,), 'int32')
  *_, num_nodes = jax.eval_shape(space.decode, steps).ops.shape
  parsed = [graph.resize(kind.parse(text), num_nodes) for text in genotypes]
  return jnp.stack([space.encode(single) for single in parsed])


def fully(
  arms: Mapping[str, Arm],
  searches: Mapping[str, dict],
  seed: int,
  repeats: int,
  book: ledger.Ledger,
  folder: pathlib.Path,
) -> dict[str, list[dict]]:
  """As `by_children`, trained fully; `folder` keeps what was cut off."""
  return {
    name: [
      _train(arm, searches[name], seed, repeat, book, folder / name)
      for repeat in range(repeats)
    ]
    for name, arm in arms.items()
  }


def _train(
  arm: Arm,
  best: Mapping[str, Any],
  seed: int,
  repeat: int,
  book: ledger.Ledger,
  folder: pathlib.Path,
) -> dict[str, Any]:
  """One row of scores, trained if the ledger does not know it."""
  config = final_config(arm.config)
  fields = (*evaluations.SECTIONS, 'retrain')
  settings = {
    'seed': seed,
    'repeat': repeat,
    **{name: config[name] for name in fields if config.get(name)},
  }
  settings.pop('data_dir', None)
  key = ledger.record_key(best['digest'], settings, 'final')
  if key not in book.lookup([key]):
    own = int(jax.random.bits(_key(seed, repeat)) >> 1)  # a seed is an int32
    trained = full_training.retrain(
      config | {'seed': own},
      best['best'],
      workdir=folder / f'{seed}-{repeat}',
    ).result
    is_number = math.isfinite(trained.test_loss)
    scores = {
      'accuracy': trained.test_accuracy,
      'loss': trained.test_loss,
      'params': trained.params,
      'seconds': trained.seconds,
      'failure': OK if is_number else DIVERGED,
    }
    book.finish({key: scores})
  return book.lookup([key])[key].scores


def final_config(config: Mapping) -> dict[str, Any]:
  """The config of a search's full training."""
  return {**config, **config['retrain']}
