"""How the compression command refuses; tests/compression_test.py runs it."""

SCRIPT = 'launch.compress'
TINY = '--config=tests/fixtures/tiny_n2n.py'


def test_a_teacher_that_is_none_is_refused_in_one_line(launch, tmp_path):
  status, _, errors = launch(
    SCRIPT, TINY, f'--workdir={tmp_path}', '--teacher=C(12,3) X(1)'
  )
  assert status != 0 and "layer 2, 'X(1)', is no layer" in errors
  assert 'Traceback' not in errors and not any(tmp_path.iterdir())
