"""The rows of a config of claims: what is claimed, and what is run to see it.

A row names the config of a search by its path and says what differs from it,
for all of its arms (`changes`) and for each (`arms`).
"""

import importlib.util
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from irlas_jax import language_models, sections, tabular

RANDOM = 'random'
SEARCH = 'search'
METHODS = {  # what an arm runs, by the sections of its config
  'oneshot': ('oneshot',),
  'compress': ('removal', 'shrinkage'),
  SEARCH: ('search', 'searcher'),
}
FIGURES = ('best', 'rise')
# Of a row, and their defaults; None has none.
FIELDS: dict[str, Any] = {
  'config': None,
  'claim': None,
  'source': '',
  'figure': 'best',
  'arm': None,
  'reference': RANDOM,
  'margin': 0.0,
  'trainings': 0.0,
  'parameters': 0.0,
  'seeds': 5,
  'retrain': 3,
  'final': False,
  'again': {},
  'published': {},
  'changes': {},
  'arms': None,
}


class Row(NamedTuple):
  """A claim, and how it is looked into."""

  name: str
  path: str  # of the config that it starts from
  claim: str
  source: str
  figure: str  # one of FIGURES
  arm: str  # what the claim is about
  references: tuple[str, ...]  # what it is better than; none: than nothing
  margin: float  # by more than this; below 0: not worse by as much
  trainings: float  # of the arm, at most, as a share of a reference's; 0: any
  seeds: int
  retrain: int  # trainings of each search's best
  arms: dict[str, dict[str, Any]]  # whole configs
  perplexity: bool  # whether `best` is one, and so is better if lower
  method: str = 'search'  # or 'oneshot', 'compress': what an arm runs
  final: bool = False  # trained again by `retrain`, not as children are
  again: Mapping[str, Any] = {}  # changes of the config for these trainings
  published: Mapping[str, str] = {}  # by arm, what the paper has
  parameters: float = 0.0  # as `trainings`, of the best's parameters


def read(config: Mapping, names: Sequence[str] = ()) -> list[Row]:
  """The rows of a config with these names, all if there are none.

  `config.data_dir`, if it is set, is that of every row.

  Raises:
    ConfigError: for a row that is not there, or a field that is wrong.
    FileNotFoundError: if the config of a row is not there.
  """
  rows = config.get('rows') or {}
  if not rows:
    raise sections.ConfigError('rows has none: name one or more.')
  for name in names:
    if name not in rows:
      raise sections.ConfigError(
        f'--rows has {name!r}: choose from {", ".join(rows)}.'
      )
  data_dir = config.get('data_dir')
  more = {'data_dir': data_dir} if data_dir is not None else {}
  return [_row(name, rows[name], more) for name in names or rows]


def _row(name: str, section: Mapping, more: Mapping) -> Row:
  place = f'rows.{name}'
  given = _fields(place, section)
  sections.check_counts(place, given, 'seeds', 'retrain')
  base = load(given['config'], place)
  base = tabular.merge(tabular.merge(base, given['changes']), more)
  method = next((name for name in METHODS if METHODS[name][0] in base), SEARCH)
  sections.check_sections(base, 'seed', *METHODS[method])
  changes = dict(given['arms'])
  if method == SEARCH:
    changes.setdefault(RANDOM, {'searcher': {'name': RANDOM}})
  arms = {arm: tabular.merge(base, value) for arm, value in changes.items()}
  reference = given['reference']
  references = (reference,) if isinstance(reference, str) else tuple(reference)
  references = tuple(filter(None, references))
  _check(place, given, references, arms)
  return Row(
    name,
    given['config'],
    given['claim'],
    given['source'],
    given['figure'],
    given['arm'],
    references,
    given['margin'],
    given['trainings'],
    given['seeds'],
    given['retrain'],
    arms,
    language_models.is_meant(base),
    method,
    given['final'],
    given['again'],
    given['published'],
    given['parameters'],
  )


def _fields(place: str, section: Mapping) -> dict[str, Any]:
  for field in section:
    if field not in FIELDS:
      raise sections.ConfigError(
        f'{place}.{field} does not exist: there are {", ".join(FIELDS)}.'
      )
  given = FIELDS | dict(section)
  for field, value in given.items():
    if value is None:
      raise sections.ConfigError(f'{place}.{field} is missing.')
  return given


def _check(place: str, given: Mapping, references, arms: Mapping) -> None:
  if given['figure'] not in FIGURES:
    raise sections.ConfigError(
      f'{place}.figure is {given["figure"]!r}: choose one of '
      f'{", ".join(FIGURES)}.'
    )
  for field, name in [
    ('arm', given['arm']),
    ('arms', RANDOM),
    *(('reference', name) for name in references),
  ]:
    if name not in arms:
      raise sections.ConfigError(
        f'{place}.{field} is {name!r}: its arms are {", ".join(arms)}.'
      )
  for name in given['published']:
    if name not in arms:
      raise sections.ConfigError(
        f'{place}.published has {name!r}: its arms are {", ".join(arms)}.'
      )
  for name, config in arms.items():
    if given['final'] and not config.get('retrain'):
      raise sections.ConfigError(
        f'{place}.final is set, and {given["config"]} has no section retrain '
        f'by which arm {name} is trained fully: add one in {place}.changes.'
      )
    if config.get('search', {}).get('workers'):
      raise sections.ConfigError(
        f'{place}.arms.{name}: search.workers is '
        f'{config["search"]["workers"]}, and the searches of claims are run in '
        'one process: set 0.'
      )


def load(path: str, place: str) -> dict[str, Any]:
  """The config of a file with `get_config()`, as plain dictionaries.

  `place` is where the path stands, for errors.

  Raises:
    FileNotFoundError: if there is no such file.
    ConfigError: if it is no config.
  """
  file = pathlib.Path(path).expanduser()
  if not file.is_file():
    raise FileNotFoundError(
      f'{place}.config is {path!r}, which is not there: give the path of a '
      'config, from the folder that the command is run in.'
    )
  spec = importlib.util.spec_from_file_location(file.stem, file)
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, 'get_config'):
    raise sections.ConfigError(f'{place}.config is {path!r}: no get_config().')
  return module.get_config().to_dict()
