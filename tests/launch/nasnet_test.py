"""A search over NASNet's cells, from its first proposal to its picture."""

import jax
import pytest

from irlas_jax import experiment, ledger, search
from irlas_jax.reports import stimuli

pytestmark = pytest.mark.usefixtures('quick_compiles')
EXPERT = (
  'normal: add(sep_conv_3x3 0, identity 1); '
  'reduction: concat(max_pool_3x3 0, conv_1x1 1)'
)


def test_a_search_trains_both_cells_by_one_program(make_config, tmp_path):
  """Steered by accuracy and by how much the cells are like the expert's."""
  config = make_config({'network.num_stages': 2, 'search.num_proposals': 8})
  del config['retrain']
  config |= {'space': {'name': 'nasnet', 'num_blocks': 1}, 'expert': EXPERT}
  config['searcher']['name'] = 'reinforce'
  parts = experiment.build(config)
  with ledger.open(tmp_path, config) as book:
    loop = search.run(parts.key, parts.problem, book, 2, 4)
    trials = [trial for trials in loop for trial in trials]
  assert len(trials) == 8 and len({trial.key for trial in trials}) > 4
  for trial in trials:
    assert 0 < trial.scores['accuracy'] < 1
    assert trial.scores['params'] > 0 and trial.scores['madds'] > 0
  best = max(trials, key=lambda trial: trial.reward)
  found = parts.kind.parse(best.genotype)
  assert parts.kind.describe(found) == best.genotype
  view = jax.jit(parts.kind.view)
  drawn = [jax.device_get(view(one)) for one in (found, parts.expert)]
  path = tmp_path / 'block.png'
  stimuli.draw(path, parts.kind.space, drawn, ['best', 'expert'])
  assert path.stat().st_size > 0
