r"""NAS-RL's search for a recurrent cell at its own size, on the Penn Treebank.

python -m launch.search --config=configs/nas_rl_recurrent_ptb.py \
  --workdir=runs/nas_rl_recurrent_ptb --config.data_dir=...

The published search took 400 CPUs. One number makes it smaller:
--config.search.num_proposals=100. The data directory, by default the
environment variable IRLAS_DATA_DIR, has ptb/ptb.{train,valid,test}.txt.

The paper's: the space, the controller and its step size, an update after ten
cells, 35 epochs a child of two layers, and the reward. Ours, since the paper
does not say: how many cells are proposed, and how children are trained but for
their epochs, which is Zaremba's way for his medium LSTM. A child has the
parameters of that network, 20 million. Here ten cells are of one controller; in
the paper, ten gradients are, which are computed without waiting for each other.
The best published cell has a test perplexity of 67.9 with 32 million
parameters, and of 62.4 with 54 million and a shared embedding; nothing of this
is measured here yet.
"""

import ml_collections


def get_config():
  """6,000 proposals; the sections of configs/nas_rl_recurrent_small.py."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data: all of it.
  config.dataset = 'ptb'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.text = dict(num_tokens=0, num_words=0)

  # What is searched.
  config.space = dict(name='nas_rl_recurrent', base=8)
  config.expert = 'lstm'

  # By whom.
  config.search = dict(
    num_proposals=6_000,
    batch=10,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='reinforce',
    q_learning=dict(
      epsilon_scale=600 / 178,
      step_size=0.01,
      shaping='spread',
      replay_updates=640,
    ),
    reinforce=dict(
      learning_rate=5e-4,
      baseline_decay=0.95,
      policy=dict(name='lstm'),  # with two layers of 35 units
    ),
    evolution=dict(population_size=100, sample_size=25),
  )

  # How a child is scored.
  config.evaluator = dict(
    name='language_model', population=0, slots=0, halving=0.0
  )
  config.network = dict(
    units=540, layers=2, dropout=0.5, tied=False, init_scale=0.05
  )
  config.train = dict(
    epochs=35,
    evaluations=35,  # on validation text; a divisor of epochs
    batch_size=20,
    unroll=35,
    learning_rate=1.0,
    full_epochs=6,
    decay=1 / 1.2,
    clip_norm=5.0,
    patience=0,
  )
  config.reward = dict(name='perplexity', scale=80.0, floor=0.0)

  # The best cell, with more units and its embedding shared.
  config.retrain = dict(
    network=dict(units=800, layers=2, dropout=0.5, tied=True, init_scale=0.05),
    train=dict(
      epochs=60,
      evaluations=60,
      batch_size=20,
      unroll=35,
      learning_rate=1.0,
      full_epochs=10,
      decay=1 / 1.15,
      clip_norm=5.0,
    ),
  )
  return config
