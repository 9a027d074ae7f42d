r"""Do searchers, and does the mirror stimuli reward, beat random search?

python -m benchmarks.search_quality --config=configs/search_quality.py

runs every arm of that comparison. One search of it by itself:

python -m launch.search --config=configs/search_quality.py \
  --workdir=runs/search_quality_one

Children are as cheap as can be, so that there can be many seeds: on two CPU
cores a child takes a tenth of a second.
"""

import ml_collections


def get_config():
  """100 proposals a search, on 200 digits; the benchmark picks searchers."""
  config = ml_collections.ConfigDict()
  config.seed = 0  # of the one search; the benchmark has its own

  config.dataset = 'digits'
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.data = dict(
    train_size=200,
    valid_size=600,
    image_size=ml_collections.config_dict.placeholder(int),
  )

  config.space = dict(name='block', num_layers=7, operations='separable')
  config.expert = 'resnext'

  # The budget of every searcher; how each was set up, see the README.
  config.search = dict(
    num_proposals=100,
    batch=5,
    workers=0,  # of Ray; 0 trains in this process
    address='',  # of a Ray cluster; '' starts one on this machine
    timeout=0.0,  # seconds that a worker's child may take; 0 is any time
  )
  config.searcher = dict(
    name='q_learning',
    q_learning=dict(
      epsilon_iterations=10,
      epsilon_final=0.1,
      step_size=0.2,
      shaping='spread',
      replay_updates=1024,
    ),
    reinforce=dict(learning_rate=0.5, baseline_decay=0.9, entropy_weight=0.0),
    evolution=dict(population_size=20, sample_size=10),
  )

  config.evaluator = dict(name='trained', population=0, slots=0, halving=0.0)
  config.network = dict(width=8, num_stages=2, blocks_per_stage=1)
  config.train = dict(
    epochs=10,
    evaluations=1,
    batch_size=25,
    optimizer='sgd',
    learning_rate=0.1,
    schedule='cosine',
    weight_decay=1e-4,
  )
  config.reward = dict(
    name='irlas',
    mirror=5.0,
    num_rollouts=4096,
    learner=dict(name='max_entropy', max_entropy=dict(strength=0.03)),
    features=dict(
      resolutions=('family', 'operation', 'kind'),
      tables=('nodes', 'fan_out', 'fan_in', 'depths', 'reads', 'spans'),
      discount=0.8,
      normalised=True,
    ),
  )

  # What a search is judged by: the blocks among its last proposals, trained
  # again and scored on so many images that no search has seen.
  config.evidence = dict(last=20, second_size=497)
  return config
