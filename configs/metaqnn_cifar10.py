r"""MetaQNN's search at its own size, on CIFAR-10: 2,700 models.

python -m launch.search --config=configs/metaqnn_cifar10.py \
  --workdir=runs/metaqnn_cifar10 --config.data_dir=...

The published search took 10 GPUs eight to ten days. One number makes it
smaller: --config.searcher.q_learning.epsilon_scale=0.1 is a tenth of the
models, with the whole schedule of exploration in them. Exploration goes by
models that differ, and a proposal may be a repeat, which costs nothing: if
there are many, 2,700 proposals end before the schedule does.

What differs from the paper: convolutions are followed by batch normalisation,
and children have no dropout (a full training has the paper's with
train.drop_path=0.5). Values start at 50, the paper's 0.5 in percent. The
replay of 100 is per model, so with N devices it is --config.search.batch=N
--config.searcher.q_learning.replay_updates=100N. All children are trained by
one program, which is padded to the most filters: each costs what it would with
512 of them everywhere. The best of the published networks has a test error of
6.92 %.
"""

import ml_collections
from ml_collections import config_dict

_MODELS = 2700


def get_config():
  """2,700 proposals; the same sections as configs/irlas_digits.py."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data; the directory defaults to the environment variable IRLAS_DATA_DIR.
  config.dataset = 'cifar10'
  config.data_dir = config_dict.placeholder(str)
  config.data = dict(
    train_size=45_000,
    valid_size=5_000,
    image_size=config_dict.placeholder(int),
  )

  # What is searched.
  config.space = dict(
    name='metaqnn',
    image_size=32,
    num_layers=18,
    filters=(64, 128, 256, 512),
    kernels=(1, 3, 5),
    pools=((5, 3), (3, 2), (2, 2)),
    units=(512, 256, 128),
    bins=(8, 4),
  )

  # By whom, and for how long: the schedule's scale is the budget's.
  scale = config_dict.FieldReference(1.0)
  config.search = dict(
    num_proposals=(scale * _MODELS).to_int(),
    batch=1,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='q_learning',
    q_learning=dict(
      epsilon_schedule='metaqnn',
      epsilon_scale=scale,
      step_size=0.01,
      discount=1.0,
      initial=50.0,
      shaping='none',
      replay_updates=100,
      distinct=True,
    ),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=100, sample_size=25),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=0, slots=1, halving=0.0)
  config.network = dict(width=1, num_stages=1, blocks_per_stage=1)
  config.train = dict(
    epochs=20,
    evaluations=20,  # on validation data; a divisor of epochs
    batch_size=128,
    optimizer='adam',  # sgd (Nesterov) or adam
    learning_rate=1e-3,
    schedule='step',  # cosine, step or constant
    step_epochs=5,
    step_factor=0.2,
    weight_decay=5e-4,
    restarts=5,  # of children that are at chance at the first evaluation
    restart_factor=0.4,  # of the learning rate, each time
    restart_below=0.15,  # accuracy: chance, and a little more
    pad=0,  # random crops of images padded by so much
    mirror=True,
  )
  config.reward = dict(name='accuracy', floor=0.0)
  return config
