r"""Graph HyperNetworks on CIFAR-10: 1,000 random blocks, the best one trained.

IRLAS_DATA_DIR=... python -m launch.search --config=configs/ghn_cifar10.py \
  --workdir=runs/ghn_cifar10

Zhang et al., ICLR 2019 (arXiv 1810.05749): the hypernetwork is trained on
blocks of up to 7 layers and ranks blocks of up to 17, in networks of 18 blocks
whose width starts at 32 and doubles after the 6th and the 12th; 5,000 images
are for validation. The paper's space has 8 operations and nodes that sum what
they read; ours are separable blocks. What it does not say (Adam's rate, weight
decay, clipping) is as GHN-2 has it (arXiv 2110.13100), scaled to 100 epochs.
The paper's ablations: --config.evaluator.passes, --config.evaluator.layers.
This is hours of a GPU.
"""

import ml_collections


def get_config():
  """1,000 proposals; the full training is a usual one, not the paper's."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  config.dataset = 'cifar10'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=45000,
    valid_size=5000,
    image_size=ml_collections.config_dict.placeholder(int),
  )

  config.space = dict(name='block', num_layers=17, operations='separable')

  config.search = dict(num_proposals=1000, batch=8)
  config.searcher = dict(
    name='random',
    q_learning=dict(epsilon_scale=125 / 178, step_size=0.1, replay_updates=128),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9),
    evolution=dict(population_size=100, sample_size=25),
  )

  # GHN, not GHN-2: no virtual edges, nothing normalised, one block a step.
  config.evaluator = dict(
    name='ghn',
    population=0,
    slots=0,
    ghn=dict(
      file='runs/ghn_cifar10_hypernetwork',
      seed=0,
      layers=7,
      meta_batch=1,
      images=0,
      image_batch=100,
      hidden=32,
      decoder=64,
      passes=5,
      virtual_edges=0,
      layer_norm=False,
      normalise=False,
    ),
  )
  config.network = dict(width=32, num_stages=3, blocks_per_stage=6)

  # How the hypernetwork is trained.
  config.train = dict(
    epochs=100,
    evaluations=100,  # of its loss
    batch_size=64,
    optimizer='adam',
    learning_rate=1e-3,
    schedule='step',
    step_epochs=67,
    step_factor=0.1,
    weight_decay=1e-5,
    clip_norm=5.0,
    pad=4,
    mirror=True,
  )

  config.reward = dict(name='accuracy')

  config.retrain = dict(
    data=dict(train_size=49000, valid_size=1000),
    network=dict(width=32, num_stages=3, blocks_per_stage=6),
    train=dict(
      epochs=600,
      evaluations=60,
      batch_size=128,
      optimizer='sgd',
      learning_rate=0.025,
      schedule='cosine',
      weight_decay=3e-4,
      clip_norm=5.0,
      pad=4,
      mirror=True,
      cutout=16,
    ),
  )
  return config
