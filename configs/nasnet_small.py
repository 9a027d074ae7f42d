r"""NASNet's space, both cells of five blocks, on scikit-learn's digits.

python -m launch.search --config=configs/nasnet_small.py \
  --workdir=runs/nasnet_small

Trains up to 96 children for minutes. NASNet's reward is the accuracy alone;
--config.reward.mirror=2.0 adds the mirror stimuli of the released NASNet-A.
NASNet's own controller is --config.searcher.name=ppo, which is made for many
more proposals than these.
"""

import ml_collections


def get_config():
  """96 proposals; the same sections as configs/irlas_digits.py."""
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
    name='reinforce',
    q_learning=dict(
      epsilon_scale=12 / 178,
      step_size=0.1,
      shaping='spread',
      replay_updates=512,
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

  # For what: percentage points of accuracy between random cells and the
  # expert's.
  config.reward = dict(
    name='irlas',
    mirror=0.0,
    num_rollouts=1024,
    learner=dict(name='max_entropy', max_entropy=dict(strength=0.03)),
    features=dict(
      resolutions=('family', 'operation', 'cell'),
      tables=('nodes', 'fan_out', 'fan_in', 'depths', 'reads', 'spans'),
      discount=0.8,
      normalised=True,
    ),
  )

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
