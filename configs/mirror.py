r"""What the mirror stimuli function of an expert sees, in any blocks.

python -m launch.mirror --config=configs/mirror.py --expert=resnext \
  --genotype=best.json --workdir=runs/mirror

Seconds on a CPU: nothing is trained.
"""

import ml_collections


def get_config():
  """The sections that a search's config has too."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.space = dict(name='block', num_layers=10, operations='separable')
  config.expert = 'resnext'
  config.reward = dict(
    name='irlas',
    mirror=1.0,
    num_rollouts=4096,
    learner=dict(name='max_entropy', max_entropy=dict(strength=0.03)),
    features=dict(
      resolutions=('family', 'operation', 'kind'),
      tables=('nodes', 'fan_out', 'fan_in', 'depths', 'reads', 'spans'),
      discount=0.8,
      normalised=True,
    ),
  )
  return config
