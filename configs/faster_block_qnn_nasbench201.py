r"""Faster Block-QNN's screening on NAS-Bench-201: how many trainings it saves.

python -m launch.table --config=configs/faster_block_qnn_nasbench201.py \
  --workdir=runs/faster_block_qnn_nasbench201

Block-QNN's searcher trains 1,000 cells; screened by a predictor, it trains 328,
and 104. Primary test: with a third of the trainings, mean test accuracy of the
cell found is not lower by more than 0.1 point, 95 % interval, seeds in pairs.
How many candidates the predictor chooses from, and how many at random, was
chosen on 12 other seeds.
"""

import ml_collections


def get_config():
  """100 seeds of each arm."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.seeds = 100
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.space = dict(name='nasbench201')
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
    name='q_learning',
    q_learning=dict(
      epsilon_scale=1000 / 178,
      step_size=0.01,
      replay_size=1000,
      replay_updates=100,
    ),
  )
  config.arms = dict(
    all_trained=dict(),
    screened_328=_screened(41),
    screened_104=_screened(13),
    third_trained=_unscreened(41),
    random=dict(searcher=dict(name='random')),
    random_328=dict(
      searcher=dict(name='random'), search=dict(num_proposals=328, batch=8)
    ),
    random_screened_328=_screened(41) | dict(searcher=dict(name='random')),
  )
  config.report = dict(
    metric='test',
    metrics=dict(test='test_200'),
    budgets=(104, 328, 1000),
    targets=(93.9, 94.2, 94.37),
    comparisons=(
      dict(
        arm='screened_328', reference='all_trained', metric='test', primary=True
      ),
      *(
        dict(arm=arm, reference=reference, metric='test')
        for arm, reference in (
          ('screened_104', 'all_trained'),
          ('screened_328', 'third_trained'),
          ('screened_328', 'random'),
          ('screened_328', 'random_screened_328'),
        )
      ),
    ),
  )
  return config


def _unscreened(iterations: int):
  """So many iterations of 8 trainings, the schedule scaled to them."""
  return dict(
    search=dict(num_proposals=8 * iterations, batch=8),
    searcher=dict(q_learning=dict(epsilon_scale=iterations / 178)),
  )


def _screened(iterations: int):
  """The same, each one of 20 candidates."""
  screening = dict(
    candidates=20,
    random_share=0.1,
    warm_up=32,
    refit_every=32,
    memory_size=336,
    predictor=dict(name='kernel', scale=1.0),
  )
  return _unscreened(iterations) | dict(screening=screening)
