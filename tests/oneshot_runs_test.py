"""One-shot runs by a config: measured, kept, taken up, compared, refused."""

import importlib
import json
import math
import os

import pytest

from irlas_jax import oneshot_methods, oneshot_runs, sections

pytestmark = pytest.mark.usefixtures('quick_compiles')

CONFIGS = (
  *('maskconnect_small', 'maskconnect_cifar10'),
  *('irlas_differential_small', 'irlas_differential_nasbench201'),
)


def _config(name):
  module = importlib.import_module(f'configs.{name}')
  return module.get_config().lock().to_dict()


def _changed(name, changes):
  """A config with dotted fields changed, which need not be there yet."""
  config = _config(name)
  for field, value in changes.items():
    *path, last = field.split('.')
    place = config
    for part in path:
      place = place.setdefault(part, {})
    place[last] = value
  return config


def _tiny(**changes):
  return _changed(
    'maskconnect_small',
    {
      'data.train_size': 20,
      'data.valid_size': 20,
      'network': dict(kind='resnet', width=2, modules=(1, 1)),
      'train': dict(epochs=3, batch_size=10, learning_rate=0.05),
      'oneshot.search_epochs': 2,
      'oneshot.fan_in': 1,
    }
    | {name.replace('__', '.'): value for name, value in changes.items()},
  )


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_can_be_built(name):
  """On digits, where a field that nobody reads would be seen, too."""
  config = _config(name)
  config |= {'dataset': 'digits', 'data_dir': None}
  config['data'] = dict(train_size=300, valid_size=300)
  if 'reward' in config:
    config['reward']['num_rollouts'] = 64
  if 'table' in config and 'IRLAS_DATA_DIR' not in os.environ:
    config['table']['file'] = ''
  oneshot_runs.check(config)
  settings = oneshot_runs.settings(config, seeds=2, contrast=True)
  assert len(settings) == 2 * len(config['contrast']['values'])
  assert len({setting.name for setting in settings}) == len(settings)


class _Stop(Exception):
  pass


def test_an_interrupted_run_goes_on_and_a_finished_one_is_read(
  tmp_path, monkeypatch
):
  """With the numbers of an undisturbed one, but for its time."""
  config = _tiny()
  monkeypatch.setattr(oneshot_runs, 'KEEP_EVERY', 0.0)

  def stop(index, found):
    if index == 1:
      raise _Stop

  with pytest.raises(_Stop):
    oneshot_runs.run(config, tmp_path, stop)
  seen = []
  first = oneshot_runs.run(config, tmp_path, lambda i, found: seen.append(i))
  assert seen == [1, 2]  # what was told was not kept yet
  found = oneshot_runs.measure(config)
  assert found.pop('genotype') == first.genotype
  assert found | {'seconds': 0} == first.numbers | {'seconds': 0}
  assert len(first.curves['loss']) == 3
  best = json.loads((tmp_path / oneshot_runs.BEST).read_text())
  assert best['genotype'] == first.genotype and best['config']['seed'] == 0
  monkeypatch.setattr(oneshot_methods, 'make', None)  # nothing is built
  assert oneshot_runs.run(config, tmp_path) == first
  with pytest.raises(sections.ConfigError, match='differs in seed'):
    oneshot_runs.run(config | {'seed': 1}, tmp_path)


def test_all_arms_share_a_program_and_make_a_table():
  """Numbers are plain, and the arms differ in their masks alone."""
  settings = oneshot_runs.settings(_tiny(), seeds=2, contrast=True)
  chosen = [s for s in settings if s.arm in ('chain', 'all')]
  outcomes = [oneshot_runs.run(setting.config) for setting in chosen]
  rows = oneshot_runs.rows(chosen, outcomes)
  assert [row['arm'] for row in rows] == ['chain', 'all']
  assert all(row['seeds'] == 2 and '±' in row['test_loss'] for row in rows)
  assert outcomes[0].genotype == '0; 1' and outcomes[2].genotype == '0; 0 1'
  for outcome in outcomes:
    assert all(isinstance(value, float) for value in outcome.numbers.values())
    assert 0 <= outcome.numbers['test_accuracy'] <= 1
    assert outcome.numbers['saving'] == 0
  assert outcomes[0].numbers['parameters'] < outcomes[2].numbers['parameters']


@pytest.mark.parametrize(
  'name, changes, words',
  [
    ('maskconnect_small', {'oneshot.fan_in': 9}, 'at most 8'),
    ('maskconnect_small', {'network.kind': 'vgg'}, 'choose one of resnet'),
    ('maskconnect_small', {'network.depth': 3}, 'network.depth does not'),
    ('maskconnect_small', {'oneshot.name': 'darts'}, 'choose one of maskco'),
    ('maskconnect_small', {'oneshot.order': 'first'}, 'is no field of'),
    ('maskconnect_small', {'oneshot.connections': 'far'}, 'learnt, chain'),
    ('maskconnect_small', {'oneshot.search_epochs': 61}, 'train.epochs, 60'),
    ('maskconnect_small', {'oneshot.mask_learning_rate': 0.0}, 'above 0'),
    ('irlas_differential_small', {'expert': ''}, "no 'expert'"),
    ('irlas_differential_small', {'expert': 'vgg'}, 'no cell'),
    ('irlas_differential_small', {'reward.mirror': -1.0}, '0 or more'),
    ('irlas_differential_small', {'reward.name': 'cost'}, 'irlas, accuracy'),
    ('irlas_differential_small', {'space.name': 'block'}, 'nasbench201'),
    ('irlas_differential_small', {'oneshot.order': 'third'}, 'second_exact'),
    ('irlas_differential_small', {'retrain.train.epochs': 0}, 'train.epochs'),
  ],
)
def test_a_wrong_config_is_refused_with_a_remedy(name, changes, words):
  with pytest.raises(ValueError, match=words):
    oneshot_runs.check(_changed(name, changes))


@pytest.mark.parametrize(
  'contrast, words',
  [
    (dict(field='oneshot.fanin', values=(1,)), 'no such field'),
    (dict(field='oneshot.fan_in'), 'contrast.values is missing'),
  ],
)
def test_a_wrong_contrast_is_refused(contrast, words):
  with pytest.raises(sections.ConfigError, match=words):
    oneshot_runs.settings(_tiny(contrast=contrast), contrast=True)


def test_no_seeds_are_refused():
  with pytest.raises(sections.ConfigError, match='at least 1'):
    oneshot_runs.settings(_tiny(), seeds=0)


@pytest.mark.skipif('IRLAS_DATA_DIR' not in os.environ, reason='no table')
def test_a_cell_is_looked_up():
  """The ResNet cell has 93.97 % in the benchmark's table."""
  look = oneshot_methods._table(_config('irlas_differential_nasbench201'))
  found = look(
    '|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|'
    'skip_connect~2|'
  )
  assert found['test_accuracy'] == pytest.approx(0.9397, abs=0.003)
  assert not math.isnan(found['table_valid_accuracy'])
