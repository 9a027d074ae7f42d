r"""Full training of a searched block on CIFAR-10.

python -m launch.train --genotype=runs/irlas_cifar10/best.json \
  --config=configs/train_cifar10.py --config.data_dir=...

The recipe follows the field's for cells of NASNet's kind: 600 epochs of SGD
with a cosine, gradients clipped at 5, cutout of 16 pixels, ScheduledDropPath up
to 0.2 and an auxiliary head of weight 0.4 (NASNet, DARTS); and, as is usual by
now, label smoothing and an average of the weights, which is what is tested.
Mixup is there, but off. For a first look, take a sixth of the epochs:
--config.train.epochs=100 --config.train.evaluations=20. Its test error has not
been measured yet; it is meant for an accelerator.
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
    epochs=600,
    evaluations=60,  # on validation data; a divisor of epochs
    batch_size=128,
    optimizer='sgd',  # sgd (Nesterov), adam or muon
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
    mixup=0.0,  # alpha of the mixing share's Beta(alpha, alpha); 0 never mixes
    ema_decay=0.999,  # of the average of weights that is tested; 0 has none
    drop_path=0.2,  # probability at the end, in the last block
    auxiliary=0.4,  # weight of the auxiliary head's loss; 0 has none
  )
  return config
