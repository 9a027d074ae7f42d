r"""IRLAS-differential on CIFAR-10, judged by NAS-Bench-201's table.

python -m launch.oneshot --config=configs/irlas_differential_nasbench201.py \
  --workdir=runs/irlas_differential_nasbench201 --config.data_dir=... \
  --contrast --seeds=3

Not measured yet, and meant for an accelerator. A reconstruction; see BUILD.md.
The search is that of DARTS on NAS-Bench-201 (Dong & Yang 2020): the benchmark's
own network, half of the training images for the weights and half for the
architecture, 50 epochs. What is found is looked up in the table instead of
trained. lambda is a proposal.
"""

import ml_collections


def get_config():
  """25,000 images for the weights, 25,000 for the architecture."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'cifar10'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=25000,
    valid_size=25000,
    image_size=ml_collections.config_dict.placeholder(int),
  )
  config.space = dict(name='nasbench201')
  config.expert = 'resnet'
  config.oneshot = dict(
    name='irlas_differential',
    order='first',  # first, second (finite differences) or second_exact
    learning_rate=3e-4,
    weight_decay=1e-3,
    with_none=True,  # whether an edge may become none
  )
  config.network = dict(width=16, num_stages=3, blocks_per_stage=5)
  config.train = dict(
    epochs=50,
    batch_size=64,
    optimizer='sgd',
    learning_rate=0.025,
    schedule='cosine',
    momentum=0.9,
    weight_decay=5e-4,
    clip_norm=5.0,
    pad=4,
    mirror=True,
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
    file='nas-bench-201/nasbench201.npz',
    dataset='cifar10',
    valid='valid_200',
    test='test_200',
  )
  config.contrast = dict(field='reward.mirror', values=(0.0, 0.5))
  return config
