r"""NASNet's search (Zoph et al., CVPR 2018) on CIFAR-10, at its own size.

python -m launch.search --config=configs/nasnet_cifar10.py \
  --workdir=runs/nasnet_cifar10 --config.data_dir=...

The paper's settings: 20,000 architectures of two cells of five blocks, proposed
20 at a time by an LSTM of 100 units that PPO trains at a rate of 3.5e-4 with an
entropy weight of 1e-5 (of rewards in [0, 1]; here they are in percent, hence
1e-3) and a baseline that decays by 0.95. Children have two normal cells a stage
and are trained for 20 epochs with momentum and a cosine schedule. That took 500
GPUs four days; see configs/nasnet_small.py for minutes. The first width of the
children, 32, their batch size, learning rate, weight decay and augmentation,
and PPO's clip are not in the paper.

The best cells were then trained fully: 3.41 % test error with 3.3 M parameters,
2.65 % with cutout. The network of that size is

  --config.network.width=32 --config.network.blocks_per_stage=6

with the expert `nasnet_a_released`.
"""

import ml_collections


def get_config():
  """20,000 proposals; the same sections as configs/nasnet_small.py."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data; the directory defaults to the environment variable IRLAS_DATA_DIR.
  config.dataset = 'cifar10'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=45000,
    valid_size=5000,
    image_size=ml_collections.config_dict.placeholder(int),
  )

  # What is searched.
  config.space = dict(name='nasnet', num_blocks=5)
  config.expert = 'nasnet_a'

  # By whom.
  config.search = dict(
    num_proposals=20000,
    batch=20,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='ppo',
    ppo=dict(
      learning_rate=3.5e-4,
      optimizer='adam',
      clip=0.2,
      epochs=4,
      num_minibatches=1,
      baseline_decay=0.95,
      entropy_weight=1e-3,
    ),
    q_learning=dict(
      epsilon_scale=1000 / 178,
      step_size=0.01,
      shaping='spread',
      replay_updates=64,
    ),
    reinforce=dict(
      learning_rate=0.05, baseline_decay=0.95, entropy_weight=0.01
    ),
    evolution=dict(population_size=100, sample_size=25),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=32, num_stages=3, blocks_per_stage=2)
  config.train = dict(
    epochs=20,
    evaluations=1,  # on validation data; a divisor of epochs
    batch_size=100,
    optimizer='sgd',  # sgd (Nesterov) or adam
    learning_rate=0.025,
    schedule='cosine',  # cosine, step or constant
    warmup_epochs=0.0,
    step_epochs=5,
    step_factor=0.2,
    momentum=0.9,
    weight_decay=5e-4,
    label_smoothing=0.0,
    clip_norm=5.0,  # 0 does not clip
    bfloat16=False,
    patience=0,  # evaluations without a better one before a stop; 0 never
    pad=4,  # random crops of images padded by so much
    mirror=True,
    cutout=0,  # side of the square set to zero
  )

  # For what: the accuracy. `mirror` would be percentage points between random
  # cells and the expert's.
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
  return config
