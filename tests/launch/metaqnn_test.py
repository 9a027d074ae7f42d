"""A search as MetaQNN's, from its first proposal to its last reward."""

import numpy as np
import pytest

from configs import metaqnn_cifar10
from irlas_jax import experiment, ledger, search
from irlas_jax.types import OK

pytestmark = pytest.mark.usefixtures('quick_compiles')
SPACE = {
  'name': 'metaqnn',
  'image_size': 8,
  'num_layers': 3,
  'filters': (2, 4),
  'kernels': (1, 3),
  'units': (4,),
}
SEARCHER = {
  'name': 'q_learning',
  'epsilon_schedule': 'metaqnn',
  'epsilon_scale': 4 / 2700,
  'step_size': 0.01,
  'initial': 50.0,
  'shaping': 'none',
  'replay_updates': 100,
  'distinct': True,
}


def test_a_search_trains_chains_by_one_program(make_config, tmp_path):
  """Exploration falls with the models that differ; all are trained."""
  config = make_config()
  del config['retrain'], config['expert']
  config |= {'space': SPACE, 'searcher': SEARCHER}
  config['network'] = {'width': 2, 'num_stages': 1, 'blocks_per_stage': 1}
  config['reward'] = {'name': 'accuracy'}
  parts = experiment.build(config)
  with ledger.open(tmp_path, config) as book:
    loop = search.run(parts.key, parts.problem, book, 3, 4)
    trials = [trial for trials in loop for trial in trials]
  assert len(trials) == 12 and len({trial.key for trial in trials}) > 4
  for trial in trials:
    assert trial.scores['failure'] == OK
    assert trial.reward == pytest.approx(100 * trial.scores['accuracy'])
    assert trial.scores['params'] > 0 and trial.scores['madds'] > 0
    found = parts.kind.parse(trial.genotype)
    assert parts.kind.describe(found) == trial.genotype
  explored = np.unique([trial.exploration for trial in trials])
  assert explored.max() == 1.0 and len(explored) > 1


def test_one_number_scales_the_published_budget():
  """A schedule that outlasts its search would never stop to explore."""
  config = metaqnn_cifar10.get_config()
  assert config.search.num_proposals == 2700
  config.update_from_flattened_dict({'searcher.q_learning.epsilon_scale': 0.1})
  assert config.search.num_proposals == 270
