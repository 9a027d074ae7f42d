r"""AlphaX on small NAS-Bench-101 cells: evaluations until the best of them.

python -m launch.table --config=configs/alphax_nasbench101.py \
  --workdir=runs/alphax_nasbench101

AlphaX (Wang et al., arXiv 1805.07440, 1903.11059) reports that tree search with
a Meta-DNN finds NAS-Bench-101's best cell with 2.8 times fewer evaluations than
regularized evolution and 3 times fewer than random search. Here it is asked of
the 2,532 cells of EC-NAS with up to five vertices, in the encoding that builds
a cell as AlphaX does, node by node and edge by edge until it stops. The one
difference: AlphaX may add a node after edges, which wipes them; here all nodes
come first (spaces/nasbench101_steps.py).

Published settings: 2 Cp = 4 before sqrt(2 ln N / n) with accuracies in [0, 1]
that are not normalised (here they are, so `exploration` is another number;
--config.arms.plain.sweep.exploration="(0.1, 0.3, 1.0, 4.0)" compares some);
10 rollouts; a Meta-DNN of 512-2048-2048-512 units, fitted every 100 evaluations
for 20 epochs in batches of 128, Adam, 2e-4. Its layers are smaller here, for
two cores: --config.searcher.tree_search.predictor.mlp.sizes names others.

Many sequences of choices are the same cell, so of 5,000 proposals a few hundred
are different cells; those are counted by `distinct` in benchmarks/tree_search.
"""

import ml_collections

PROPOSALS = 5000


def get_config():
  """100 seeds of each arm."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.seeds = 100
  config.data_dir = ml_collections.config_dict.placeholder(str)
  config.space = dict(
    name='nasbench101', max_vertices=5, max_edges=9, encoding='steps'
  )
  config.evaluator = dict(
    name='table',
    file='nas-bench-101/ecnas_5v.npz',
    accuracy='valid_4',
    params='params',
    seconds='seconds_4',
  )
  config.reward = dict(name='accuracy')
  config.search = dict(num_proposals=PROPOSALS, batch=1, seconds=0.0)
  config.searcher = dict(
    name='random',
    tree_search=dict(
      exploration=0.3,
      num_nodes=PROPOSALS * 12 + 1,  # the most steps of a cell, and the root
      memory_size=PROPOSALS,
      refit_every=100,
      rollouts=10,
      predictor=dict(
        name='mlp',
        mlp=dict(sizes=(64, 64), learning_rate=1e-3, epochs=20, batch_size=128),
      ),
    ),
    # As NAS-Bench-101's authors set it.
    evolution=dict(population_size=100, sample_size=10),
  )
  config.arms = dict(
    random=dict(),
    evolution=dict(searcher=dict(name='evolution')),
    plain=dict(
      searcher=dict(
        name='tree_search', tree_search=dict(predictor=dict(name='none'))
      )
    ),
    alphax=dict(searcher=dict(name='tree_search')),
  )
  config.report = dict(
    metric='valid',
    metrics=dict(valid='valid_4', test='test_4'),
    budgets=(100, 300, 1000, 2000, PROPOSALS),
    targets=('optimum',),
    comparisons=(
      dict(arm='plain', reference='random', metric='valid'),
      dict(arm='alphax', reference='random', metric='valid'),
      dict(arm='alphax', reference='evolution', metric='valid'),
      dict(arm='alphax', reference='plain', metric='valid'),
    ),
  )
  return config
