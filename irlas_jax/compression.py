"""What launch.compress does: a teacher, two searches, the best student.

N2N learning (Ashok et al., ICLR 2018, arXiv 1709.06030). The students of both
searches, and what they are compared with, are distilled by the same evaluator
and rewarded against the same teacher. The best one is then distilled fully and
tested once, and so are two to compare it with: the uniformly shrunk teacher
that is nearest in size, and the best of the random searches.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import (
  classifiers,
  experiment,
  full_training,
  kinds,
  ledger,
  runs,
  search,
  sections,
  teachers,
)
from irlas_jax import compression_settings as settings
from irlas_jax.evaluators import distilled, export
from irlas_jax.policies import stored
from irlas_jax.reports import progress, summary
from irlas_jax.spaces import layer_table, n2n
from irlas_jax.training import loop
from irlas_jax.types import Proposals

POLICY = 'policy.npz'  # in the folder of a search by a policy
RANDOM: Mapping = {'name': 'random'}


class Student(NamedTuple):
  """A student as its search found it, and how its full distillation ended."""

  name: str
  text: str  # it stands for itself: no '-'
  params: float
  reward: float
  accuracy: float  # on validation images, after the few epochs of a search
  test_accuracy: float = float('nan')


class Compressed(NamedTuple):
  """All that came out; `found` is the best by its reward."""

  reference: settings.Reference
  found: Student
  students: tuple[Student, ...]  # of both searches and of what they compare to
  final: Mapping  # the final.json of the one that was found


def run(
  config: Mapping,
  workdir: str | os.PathLike,
  teacher: str = '',
  shown: bool = False,
) -> Compressed:
  """Compresses a teacher; what is finished in the workdir is not done again.

  Args:
    config: see configs/n2n_small.py.
    workdir: has a folder for each training and search.
    teacher: see `settings.find_teacher`.
    shown: whether there are progress bars.

  Raises:
    ValueError, FileNotFoundError: see `settings.check`.
  """
  origin, workdir = settings.check(config, teacher), pathlib.Path(workdir)
  reference = _reference(config, origin, workdir)
  searched = _search(config, reference, workdir, shown)
  if not searched:
    raise ValueError(
      f'{workdir}: no student was smaller than the teacher, {reference.text}: '
      'raise removal.search.num_proposals and shrinkage.search.num_proposals.'
    )
  baseline = settings.baseline(config)
  uniform = _uniform(config, reference, baseline.percents, workdir)
  random = []
  if baseline.random:
    folder = workdir / 'random'
    random = _search(config, reference, folder, shown, RANDOM, 'random ')
  found = _best(searched)
  chosen = {'student': found}
  if uniform:  # at the size of what was found: rewards weigh sizes differently
    chosen['uniform'] = min(uniform, key=lambda one: _ratio(one, found))
  if random:
    chosen['random'] = _best(random)
  finals = {
    name: _distil(config, reference, one.text, workdir / name)
    for name, one in chosen.items()
  }
  tested = {
    one.name: one._replace(test_accuracy=finals[name]['test_accuracy'])
    for name, one in chosen.items()
  }
  students = [*searched, *uniform, *random]
  return Compressed(
    reference,
    tested[found.name],
    tuple(tested.get(one.name, one) for one in students),
    finals['student'],
  )


def _best(students: Sequence[Student]) -> Student:
  return max(students, key=lambda student: student.reward)


def _ratio(one: Student, other: Student) -> float:
  """How many times as large the larger one of two is."""
  larger, smaller = sorted((one.params, other.params), reverse=True)
  return larger / smaller


def _reference(
  config: Mapping, origin: settings.Origin, workdir: pathlib.Path
) -> settings.Reference:
  """The teacher, trained if it is not yet, and what it is measured to be."""
  folder = origin.workdir or workdir / 'teacher'
  if not teachers.exists(folder):
    final = full_training.retrain(
      settings.teacher_config(config, origin.text), origin.text, workdir=folder
    )
    full_training.write_network(folder, final, False)
    summary.write_final(folder, final)
  found = teachers.read(folder, config)
  if layer_table.compact(found.genotype) != origin.text:
    raise ValueError(
      f'{folder} has another teacher, {found.genotype}: choose another workdir.'
    )
  dataset = classifiers.load_data(config)
  data = loop.on_device(dataset)
  taught = teachers.load(folder, config, dataset)
  accuracy = distilled.accuracy(taught, data.valid, data.mean, data.std)
  told = json.loads((folder / teachers.FINAL).read_text())
  return settings.Reference(
    origin.text,
    folder,
    float(told['params']),
    round(accuracy, 6),
    told['test_accuracy'],
  )


def _search(
  config: Mapping,
  reference: settings.Reference,
  workdir: pathlib.Path,
  shown: bool,
  searcher: Mapping | None = None,
  prefix: str = '',
) -> list[Student]:
  """The best student of each stage, if it is smaller than the teacher."""
  text, students = reference.text, []
  for stage in n2n.STAGES:
    section = settings.stage_config(config, stage, text, reference)
    section['searcher'] = searcher or section['searcher']
    with progress.Bar(shown) as bar:
      outcome = runs.run(
        section, workdir / stage, bar.start, bar.update, bar.trained
      )
    _save_policy(outcome, workdir / stage / POLICY)
    best = outcome.best
    if best.reward > -1:
      text = layer_table.compact(best.genotype)
      students.append(
        _student(f'{prefix}{stage}', text, best.scores, best.reward)
      )
  return students


def _student(name: str, text: str, scores: Mapping, reward: float) -> Student:
  return Student(name, text, scores['params'], reward, scores['accuracy'])


def _save_policy(outcome: runs.Outcome, path: pathlib.Path) -> None:
  """What the searcher has learnt, if it has a policy; see `policies.stored`."""
  state = final_state(outcome.parts, outcome.trials)
  if hasattr(state, 'params'):
    stored.save(path, state.params)


def final_state(parts: experiment.Parts, trials: Sequence[search.Trial]) -> Any:
  """The searcher's state after a search, from its rewards: nothing is trained.

  It is a function of the search's key and of the rewards.
  """
  searcher, batch = parts.problem.searcher, parts.batch
  key_init, key_loop = search.split_key(parts.key)
  propose = jax.jit(searcher.propose, static_argnums=2)
  update = jax.jit(searcher.update)
  state = searcher.init(key_init)
  rewards = np.array([trial.reward for trial in trials], np.float32)
  for iteration, given in enumerate(rewards.reshape(-1, batch)):
    key_propose, key_update = search.iteration_keys(key_loop, iteration)
    proposals, state = propose(key_propose, state, batch)
    valid = jnp.ones(batch, bool)
    state = update(key_update, state, proposals, jnp.asarray(given), valid)
  return state


def _uniform(
  config: Mapping,
  reference: settings.Reference,
  percents: Sequence[int],
  workdir: pathlib.Path,
) -> list[Student]:
  """The teacher with all its layers shrunk alike, scored as students are."""
  if not percents:
    return []
  section = settings.stage_config(
    config, 'shrinkage', reference.text, reference
  )
  section['searcher'] = RANDOM
  section['search'] = {'num_proposals': len(percents), 'batch': len(percents)}
  kind = sections.choose(section, 'space', kinds.SPACES)()
  texts = layer_table.uniform(reference.text, percents)
  graphs = jax.tree.map(lambda *x: np.stack(x), *map(kind.parse, texts))
  listed = kind._replace(space=n2n.listed(kind.space, graphs))
  problem = experiment.build(section, listed).problem
  actions = np.arange(len(texts), dtype=np.int32)[:, None]
  with ledger.open(workdir / 'uniform', section) as book:
    asked = Proposals(actions, actions, ())
    answers = search.answer(problem, book, asked)
  scores, graphs = search.count(
    search.History(problem.num_evaluations), answers
  )
  rewards = np.asarray(problem.reward(scores, graphs)).tolist()
  return [
    _student(f'uniform {percent} %', text, given.scores, reward)
    for percent, text, given, reward in zip(
      percents, texts, answers, rewards, strict=True
    )
  ]


def _distil(
  config: Mapping,
  reference: settings.Reference,
  text: str,
  workdir: pathlib.Path,
) -> Mapping:
  """Distils a student fully, once; its final.json."""
  final = settings.final_config(config, text)
  dataset = classifiers.load_data(final)
  taught = teachers.load(reference.workdir, final, dataset)
  weights = settings.weights(config)
  final['distillation'] = weights._asdict() | {
    'teacher': teachers.digest(taught)
  }
  if summary.read_final(workdir, final, text) is None:
    kind = sections.choose(final, 'space', kinds.SPACES)()
    macro = classifiers.make_macro(
      final['network'], dataset.train.images.shape[1:]
    )
    assert kind.module is not None
    module = kind.module(
      kind.parse(text), kind.space.operations, macro, dataset.num_classes
    )
    result = distilled.distil(
      jax.random.key(final['seed']),
      module,
      taught,
      dataset,
      classifiers.make_recipe(final['train']),
      weights,
    )
    export.write(workdir, result)
    summary.write_final(workdir, full_training.Final(final, text, result))
  return json.loads((workdir / teachers.FINAL).read_text())
