r"""Faster Block-QNN on the handwritten digits of scikit-learn, on a CPU.

python -m launch.search --config=configs/faster_block_qnn_small.py \
  --workdir=runs/faster_block_qnn_small

The search of configs/block_qnn_small.py with a third of its trainings: one of
twenty proposals is trained, which a predictor chooses. Without the predictor:
--config.screening.candidates=1. On workers, as in the paper's framework of a
master and compute nodes: --config.search.workers=2.
"""

import ml_collections


def get_config():
  """66 trainings in place of 200; sections as block_qnn_small's."""
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
  config.space = dict(name='block', num_layers=7, operations='dense')

  # By whom. 22 iterations of Block-QNN's 178, so its schedule is scaled.
  config.search = dict(
    num_proposals=66,  # those that are trained
    batch=3,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='q_learning',
    q_learning=dict(
      epsilon_scale=22 / 178,
      step_size=0.1,
      discount=1.0,
      shaping='spread',
      replay_updates=512,
    ),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=40, sample_size=8),
  )

  # What is trained: the best of twenty by a predictor, or one at random.
  config.screening = dict(
    candidates=20,
    random_share=0.1,
    warm_up=15,
    refit_every=6,
    memory_size=128,
    predictor=dict(name='kernel', scale=1.0),
  )

  # How a child is scored.
  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=8, num_stages=2, blocks_per_stage=1)
  config.train = dict(
    epochs=10,
    evaluations=1,  # on validation data; a divisor of epochs
    batch_size=50,
    optimizer='adam',  # sgd (Nesterov) or adam
    learning_rate=5e-3,
    schedule='step',  # cosine, step or constant
    step_epochs=5,
    step_factor=0.2,
    weight_decay=0.0,
    pad=0,  # random crops of images padded by so much
    mirror=False,
  )

  # For what: points of accuracy for e times the multiply-adds, and the density.
  config.reward = dict(
    name='block_qnn', block_qnn=dict(mu=1.0, rho=8.0), floor=0.0
  )

  # The best block, trained fully.
  config.retrain = dict(
    data=dict(train_size=1000, valid_size=200),
    network=dict(width=16, num_stages=2, blocks_per_stage=1),
    train=dict(
      epochs=20,
      evaluations=10,
      batch_size=50,
      optimizer='sgd',
      learning_rate=0.1,
      schedule='cosine',
      weight_decay=5e-4,
      pad=1,
    ),
  )
  return config
