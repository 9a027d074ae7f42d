r"""MetaQNN's tables of test errors (Baker et al., ICLR 2017), built anew.

python -m launch.table --config=configs/table_metaqnn.py \
  --workdir=runs/table_metaqnn --config.data_dir=... --rows=cifar10

A search of 2,700 models on each data set, and random search, which the paper
does not have, the best of each trained fully. Nobody has run it: the paper used
ten GPUs for eight to ten days a row. Its last training has four rates for 40,
40, 160 and 60 epochs, ours a cosine for as long; its images are shifted by up
to 5 pixels.
"""

import ml_collections

_TRAIN = {
  'epochs': 300,
  'evaluations': 30,
  'batch_size': 128,
  'optimizer': 'sgd',
  'learning_rate': 0.025,
  'schedule': 'cosine',
  'weight_decay': 5e-4,
  'drop_path': 0.5,
  'pad': 5,
}


def _row(dataset, images, image_size, num_layers, mirror, published):
  data = {'train_size': images - 5_000, 'valid_size': 5_000}
  return dict(
    config='configs/metaqnn_cifar10.py',
    claim='Q-learning finds better networks than random search.',
    source='MetaQNN, arXiv 1611.02167',
    arm='q_learning',
    seeds=1,
    retrain=1,
    final=True,
    changes=dict(
      dataset=dataset,
      data=data,
      space=dict(image_size=image_size, num_layers=num_layers),
      train=dict(mirror=mirror),
      retrain=dict(train=_TRAIN | {'mirror': mirror}),
    ),
    arms=dict(q_learning=dict(searcher=dict(name='q_learning'))),
    published=dict(q_learning=published),
  )


def get_config():
  """One seed, as in the paper; digits and numbers are not mirrored."""
  config = ml_collections.ConfigDict()
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.rows = dict(
    cifar10=_row('cifar10', 50_000, 32, 18, True, '6.92 % error'),
    svhn=_row('svhn_cropped', 73_257, 32, 12, False, '2.28 % error'),
    mnist=_row('mnist', 60_000, 28, 12, False, '0.41 % error'),
  )
  return config
