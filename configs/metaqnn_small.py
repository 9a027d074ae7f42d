r"""MetaQNN's space, chains of up to six layers, on scikit-learn's digits.

python -m launch.search --config=configs/metaqnn_small.py \
  --workdir=runs/metaqnn_small

Trains up to 200 children for minutes. Their images have 8x8 pixels, so that
three pools are all that fit. An epoch is four steps, so whether a child learns
nothing, and begins again, shows after five.
"""

import ml_collections


def get_config():
  """200 proposals; the same sections as configs/irlas_digits.py."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data: few training images, so that architectures differ.
  config.dataset = 'digits'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=200,
    valid_size=600,
    image_size=ml_collections.config_dict.placeholder(int),
  )

  # What is searched.
  config.space = dict(
    name='metaqnn',
    image_size=8,
    num_layers=6,
    filters=(8, 16),
    kernels=(1, 3, 5),
    pools=((5, 3), (3, 2), (2, 2)),
    units=(32, 16),
    bins=(8, 4),
  )

  # By whom. 200 proposals of MetaQNN's 2,700 models, and repeats among them:
  # so the schedule is for 150. Rewards are in percent, and with them the values
  # that all start from; every proposal is followed by 100 replays.
  config.search = dict(
    num_proposals=200,
    batch=4,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='q_learning',
    q_learning=dict(
      epsilon_schedule='metaqnn',
      epsilon_scale=150 / 2700,
      step_size=0.1,
      discount=1.0,
      initial=50.0,
      shaping='none',
      replay_updates=400,
      distinct=True,
    ),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=40, sample_size=8),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=1, num_stages=1, blocks_per_stage=1)
  config.train = dict(
    epochs=20,
    evaluations=4,  # on validation data; a divisor of epochs
    batch_size=50,
    optimizer='adam',  # sgd (Nesterov) or adam
    learning_rate=5e-3,
    schedule='step',  # cosine, step or constant
    step_epochs=5,
    step_factor=0.2,
    weight_decay=5e-4,
    restarts=5,  # of children that are at chance at the first evaluation
    restart_factor=0.4,  # of the learning rate, each time
    restart_below=0.15,  # accuracy: chance, and a little more
    pad=0,  # random crops of images padded by so much
    mirror=False,
  )
  config.reward = dict(name='accuracy', floor=0.0)

  # The best chain, trained fully, with four times the filters and units.
  config.retrain = dict(
    data=dict(train_size=1000, valid_size=200),
    network=dict(width=4, num_stages=1, blocks_per_stage=1),
    train=dict(
      epochs=20,
      evaluations=10,
      batch_size=50,
      optimizer='sgd',
      learning_rate=0.1,
      schedule='cosine',
      weight_decay=5e-4,
      pad=1,
      drop_path=0.5,  # of the last dropout, as the paper's
    ),
  )
  return config
