r"""Shows what the mirror stimuli function of an expert sees in blocks.

python -m launch.mirror --expert=resnext --genotype=runs/irlas_digits/best.json

Any number of blocks may be named. With a search's --config, the function is the
one of that search.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from launch import cli

_DEFAULT = pathlib.Path(__file__).parents[1] / 'configs' / 'mirror.py'
_CONFIG = config_flags.DEFINE_config_file(
  'config',
  None,
  'How the function is learnt; by default configs/mirror.py, and a config of a '
  'search will do.',
  lock_config=True,
)
_EXPERT = flags.DEFINE_string(
  'expert', None, "A built-in expert or a JSON file; by default the config's."
)
_GENOTYPES = flags.DEFINE_multi_string(
  'genotype',
  [],
  'A block to look at: a JSON file with a genotype, the code itself, or a '
  'built-in expert. May be repeated.',
)
_WORKDIR = flags.DEFINE_string(
  'workdir', 'runs/mirror', 'Where mirror.png and mirror.json go.'
)


def main(argv):
  """Fits the function, looks at the blocks, writes and prints what it sees."""
  del argv
  with cli.session():
    from irlas_jax import reflection
    from irlas_jax.reports import stimuli

    config = _CONFIG.value.to_dict()
    if _EXPERT.value:
      config['expert'] = _EXPERT.value
    found = reflection.reflect(config, _GENOTYPES.value)
    print(stimuli.write_mirror(_WORKDIR.value, found))


def _add_config(argv):
  """Names the default config, if none is.

  A default of the flag would be read when the flag is defined, with the
  overrides of whichever config is named, before errors become text.
  """
  if not any(word.split('=')[0].strip('-') == 'config' for word in argv):
    argv.insert(1, f'--config={_DEFAULT}')


if __name__ == '__main__':
  _add_config(sys.argv)
  cli.run(main)
