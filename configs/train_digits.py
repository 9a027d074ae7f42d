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
  config.data = dict(train_size=1000, valid_size=200)
  config.network = dict(width=32, num_stages=2, blocks_per_stage=1)
  config.train = dict(
    epochs=20,
    evaluations=10,
    batch_size=50,
    optimizer='sgd',
    learning_rate=0.1,
    schedule='cosine',
    momentum=0.9,
    weight_decay=5e-4,
    pad=1,
  )
  return config
