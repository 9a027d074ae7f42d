r"""IRLAS-differential on scikit-learn's digits: minutes on a CPU.

python -m launch.oneshot --config=configs/irlas_differential_small.py \
  --workdir=runs/irlas_differential_small

The cell of NAS-Bench-201 in a small network, then the full training of what was
found. A reconstruction; see BUILD.md. Without an expert, and with one, three
seeds of each: --contrast --seeds=3. With --config.table.file=... the cells are
looked up in the benchmark's table too, where other images are classified.
"""

import ml_collections


def get_config():
  """600 images for the weights, 600 for the architecture."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'digits'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=600,
    valid_size=600,
    image_size=ml_collections.config_dict.placeholder(int),
  )
  config.space = dict(name='nasbench201')
  config.expert = 'resnet'
  config.oneshot = dict(
    name='irlas_differential',
    order='first',  # first, second (finite differences) or second_exact
    learning_rate=0.003,
    weight_decay=1e-3,
    with_none=False,  # whether an edge may become none
    searched=True,  # else a cell is drawn at random
  )
  config.network = dict(width=8, num_stages=2, blocks_per_stage=1)
  config.train = dict(
    epochs=20,
    batch_size=50,
    optimizer='sgd',
    learning_rate=0.05,
    schedule='cosine',
    momentum=0.9,
    weight_decay=3e-4,
    clip_norm=5.0,
  )
  # lambda, in nats of the validation loss between a random cell and the expert.
  config.reward = dict(
    name='irlas',
    mirror=0.5,
    num_rollouts=4096,
    learner=dict(name='max_entropy', max_entropy=dict(strength=0.03)),
    features=dict(
      resolutions=('family', 'operation'),
      tables=('nodes', 'depths', 'reads'),
      discount=0.8,
      normalised=False,
    ),
  )
  config.table = dict(
    file='',
    dataset='cifar10',
    valid='valid_200',
    test='test_200',
  )
  config.retrain = dict(
    data=dict(train_size=1000, valid_size=200),
    network=dict(width=16, num_stages=2, blocks_per_stage=1),
    train=dict(
      epochs=10,
      evaluations=5,
      batch_size=50,
      optimizer='sgd',
      learning_rate=0.1,
      schedule='cosine',
      weight_decay=5e-4,
      pad=1,
    ),
  )
  config.contrast = dict(field='reward.mirror', values=(0.0, 0.5))
  return config
