"""A search as Faster Block-QNN's, from its first to its last proposal."""

import numpy as np
import pytest

from configs import faster_block_qnn_cifar10, faster_block_qnn_nasbench201
from irlas_jax import experiment, ledger, search
from irlas_jax.types import OK

pytestmark = pytest.mark.usefixtures('quick_compiles')


def _screening(predictor):
  return {
    'candidates': 4,
    'random_share': 0.25,
    'warm_up': 4,
    'refit_every': 4,
    'memory_size': 16,
    'predictor': predictor,
  }


@pytest.mark.parametrize(
  'predictor',
  [{'name': 'kernel'}, {'name': 'lstm', 'hidden': 4, 'steps': 5}],
  ids=lambda section: section['name'],
)
def test_a_search_trains_what_a_predictor_chose(
  predictor, make_config, tmp_path
):
  """It is asked from the first fit on; what it said is reported."""
  config = make_config()
  del config['retrain']
  config['screening'] = _screening(predictor)
  config['reward'] = {'name': 'block_qnn'}
  parts = experiment.build(config)
  with ledger.open(tmp_path, config) as book:
    loop = search.run(parts.key, parts.problem, book, 3, 4)
    trials = [trial for trials in loop for trial in trials]
  asked = np.isfinite([trial.predicted for trial in trials])
  np.testing.assert_array_equal(asked, np.arange(12) >= 4)
  assert all(trial.scores['failure'] == OK for trial in trials)
  assert np.isfinite([trial.exploration for trial in trials]).all()


def test_budgets_are_a_tenth_and_a_third():
  """Of Block-QNN's 11,392 and of the 1,000 that are compared with."""
  assert faster_block_qnn_cifar10.get_config().search.num_proposals == 1139
  config = faster_block_qnn_nasbench201.get_config()
  assert config.arms.screened_328.search.num_proposals == 328


def test_a_predictor_that_does_not_exist_is_named(make_config):
  config = make_config()
  config['screening'] = _screening({'name': 'oracle'})
  with pytest.raises(ValueError, match=r'screening\.predictor\.name'):
    experiment.build(config)
