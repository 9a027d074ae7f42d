r"""What the papers claim of their systems, and what holds of it at small scale.

python -m launch.table --config=configs/claims.py --workdir=runs/claims

One row only: --rows=metaqnn. Needs the Penn Treebank for nas_rl_recurrent, see
configs/nas_rl_recurrent_small.py. On two CPU cores a row takes half an hour to
an hour; what is finished is not repeated, so --config.rows.NAME.seeds may be
raised later. Every row has random search at equal budget beside it.
"""

import ml_collections

# As children are trained in configs/block_qnn_small.py.
_CHILDREN = {
  'evaluator': {'name': 'trained'},
  'train': {
    'epochs': 10,
    'evaluations': 1,
    'batch_size': 50,
    'optimizer': 'adam',
    'learning_rate': 5e-3,
    'schedule': 'step',
    'step_epochs': 5,
    'step_factor': 0.2,
    'clip_norm': 0.0,
    'pad': 0,
  },
}


def get_config():
  """A row a system: 5 seeds an arm (10 where two are to be equal)."""
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
    alphax=dict(
      config='configs/alphax_small.py',
      claim='Tree search finds better blocks than random search.',
      source='AlphaX, arXiv 1903.11059',
      figure='best',
      arm='tree_search',
      margin=0.0,
      seeds=5,
      retrain=5,
      arms=dict(
        tree_search=dict(searcher=dict(name='tree_search')),
        evolution=dict(searcher=dict(name='evolution')),
      ),
    ),
    ghn=dict(
      config='configs/ghn_small.py',
      claim='Of 1,000 random blocks, the best by predicted weights is better '
      'than the best of random search with as many training steps.',
      source='Graph HyperNetworks, arXiv 1810.05749',
      figure='best',
      arm='predicted_weights',
      margin=0.0,
      seeds=5,
      retrain=5,
      again=_CHILDREN,
      arms=dict(
        predicted_weights=dict(evaluator=dict(name='ghn')),
        # 200 children of 40 steps are as many as 2,000 steps of four blocks.
        random=dict(search=dict(num_proposals=200), **_CHILDREN),
      ),
    ),
    maskconnect=dict(
      config='configs/maskconnect_small.py',
      claim='Learnt connections are better than predefined ones.',
      source='MaskConnect, arXiv 1807.11473',
      figure='best',
      arm='learnt',
      reference=('chain', 'nearest', 'random', 'all'),
      margin=0.0,
      seeds=5,
      arms=dict(
        learnt=dict(oneshot=dict(connections='learnt')),
        chain=dict(oneshot=dict(connections='chain')),
        nearest=dict(oneshot=dict(connections='nearest')),
        random=dict(oneshot=dict(connections='random')),
        all=dict(oneshot=dict(connections='all')),
      ),
    ),
    irlas_differential=dict(
      config='configs/irlas_differential_small.py',
      claim='The mirror makes a differentiable search find better cells.',
      source='IRLAS, arXiv 1812.05285 (a reconstruction)',
      figure='best',
      arm='irlas',
      reference='no_mirror',
      margin=0.0,
      seeds=5,
      arms=dict(
        irlas=dict(reward=dict(mirror=0.5)),
        no_mirror=dict(reward=dict(mirror=0.0)),
        random=dict(oneshot=dict(searched=False), reward=dict(mirror=0.0)),
      ),
    ),
    n2n=dict(
      config='configs/n2n_small.py',
      claim='Students a tenth of the size are no more than 0.5 points worse '
      'than their teacher.',
      source='N2N learning, arXiv 1709.06030',
      figure='best',
      arm='found',
      reference='teacher',
      margin=-0.5,
      parameters=1 / 10,  # at most, as a share of the teacher's
      seeds=5,
      # One compression gives all of them.
      arms=dict(found={}, teacher={}, uniform={}, random={}),
    ),
  )
  return config
