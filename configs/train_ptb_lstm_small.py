r"""A small LSTM on the first 100,000 tokens of the Penn Treebank.

python -m launch.train --config=configs/train_ptb_lstm_small.py \
  --workdir=runs/train_ptb_lstm_small --config.data_dir=...

The baseline of configs/nas_rl_recurrent_small.py: the budget of its best cell's
full training (twelve times 100,000 tokens), as many parameters and the same
2,000 words. Test perplexity 80.9, in 52 s on two CPU cores shared with other
work. With --config.train.epochs=3 --config.train.evaluations=1
--config.train.full_epochs=2 --config.train.decay=0.5 it is trained as that
search's children are: 86.3.
"""

import ml_collections


def get_config():
  """One layer of 52 units, 1.2 million tokens; the searched cells have 48."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'ptb'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.text = dict(num_tokens=100_000, num_words=2_000)
  config.network = dict(
    name='lstm', units=52, layers=1, dropout=0.0, tied=False, init_scale=0.1
  )
  config.train = dict(
    epochs=12,
    evaluations=4,  # on validation text; a divisor of epochs
    batch_size=20,
    unroll=20,
    learning_rate=1.0,
    full_epochs=6,
    decay=0.7,
    clip_norm=5.0,
    patience=0,
  )
  return config
