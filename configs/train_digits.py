r"""Full training of a searched block on scikit-learn's digits.

python -m launch.train --genotype=runs/irlas_digits/best.json \
  --config=configs/train_digits.py
"""

import ml_collections


def get_config():
  """1,000 training images, 200 to watch by, 500 test images used once."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'digits'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=1000,
    valid_size=200,
    image_size=ml_collections.config_dict.placeholder(int),
  )
  config.network = dict(width=32, num_stages=2, blocks_per_stage=1)
  config.train = dict(
    epochs=20,
    evaluations=10,  # on validation data; a divisor of epochs
    batch_size=50,
    optimizer='sgd',  # sgd (Nesterov), adam or muon
    learning_rate=0.1,
    schedule='cosine',  # cosine, step or constant
    warmup_epochs=0.0,
    step_epochs=5,
    step_factor=0.2,
    momentum=0.9,
    weight_decay=5e-4,
    label_smoothing=0.0,
    clip_norm=0.0,  # 0 does not clip
    bfloat16=False,
    patience=0,  # evaluations without a better one before a stop; 0 never
    pad=1,  # random crops of images padded by so much
    mirror=False,
    cutout=0,  # side of the square set to zero
    mixup=0.0,  # alpha of the mixing share's Beta(alpha, alpha); 0 never mixes
    ema_decay=0.0,  # of the average of weights that is tested; 0 has none
    drop_path=0.0,  # probability at the end, in the last block
    auxiliary=0.0,  # weight of the auxiliary head's loss; 0 has none
  )
  return config
