r"""What the papers claim of their systems, and what holds of it at small scale.

python -m launch.table --config=configs/claims.py --workdir=runs/claims

One row only: --rows=metaqnn. Needs the Penn Treebank for nas_rl_recurrent, see
configs/nas_rl_recurrent_small.py. On two CPU cores a row takes half an hour to
an hour; what is finished is not repeated, so --config.rows.NAME.seeds may be
raised later. Every row has random search at equal budget beside it.
"""

import ml_collections


def get_config():
  """Seven rows: 5 seeds an arm (10 where two are to be equal)."""
  config = ml_collections.ConfigDict()
  config.data_dir = ml_collections.config_dict.placeholder(str)
  plain_random = dict(searcher=dict(name='random'), reward=dict(mirror=0.0))
  config.rows = dict(
    irlas=dict(
      config='configs/irlas_digits.py',
      claim='Searching with the mirror finds better networks than without.',
      source='IRLAS, arXiv 1812.05285',
      figure='best',
      arm='irlas',
      reference='no_mirror',
      margin=0.0,
      seeds=5,
      retrain=5,
      changes=dict(search=dict(num_proposals=200)),
      arms=dict(
        irlas=dict(reward=dict(mirror=2.0)),
        no_mirror=dict(reward=dict(mirror=0.0)),
        random=plain_random,
      ),
    ),
    nas_rl=dict(
      config='configs/nas_rl_small.py',
      claim='The policy gradient finds better networks than random search.',
      source='NAS with reinforcement learning, arXiv 1611.01578',
      figure='best',
      arm='policy_gradient',
      reference='random',
      margin=0.0,
      seeds=5,
      retrain=5,
      changes=dict(search=dict(num_proposals=240)),
      arms=dict(policy_gradient=dict(searcher=dict(name='reinforce'))),
    ),
    nas_rl_recurrent=dict(
      config='configs/nas_rl_recurrent_small.py',
      claim='The policy gradient finds better cells than random search.',
      source='NAS with reinforcement learning, arXiv 1611.01578',
      figure='best',  # a perplexity
      arm='policy_gradient',
      reference='random',
      margin=0.0,
      seeds=5,
      retrain=5,
      changes=dict(search=dict(num_proposals=60), text=dict(num_tokens=50_000)),
      arms=dict(policy_gradient=dict(searcher=dict(name='reinforce'))),
    ),
    nasnet=dict(
      config='configs/nasnet_small.py',
      claim='Proximal policy optimisation finds better cells than random '
      'search.',
      source='NASNet, arXiv 1707.07012',
      figure='best',
      arm='ppo',
      reference='random',
      margin=0.0,
      seeds=5,
      retrain=5,
      # 160 proposals of the paper's 20,000, so steps are larger than its own.
      changes=dict(search=dict(num_proposals=160)),
      arms=dict(
        ppo=dict(searcher=dict(name='ppo', ppo=dict(learning_rate=5e-3))),
      ),
    ),
    metaqnn=dict(
      config='configs/metaqnn_small.py',
      claim='The mean accuracy of sampled models rises as epsilon falls.',
      source='MetaQNN, arXiv 1611.02167',
      figure='rise',
      arm='q_learning',
      reference='',  # than nothing: the rise itself is to be above 0
      margin=0.0,
      seeds=5,
      retrain=5,
      changes=dict(search=dict(num_proposals=200)),
      arms=dict(q_learning=dict(searcher=dict(name='q_learning'))),
    ),
    block_qnn=dict(
      config='configs/block_qnn_small.py',
      claim='Shaped rewards, and the reward corrected for stopping early, each '
      'find better blocks.',
      source='Block-QNN, arXiv 1708.05552',
      figure='best',
      arm='full',
      reference=('no_shaping', 'accuracy_reward'),
      margin=0.0,
      seeds=5,
      retrain=5,
      changes=dict(search=dict(num_proposals=200)),
      arms=dict(
        full=dict(reward=dict(name='block_qnn')),
        no_shaping=dict(searcher=dict(q_learning=dict(shaping='none'))),
        accuracy_reward=dict(reward=dict(name='accuracy')),
      ),
    ),
    faster_block_qnn=dict(
      config='configs/faster_block_qnn_small.py',
      claim='With a predictor that screens, blocks are no more than 3 points '
      'worse, for at most a third of the trainings.',
      source='Faster Block-QNN, arXiv 1808.05584',
      figure='best',
      arm='screened',
      reference='full',
      margin=-3.0,
      trainings=1 / 3,  # at most: distinct ones, as a share of the reference's
      seeds=10,
      retrain=10,
      # Of 198 proposals not all are distinct, so a third of those is less.
      arms=dict(
        screened=dict(
          search=dict(num_proposals=51),
          searcher=dict(q_learning=dict(epsilon_scale=17 / 178)),
        ),
        full=dict(screening=None, search=dict(num_proposals=198, batch=9)),
        random=dict(
          screening=None,
          searcher=dict(name='random'),
          search=dict(num_proposals=51),
        ),
      ),
    ),
  )
  return config
