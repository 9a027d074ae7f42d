"""A whole search of a space other than blocks, whose children are trained."""

import pytest

from irlas_jax import kinds, runs

pytestmark = pytest.mark.usefixtures('quick_compiles')


@pytest.mark.parametrize('space', ['nasbench201', 'nasbench101'])
def test_a_search_trains_cells(make_config, tmp_path, space):
  """One program trains all of them, and the expert too."""
  config = make_config({'network.width': 5})
  del config['retrain']
  config['space'] = {'name': space}
  outcome = runs.run(config, tmp_path)
  assert len(outcome.trials) == 12
  for trial in (*outcome.trials, outcome.expert):
    assert 0 < trial.scores['accuracy'] < 1
    assert trial.scores['params'] > 0 and trial.scores['madds'] > 0
  kind = kinds.SPACES[space].make()
  cell = kind.parse(outcome.best.genotype)
  assert kind.describe(cell) == outcome.best.genotype
