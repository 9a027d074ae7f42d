r"""MetaQNN's searcher on NASNet's cells, on scikit-learn's digits.

python -m launch.search --config=configs/combinations/metaqnn_nasnet.py \
  --workdir=runs/metaqnn_nasnet

Q-learning by a table, with exploration that goes by models that differ and 100
replays after each, where NASNet has an LSTM and a policy gradient.
"""

import ml_collections


def get_config():
  """96 proposals; the same sections as configs/nasnet_small.py."""
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
  config.space = dict(name='nasnet', num_blocks=5)
  config.expert = 'nasnet_a'

  # By whom.
  config.search = dict(
    num_proposals=96,
    batch=8,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='q_learning',
    q_learning=dict(
      epsilon_schedule='metaqnn',
      epsilon_scale=90 / 2700,
      step_size=0.1,
      discount=1.0,
      initial=50.0,
      shaping='none',
      replay_updates=800,
      distinct=True,
    ),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=40, sample_size=8),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=8, num_stages=2, blocks_per_stage=1)
  config.train = dict(
    epochs=10,
    evaluations=1,  # on validation data; a divisor of epochs
    batch_size=50,
    optimizer='sgd',  # sgd (Nesterov) or adam
    learning_rate=0.1,
    schedule='cosine',  # cosine, step or constant
    warmup_epochs=0.0,
    step_epochs=5,
    step_factor=0.2,
    momentum=0.9,
    weight_decay=1e-4,
    label_smoothing=0.0,
    clip_norm=5.0,  # 0 does not clip
    bfloat16=False,
    patience=0,  # evaluations without a better one before a stop; 0 never
    pad=0,  # random crops of images padded by so much
    mirror=False,
    cutout=0,  # side of the square set to zero
  )

  config.reward = dict(name='accuracy', floor=0.0)

  # The best cells, trained fully.
  config.retrain = dict(
    data=dict(train_size=1000, valid_size=200),
    network=dict(width=16, num_stages=2, blocks_per_stage=2),
    train=dict(
      epochs=20,
      evaluations=10,
      batch_size=50,
      optimizer='sgd',
      learning_rate=0.1,
      schedule='cosine',
      weight_decay=5e-4,
      clip_norm=5.0,
      pad=1,
    ),
  )
  return config
