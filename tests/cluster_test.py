"""How machines are shared out; what needs no cluster."""

import os
import subprocess
import sys

import pytest

from irlas_jax import cluster


@pytest.mark.parametrize(
  'cores, workers, expected',
  [
    ([16], 1, 16),
    ([16], 2, 8),
    ([16], 3, 5),
    ([16, 16], 3, 8),  # 10 would leave no room for the third
    ([16, 4], 3, 5),
    ([2], 64, 1),  # some wait
    ([], 1, 1),
    ([0, 4], 1, 4),
  ],
)
def test_workers_get_as_many_cores_as_leave_room_for_all(
  cores, workers, expected
):
  assert cluster.fitting(cores, workers) == expected


KEEP = """
import os, sys
from irlas_jax import cluster
cluster.keep_to(1)
print(*os.sched_getaffinity(0), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(
  len(os.sched_getaffinity(0)) < 2, reason='there is one core to claim'
)
def test_no_two_workers_keep_to_the_same_core(tmp_path):
  """They would run at half speed beside an idle core."""
  environment = os.environ | {'TMPDIR': str(tmp_path)}

  def start():
    return subprocess.Popen(
      [sys.executable, '-c', KEEP],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=environment,
    )

  workers = [start() for _ in range(2)]
  cores = [worker.stdout.readline().split() for worker in workers]
  assert [len(own) for own in cores] == [1, 1] and cores[0] != cores[1]
  workers[0].kill()
  workers[0].wait()
  third = start()  # an end frees the core
  assert third.stdout.readline().split() == cores[0]
  for worker in (workers[1], third):
    worker.communicate('')


def test_without_ray_there_is_a_remedy(monkeypatch):
  """An ImportError says nothing of the extra."""
  monkeypatch.setattr(cluster, 'is_installed', lambda: False)
  with pytest.raises(cluster.NoRay, match=r'\[distributed\].*workers=0'):
    with cluster.connected():
      pytest.fail('there is no Ray')


def test_workers_without_jax_import_none():
  """It takes a second and 150 MB each."""
  code = (
    'import sys; from irlas_jax.evaluators import ray_worker; '
    "sys.exit('jax' in sys.modules)"
  )
  assert subprocess.run([sys.executable, '-c', code]).returncode == 0
