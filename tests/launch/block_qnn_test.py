"""A search as Block-QNN's, from its first proposal to its last reward."""

import numpy as np
import pytest

from configs import block_qnn_cifar10
from irlas_jax import experiment, ledger, search
from irlas_jax.types import OK

pytestmark = pytest.mark.usefixtures('quick_compiles')


def test_a_search_is_rewarded_by_what_its_blocks_cost(make_config, tmp_path):
  """Every reward is the formula of the child's scores and of its graph."""
  config = make_config({'search.num_proposals': 8})
  del config['retrain'], config['expert']
  config['reward'] = {'name': 'block_qnn', 'block_qnn': {'mu': 2.0}}
  parts = experiment.build(config)
  with ledger.open(tmp_path, config) as book:
    loop = search.run(parts.key, parts.problem, book, 2, 4)
    trials = [trial for trials in loop for trial in trials]
  assert len(trials) == 8 and len({trial.key for trial in trials}) > 2
  for trial in trials:
    assert trial.scores['failure'] == OK
    graph = parts.kind.parse(trial.genotype)
    density = np.sum(graph.edges) / np.sum(np.asarray(graph.ops) >= 0)
    expected = (
      100 * trial.scores['accuracy']
      - 2 * np.log(trial.scores['madds'] / 1e6)
      - 8 * np.log(density)
    )
    np.testing.assert_allclose(trial.reward, expected, rtol=1e-4)


def test_one_number_scales_the_published_budget():
  """A schedule that outlasts its search would never stop to explore."""
  config = block_qnn_cifar10.get_config()
  assert config.search.num_proposals == 178 * 64
  config.update_from_flattened_dict({'searcher.q_learning.epsilon_scale': 0.5})
  assert config.search.num_proposals == 89 * 64
  assert config.searcher.q_learning.epsilon_scale == 0.5
