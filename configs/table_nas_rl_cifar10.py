r"""NAS-RL's table of CIFAR-10 networks (Zoph & Le, ICLR 2017), built anew.

python -m launch.table --config=configs/table_nas_rl_cifar10.py \
  --workdir=runs/table_nas_rl_cifar10 --config.data_dir=...

Three searches of 12,800 networks and random search, the best of each trained
fully. Nobody has run it: the paper used 800 GPUs. --config.rows.nas_rl.changes
has what makes it smaller, as search.num_proposals=100 does. The number of
layers with strides is the paper's result, taken as the deepest of its search;
where pooling stands is remembered. The paper searched learning rates and the
like for its last networks; here one recipe trains all.
"""

import ml_collections


def get_config():
  """One seed, as in the paper."""
  config = ml_collections.ConfigDict()
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.rows = dict(
    nas_rl=dict(
      config='configs/nas_rl_cifar10.py',
      claim='The policy gradient finds better networks than random search.',
      source='NAS with reinforcement learning, arXiv 1611.01578, table 1',
      arm='plain',
      seeds=1,
      retrain=1,
      final=True,
      changes=dict(search=dict(num_proposals=12_800)),
      arms=dict(
        plain=dict(space=dict(num_layers=15)),
        strides=dict(space=dict(num_layers=20, strides=(1, 2, 3))),
        pooling=dict(
          space=dict(num_layers=39, pooled_layers=(13, 24)),
          growth=dict(start=6, step=2, every=640),
        ),
        random=dict(space=dict(num_layers=15), searcher=dict(name='random')),
      ),
      published=dict(
        plain='5.50 % error, 4.2 M parameters',
        strides='6.01 % error, 2.5 M parameters',
        pooling='4.47 % error, 7.1 M parameters',
      ),
    )
  )
  return config
