r"""AlphaX's tree search over blocks of up to seven layers, on digits.

python -m launch.search --config=configs/alphax_small.py \
  --workdir=runs/alphax_small

Trains up to 200 children for minutes. The ablation without the Meta-DNN is
--config.searcher.tree_search.predictor.name=none. What is smaller than
published: the Meta-DNN, and the number of evaluations between two of its fits,
so that it is asked within the budget.
"""

import ml_collections


def get_config():
  """200 proposals; the same sections as configs/block_qnn_small.py."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data: few training images, so that architectures differ.
  config.dataset = 'digits'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=200,
    valid_size=600,
    image_size=ml_collections.config_dict.placeholder(int),
  )

  # What is searched.
  config.space = dict(name='block', num_layers=7, operations='dense')

  # By whom.
  config.search = dict(
    num_proposals=200,
    batch=8,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='tree_search',
    tree_search=dict(
      exploration=0.3,
      num_nodes=200 * 7 + 1,  # one a layer of each proposal, and the root
      memory_size=200,
      refit_every=40,  # published: 100
      rollouts=10,
      predictor=dict(
        name='mlp',
        # Published: (512, 2048, 2048, 512), 2e-4, 20 and 128.
        mlp=dict(sizes=(64, 64), learning_rate=1e-3, epochs=40, batch_size=32),
      ),
    ),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=40, sample_size=8),
  )

  # How a child is scored, and for what.
  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=8, num_stages=2, blocks_per_stage=1)
  config.train = dict(
    epochs=10,
    evaluations=1,  # on validation data; a divisor of epochs
    batch_size=50,
    optimizer='adam',  # sgd (Nesterov) or adam
    learning_rate=5e-3,
    schedule='step',  # cosine, step or constant
    step_epochs=5,
    step_factor=0.2,
    weight_decay=0.0,
    pad=0,  # random crops of images padded by so much
    mirror=False,
  )
  config.reward = dict(name='accuracy', floor=0.0)

  # The best block, trained fully.
  config.retrain = dict(
    data=dict(train_size=1000, valid_size=200),
    network=dict(width=16, num_stages=2, blocks_per_stage=1),
    train=dict(
      epochs=20,
      evaluations=10,
      batch_size=50,
      optimizer='sgd',
      learning_rate=0.1,
      schedule='cosine',
      weight_decay=5e-4,
      pad=1,
    ),
  )
  return config
