r"""MaskConnect on scikit-learn's digits: minutes on a CPU.

python -m launch.oneshot --config=configs/maskconnect_small.py \
  --workdir=runs/maskconnect_small

Eight ResNeXt modules in two stages. Learnt connections against fixed ones, with
as many epochs, three seeds of each: --contrast --seeds=3. The shadow's rate is
that of 0.1, 1 and 10 with the best validation accuracy for two other seeds.
"""

import ml_collections


def get_config():
  """Half of the epochs for the connections, half with them as they are."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'digits'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=600,
    valid_size=600,
    image_size=ml_collections.config_dict.placeholder(int),
  )
  config.oneshot = dict(
    name='maskconnect',
    connections='learnt',  # learnt, chain, nearest, random or all
    fan_in=2,
    search_epochs=30,
    mask_learning_rate=10.0,
  )
  config.network = dict(kind='resnext', width=16, modules=(4, 4), groups=2)
  config.train = dict(
    epochs=60,
    batch_size=50,
    optimizer='sgd',
    learning_rate=0.1,
    schedule='cosine',
    momentum=0.9,
    weight_decay=1e-4,
    pad=1,
  )
  config.contrast = dict(
    field='oneshot.connections',
    values=('learnt', 'chain', 'nearest', 'random', 'all'),
  )
  return config
