r"""N2N learning on scikit-learn's digits: a small VGG, compressed in minutes.

python -m launch.compress --config=configs/n2n_small.py \
  --workdir=runs/n2n_small

The teacher has six convolutions on images of 8x8 pixels. Both searches train
100 students each for five epochs, as the paper's do, and so do the random ones
that they are compared with.
"""

import ml_collections


def _search(proposals):
  """Five students an epoch, as in the paper."""
  return dict(num_proposals=proposals, batch=5, workers=0)


def get_config():
  """The sections of every compression; see BUILD.md."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'digits'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=600,
    valid_size=600,
    image_size=ml_collections.config_dict.placeholder(int),
  )

  # The teacher: its layers as text, or a family and its sizes.
  config.space = dict(
    name='n2n',
    teacher='',
    family='vgg',  # vgg or resnet
    widths=(16, 32, 64),
    depths=(2, 2, 2),
    image_size=8,
  )
  config.network = dict(width=1, num_stages=1, blocks_per_stage=1)
  config.teacher = dict(
    train=dict(
      epochs=20,
      evaluations=4,
      batch_size=50,
      optimizer='sgd',
      learning_rate=0.05,
      schedule='cosine',
      weight_decay=5e-4,
    ),
  )

  # How students are scored: few epochs, by the teacher's logits alone.
  config.evaluator = dict(
    name='distilled',
    matching=1.0,
    soft=0.0,
    temperature=4.0,
    labels=0.0,
    population=0,
    slots=0,
  )
  config.train = dict(
    epochs=5,
    evaluations=1,
    batch_size=50,
    optimizer='adam',
    learning_rate=5e-3,
    schedule='constant',
    weight_decay=5e-4,
  )
  config.reward = dict(
    name='n2n',
    max_params=0.0,
    min_accuracy=0.0,
    epoch_size=5,
    patience=15.0,
  )

  # The two searches. Rewards are at most 1.
  config.removal = dict(
    search=_search(100),
    searcher=dict(
      name='reinforce',
      reinforce=dict(
        learning_rate=3e-3,
        optimizer='adam',
        baseline_decay=0.9,
        entropy_weight=0.0,
        policy=dict(name='bilstm', file='', bilstm=dict(hidden=30, layers=2)),
      ),
    ),
  )
  config.shrinkage = dict(
    search=_search(100),
    searcher=dict(
      name='reinforce',
      reinforce=dict(
        learning_rate=0.1,
        optimizer='adam',
        baseline_decay=0.9,
        entropy_weight=0.0,
        policy=dict(
          name='layer_lstm', file='', layer_lstm=dict(hidden=30, layers=2)
        ),
      ),
    ),
  )

  # What the student is compared with, at equal budget.
  config.baseline = dict(percents=(25, 50, 75), random=True)

  # Of full distillations.
  config.retrain = dict(
    train=dict(
      epochs=40,
      evaluations=4,
      batch_size=50,
      optimizer='adam',
      learning_rate=5e-3,
      schedule='cosine',
      weight_decay=5e-4,
    ),
  )
  return config
