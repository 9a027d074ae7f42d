"""A compression from its teacher to its student, and what is refused first."""

import importlib.util
import json
import pathlib

import jax
import numpy as np
import pytest

from irlas_jax import compression, full_training, ledger, teachers
from irlas_jax import compression_settings as settings
from irlas_jax.evaluators import export
from irlas_jax.training import checkpoint

pytestmark = pytest.mark.usefixtures('quick_compiles')
TINY = pathlib.Path(__file__).parent / 'fixtures' / 'tiny_n2n.py'


def _config(changes=()):
  spec = importlib.util.spec_from_file_location('tiny_n2n', TINY)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config().lock()
  config.update_from_flattened_dict(dict(changes))
  return config.to_dict()


def _never(*_, **__):
  raise AssertionError('trained again')


@pytest.fixture(name='done', scope='module')
def fixture_done(tmp_path_factory, launch):
  """A tiny compression: workdir, outcome, and what was printed.

  The outcome is that of running it again, which trains nothing.
  """
  workdir = tmp_path_factory.mktemp('n2n')
  status, output, errors = launch(
    'launch.compress', f'--config={TINY}', f'--workdir={workdir}'
  )
  assert status == 0, errors
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(compression.distilled, 'distil', _never)
    patch.setattr(full_training, 'retrain', _never)
    patch.setattr(ledger.Ledger, 'start', _never)
    outcome = compression.run(_config(), workdir)
  return workdir, outcome, output


def test_a_teacher_becomes_a_student(done):
  workdir, outcome, output = done
  content = json.loads((workdir / 'student.json').read_text())
  assert outcome.reference.text == 'C(12,3) C(12,3) C(12,3) M(2,2)'
  assert content['genotype'] == outcome.found.text
  assert f'Student: {outcome.found.text}' in output
  assert 0 < content['params'] < outcome.reference.params
  assert content['compression'] == pytest.approx(
    outcome.reference.params / content['params']
  )
  assert 0 <= content['test_accuracy'] <= 1
  rewards = [one.reward for one in outcome.students[:2]]
  assert outcome.found.reward == max(rewards) > -1
  names = [one.name for one in outcome.students]
  assert 'uniform 90 %' in names and names[0] in ('removal', 'shrinkage')
  assert all(name in output for name in (*names, 'teacher'))
  for name in ('teacher', 'student', 'uniform'):
    assert teachers.exists(workdir / name)


def test_a_reward_is_that_of_the_teacher_and_of_validation_images(done):
  _, outcome, _ = done
  found, reference = outcome.found, outcome.reference
  saved = 1 - found.params / reference.params
  expected = saved * (2 - saved) * found.accuracy / reference.accuracy
  assert found.reward == pytest.approx(expected, rel=1e-5)


def test_the_student_can_be_trained_and_is_a_teacher_itself(done):
  """By its genotype and the space beside it; by its checkpoint."""
  workdir, outcome, _ = done
  path = workdir / 'student.json'
  config = {k: v for k, v in _config().items() if k != 'space'}
  config = full_training.with_space_of(path, config)
  genotype = full_training.read_genotype(path, config)
  assert genotype == outcome.found.text
  found = settings.find_teacher(_config(), str(workdir / 'student'))
  assert found.text == outcome.found.text
  assert settings.find_teacher(config, str(path)).text == found.text
  variables = checkpoint.load(workdir / 'student' / export.CHECKPOINT)
  sizes = [np.size(leaf) for leaf in jax.tree.leaves(variables['params'])]
  assert sum(sizes) == outcome.found.params


def test_policies_are_kept_for_other_teachers(done):
  workdir, *_ = done
  for stage in ('removal', 'shrinkage'):
    with np.load(workdir / stage / compression.POLICY) as file:
      assert len(file.files) > 5


@pytest.mark.parametrize(
  'changes, teacher, words',
  [
    ({}, 'C(12,3) X(3)', "layer 2, 'X\\(3\\)', is no layer"),
    ({}, 'C(12,3) M(9,9)', 'layer 2 pools windows of 9'),
    ({}, 'runs/nowhere', 'no such file or folder'),
    ({}, 'nowhere.json', 'no such genotype file'),
    ({}, str(TINY.parent), 'no trained teacher'),
    ({'space.family': 'lenet'}, '', "space.family is 'lenet'"),
    ({'space.depths': (1, 2)}, '', r'space.depths \(1, 2\)'),
    ({'space.family': ''}, '', 'give one'),
    ({'evaluator.name': 'trained'}, '', 'students are distilled'),
    ({'evaluator.matching': 0.0}, '', 'evaluator.matching is 0.0'),
    ({'train.batch_size': 99}, '', 'train.batch_size is 99'),
    ({'retrain.train.epochs': 3}, '', 'train.evaluations is 4'),
    ({'removal.search.workers': 2}, '', 'removal.search.workers is 2'),
    ({'removal.search.batch': 0}, '', 'removal.search.batch is 0'),
    ({'baseline.percents': (100,)}, '', 'baseline.percents'),
    ({'removal.searcher.name': 'sgd'}, '', "searcher.name is 'sgd'"),
  ],
)
def test_what_cannot_be_done_is_refused_before_any_training(
  changes, teacher, words
):
  with pytest.raises((ValueError, OSError), match=words):
    settings.check(_config(changes), teacher)


def test_a_teacher_of_other_data_is_refused(done):
  workdir, *_ = done
  with pytest.raises(ValueError, match='was trained with data'):
    settings.check(_config({'data.train_size': 60}), str(workdir / 'teacher'))
