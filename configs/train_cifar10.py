r"""Full training of a searched block on CIFAR-10.

python -m launch.train --genotype=runs/irlas_cifar10/best.json \
  --config=configs/train_cifar10.py --config.data_dir=...

The recipe follows the field's (cosine, cutout, label smoothing). Its test error
has not been measured yet; it is meant for an accelerator.
"""

import ml_collections


def get_config():
  """49,000 training images, 1,000 to watch by, 10,000 test images used once."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'cifar10'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=49000,
    valid_size=1000,
    image_size=ml_collections.config_dict.placeholder(int),
  )
  config.network = dict(width=64, num_stages=3, blocks_per_stage=4)
  config.train = dict(
    epochs=200,
    evaluations=20,  # on validation data; a divisor of epochs
    batch_size=128,
    optimizer='sgd',  # sgd (Nesterov) or adam
    learning_rate=0.1,
    schedule='cosine',  # cosine, step or constant
    warmup_epochs=5.0,
    step_epochs=5,
    step_factor=0.2,
    momentum=0.9,
    weight_decay=5e-4,
    label_smoothing=0.1,
    clip_norm=5.0,  # 0 does not clip
    bfloat16=True,
    patience=0,  # evaluations without a better one before a stop; 0 never
    pad=4,  # random crops of images padded by so much
    mirror=True,
    cutout=16,  # side of the square set to zero
  )
  return config
