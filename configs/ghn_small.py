r"""Random blocks ranked by a graph hypernetwork, on scikit-learn's digits.

python -m launch.search --config=configs/ghn_small.py --workdir=runs/ghn_small

No block is trained: a hypernetwork is, for 2,000 steps of four random blocks
each, and then scores 1,000 blocks by the accuracy that they have with weights
that it makes. The best of them is trained fully. The hypernetwork is kept in
`evaluator.ghn.file`, if one is named, and read from there by later searches.
"""

import ml_collections


def get_config():
  """1,000 proposals; the same sections as configs/block_qnn_small.py."""
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
  config.search = dict(num_proposals=1000, batch=50)
  config.searcher = dict(
    name='random',
    q_learning=dict(epsilon_scale=20 / 178, step_size=0.1, replay_updates=128),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=100, sample_size=25),
  )

  # How a child is scored.
  config.evaluator = dict(
    name='ghn',
    population=0,
    slots=0,
    ghn=dict(
      file='',
      seed=0,
      layers=0,
      meta_batch=4,
      images=200,
      image_batch=100,
      hidden=32,
      decoder=64,
      passes=5,
      virtual_edges=50,
      layer_norm=True,
      normalise=True,
    ),
  )
  config.network = dict(width=8, num_stages=2, blocks_per_stage=1)

  # How the hypernetwork is trained: 4 steps an epoch.
  config.train = dict(
    epochs=500,
    evaluations=10,  # of its loss
    batch_size=50,
    optimizer='adam',
    learning_rate=1e-3,
    schedule='step',
    step_epochs=350,
    step_factor=0.1,
    clip_norm=5.0,
    pad=1,  # random crops of images padded by so much
  )

  config.reward = dict(name='accuracy')

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
