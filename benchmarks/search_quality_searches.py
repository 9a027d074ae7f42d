"""The searches of `search_quality` at one seed, and the evidence on them.

Everything that is compiled is made once a process (`Bench`), because a search
takes seconds and its programs take as long to compile.
"""

import functools
import json
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import search_quality_report as reports
from irlas_jax import (
  classifiers,
  devices,
  evaluations,
  experiment,
  graph,
  kinds,
  ledger,
  objectives,
  search,
  sections,
)
from irlas_jax.evaluators import halving, trained
from irlas_jax.policies import sampling
from irlas_jax.rewards import shaping
from irlas_jax.training import data as datasets
from irlas_jax.types import OK, Proposals, Reward, Searcher


class Scorer(NamedTuple):
  """An evaluator, and all that its scores depend on besides seed and graph."""

  evaluator: trained.Trained
  settings: dict[str, Any]


class Bench(NamedTuple):
  """What all searches of a process share, so that it compiles once."""

  config: dict[str, Any]
  kind: kinds.SpaceKind
  decode: Callable  # actions [n, T] -> Graph with leading n
  searchers: dict[str, Searcher]
  children: Scorer  # what searches see
  evidence: Scorer  # what they are judged by
  population: int  # children a call


class Keys(NamedTuple):
  """One use each; all arms of a seed have the same."""

  rollouts: jax.Array
  control: jax.Array
  loop: jax.Array
  children: jax.Array
  evidence: jax.Array


def make_bench(config: dict[str, Any]) -> Bench:
  """The parts of all searches.

  Raises:
    ValueError: naming the config field and the remedy.
  """
  if 'evidence' not in config:
    raise sections.ConfigError('The config has no section evidence.')
  kind = sections.choose(config, 'space', kinds.SPACES)()
  names = {arm.searcher for arm in reports.ARMS.values()}
  first, second = load_splits(config)
  return Bench(
    config,
    kind,
    jax.vmap(kind.space.decode),
    {
      name: sections.choose(
        {'searcher': config['searcher'] | {'name': name}},
        'searcher',
        experiment.SEARCHERS,
      )(kind.space)
      for name in names
    },
    _scorer(config, kind, first, 'search'),
    _scorer(config, kind, second, 'evidence'),
    config['evaluator'].get('population') or devices.count(),
  )


def _scorer(config, kind, dataset, purpose) -> Scorer:
  population = config['evaluator'].get('population', 0)
  made = evaluations.trained_on(dataset, config, kind, population)
  return Scorer(made, made.settings | {'purpose': purpose})


def load_splits(config) -> tuple[datasets.Dataset, datasets.Dataset]:
  """The data that searches see, and with other validation images the second.

  Raises:
    ValueError: if there are not that many images, or the training images of
      the two are not the same.
  """
  size, more = config['data']['train_size'], config['evidence']['second_size']
  first = classifiers.load_data(config)
  wide = classifiers.load_data(
    config | {'data': config['data'] | {'train_size': size + more}}
  )
  train, second = (
    datasets.Split(*(array[part] for array in wide.train))
    for part in (slice(size), slice(size, None))
  )
  same = jax.tree.map(
    np.array_equal, (first.train, first.valid), (train, wide.valid)
  )
  if len(second.labels) != more or not all(jax.tree.leaves(same)):
    raise ValueError(
      f'evidence.second_size is {more}, but the second split of {first.name} '
      f'has {len(second.labels)} images, or others moved with it.'
    )
  return first, first._replace(valid=second)


def make_keys(seed: int) -> Keys:
  """The keys of a seed."""
  return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def control_expert(bench: Bench, key: jax.Array) -> str:
  """The genotype of a random block with as many layers as the expert."""
  length = graph.size(bench.kind.expert(bench.config['expert'])) - 1
  space = bench.kind.space
  if length > space.num_steps:
    raise ValueError(
      f'The expert has {length} layers: raise space.num_layers, which is '
      f'{space.num_steps}.'
    )
  (actions,) = sampling.actions_of_lengths(key, space, jnp.array([length]))
  return bench.kind.describe(space.decode(actions))


def make_reward(bench: Bench, key, guidance: str, control: str) -> Reward:
  """The reward of an arm: without an expert, with ours, or with `control`."""
  section, kind = bench.config['reward'], bench.kind
  if guidance == 'none':
    section = section | {'mirror': 0.0}
  if guidance == 'control':
    kind = kind._replace(expert=lambda name: bench.kind.parse(control))
  make = sections.choose({'reward': section}, 'reward', objectives.REWARDS)
  return make(key, kind, bench.config['expert']).reward


def make_problem(
  bench: Bench, scorer: Scorer, key: jax.Array, seed: int
) -> search.Problem:
  """Random search for accuracy, scored by `scorer` with this key."""
  train = bench.config['train']
  return search.Problem(
    bench.searchers['random'],
    bench.decode,
    graph.digest,
    bench.kind.describe,
    scorer.evaluator.prepare,
    functools.partial(scorer.evaluator.evaluate, key),
    functools.partial(halving.bar, eta=0),
    shaping.accuracy_reward(),
    scorer.settings | {'seed': seed},
    {'epochs': train['epochs']},
    bench.population,
    train['evaluations'],
  )


