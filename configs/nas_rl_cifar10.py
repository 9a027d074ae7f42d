r"""NAS-RL's convolutional search (Zoph & Le, ICLR 2017) on CIFAR-10.

python -m launch.search --config=configs/nas_rl_cifar10.py \
  --workdir=runs/nas_rl_cifar10 --config.data_dir=...

The paper's settings: 12,800 architectures, 6 layers at first and 2 more after
every 1,600, proposed by an LSTM of two layers of 35 units that REINFORCE trains
with Adam, eight children a batch. Children are trained for 50 epochs with
Nesterov momentum; the reward is the cube of the best of the last five
validation accuracies. That took 800 GPUs; see configs/nas_rl_small.py for
minutes. Strides are searched with --config.space.strides='(1,2,3)'. Max pooling
follows the layers of --config.space.pooled_layers; where the paper has it, it
is a part of its largest networks only.

What differs from the paper: one controller learns from eight children at a
time, where a hundred did so at once; images are padded before they are cropped,
and not whitened and enlarged; what is classified is a mean over the image. The
decay of the baseline and the children's batch size are not in the paper. Its
rewards are in [0, 1] and ours in percent, which Adam's steps do not feel.

The paper's best networks: 5.50 % test error with 15 layers and 4.2 M
parameters, 6.01 % with strides (20 layers, 2.5 M), 3.65 % with pooling and more
filters (39 layers, 37.4 M). Their learning rates were searched afterwards;
`retrain` has one recipe for all.
"""

import ml_collections


def get_config():
  """12,800 proposals; the same sections as configs/nas_rl_small.py."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data; the directory defaults to the environment variable IRLAS_DATA_DIR.
  config.dataset = 'cifar10'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=45_000,
    valid_size=5_000,
    image_size=ml_collections.config_dict.placeholder(int),
  )

  # What is searched.
  config.space = dict(
    name='nas_rl',
    num_layers=20,
    heights=(1, 3, 5, 7),
    widths=(1, 3, 5, 7),
    filters=(24, 36, 48, 64),
    strides=(1,),  # of both directions; searched if there are several
    pooled_layers=(),  # 2x2 max pooling follows these
  )

  # By whom. Depth: that of the first proposals, and what is added when.
  config.search = dict(
    num_proposals=12_800,
    batch=8,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.growth = dict(start=6, step=2, every=1_600)
  config.searcher = dict(
    name='reinforce',
    reinforce=dict(
      learning_rate=6e-4,
      optimizer='adam',
      baseline_decay=0.95,
      entropy_weight=0.0,
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
      learning_rate=3.5e-4,
      policy=dict(name='lstm_anchors'),
    ),
    q_learning=dict(
      epsilon_scale=1600 / 178,
      step_size=0.01,
      shaping='spread',
      replay_updates=64,
    ),
    evolution=dict(population_size=100, sample_size=25),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=1, num_stages=1, blocks_per_stage=1)
  config.train = dict(
    epochs=50,
    evaluations=50,  # on validation data; a divisor of epochs
    batch_size=128,
    optimizer='sgd',  # sgd (Nesterov) or adam
    learning_rate=0.1,
    schedule='constant',  # cosine, step or constant
    momentum=0.9,
    weight_decay=1e-4,
    pad=4,  # random crops of images padded by so much
    mirror=True,
  )
  config.reward = dict(
    name='best_cubed',
    best_cubed=dict(evaluations=5, power=3.0),
    floor=0.0,
  )

  # The best network, trained fully.
  config.retrain = dict(
    data=dict(train_size=45_000, valid_size=5_000),
    network=dict(width=1, num_stages=1, blocks_per_stage=1),
    train=dict(
      epochs=300,
      evaluations=30,
      batch_size=128,
      optimizer='sgd',
      learning_rate=0.1,
      schedule='cosine',
      weight_decay=1e-4,
      pad=4,
      mirror=True,
    ),
  )
  return config
