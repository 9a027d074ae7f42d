r"""A CIFAR-10 search and the training of its best block, on one accelerator.

benchmarks/cifar10_search.sh --minutes=9 --workdir=runs/cifar10_search

Three searches at equal budget, with the same children: IRLAS, the same without
its mirror stimuli (lambda = 0), and random search. Then the block with the best
validation accuracy of all is trained fully. Sizes are meant for half an hour of
a data-centre GPU and have not been measured on one yet. The goals are a test
error of 3.5 % first, then the 2.60 % that the paper reports.

IRLAS's search and training alone, as any other search:

python -m launch.search --config=configs/cifar10_search.py \
  --workdir=runs/irlas_cifar10_gpu

`--config=configs/cifar10_search.py:tiny` goes through the same motions on the
digits, within a minute or two of two CPU cores.
"""

import ml_collections

TINY = {
  'dataset': 'digits',
  'data.train_size': 200,
  'data.valid_size': 100,
  'space.num_layers': 3,
  'search.num_proposals': 4,
  'search.batch': 2,
  'network.width': 4,
  'network.num_stages': 1,
  'train.epochs': 2,
  'train.evaluations': 2,
  'train.batch_size': 50,
  'train.bfloat16': False,
  'reward.num_rollouts': 64,
  'retrain.data.train_size': 200,
  'retrain.data.valid_size': 100,
  'retrain.network.width': 4,
  'retrain.network.num_stages': 1,
  'retrain.network.blocks_per_stage': 1,
  'retrain.train.epochs': 2,
  'retrain.train.evaluations': 2,
  'retrain.train.batch_size': 50,
  'retrain.train.bfloat16': False,
  'retrain.train.warmup_epochs': 0.0,
}


def get_config(variant: str = ''):
  """The three searches share all sections but `searcher.name` and `mirror`."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data; the directory defaults to the environment variable IRLAS_DATA_DIR.
  config.dataset = 'cifar10'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(train_size=20_000, valid_size=5_000)

  # What is searched: layers of full convolutions, which GPUs are made for.
  config.space = dict(name='block', num_layers=8, operations='dense')
  config.expert = 'resnet'

  # By whom; Block-QNN's schedule, scaled to 8 iterations of 178.
  config.search = dict(
    num_proposals=128,
    batch=16,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='q_learning',
    q_learning=dict(
      epsilon_scale=8 / 178,
      step_size=0.1,
      shaping='spread',
      replay_updates=512,
    ),
    reinforce=dict(learning_rate=0.05),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=16, slots=0, halving=0.0)
  config.network = dict(width=16, num_stages=3, blocks_per_stage=1)
  config.train = dict(
    epochs=4,
    evaluations=1,
    batch_size=128,
    optimizer='adam',
    learning_rate=3e-3,
    schedule='cosine',
    weight_decay=1e-4,
    bfloat16=True,
    pad=4,
    mirror=True,
  )

  # For what.
  config.reward = dict(
    name='irlas',
    mirror=2.0,
    num_rollouts=4096,
    learner=dict(name='max_entropy', max_entropy=dict(strength=0.03)),
  )

  # How the best block is trained.
  config.retrain = dict(
    data=dict(train_size=49_000, valid_size=1_000),
    network=dict(width=64, num_stages=3, blocks_per_stage=3),
    train=dict(
      epochs=100,
      evaluations=50,
      batch_size=256,
      optimizer='sgd',
      learning_rate=0.2,
      schedule='cosine',
      warmup_epochs=5.0,
      momentum=0.9,
      weight_decay=5e-4,
      label_smoothing=0.1,
      clip_norm=5.0,
      bfloat16=True,
      pad=4,
      mirror=True,
      cutout=8,
      ema_decay=0.999,
      drop_path=0.1,
    ),
  )
  if variant == 'tiny':
    config.update_from_flattened_dict(TINY)
  elif variant:
    raise ValueError(f"{variant!r} is no variant: 'tiny' is the only one.")
  return config
