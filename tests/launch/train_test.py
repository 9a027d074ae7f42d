"""The training command: from a search's best.json to final.json."""

import importlib.util
import json

import pytest

SCRIPT = 'launch.train'
TINY = '--config=tests/fixtures/tiny.py'
CODE = '(1, MaxPool, 3, 0, 0)(2, SepConv, 3, 0, 0)(3, Terminal)'


def _write(path, genotype):
  path.write_text(json.dumps({'genotype': genotype, 'reward': 97.5}))
  return path


def test_a_genotype_is_trained_and_tested(launch, tmp_path):
  """Results go beside the genotype unless another place is named."""
  path = _write(tmp_path / 'best.json', CODE)
  flags = (TINY, '--config.train.epochs=2', f'--genotype={path}')
  status, output, errors = launch(SCRIPT, *flags)
  assert status == 0, errors
  final = json.loads((tmp_path / 'final.json').read_text())
  assert 0 <= final['test_accuracy'] <= 1 and final['params'] > 0
  assert final['config']['train']['epochs'] == 2
  assert f'Test accuracy {100 * final["test_accuracy"]:.2f} %' in output
  assert f'{final["params"]:,} parameters' in output
  elsewhere = tmp_path / 'a' / 'b'
  status, _, errors = launch(SCRIPT, *flags, f'--workdir={elsewhere}')
  assert status == 0, errors
  again = json.loads((elsewhere / 'final.json').read_text())
  assert again | {'seconds': 0} == final | {'seconds': 0}
  for folder in (tmp_path, elsewhere):
    assert (folder / 'checkpoint').is_dir()
    assert not (folder / 'model.export').exists()  # it was not asked for


def test_a_network_is_exported_or_refused_at_once(launch, tmp_path):
  """A library that is missing must not be found out after the training."""
  path = _write(tmp_path / 'best.json', CODE)
  status, output, errors = launch(
    SCRIPT, TINY, f'--genotype={path}', '--export'
  )
  if importlib.util.find_spec('flatbuffers') is None:
    assert status != 0 and 'pip install flatbuffers' in errors
    assert not (tmp_path / 'checkpoint').exists()
  else:
    assert status == 0, errors
    assert 'checkpoint, model.export' in output
    assert (tmp_path / 'model.export').stat().st_size > 1000


@pytest.mark.parametrize(
  'genotype, words',
  [
    ('(1, Conv, 3, 0, 0)(2, Swish, 3, 1, 0)(3, Terminal)', ['Layer 2']),
    (None, ['no such genotype file']),
  ],
)
def test_a_bad_genotype_is_one_line(launch, tmp_path, genotype, words):
  """The file, the layer and the rule, before anything is compiled."""
  path = tmp_path / 'mine.json'
  if genotype:
    _write(path, genotype)
  status, output, errors = launch(SCRIPT, TINY, f'--genotype={path}')
  last = errors.strip().splitlines()[-1]
  assert status != 0 and output == ''
  assert 'Traceback' not in errors
  assert all(word in last for word in ['GenotypeError', str(path), *words])
  assert not (tmp_path / 'final.json').exists()


def test_a_genotype_is_asked_for(launch):
  """Without one there is nothing to train."""
  status, _, errors = launch(SCRIPT, TINY)
  assert status != 0 and '--genotype' in errors
