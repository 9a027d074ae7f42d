r"""IRLAS over blocks of up to twelve layers, on CIFAR-10.

python -m launch.search --config=configs/irlas_cifar10.py \
  --workdir=runs/irlas_cifar10 --config.data_dir=...

The budget here is one that two CPU cores finish within an hour: small
children on a part of the training images. The published budget is Block-QNN's,
which IRLAS is taken to share (a reconstruction): 178 iterations of 64 blocks of
up to 23 layers, children of 12 epochs on 45,000 images.

  --config.space.num_layers=23
  --config.search.num_proposals=11392 --config.search.batch=64
  --config.searcher.q_learning.epsilon_scale=1.0
  --config.searcher.q_learning.step_size=0.01
  --config.data.train_size=45000 --config.data.valid_size=5000
  --config.network.width=32 --config.network.num_stages=3
  --config.network.blocks_per_stage=4
  --config.train.epochs=12 --config.train.batch_size=256
  --config.train.optimizer=adam --config.train.learning_rate=0.001
  --config.train.schedule=step

The paper's best network has a test error of 2.60 %.
"""

import ml_collections


def get_config():
  """40 proposals; the same sections as configs/irlas_digits.py."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data; the directory defaults to the environment variable IRLAS_DATA_DIR.
  config.dataset = 'cifar10'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=2000,
    valid_size=1000,
    image_size=ml_collections.config_dict.placeholder(int),
  )

  # What is searched.
  config.space = dict(name='block', num_layers=12, operations='separable')
  config.expert = 'resnext'

  # By whom. 10 iterations of Block-QNN's 178, so its schedule is scaled.
  config.search = dict(
    num_proposals=40,
    batch=4,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='q_learning',
    q_learning=dict(
      epsilon_scale=10 / 178,
      step_size=0.1,
      shaping='spread',
      replay_updates=512,
    ),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=20, sample_size=5),
  )

  # How a child is scored.
  config.evaluator = dict(
    name='trained',
    population=0,
    slots=0,
    halving=0.0,
    latency=dict(
      name='none',  # none, predicted or measured
      predicted=dict(file='runs/latency_cifar10.json', batch=1),
      measured=dict(batch=1),
    ),
  )
  config.network = dict(width=16, num_stages=3, blocks_per_stage=1)
  config.train = dict(
    epochs=4,
    evaluations=1,  # on validation data; a divisor of epochs
    batch_size=64,
    optimizer='adam',  # sgd (Nesterov) or adam
    learning_rate=3e-3,
    schedule='cosine',  # cosine, step or constant
    warmup_epochs=0.0,
    step_epochs=5,
    step_factor=0.2,
    momentum=0.9,
    weight_decay=1e-4,
    label_smoothing=0.0,
    clip_norm=0.0,  # 0 does not clip
    bfloat16=False,
    patience=0,  # evaluations without a better one before a stop; 0 never
    pad=4,  # random crops of images padded by so much
    mirror=True,
    cutout=0,  # side of the square set to zero
  )

  # For what: percentage points of accuracy between a random block and the
  # expert.
  config.reward = dict(
    name='irlas',
    mirror=2.0,
    num_rollouts=4096,
    learner=dict(name='max_entropy', max_entropy=dict(strength=0.03)),
    features=dict(
      resolutions=('family', 'operation', 'kind'),
      tables=('nodes', 'fan_out', 'fan_in', 'depths', 'reads', 'spans'),
      discount=0.8,
      normalised=True,
    ),
  )
  return config
