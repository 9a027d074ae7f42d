r"""Zaremba's medium LSTM on the Penn Treebank: the goal is 90 or less.

python -m launch.train --config=configs/train_ptb_lstm_medium.py \
  --workdir=runs/train_ptb_lstm_medium --config.data_dir=...

Zaremba, Sutskever & Vinyals (arXiv 1409.2329) have a test perplexity of 82.7
with it. The goal here is a test perplexity of 90 or less on an accelerator: it
is not measured yet. The data directory, by default the environment variable
IRLAS_DATA_DIR, has ptb/ptb.{train,valid,test}.txt.
"""

import ml_collections


def get_config():
  """Two layers of 650 units, 39 epochs, all 10,000 words."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dataset = 'ptb'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.text = dict(num_tokens=0, num_words=0)  # all
  config.network = dict(
    name='lstm', units=650, layers=2, dropout=0.5, tied=False, init_scale=0.05
  )
  config.train = dict(
    epochs=39,
    evaluations=39,  # on validation text; a divisor of epochs
    batch_size=20,
    unroll=35,
    learning_rate=1.0,
    full_epochs=6,
    decay=1 / 1.2,
    clip_norm=5.0,
    patience=0,
  )
  return config
