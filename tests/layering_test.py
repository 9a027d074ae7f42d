"""The import table of the design: data flows one way, and so do imports."""

import ast
import graphlib
import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
OURS = ('irlas_jax', 'launch', 'configs', 'benchmarks', 'tests')
# What a part may import; beside it `types` and modules of the same part, but
# in configs, which import nothing of ours.
ALLOWED = {
  'types': (),
  '__init__': (),
  'graph': (),
  'devices': (),
  'cluster': (),
  'policies': (),
  'training': ('devices',),
  'spaces': ('graph',),
  'rewards': ('graph',),
  'networks': ('graph',),
  'reports': ('graph',),
  'experts': ('graph', 'spaces'),
  'searchers': ('policies',),
  'evaluators': ('cluster', 'graph', 'networks', 'training', 'devices'),
  'oneshot': ('graph', 'networks', 'training', 'rewards', 'devices'),
  'sections': (),
  'strict_json': (),
  'ledger_file': ('strict_json',),
  'ledger': ('graph', 'ledger_file', 'strict_json'),
  'search': ('ledger', 'devices'),
  'async_search': ('ledger', 'search'),
  'sweeps': (),
  'sweep_runs': ('cluster', 'sweeps'),
  'shared_ledger': ('devices', 'ledger'),
  'compiled_search': ('search', 'devices'),
  'anytime': (),
  'report_section': ('sections', 'tables'),
  'tables': (),
  'resolutions': ('rewards', 'spaces'),
  'kinds': (
    *('experts', 'graph', 'networks', 'resolutions', 'rewards', 'sections'),
    'spaces',
  ),
  'classifiers': ('networks', 'sections', 'training'),
  'language_models': (
    *('evaluators', 'kinds', 'networks', 'sections', 'training'),
  ),
  'hypernetworks': (
    *('classifiers', 'devices', 'evaluators', 'kinds', 'networks'),
    *('policies', 'sections', 'training'),
  ),
  'evaluations': (
    *('classifiers', 'devices', 'evaluators', 'hypernetworks', 'kinds'),
    *('language_models', 'networks', 'policies', 'sections', 'spaces'),
    *('tables', 'training'),
  ),
}
ALLOWED['teachers'] = (
  *('classifiers', 'evaluators', 'kinds', 'sections', 'training'),
)
ALLOWED['evaluations'] = (*ALLOWED['evaluations'], 'teachers')
ALLOWED['full_training'] = (*ALLOWED['evaluations'], 'evaluations', 'graph')
ALLOWED['objectives'] = ('kinds', 'policies', 'rewards', 'sections')
ALLOWED['oneshot_methods'] = (
  *('classifiers', 'evaluations', 'full_training', 'kinds', 'networks'),
  *('objectives', 'oneshot', 'sections', 'spaces', 'tables', 'training'),
)
ALLOWED['oneshot_runs'] = (
  *('oneshot_methods', 'sections', 'strict_json', 'training'),
)
ALLOWED['experiment'] = tuple(ALLOWED)
ALLOWED['reflection'] = tuple(ALLOWED)
ALLOWED['distributed'] = tuple(ALLOWED)
ALLOWED['runs'] = tuple(ALLOWED)
ALLOWED['tabular'] = tuple(ALLOWED)
ALLOWED['comparison'] = tuple(ALLOWED)
ALLOWED['compression_settings'] = tuple(ALLOWED)
ALLOWED['compression'] = tuple(ALLOWED)
ALLOWED['claim_rows'] = tuple(ALLOWED)
ALLOWED['claim_evidence'] = tuple(ALLOWED)
ALLOWED['claim_figures'] = tuple(ALLOWED)
ALLOWED['claim_searches'] = tuple(ALLOWED)
ALLOWED['claim_oneshot'] = tuple(ALLOWED)
ALLOWED['claim_compression'] = tuple(ALLOWED)
ALLOWED['claims'] = tuple(ALLOWED)
ALLOWED['launch'] = (
  *('experiment', 'full_training', 'reflection', 'reports', 'runs', 'tables'),
  *('cluster', 'comparison', 'sweep_runs', 'sweeps', 'tabular'),
  *('claim_rows', 'claims', 'compression', 'oneshot_runs'),
)
ALLOWED['configs'] = ()


def _part(name):
  """The part that a dotted module name belongs to; None: not ours."""
  root, *rest = name.split('.')
  if root not in OURS:
    return None
  if root != 'irlas_jax':
    return root
  return rest[0] if rest else '__init__'


def _modules():
  """Every module of the library, the launch scripts and the configs."""
  for folder in ('irlas_jax', 'launch', 'configs'):
    for path in sorted((ROOT / folder).rglob('*.py')):
      yield '.'.join(path.relative_to(ROOT).with_suffix('').parts), path


