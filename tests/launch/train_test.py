"""The training command: from a search's best.json to final.json."""

import importlib.util
import json
import socket

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


MOBILE = '--config=configs/train_imagenet_mobile.py'


@pytest.mark.parametrize(
  'flags, words',
  [
    ((TINY,), 'Nothing to train: give --genotype'),
    ((MOBILE, '--genotype=best.json'), 'leave --genotype out'),
    ((MOBILE,), 'Give --workdir'),
    ((MOBILE, '--config.network.name=vgg'), "network.name is 'vgg'"),
  ],
  ids=['neither', 'both', 'nowhere', 'unknown'],
)
def test_one_network_is_asked_for(launch, flags, words):
  """A genotype or a whole network, not both and not neither."""
  status, _, errors = launch(SCRIPT, *flags)
  assert status != 0 and words in errors
  assert 'Traceback' not in errors


def test_a_cell_is_trained_by_the_space_that_its_search_names(launch, tmp_path):
  """Cells and blocks are read, and trained, by different rules."""
  path = tmp_path / 'best.json'
  content = {
    'genotype': 'conv1x1 | 0-1 1-2',
    'config': {'space': {'name': 'nasbench101'}},
  }
  path.write_text(json.dumps(content))
  small = {'network.width': 4, 'train.epochs': 2, 'train.evaluations': 1}
  status, _, errors = launch(
    SCRIPT,
    '--config=configs/train_digits.py',
    *(f'--config.{name}={value}' for name, value in small.items()),
    f'--genotype={path}',
  )
  assert status == 0, errors
  final = json.loads((tmp_path / 'final.json').read_text())
  assert final['genotype'] == content['genotype']
  assert final['config']['space'] == {'name': 'nasbench101'}


def test_two_processes_train_what_one_does(start, launch, tmp_path):
  """Each has half of every batch; both have to write and to end together."""
  path = _write(tmp_path / 'best.json', CODE)
  flags = (TINY, f'--genotype={path}', '--config.train.batch_size=20')
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    port = probe.getsockname()[1]
  several = (f'--coordinator=localhost:{port}', '--num_processes=2')
  two = f'--workdir={tmp_path / "two"}'
  processes = [
    start(SCRIPT, *flags, two, *several, f'--process_id={i}') for i in range(2)
  ]
  try:
    ends = [process.communicate(timeout=300) for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [0, 0], ends
  assert ['Test accuracy' in output for output, _ in ends] == [True, False]
  status, _, errors = launch(SCRIPT, *flags, f'--workdir={tmp_path / "one"}')
  assert status == 0, errors
  losses = [
    json.loads((tmp_path / name / 'final.json').read_text())['test_loss']
    for name in ('one', 'two')
  ]
  assert losses[0] == pytest.approx(losses[1], rel=1e-4)
  assert (tmp_path / 'two' / 'checkpoint').is_dir()
