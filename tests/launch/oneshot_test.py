"""The one-shot command, end to end on a few digits."""

import json

SCRIPT = 'launch.oneshot'
FEW = (
  '--config.data.train_size=20',
  '--config.data.valid_size=20',
  '--config.train.epochs=2',
  '--config.train.batch_size=10',
)
MASKS = (
  '--config=configs/maskconnect_small.py',
  '--config.network.kind=resnet',
  '--config.network.width=2',
  '--config.network.modules=(1, 1)',
  '--config.oneshot.fan_in=1',
  '--config.oneshot.search_epochs=1',
)
CELLS = (
  '--config=configs/irlas_differential_small.py',
  '--config.network.width=2',
  '--config.network.num_stages=1',
  '--config.reward.num_rollouts=64',
  '--config.retrain.data.train_size=20',
  '--config.retrain.data.valid_size=20',
  '--config.retrain.network.width=2',
  '--config.retrain.network.num_stages=1',
  '--config.retrain.train.epochs=5',
  '--config.retrain.train.batch_size=10',
)


def test_connections_are_learnt_and_written(launch, tmp_path):
  flags = (*MASKS, *FEW, f'--workdir={tmp_path}')
  status, output, errors = launch(SCRIPT, *flags)
  assert status == 0, errors
  best = json.loads((tmp_path / 'best.json').read_text())
  assert best['genotype'] in ('0; 0', '0; 1')
  assert all(word in output for word in (best['genotype'], 'test_accuracy'))
  status, output, errors = launch(SCRIPT, *flags, '--config.oneshot.fan_in=3')
  assert status != 0 and 'oneshot.fan_in' in errors
  assert 'Traceback' not in errors


def test_a_cell_is_searched_and_trained_fully(launch, tmp_path):
  """Its best.json is what `launch.train` reads, the space included."""
  status, output, errors = launch(SCRIPT, *CELLS, *FEW, f'--workdir={tmp_path}')
  assert status == 0, errors
  best = json.loads((tmp_path / 'best.json').read_text())
  assert best['config']['space'] == {'name': 'nasbench201'}
  assert best['genotype'].count('~') == 6 and best['genotype'] in output
  numbers = json.loads((tmp_path / 'result.json').read_text())['numbers']
  assert {'test_accuracy', 'skip_share', 'topology', 'collapsed'} <= set(
    numbers
  )
