r"""NAS-RL's table of the Penn Treebank (Zoph & Le, ICLR 2017), built anew.

python -m launch.table --config=configs/table_nas_rl_ptb.py \
  --workdir=runs/table_nas_rl_ptb --config.data_dir=...

A search for a recurrent cell and random search, the best of each trained as a
language model with and without shared embeddings. Nobody has run it: the paper
used 400 processors.
"""

import ml_collections

_ARMS = {
  'policy_gradient': {'searcher': {'name': 'reinforce'}},
  'random': {'searcher': {'name': 'random'}},
}


def get_config():
  """One seed, as in the paper; a row with shared embeddings, a row without."""
  config = ml_collections.ConfigDict()
  config.data_dir = ml_collections.config_dict.placeholder(str)
  common = dict(
    config='configs/nas_rl_recurrent_ptb.py',
    claim='The policy gradient finds better cells than random search.',
    source='NAS with reinforcement learning, arXiv 1611.01578, table 2',
    arm='policy_gradient',
    seeds=1,
    retrain=1,
    final=True,
    arms=_ARMS,
  )
  config.rows = dict(
    own_embeddings=dict(
      changes=dict(retrain=dict(network=dict(tied=False))),
      published=dict(policy_gradient='67.9, 32 M parameters'),
      **common,
    ),
    shared_embeddings=dict(
      changes=dict(retrain=dict(network=dict(tied=True))),
      published=dict(policy_gradient='64.0, 25 M; 62.4, 54 M parameters'),
      **common,
    ),
  )
  return config
