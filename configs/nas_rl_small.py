r"""NAS-RL's convolutional networks, of up to six layers, on digits.

python -m launch.search --config=configs/nas_rl_small.py \
  --workdir=runs/nas_rl_small

Trains up to 240 children for minutes: 80 of four layers, 80 of five and 80 of
six. The baseline of the same budget and depths is
--config.searcher.name=random.
"""

import ml_collections


def get_config():
  """240 proposals; the same sections as configs/irlas_digits.py."""
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
  config.space = dict(
    name='nas_rl',
    num_layers=6,
    heights=(1, 3),
    widths=(1, 3),
    filters=(8, 16),
    strides=(1,),  # of both directions; searched if there are several
    pooled_layers=(),  # 2x2 max pooling follows these
  )

  # By whom. Depth: that of the first proposals, and what is added when.
  config.search = dict(
    num_proposals=240,
    batch=8,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.growth = dict(start=4, step=1, every=80)
  config.searcher = dict(
    name='reinforce',
    reinforce=dict(
      learning_rate=5e-3,
      optimizer='adam',
      baseline_decay=0.9,
      entropy_weight=0.1,
      policy=dict(
        name='lstm_anchors',
        lstm_anchors=dict(
          hidden=35,
          layers=2,
          init_scale=0.08,
          temperature=1.0,
          tanh_constant=0.0,
        ),
      ),
    ),
    ppo=dict(
      learning_rate=5e-3,
      policy=dict(name='lstm_anchors'),
    ),
    q_learning=dict(
      epsilon_scale=30 / 178,
      step_size=0.1,
      shaping='spread',
      replay_updates=256,
    ),
    evolution=dict(population_size=40, sample_size=8),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=1, num_stages=1, blocks_per_stage=1)
  config.train = dict(
    epochs=30,
    evaluations=10,  # on validation data; a divisor of epochs
    batch_size=50,
    optimizer='sgd',  # sgd (Nesterov) or adam
    learning_rate=0.1,
    schedule='cosine',  # cosine, step or constant
    momentum=0.9,
    weight_decay=1e-4,
    pad=0,  # random crops of images padded by so much
    mirror=False,
  )
  config.reward = dict(
    name='best_cubed',
    best_cubed=dict(evaluations=5, power=3.0),
    floor=0.0,
  )

  # The best network, trained fully, with four times the filters.
  config.retrain = dict(
    data=dict(train_size=1000, valid_size=200),
    network=dict(width=4, num_stages=1, blocks_per_stage=1),
    train=dict(
      epochs=20,
      evaluations=10,
      batch_size=50,
      optimizer='sgd',
      learning_rate=0.1,
      schedule='cosine',
      weight_decay=1e-4,
      pad=1,
    ),
  )
  return config
