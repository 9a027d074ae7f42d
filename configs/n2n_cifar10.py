r"""N2N learning at its own size, on CIFAR-10: VGG-19 or ResNet-18.

python -m launch.compress --config=configs/n2n_cifar10.py \
  --workdir=runs/n2n_cifar10 --config.data_dir=...

The teacher is ResNet-18; for VGG-19 --config.space.family=vgg,
--config.space.widths="(64,128,256,512,512)" and
--config.space.depths="(2,2,4,4,4)". Both searches have 100 epochs of five
students, each distilled for five epochs with the paper's hyper-parameters. It
reports for ResNet-18 (92.01 %, 11.17 million parameters) 5.3 times fewer after
the removal at 91.97 %, and 11.1 times fewer after both stages at 91.81 %; for
VGG-19 (91.97 %, 20.2 million) 11.8 and 20.5 times fewer at 92.05 and 91.64 %.
Those figures are from a table whose transcription has not been verified, and
this config has not been run to its end.

What differs: rewards come from validation images, not from those of the test;
each student's reward is its own in REINFORCE, not the mean of its epoch; the
baseline is an exponential average. How the teacher is trained is ours.
"""

import ml_collections
from ml_collections import config_dict


def _search():
  """100 epochs of five students."""
  return dict(num_proposals=500, batch=5, workers=0)


def get_config():
  """The same sections as configs/n2n_small.py."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'cifar10'
  config.data_dir = config_dict.placeholder(str)
  config.data = dict(
    train_size=45_000,
    valid_size=5_000,
    image_size=config_dict.placeholder(int),
  )

  # The teacher.
  config.space = dict(
    name='n2n',
    teacher='',
    family='resnet',  # vgg or resnet
    widths=(64, 128, 256, 512),
    depths=(2, 2, 2, 2),
    image_size=32,
  )
  config.network = dict(width=1, num_stages=1, blocks_per_stage=1)
  config.teacher = dict(
    train=dict(
      epochs=100,
      evaluations=20,
      batch_size=128,
      optimizer='sgd',
      learning_rate=0.1,
      schedule='cosine',
      weight_decay=5e-4,
      pad=4,
      mirror=True,
    ),
  )

  # How students are scored.
  config.evaluator = dict(
    name='distilled',
    matching=1.0,
    soft=0.0,
    temperature=4.0,
    labels=0.0,
    population=0,
    slots=1,
  )
  config.train = dict(
    epochs=5,
    evaluations=1,
    batch_size=200,
    optimizer='adam',
    learning_rate=5e-4,
    schedule='constant',
    weight_decay=5e-4,
    pad=4,
    mirror=True,
  )
  config.reward = dict(
    name='n2n',
    max_params=0.0,
    min_accuracy=0.0,
    epoch_size=5,
    patience=15.0,
  )

  # The two searches.
  config.removal = dict(
    search=_search(),
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
    search=_search(),
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

  # What the student is compared with; random=True doubles the searches.
  config.baseline = dict(percents=(25, 35, 50), random=False)

  # Of full distillations.
  config.retrain = dict(
    train=dict(
      epochs=55,
      evaluations=11,
      batch_size=128,
      optimizer='adam',
      learning_rate=1e-3,
      schedule='cosine',
      weight_decay=5e-4,
      pad=4,
      mirror=True,
    ),
  )
  return config
