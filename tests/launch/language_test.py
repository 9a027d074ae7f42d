"""A search for recurrent cells and a training, by their commands."""

import json
import math

import pytest

TINY = '--config=tests/fixtures/tiny_language.py'


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  """The flag that names a text."""
  folder = tmp_path_factory.mktemp('text')
  for split, count in (('train', 100), ('valid', 20), ('test', 30)):
    (folder / f'{split}.txt').write_text('one two three\n' * count)
  return f'--config.dataset={folder}'


def test_a_search_ends_with_the_best_cell_trained(launch, dataset, tmp_path):
  """Its best cell is then trained again by the other command."""
  flags = (TINY, dataset, f'--workdir={tmp_path}')
  status, output, errors = launch('launch.search', *flags)
  assert status == 0, errors
  best = json.loads((tmp_path / 'best.json').read_text())
  final = json.loads((tmp_path / 'final.json').read_text())
  perplexity = math.exp(best['scores']['loss'])
  assert best['reward'] == pytest.approx(80 / perplexity**2, rel=1e-4)
  assert f'{perplexity:.2f}' in output and 'perplexity' in output
  assert f'Test perplexity {math.exp(final["test_loss"]):.2f}' in output
  for name in ('reward.png', 'block.png', 'cost.png'):
    assert (tmp_path / name).read_bytes()[:4] == b'\x89PNG'
  status, again, errors = launch('launch.search', *flags)
  assert status == 0, errors
  assert 'Training the best block' not in again
  status, output, errors = launch(
    *('launch.train', TINY, dataset, '--config.train.epochs=1'),
    *(f'--genotype={tmp_path / "best.json"}', f'--workdir={tmp_path / "more"}'),
  )
  assert status == 0, errors
  assert 'Test perplexity' in output
  assert (tmp_path / 'more' / 'checkpoint').is_dir()


def test_a_text_that_is_not_there_is_asked_for(launch, tmp_path):
  """A user has to learn where it was looked for."""
  status, _, errors = launch(
    *('launch.search', TINY, '--config.dataset=ptb'),
    *(f'--config.data_dir={tmp_path}', f'--workdir={tmp_path / "new"}'),
  )
  last = errors.strip().splitlines()[-1]
  assert status != 0 and 'Traceback' not in errors
  assert 'FileNotFoundError' in last
  assert str(tmp_path / 'ptb' / 'ptb.train.txt') in last
  assert not (tmp_path / 'new').exists()
