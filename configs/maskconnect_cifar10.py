r"""MaskConnect on CIFAR-10, with settings that are proposals.

python -m launch.oneshot --config=configs/maskconnect_cifar10.py \
  --workdir=runs/maskconnect_cifar10 --config.data_dir=...

Not measured yet, and meant for an accelerator. The paper's fan-in, epochs and
mask learning rate were not at hand: K = 4, half of the epochs for either part
and the weights' learning rate are proposals; so is the network, nine modules
like those of a ResNeXt-29 in three stages, narrower. Learnt connections against
fixed ones, with as many epochs: --contrast --seeds=3. On 10,000 images:
--config.data.train_size=10000.
"""

import ml_collections


def get_config():
  """45,000 training images, 5,000 to look at, 10,000 test images used once."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'cifar10'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=45000,
    valid_size=5000,
    image_size=ml_collections.config_dict.placeholder(int),
  )
  config.oneshot = dict(
    name='maskconnect',
    connections='learnt',  # learnt, chain, nearest, random or all
    fan_in=4,
    search_epochs=75,
    mask_learning_rate=0.1,
  )
  config.network = dict(kind='resnext', width=64, modules=(3, 3, 3), groups=4)
  config.train = dict(
    epochs=150,
    batch_size=128,
    optimizer='sgd',
    learning_rate=0.1,
    schedule='cosine',
    momentum=0.9,
    weight_decay=5e-4,
    pad=4,
    mirror=True,
  )
  config.contrast = dict(
    field='oneshot.connections',
    values=('learnt', 'chain', 'nearest', 'random', 'all'),
  )
  return config
