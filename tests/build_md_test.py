"""What README.md and BUILD.md show is what the code does."""

import importlib.util
import itertools
import pathlib
import re
import sqlite3
import sys

import jax
import numpy as np
import pytest

from configs import irlas_digits
from irlas_jax import experiment, ledger, search, searchers
from irlas_jax.spaces import nsc
from irlas_jax.training import recipe
from irlas_jax.types import OK, Scores

ROOT = pathlib.Path(__file__).parents[1]
README, BUILD = ((ROOT / f'{n}.md').read_text() for n in ('README', 'BUILD'))
EXAMPLE = 'irlas_jax/searchers/hill_climbing.py'
CONFIGS = [path.stem for path in (ROOT / 'configs').glob('[!_]*.py')]
_ITERATIONS = 20

pytestmark = pytest.mark.usefixtures('quick_compiles')


def _marked(kind):
  """{what is named: the Python block below it} of <!-- kind: what -->."""
  mark = rf'<!-- {kind}: (\S+) -->\n```python\n(.*?)```'
  return dict(re.findall(mark, BUILD, re.DOTALL))


def _load(name, path, text):
  path.write_text(text)
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.fixture
def example(tmp_path, monkeypatch):
  """The worked example, in its place as if its file were there."""
  name = EXAMPLE.removesuffix('.py').replace('/', '.')
  path = tmp_path / pathlib.Path(EXAMPLE).name
  module = _load(name, path, _marked('file')[EXAMPLE])
  monkeypatch.setitem(sys.modules, name, module)
  monkeypatch.setattr(searchers, 'hill_climbing', module, raising=False)
  return module


def test_the_worked_example_passes_its_own_tests(example, tmp_path):
  files = {name for name in _marked('file') if name != EXAMPLE}
  assert files == {'tests/searchers/hill_climbing_test.py'}
  text = _marked('file')[files.pop()]
  module = _load('its_tests', tmp_path / 'its_tests.py', text)
  tests = [getattr(module, name) for name in dir(module) if name[:5] == 'test_']
  assert len(tests) == 2
  for test in tests:
    test()


def _evaluate(space, proposals):
  """Separable convolutions of a block as its accuracy: nothing is trained."""
  graphs = jax.vmap(space.decode)(proposals.actions)
  row = space.operations.index('sep_conv')
  accuracy = np.mean(graphs.ops == row, axis=1, dtype=np.float32)
  nothing = np.full_like(accuracy, np.nan)
  index = np.zeros(len(accuracy), np.int32)
  return Scores(
    accuracy=accuracy,
    loss=nothing,
    params=nothing,
    madds=nothing,
    latency=nothing,
    seconds=nothing,
    epochs=nothing,
    curve=nothing[:, None],
    index=index,
    failure=index + OK,
  )


def _search_with(name, workdir):
  """A search by the digits config, with that stand-in for training."""
  config = irlas_digits.get_config().to_dict()
  config['searcher']['name'] = name
  config['reward'] = {'name': 'accuracy'}
  parts = experiment.build(config)
  problem = parts.problem._replace(
    prepare=lambda: None,
    evaluate=lambda proposals, bar: _evaluate(parts.kind.space, proposals),
    population=parts.batch,
  )
  with ledger.open(workdir, config) as book:
    loop = search.run(parts.key, problem, book, _ITERATIONS, parts.batch)
    return [trial.reward for trials in loop for trial in trials]


def test_the_worked_example_searches_by_its_line_in_the_table(
  example, tmp_path, monkeypatch
):
  """It climbs; and the ledger that it leaves answers BUILD's queries."""
  scope = {**vars(experiment), 'hill_climbing': example}
  line = eval('{' + _marked('entry')['SEARCHERS'] + '}', scope)
  assert line['hill_climbing'].fields == ('restart',)
  monkeypatch.setattr(experiment, 'SEARCHERS', experiment.SEARCHERS | line)
  rewards = _search_with('hill_climbing', tmp_path)
  assert max(rewards) == pytest.approx(100 * 7 / 8)  # seven of eight nodes
  assert np.mean(rewards[-40:]) > np.mean(rewards[:40]) + 10
  best, progress = re.findall(r'ledger\.sqlite "\n(.*?)"\n', BUILD, re.DOTALL)
  with sqlite3.connect(tmp_path / ledger.DATABASE) as connection:
    rows = connection.execute(best).fetchall()
    assert len(rows) == 5 and rows[0][0] == pytest.approx(87.5)
    assert nsc.parse(rows[0][2])
    rows = connection.execute(progress).fetchall()
  assert [row[0] for row in rows] == list(range(_ITERATIONS))
  assert rows[0][1] == pytest.approx(np.mean(rewards[:8]), abs=0.01)


