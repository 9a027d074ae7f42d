r"""Searchers on a table of your own: say which file and what its columns are.

python -m launch.table --config=configs/own_table.py --workdir=runs/own_table \
  --config.evaluator.file=mine.npz --config.evaluator.accuracy=valid

BUILD.md says how such a file is made. `space.sizes` is the number of choices at
each step; a wrong one is refused with the file's own.
"""

import ml_collections


def get_config():
  """100 seeds of each arm, 100 evaluations."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.seeds = 100
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.space = dict(name='choices', sizes=(3, 2))
  config.evaluator = dict(name='table', file='mine.npz', accuracy='valid')
  config.reward = dict(name='accuracy')
  config.search = dict(num_proposals=100, batch=1, seconds=0.0)
  config.searcher = dict(
    name='random',
    reinforce=dict(learning_rate=0.1, baseline_decay=0.9),
    evolution=dict(population_size=10, sample_size=3),
    q_learning=dict(epsilon_iterations=100, step_size=0.1, replay_updates=10),
  )
  config.arms = dict(
    random=dict(),
    local_search=dict(searcher=dict(name='local_search')),
    evolution=dict(searcher=dict(name='evolution')),
    reinforce=dict(searcher=dict(name='reinforce')),
    q_learning=dict(searcher=dict(name='q_learning')),
  )
  config.report = dict(
    metric='valid',
    metrics=dict(valid='valid'),
    budgets=(1, 3, 10, 30, 100),
    targets=('optimum',),
    comparisons=(),
  )
  return config
