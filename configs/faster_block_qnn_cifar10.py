r"""Faster Block-QNN at its own size, on CIFAR-10, screened and on workers.

python -m launch.search --config=configs/faster_block_qnn_cifar10.py \
  --workdir=runs/faster_block_qnn_cifar10 --config.data_dir=... \
  --config.search.workers=8 --config.search.address=auto

The search of configs/block_qnn_cifar10.py with a tenth of its trainings, each
the best of twenty proposals by a predictor, or one at random. The paper reports
a search of 20 hours on one GPU and a test error of 2.35 % at best. How its
predictor is made, how much is screened and how long children are trained is not
published in full, so all of that is a reconstruction. `lstm` is the predictor
that is nearest to what is known: --config.screening.predictor.name=lstm.
"""

import ml_collections
from ml_collections import config_dict

_ITERATIONS = 178
_BATCH = 64


def get_config():
  """1,139 trainings; the same sections as configs/block_qnn_cifar10.py."""
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
  config.space = dict(name='block', num_layers=23, operations='dense')

  # By whom, and for how long: the schedule's scale is the budget's.
  scale = config_dict.FieldReference(0.1)
  config.search = dict(
    num_proposals=(scale * (_ITERATIONS * _BATCH)).to_int(),
    batch=_BATCH,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='q_learning',
    q_learning=dict(
      epsilon_scale=scale,
      step_size=0.01,
      discount=1.0,
      shaping='spread',
      replay_updates=64,
    ),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=100, sample_size=25),
  )

  # What is trained: the best of twenty by a predictor, or one at random.
  config.screening = dict(
    candidates=20,
    random_share=0.1,
    warm_up=64,
    refit_every=64,
    memory_size=1024,
    predictor=dict(name='kernel'),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=32, num_stages=3, blocks_per_stage=4)
  config.train = dict(
    epochs=12,
    evaluations=1,  # on validation data; a divisor of epochs
    batch_size=256,
    optimizer='adam',  # sgd (Nesterov) or adam
    learning_rate=1e-3,
    schedule='step',  # cosine, step or constant
    step_epochs=5,
    step_factor=0.2,
    weight_decay=0.0,
    pad=4,  # random crops of images padded by so much
    mirror=True,
  )

  # For what: points of accuracy for e times the multiply-adds, and the density.
  config.reward = dict(
    name='block_qnn', block_qnn=dict(mu=1.0, rho=8.0), floor=0.0
  )
  return config
