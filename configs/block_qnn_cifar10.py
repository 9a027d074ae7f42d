r"""Block-QNN at its own size, on CIFAR-10: 178 iterations of 64 blocks.

python -m launch.search --config=configs/block_qnn_cifar10.py \
  --workdir=runs/block_qnn_cifar10 --config.data_dir=...

The published search took 32 GPUs three days. One number makes it smaller:
--config.searcher.q_learning.epsilon_scale=0.1 is a tenth of the iterations,
with the whole schedule of exploration in them.

What is known for certain is the space, the schedule, the step size, the shaped
reward and the form of the early-stop reward. Its weights, the replay and the
limit of 23 layers are those of a re-implementation or remembered; so are the
batch of 256 and that the published search was on CIFAR-100, which is
--config.dataset=cifar100. The width of the search's networks is a guess. Its
restarts of children that learn nothing are left out. The best of the published
networks has a test error of 3.54 % on CIFAR-10.
"""

import ml_collections
from ml_collections import config_dict

_ITERATIONS = 178
_BATCH = 64


def get_config():
  """11,392 proposals; the same sections as configs/irlas_digits.py."""
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
  scale = config_dict.FieldReference(1.0)
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
