"""A search as NAS-RL's, from its first proposal to the full training."""

import json

import numpy as np
import pytest

from configs import nas_rl_cifar10
from irlas_jax import experiment, ledger, search
from irlas_jax.types import OK

pytestmark = pytest.mark.usefixtures('quick_compiles')
CHANGES = {
  'space': {
    'name': 'nas_rl',
    'num_layers': 3,
    'heights': (1, 3),
    'widths': (1,),
    'filters': (2, 4),
    'strides': (1, 2),
    'pooled_layers': (1,),
  },
  'growth': {'start': 1, 'step': 1, 'every': 4},
  'searcher': {
    'name': 'reinforce',
    'learning_rate': 0.01,
    'policy': {'name': 'lstm_anchors', 'hidden': 4},
  },
  'network': {'width': 1, 'num_stages': 1, 'blocks_per_stage': 1},
  'train': {'epochs': 2, 'batch_size': 25, 'evaluations': 2},
  'reward': {'name': 'best_cubed', 'evaluations': 1},
}


def test_a_search_grows_and_trains_by_one_program(make_config, tmp_path):
  """Four proposals of one layer, four of two, four of three."""
  config = make_config()
  del config['retrain'], config['expert']
  config |= CHANGES
  parts = experiment.build(config)
  with ledger.open(tmp_path, config) as book:
    loop = search.run(parts.key, parts.problem, book, 3, 4)
    trials = [trial for trials in loop for trial in trials]
  assert [trial.length for trial in trials] == list(np.repeat([1, 2, 3], 4))
  for trial in trials:
    assert trial.scores['failure'] == OK
    cubed = 100 * trial.scores['curve'][-1] ** 3
    assert trial.reward == pytest.approx(cubed, rel=1e-5)
    assert trial.scores['params'] > 0 and trial.scores['madds'] > 0
    found = parts.kind.parse(trial.genotype)
    assert parts.kind.describe(found) == trial.genotype


def test_the_best_of_a_search_is_trained_fully(launch, tmp_path):
  """By the small config's own command, with next to nothing to do."""
  status, output, errors = launch(
    'launch.search',
    '--config=configs/nas_rl_small.py',
    f'--workdir={tmp_path}',
    '--config.search.num_proposals=2',
    '--config.search.batch=2',
    '--config.space.num_layers=2',
    '--config.growth.start=2',
    '--config.train.epochs=1',
    '--config.train.evaluations=1',
    '--config.retrain.train.epochs=2',
    '--config.retrain.train.evaluations=1',
    '--config.retrain.network.width=1',
  )
  assert status == 0, errors
  best = json.loads((tmp_path / 'best.json').read_text())
  assert best['genotype'].count(' from ') == 2
  final = json.loads((tmp_path / 'final.json').read_text())
  assert 0 <= final['test_accuracy'] <= 1


def test_the_paper_s_depths_fit_its_space():
  """12,800 architectures, 1,600 of each depth from 6 to 20."""
  config = nas_rl_cifar10.get_config()
  last = config.search.num_proposals - 1
  growth = config.growth
  deepest = growth.start + growth.step * (last // growth.every)
  assert deepest == config.space.num_layers == 20
  assert growth.every % config.search.batch == 0
