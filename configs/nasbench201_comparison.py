r"""Five searchers on NAS-Bench-201, CIFAR-10, beside the published figures.

python -m launch.table --config=configs/nasbench201_comparison.py \
  --workdir=runs/nasbench201_comparison

Dong & Yang 2020 (arXiv 2001.00326) give 12,000 simulated seconds, 500 runs;
the public table has no training times, so budgets are evaluations here. As
there, a search is told the validation accuracy after 12 epochs, and what it
found is reported by its test accuracy after 200.
"""

import ml_collections


def get_config():
  """500 seeds of each arm, 1,000 evaluations."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.seeds = 500
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.space = dict(name='nasbench201')
  config.expert = 'resnet'
  config.evaluator = dict(
    name='table',
    file='nas-bench-201/nasbench201.npz',
    dataset='cifar10',
    accuracy='valid_12',
    params='params',
    madds='flops',
  )
  config.reward = dict(name='accuracy')
  config.search = dict(num_proposals=1000, batch=1)
  config.searcher = dict(
    name='random',
    # REINFORCE: Adam; baseline an average with momentum 0.9.
    reinforce=dict(learning_rate=0.5, baseline_decay=0.9),
    evolution=dict(population_size=10, sample_size=3),
    # No published setting for this space: MetaQNN's step and replay of 100,
    # Block-QNN's exploration scaled to the budget.
    q_learning=dict(
      epsilon_scale=1000 / 178,
      step_size=0.01,
      replay_size=1000,
      replay_updates=100,
    ),
  )
  config.arms = dict(
    random=dict(),
    local_search=dict(searcher=dict(name='local_search')),
    evolution=dict(searcher=dict(name='evolution')),
    reinforce=dict(searcher=dict(name='reinforce')),  # NAS-Bench-201's
    reinforce_nats=dict(  # NATS-Bench's learning rate
      searcher=dict(name='reinforce', reinforce=dict(learning_rate=0.01))
    ),
    q_learning=dict(searcher=dict(name='q_learning')),
  )
  config.report = dict(
    metric='test',
    metrics=dict(test='test_200', valid='valid_12'),
    budgets=(10, 30, 100, 200, 300, 1000),
    targets=(93.9, 94.2, 94.37),
    published=dict(
      random=dict(mean=93.70, std=0.36, source='NAS-Bench-201'),
      evolution=dict(mean=93.92, std=0.30, source='NAS-Bench-201, remembered'),
      reinforce=dict(mean=93.85, std=0.37, source='NAS-Bench-201'),
      reinforce_nats=dict(
        mean=93.90, std=0.26, source='NATS-Bench, 20,000 s, remembered'
      ),
    ),
    comparisons=tuple(
      dict(arm=arm, reference='random', metric='test')
      for arm in (
        'local_search',
        'evolution',
        'reinforce',
        'reinforce_nats',
        'q_learning',
      )
    ),
  )
  return config
