r"""NASNet's rows of CIFAR-10 (Zoph et al., CVPR 2018), built anew.

python -m launch.table --config=configs/table_nasnet_cifar10.py \
  --workdir=runs/table_nasnet_cifar10 --config.data_dir=...

A search of 20,000 cells by PPO, by random search and by evolution, the best
cells of each trained fully as the paper's 6 @ 768, with cutout in one row and
without in the other. Nobody has run it: the paper used 500 GPUs. The recipe of
the full training is the field's; the paper's is known in part.
"""

import ml_collections

_ARMS = {
  'ppo': {'searcher': {'name': 'ppo'}},
  'random': {'searcher': {'name': 'random'}},
  'evolution': {'searcher': {'name': 'evolution'}},
}


def _retrain(cutout):
  return dict(
    data=dict(train_size=49_000, valid_size=1_000),
    network=dict(width=32, num_stages=3, blocks_per_stage=6),
    train=dict(
      epochs=600,
      evaluations=60,
      batch_size=128,
      optimizer='sgd',
      learning_rate=0.025,
      schedule='cosine',
      momentum=0.9,
      weight_decay=3e-4,
      clip_norm=5.0,
      pad=4,
      mirror=True,
      cutout=cutout,
      drop_path=0.2,
      auxiliary=0.4,
    ),
  )


def get_config():
  """One seed, as in the paper."""
  config = ml_collections.ConfigDict()
  config.data_dir = ml_collections.config_dict.placeholder(str)
  common = dict(
    config='configs/nasnet_cifar10.py',
    claim='Proximal policy optimisation finds better cells than random search.',
    source='NASNet, arXiv 1707.07012, table 1',
    arm='ppo',
    seeds=1,
    retrain=1,
    final=True,
    arms=_ARMS,
  )
  config.rows = dict(
    plain=dict(
      changes=dict(retrain=_retrain(cutout=0)),
      published=dict(ppo='3.41 % error, 3.3 M parameters'),
      **common,
    ),
    cutout=dict(
      changes=dict(retrain=_retrain(cutout=16)),
      published=dict(ppo='2.65 % error, 3.3 M parameters'),
      **common,
    ),
  )
  return config
