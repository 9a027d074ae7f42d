r"""NAS-RL's recurrent cells on the first 100,000 tokens of the Penn Treebank.

python -m launch.search --config=configs/nas_rl_recurrent_small.py \
  --workdir=runs/nas_rl_recurrent_small --config.data_dir=...

Trains up to 60 children for minutes. The data directory, by default the
environment variable IRLAS_DATA_DIR, has ptb/ptb.{train,valid,test}.txt; any
text will do: --config.dataset=FOLDER with train.txt, valid.txt and test.txt.
Perplexities are over the 2,000 most frequent words, all others being one, and
so are far below those of the whole vocabulary. The LSTM to compare with, of as
many parameters and with the same budget, is configs/train_ptb_lstm_small.py.

What it gave with seed 0, in ten minutes of processor time: of 60 cells four
diverged, the median of the others had a validation perplexity of 181, the best
one 84.7 and the LSTM as a tree 82.2; trained fully the best one has a test
perplexity of 82.1, the LSTM of the other config 80.9. So few proposals do not
show that the controller learns: its last cells were no better than its first.
"""

import ml_collections


def get_config():
  """60 proposals of cells of eight leaves, in one layer of 48 units."""
  config = ml_collections.ConfigDict()
  config.seed = 0

  # Data: the first tokens of the training text, and its most frequent words.
  config.dataset = 'ptb'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.text = dict(num_tokens=100_000, num_words=2_000)

  # What is searched.
  config.space = dict(name='nas_rl_recurrent', base=8)
  config.expert = 'lstm'

  # By whom: NAS-RL's controller, but with larger steps, since the published
  # search has some hundred times as many proposals.
  config.search = dict(
    num_proposals=60,
    batch=10,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='reinforce',
    q_learning=dict(
      epsilon_scale=6 / 178,
      step_size=0.1,
      shaping='spread',
      replay_updates=512,
    ),
    reinforce=dict(
      learning_rate=0.01,
      baseline_decay=0.9,
      policy=dict(name='lstm'),  # with two layers of 35 units
    ),
    evolution=dict(population_size=20, sample_size=5),
  )

  # How a child is scored.
  config.evaluator = dict(
    name='language_model', population=0, slots=0, halving=0.0
  )
  config.network = dict(
    units=48, layers=1, dropout=0.0, tied=False, init_scale=0.1
  )
  config.train = dict(
    epochs=3,
    evaluations=1,  # on validation text; a divisor of epochs
    batch_size=20,
    unroll=20,
    learning_rate=1.0,
    full_epochs=2,
    decay=0.5,
    clip_norm=5.0,
    patience=0,
  )

  # For what: c / perplexity^2, with the paper's c.
  config.reward = dict(name='perplexity', scale=80.0, floor=0.0)

  # The best cell, trained four times as long.
  config.retrain = dict(
    train=dict(
      epochs=12,
      evaluations=4,
      batch_size=20,
      unroll=20,
      learning_rate=1.0,
      full_epochs=6,
      decay=0.7,
      clip_norm=5.0,
    ),
  )
  return config