def _fields(section, place=''):
  """The dotted names of all leaves of a config."""
  for name, value in section.items():
    if isinstance(value, dict):
      yield from _fields(value, f'{place}{name}.')
    else:
      yield f'{place}{name}'


def _all_fields():
  """Those of every config that there is."""
  modules = (importlib.import_module(f'configs.{name}') for name in CONFIGS)
  configs = (module.get_config().to_dict() for module in modules)
  return {name for config in configs for name in _fields(config)}


@pytest.mark.parametrize('text', [README, BUILD], ids=['README', 'BUILD'])
def test_every_override_shown_is_a_field(text):
  """Overrides of fields that no config has would be refused."""
  shown = set(re.findall(r'--config\.([\w.]+)=', text)) - {'section.field'}
  assert shown and shown <= _all_fields()


def _reference():
  """{field: its default} of the tables in BUILD.md, as text."""
  row = r'^\| (`[\w`, .]+`) \| ([^|]+) \|'
  found = {}
  for names, defaults in re.findall(row, BUILD, re.MULTILINE):
    names = re.findall(r'[\w.]+', names)
    defaults = defaults.strip().split(', ')
    found |= dict(itertools.zip_longest(names, defaults[: len(names)]))
  return found


def test_every_field_of_the_configs_is_in_the_reference():
  """The recipe's stand there without `train.`, a choice's by its name."""
  reference = _reference()
  told = set(reference) | set(re.findall(r'`(evidence\.\w+)`', BUILD))
  for name in _all_fields():
    # Names of arms and of metrics are the user's; changes are of known fields.
    name = re.sub(r'^rows\.\w+\.(\w+).*', r'rows.NAME.\1', name)
    name = re.sub(r'^(arms|report\.(?:metrics|published))\..*', r'\1', name)
    name = name.replace('reward.irlas.', 'reward.')
    # Sections of a compression's searches, and of its teacher's training.
    name = re.sub(r'^(removal|shrinkage|teacher)\.', '', name)
    short = name.removeprefix('retrain.').removeprefix('train.')
    nested = name.removeprefix('searcher.').removeprefix('reward.learner.')
    nested = re.sub(r'^(reinforce|ppo)\.policy\.(?!name)', 'policy.', nested)
    assert {name, short, nested} & told, name


def test_the_recipe_reference_has_the_fields_and_their_defaults():
  reference = _reference()
  for name, default in recipe.Recipe._field_defaults.items():
    assert reference[name] == str(default), name


def test_genotypes_shown_are_genotypes():
  whole = re.compile(r'(?:\(\d+, \w+, [\d-], \d+, \d+\))+\(\d+, Terminal\)')
  shown = whole.findall(README + BUILD)
  assert len(shown) >= 2
  for text in shown:
    nsc.parse(text)


def _anchors(text):
  heads = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
  return {re.sub(r'[^\w -]', '', h).lower().replace(' ', '-') for h in heads}


@pytest.mark.parametrize('name', ['README.md', 'BUILD.md'])
def test_links_lead_somewhere(name):
  for link in re.findall(r'\]\(([^)]+)\)', (ROOT / name).read_text()):
    if link.startswith('https://'):
      continue
    path, _, anchor = link.partition('#')
    target = ROOT / (path or name)
    assert target.exists(), link
    assert not anchor or anchor in _anchors(target.read_text()), link


def test_the_table_of_ones_own_can_be_searched(tmp_path, launch, monkeypatch):
  """The example that needs no code, run as it stands."""
  code = re.search(r'<!-- run: own table -->\n```python\n(.*?)```', BUILD, re.S)
  assert code
  monkeypatch.chdir(tmp_path)
  exec(code[1], {})
  status, output, errors = launch(
    'launch.table',
    f'--config={ROOT / "configs" / "own_table.py"}',
    f'--workdir={tmp_path / "out"}',
    f'--config.evaluator.file={tmp_path / "mine.npz"}',
    '--config.space.sizes=(3, 2)',
    '--config.search.num_proposals=12',
    '--config.seeds=3',
  )
  assert status == 0, errors
  assert '15 searches were run' in output
  assert '90.00 ± 0.00' in output  # 80 + 64 / 8 + 2, the best of the table
  pictures = {path.name for path in (tmp_path / 'out').iterdir()}
  assert {'study.md', 'study.json', 'anytime.png', 'ledger.sqlite'} <= pictures
