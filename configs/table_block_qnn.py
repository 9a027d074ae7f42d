r"""Block-QNN's rows of CIFAR-10 and CIFAR-100 (Zhong et al., CVPR 2018).

python -m launch.table --config=configs/table_block_qnn.py \
  --workdir=runs/table_block_qnn --config.data_dir=... --rows=cifar10

A search of 11,392 blocks on each data set, random search, and, of Faster
Block-QNN, a tenth of the trainings picked by a predictor; the best block of
each trained fully. Nobody has run it: the paper used 32 GPUs for three days, on
CIFAR-100 by what is remembered. The recipe of the full training is remembered,
too; its width is a guess.
"""

import ml_collections

_RETRAIN = {
  'network': {'width': 64, 'num_stages': 3, 'blocks_per_stage': 4},
  'train': {
    'epochs': 300,
    'evaluations': 30,
    'batch_size': 128,
    'optimizer': 'sgd',
    'learning_rate': 0.1,
    'schedule': 'step',
    'step_epochs': 100,
    'step_factor': 0.1,
    'momentum': 0.9,
    'weight_decay': 1e-4,
    'pad': 4,
    'mirror': True,
  },
}


def _row(dataset, published):
  searcher = {'name': 'q_learning', 'q_learning': {'epsilon_scale': 0.1}}
  screening = {
    'candidates': 20,
    'random_share': 0.1,
    'warm_up': 64,
    'refit_every': 64,
    'memory_size': 1024,
    'predictor': {'name': 'kernel'},
  }
  return dict(
    config='configs/block_qnn_cifar10.py',
    claim='Q-learning finds better blocks than random search.',
    source='Block-QNN, arXiv 1708.05552; Faster Block-QNN, arXiv 1808.05584',
    arm='q_learning',
    seeds=1,
    retrain=1,
    final=True,
    changes=dict(dataset=dataset, retrain=_RETRAIN),
    arms=dict(
      q_learning=dict(searcher=dict(name='q_learning')),
      screened=dict(
        searcher=searcher,
        screening=screening,
        search=dict(num_proposals=1_139),
      ),
    ),
    published=published,
  )


def get_config():
  """One seed, as in the papers."""
  config = ml_collections.ConfigDict()
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.rows = dict(
    cifar10=_row(
      'cifar10',
      dict(q_learning='3.54 % error', screened='2.35 % error (of its paper)'),
    ),
    cifar100=_row('cifar100', dict(q_learning='18.06 % error')),
  )
  return config
