r"""AlphaX's tree search for blocks like ResNeXt's, scored by a hypernetwork.

python -m launch.search --config=configs/combinations/alphax_irlas_ghn.py \
  --workdir=runs/alphax_irlas_ghn

Three systems at once, on digits: the searcher is AlphaX's, the reward IRLAS's,
and no block is trained before the search is over: a graph hypernetwork makes
weights for it. What is given up is comparability: none of the three papers has
done this.
"""

import ml_collections


def get_config():
  """400 proposals; the same sections as configs/ghn_small.py."""
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

  # Like what, and by whom: AlphaX's tree, whose Meta-DNN learns what the
  # hypernetwork and the mirror say.
  config.expert = 'resnext'
  config.search = dict(num_proposals=400, batch=8)
  config.searcher = dict(
    name='tree_search',
    tree_search=dict(
      exploration=0.3,
      num_nodes=400 * 7 + 1,  # one a layer of each proposal, and the root
      memory_size=400,
      refit_every=80,
      rollouts=10,
      predictor=dict(
        name='mlp',
        mlp=dict(sizes=(64, 64), learning_rate=1e-3, epochs=40, batch_size=32),
      ),
    ),
    q_learning=dict(epsilon_scale=50 / 178, step_size=0.1, replay_updates=128),
    reinforce=dict(learning_rate=0.05, baseline_decay=0.9, entropy_weight=0.01),
    evolution=dict(population_size=100, sample_size=25),
  )

  # How a child is scored.
  config.evaluator = dict(
    name='ghn',
    population=0,
    slots=0,
    ghn=dict(
      file='',
      seed=0,
      layers=0,
      meta_batch=4,
      images=200,
      image_batch=100,
      hidden=32,
      decoder=64,
      passes=5,
      virtual_edges=50,
      layer_norm=True,
      normalise=True,
    ),
  )
  config.network = dict(width=8, num_stages=2, blocks_per_stage=1)

  # How the hypernetwork is trained: 4 steps an epoch.
  config.train = dict(
    epochs=500,
    evaluations=10,  # of its loss
    batch_size=50,
    optimizer='adam',
    learning_rate=1e-3,
    schedule='step',
    step_epochs=350,
    step_factor=0.1,
    clip_norm=5.0,
    pad=1,  # random crops of images padded by so much
  )

  # For what: percentage points between a random block and the expert.
  config.reward = dict(
    name='irlas',
    mirror=2.0,
    num_rollouts=4096,
    learner=dict(name='max_entropy', max_entropy=dict(strength=0.03)),
    features=dict(
      resolutions=('family', 'operation', 'kind'),
      tables=('nodes', 'fan_out', 'fan_in', 'depths', 'reads', 'spans'),
      discount=0.8,
      normalised=True,
    ),
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
