r"""Searchers on EC-NAS: evaluations until the best of all small cells.

python -m launch.table --config=configs/ecnas_comparison.py \
  --workdir=runs/ecnas_comparison

All 2,532 cells of NAS-Bench-101's space with up to five vertices, trained for
four epochs (Bakhtiarifard et al., arXiv 2210.06015). Searched and reported is
validation accuracy, so the question is how soon the best cell is looked at,
against looking at all cells in random order. Cells are graphs: one architecture
has many sequences of choices, and some cells have far more than others.
"""

import ml_collections


def get_config():
  """500 seeds of each arm, 5,000 evaluations."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.seeds = 500
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.space = dict(
    name='nasbench101', max_vertices=5, max_edges=9, encoding='direct'
  )
  config.evaluator = dict(
    name='table',
    file='nas-bench-101/ecnas_5v.npz',
    accuracy='valid_4',
    params='params',
    seconds='seconds_4',
  )
  config.reward = dict(name='accuracy')
  config.search = dict(num_proposals=5000, batch=1, seconds=0.0)
  config.searcher = dict(
    name='random',
    # As NAS-Bench-101's authors set them: plain gradient steps of 0.1 on
    # accuracies in [0, 1], which is 0.001 on percent.
    reinforce=dict(learning_rate=0.001, baseline_decay=0.9, optimizer='sgd'),
    evolution=dict(population_size=100, sample_size=10),
    # No published setting for this space: MetaQNN's step, a tenth of its
    # replay, Block-QNN's exploration scaled to the budget.
    q_learning=dict(
      epsilon_scale=5000 / 178,
      step_size=0.01,
      replay_size=5000,
      replay_updates=10,
    ),
  )
  config.arms = dict(
    random=dict(),
    local_search=dict(searcher=dict(name='local_search')),
    evolution=dict(searcher=dict(name='evolution')),
    reinforce=dict(searcher=dict(name='reinforce')),
    q_learning=dict(searcher=dict(name='q_learning')),
    steps_random=dict(space=dict(encoding='steps')),
    steps_q_learning=dict(
      space=dict(encoding='steps'), searcher=dict(name='q_learning')
    ),
  )
  config.report = dict(
    metric='valid',
    metrics=dict(valid='valid_4', test='test_4'),
    budgets=(100, 300, 1000, 2000, 5000),
    targets=('optimum',),
    comparisons=tuple(
      dict(arm=arm, reference='random', metric='valid')
      for arm in ('local_search', 'evolution', 'reinforce', 'q_learning')
    ),
  )
  return config