def _imported(name, source):
  """(line, dotted name) of each import of ours, wherever it stands."""
  package = name.rpartition('.')[0]
  for node in ast.walk(ast.parse(source)):
    match node:
      case ast.Import():
        found = [alias.name for alias in node.names]
      case ast.ImportFrom():
        base = '.' * node.level + (node.module or '')
        if node.level:
          base = importlib.util.resolve_name(base, package)
        # A module of the root package is named after the `import`.
        whole = base == 'irlas_jax'
        found = {f'{base}.{a.name}' if whole else base for a in node.names}
      case ast.Call(args=[ast.Constant(value=str(text)), *_]):
        called = ast.unparse(node.func)
        found = [text] if 'import' in called else []
      case _:
        continue
    yield from ((node.lineno, module) for module in sorted(found))


def _violations(name, source):
  """What a module imports against the table, as 'name:line imports part'."""
  own = _part(name)
  if own not in ALLOWED:
    return [f'{name} is of no known part: add {own} to the table']
  allowed = () if own == 'configs' else ('types', own, *ALLOWED[own])
  return [
    f'{name}:{line} imports {part}'
    for line, module in _imported(name, source)
    if (part := _part(module)) and part not in allowed
  ]


def test_no_module_imports_against_the_table():
  wrong = [
    line
    for name, path in _modules()
    for line in _violations(name, path.read_text())
  ]
  assert not wrong, '\n'.join(wrong)


def test_the_modules_are_found():
  names = {name for name, _ in _modules()}
  assert {'irlas_jax.types', 'irlas_jax.spaces.block'} <= names


def test_the_table_has_no_cycle():
  """Data flows one way only if the parts can be put in an order."""
  order = graphlib.TopologicalSorter(ALLOWED).static_order()
  assert set(order) == set(ALLOWED)


WRONG = {
  'import irlas_jax.ledger': 'ledger',
  'import irlas_jax.ledger as book': 'ledger',
  'import numpy, irlas_jax.search': 'search',
  'from irlas_jax import searchers': 'searchers',
  'from irlas_jax import graph, devices': 'devices',
  'from irlas_jax.networks.block import Layer': 'networks',
  'from irlas_jax.networks import block as nets': 'networks',
  'from .. import experts': 'experts',
  'from ..rewards import shaping': 'rewards',
  'from ..training.loop import train': 'training',
  'def late():\n  from irlas_jax import experiment': 'experiment',
  'if TYPE_CHECKING:\n  from irlas_jax import search': 'search',
  'importlib.import_module("irlas_jax.policies.lstm")': 'policies',
  '__import__("launch.search")': 'launch',
  'import irlas_jax': '__init__',
  'from configs import irlas': 'configs',
  'from benchmarks import padded_equality': 'benchmarks',
}


@pytest.mark.parametrize('source', WRONG)
def test_an_import_against_the_table_is_seen(source):
  """In a module of `spaces`, which may read `graph` only."""
  line = source.count('\n') + 1
  found = _violations('irlas_jax.spaces.wrong', f'import jax\n{source}\n')
  assert found == [f'irlas_jax.spaces.wrong:{line + 1} imports {WRONG[source]}']


@pytest.mark.parametrize(
  'name, source',
  [
    ('irlas_jax.types', 'from irlas_jax import graph'),
    ('irlas_jax.graph', 'from irlas_jax.spaces import block'),
    ('irlas_jax.searchers.ppo', 'from irlas_jax import graph'),
    ('irlas_jax.policies.lstm', 'from irlas_jax.searchers import ring'),
    ('irlas_jax.search', 'from irlas_jax.networks import block'),
    ('irlas_jax.reports.plots', 'from irlas_jax import ledger'),
    ('launch.search', 'from irlas_jax import search'),
    ('configs.irlas', 'from irlas_jax import types'),
    ('configs.irlas', 'from configs import base'),
    ('irlas_jax.utils', 'import jax'),
  ],
)
def test_every_part_is_held_to_its_row(name, source):
  assert len(_violations(name, source)) == 1


@pytest.mark.parametrize(
  'name, source',
  [
    ('irlas_jax.graph', 'import networkx\nfrom irlas_jax.types import Graph'),
    ('irlas_jax.spaces.nsc', 'from irlas_jax.spaces import block'),
    ('irlas_jax.spaces.nsc', 'from irlas_jax import graph as graphs, types'),
    ('irlas_jax.spaces.nsc', 'from . import block\nfrom .block import Choice'),
    ('irlas_jax.experiment', 'from irlas_jax.oneshot import cell'),
    ('launch.search', 'from irlas_jax import experiment'),
    ('configs.irlas', 'import ml_collections'),
  ],
)
def test_an_import_by_the_table_is_let_through(name, source):
  assert not _violations(name, source)
