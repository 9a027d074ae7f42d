"""The mirror command: what it prints and writes, and what it refuses."""

import json

import pytest

SCRIPT = 'launch.mirror'
TINY = '--config=tests/fixtures/tiny.py'
CODE = '(1, MaxPool, 3, 0, 0)(2, SepConv, 3, 0, 0)(3, Terminal)'


def test_blocks_are_shown_beside_the_expert(launch, tmp_path):
  """From a file, as text and by name, by a search's config."""
  path = tmp_path / 'best.json'
  path.write_text(json.dumps({'genotype': CODE, 'reward': 97.5}))
  workdir = tmp_path / 'out'
  status, output, errors = launch(
    SCRIPT,
    TINY,
    '--expert=densenet',
    f'--genotype={path}',
    f'--genotype={CODE}',
    '--genotype=resnet',
    f'--workdir={workdir}',
  )
  assert status == 0, errors
  content = json.loads((workdir / 'mirror.json').read_text())
  assert content['expert'] == content['config']['expert'] == 'densenet'
  names = [block['name'] for block in content['blocks']]
  assert names[2:] == [f'{tmp_path.name}/best', 'block 2', 'resnet']
  assert content['blocks'][0]['score'] == pytest.approx(1.0, abs=1e-4)
  scores = [block['score'] for block in content['blocks'][2:4]]
  assert scores[0] == pytest.approx(scores[1], abs=1e-6)
  for name in names:
    assert name in output
  assert f'Written to {workdir}: mirror.png, mirror.json' in output
  assert (workdir / 'mirror.png').read_bytes()[:4] == b'\x89PNG'


@pytest.mark.parametrize(
  'flags, words',
  [
    (
      [
        f'--genotype={"".join(f"({i}, Conv, 1, 0, 0)" for i in range(1, 12))}'
        '(12, Terminal)'
      ],
      ['GenotypeError', '11 layers', '10', '--config.space.num_layers=11'],
    ),
    (['--genotype=resnxt'], ['GenotypeError', "'resnxt'", 'resnext']),
    (['--expert=resnxt'], ['GenotypeError', "'resnxt'", 'resnext']),
    (
      ['--config=configs/train_digits.py'],
      ['ConfigError', "'space'"],
    ),
    (['--config.reward.miror=1'], ['miror', 'mirror']),
  ],
)
def test_what_cannot_be_shown_is_one_line(launch, tmp_path, flags, words):
  """By the config that is the default; nothing is written."""
  workdir = tmp_path / 'out'
  status, output, errors = launch(SCRIPT, f'--workdir={workdir}', *flags)
  last = errors.strip().splitlines()[-1]
  assert status != 0 and output == ''
  assert 'Traceback' not in errors
  assert all(word in last for word in words), last
  assert not workdir.exists()