def run_arm(
  config: dict[str, Any],
  key: jax.Array,
  problem: search.Problem,
  book: ledger.Ledger,
  workdir: pathlib.Path,
  check_time: Callable[[], None],
) -> list[search.Trial]:
  """The trials of one search, whose evaluations are in the seed's `book`.

  Its proposals are logged in a ledger of its own, so that a change in what is
  proposed is noticed.
  """
  section, trials = config['search'], []
  iterations = math.ceil(section['num_proposals'] / section['batch'])
  with ledger.open(workdir, config) as own:
    shared = book._replace(log=own.log, proposals=own.proposals)
    for batch in search.run(key, problem, shared, iterations, section['batch']):
      trials += batch
      check_time()
  return trials


def run_arms(
  bench: Bench,
  seed: int,
  names: Iterable[str],
  book: ledger.Ledger,
  workdir: pathlib.Path,
  check_time: Callable[[], None],
) -> tuple[str, dict[str, list[search.Trial]]]:
  """The control's genotype, and {arm: trials}."""
  keys = make_keys(seed)
  control = control_expert(bench, keys.control)

  @functools.cache  # one a guidance, so that it compiles once a seed
  def reward(guidance):
    return make_reward(bench, keys.rollouts, guidance, control)

  problem = make_problem(bench, bench.children, keys.children, seed)
  trials = {}
  for name in names:
    arm = reports.ARMS[name]
    config = bench.config | {'seed': seed, 'arm': name}
    problem = problem._replace(
      searcher=bench.searchers[arm.searcher], reward=reward(arm.guidance)
    )
    folder = workdir / f'{name}-{ledger.fingerprint(config)[:8]}'
    trials[name] = run_arm(config, keys.loop, problem, book, folder, check_time)
  return control, trials


def digest_of(trial: search.Trial) -> str:
  """The hash of a proposal's isomorphism class."""
  return json.loads(trial.key)[0]


def summarise(trials: list[search.Trial], last: int, batch: int) -> dict:
  """What is kept of one search; a child that failed counts as accuracy 0."""
  names = [digest_of(trial) for trial in trials]
  rewards = np.array([trial.reward for trial in trials])
  accuracies = [_accuracy(trial.scores) or 0.0 for trial in trials]
  return {
    'proposals': len(trials),
    'distinct': len(set(names)),
    'best': names[int(np.argmax(rewards))],
    'last': {name: names[-last:].count(name) for name in names[-last:]},
    'trace': {
      'reward': _means(rewards, batch),
      'accuracy': _means(accuracies, batch),
    },
  }


def _means(values, batch: int) -> list[float]:
  """The mean of each iteration."""
  return np.reshape(values, (-1, batch)).mean(1).round(4).tolist()


def _accuracy(scores) -> float | None:
  return scores['accuracy'] if scores['failure'] == OK else None


def train_again(
  bench: Bench,
  seed: int,
  trials: dict[str, search.Trial],
  book: ledger.Ledger,
  check_time: Callable[[], None],
) -> dict[str, dict]:
  """{digest: what a result file has of a block} of one trial each."""
  space, batch = bench.kind.space, bench.config['search']['batch']
  key = make_keys(seed).evidence
  problem = make_problem(bench, bench.evidence, key, seed)
  blocks = {}
  names = list(trials)
  for start in range(0, len(names), batch):
    chunk = np.resize(names[start : start + batch], batch).tolist()
    graphs = [_canonical(bench.kind, trials[name].genotype) for name in chunk]
    actions = jnp.stack([space.encode(single) for single in graphs])
    answers = search.answer(problem, book, Proposals(actions, actions, ()))
    for name, given in zip(chunk, answers, strict=True):
      blocks[name] = _block_row(given, trials[name])
    check_time()
  return blocks


def _canonical(kind, genotype):
  parsed = graph.canonical(kind.parse(genotype))
  return graph.resize(parsed, kind.space.num_steps + 1)


def _block_row(given: search.Answer, trial: search.Trial) -> dict:
  return {
    'accuracy': _accuracy(given.scores),
    'search_accuracy': _accuracy(trial.scores),
    'params': given.scores['params'],
    'madds': given.scores['madds'],
    'layers': trial.length,
    'genotype': given.genotype,
  }


def run_seed(
  bench: Bench,
  seed: int,
  names: Iterable[str],
  workdir: pathlib.Path,
  check_time: Callable[[], None],
) -> dict:
  """The result of some arms at one seed.

  Raises:
    OutOfTime: from `check_time`; what was finished is in the workdir.
  """
  config, folder = bench.config, workdir / f'seed_{seed}'
  with ledger.open(folder, {'seed': seed}) as book:
    book.withdraw(_unfinished(book))
    control, trials = run_arms(bench, seed, names, book, folder, check_time)
    arms = {
      name: summarise(
        found, config['evidence']['last'], config['search']['batch']
      )
      for name, found in trials.items()
    }
    known = {digest_of(t): t for found in trials.values() for t in found}
    wanted = {
      name: known[name]
      for arm in arms.values()
      for name in (*arm['last'], arm['best'])
    }
    blocks = train_again(bench, seed, wanted, book, check_time)
  return {'control': control, 'arms': arms, 'blocks': blocks}


def _unfinished(book: ledger.Ledger) -> list[str]:
  """What a killed run had started: it is not the children's fault."""
  query = "SELECT key FROM evaluations WHERE status = 'started'"
  return [key for (key,) in book.connection.execute(query)]
