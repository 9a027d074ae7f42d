"""The pool on a Ray cluster of several nodes, all on this machine.

Evaluators sleep and import no JAX. Workers tell who they are by files.
"""

import os
import pathlib
import signal
import time

import numpy as np
import pytest

# Read by Ray when it is imported: a lost node is noticed in seconds.
os.environ |= {
  'RAY_AUTH_MODE': 'disabled',  # else it writes into the home folder
  'RAY_health_check_initial_delay_ms': '0',
  'RAY_health_check_period_ms': '500',
  'RAY_health_check_timeout_ms': '500',
  'RAY_health_check_failure_threshold': '2',
}

import ray
from ray import cluster_utils

from irlas_jax import cluster
from irlas_jax.evaluators import ray_pool
from irlas_jax.types import CRASHED, OK, TIMED_OUT, Proposals

E = 2


@pytest.fixture(scope='module')
def nodes():
  """A cluster whose head has no place for workers."""
  made = cluster_utils.Cluster(
    initialize_head=True,
    head_node_args={'num_cpus': 0, 'include_dashboard': False},
  )
  ray.init(address=made.address, log_to_driver=False)
  yield made
  ray.shutdown()
  made.shutdown()


@pytest.fixture
def node(nodes):
  """(places) -> a node; those that are left are removed after the test."""
  added = []

  def add(num_cpus):
    added.append(nodes.add_node(num_cpus=num_cpus))
    return added[-1]

  yield add
  for one in added:
    if one in nodes.list_all_nodes():
      nodes.remove_node(one)


def _sleeper(diary, seconds=0.0, deadly=(), hung=(), build=0.0):
  """An evaluator that notes what it does in the folder `diary`.

  Its first action is a child's name. A child in `deadly` ends its worker, one
  in `hung` never ends.
  """

  def make():
    import sys

    time.sleep(build)
    assert 'jax' not in sys.modules
    note(f'built {os.getpid()}')

    def evaluate(actions, parents, bar):
      name = int(actions[0, 0])
      note(f'{name} by {os.getpid()}')
      if name in deadly:
        os.kill(os.getpid(), signal.SIGKILL)
      time.sleep(1000 if name in hung else seconds)
      note(f'{name} done')
      return {
        'accuracy': np.float32([name / 100]),
        'curve': np.full((1, 2), bar + parents[0, 0], np.float32),
      }

    return evaluate

  def note(text):
    with (pathlib.Path(diary) / 'diary').open('a') as file:
      file.write(text + '\n')

  return make


def _notes(diary, word=''):
  path = pathlib.Path(diary) / 'diary'
  lines = path.read_text().splitlines() if path.exists() else []
  return [line for line in lines if word in line.split()]


def _wait_for(condition):
  deadline = time.monotonic() + 30
  while not condition():
    time.sleep(0.02)
    assert time.monotonic() < deadline
  return condition()


def _proposals(*names):
  actions = np.array([[name, 0] for name in names], np.int32)
  return Proposals(actions, actions + 1, ())


def _take(pool, found, timeout=0.1):
  """Adds {id: row} of what is ready; each id may come once."""
  ids, scores = pool.ready(timeout)
  for i, one in enumerate(ids):
    assert one not in found, 'returned twice'
    found[one] = type(scores)(*(column[i] for column in scores))
  return found


def _all(pool, count):
  """{id: row} of so many results."""
  found: dict = {}
  _wait_for(lambda: len(_take(pool, found)) >= count)
  return found


def _blamed(found, code=OK):
  return [i for i, row in found.items() if row.failure != code]


def test_results_are_those_of_their_proposals(node, tmp_path):
  """Each id once, with its own score, whichever worker it had."""
  node(2)
  with ray_pool.open(_sleeper(tmp_path), E, workers=2) as pool:
    ids = pool.submit(_proposals(*range(12)), 0.5)
    ids += pool.submit(_proposals(40), np.float32([0.25, 0.5]))
    found = _all(pool, 13)
    empty, scores = pool.ready(0)
  assert sorted(found) == sorted(ids) == list(range(13))
  accuracy = [float(found[i].accuracy) for i in range(13)]
  np.testing.assert_allclose(accuracy, [*np.arange(12) / 100, 0.4])
  np.testing.assert_allclose(found[3].curve, [4.5, 4.5])  # parent 4, bar 0.5
  np.testing.assert_allclose(found[12].curve, [41.25, 41.5])
  assert not _blamed(found) and np.isnan(found[0].loss)
  assert found[0].failure.dtype == np.int32
  assert (empty, scores.curve.shape) == ([], (0, E))
  assert len(_notes(tmp_path, 'built')) <= 2  # a worker compiles once


def test_a_child_whose_worker_is_killed_is_scored_elsewhere(node, tmp_path):
  """A worker's end must neither lose its child nor count it twice."""
  node(2)
  with ray_pool.open(_sleeper(tmp_path, 0.5), E, workers=2) as pool:
    pool.submit(_proposals(1, 2, 3, 4), 0.0)
    line = _wait_for(lambda: _notes(tmp_path, '1') and _notes(tmp_path, '1')[0])
    os.kill(int(line.split()[-1]), signal.SIGKILL)
    found = _all(pool, 4)
  assert len(_notes(tmp_path, '1')) == 3  # begun, begun again, done
  assert sorted(found) == [0, 1, 2, 3] and not _blamed(found)


def test_a_child_that_ends_its_workers_is_given_up(node, tmp_path):
  """It alone, and after `MAX_DEATHS`: others go on."""
  node(1)
  make = _sleeper(tmp_path, deadly=(2,))
  with ray_pool.open(make, E, workers=1) as pool:
    pool.submit(_proposals(1, 2, 3), 0.0)
    found = _all(pool, 3)
  assert [int(found[i].failure) for i in range(3)] == [OK, CRASHED, OK]
  assert np.isnan(found[1].curve).all() and found[1].curve.shape == (E,)
  assert len(_notes(tmp_path, '2')) == ray_pool.MAX_DEATHS


def test_a_child_that_hangs_is_timed_out(node, tmp_path):
  """It would hold its worker for ever; building may take longer."""
  node(1)
  make = _sleeper(tmp_path, hung=(2,), build=1.5)
  with ray_pool.open(make, E, workers=1, timeout=1.0) as pool:
    pool.submit(_proposals(1, 2, 3), 0.0)
    found = _all(pool, 3)
  assert [int(found[i].failure) for i in range(3)] == [OK, TIMED_OUT, OK]
  assert found[1].seconds == 1.0
  assert len(_notes(tmp_path, '2')) == 1  # not tried again
  assert len(_notes(tmp_path, 'built')) == 2


def test_nodes_come_and_go(node, nodes, tmp_path):
  """A node that comes is used; one that goes costs no child, nor blames any."""
  node(1)
  make, found = _sleeper(tmp_path, 0.5), {}

  def until(condition):
    _wait_for(lambda: (_take(pool, found), condition())[1])

  def at_work():
    return len(_notes(tmp_path, 'by')) - len(_notes(tmp_path, 'done'))

  with ray_pool.open(make, E, workers=3) as pool:
    pool.submit(_proposals(*range(14)), 0.0)
    until(lambda: len(found) >= 1)
    assert len(_notes(tmp_path, 'built')) == 1
    more = node(2)
    until(lambda: at_work() == 3)
    nodes.remove_node(more, allow_graceful=False)  # as if it lost its power
    until(lambda: len(found) == 14)
  assert not _blamed(found)
  done = [line.split()[0] for line in _notes(tmp_path, 'done')]
  assert sorted(map(int, done)) == list(range(14))
  begun = len(_notes(tmp_path, 'by'))
  assert begun > 14, 'nothing was at work on the node that was lost'


def test_an_evaluator_that_cannot_be_built_is_an_error_at_once(node):
  """Before any work: a wrong config is not a child's fault."""
  node(1)

  def make():
    raise ValueError('network.width is 0: at least 1.')

  with pytest.raises(ValueError, match='^network.width is 0: at least 1.$'):
    with ray_pool.open(make, E, workers=1):
      pytest.fail('there is no worker')


def test_workers_that_die_while_they_are_built_are_an_error(node):
  """Replacing them would go on for ever."""
  node(1)

  def make():
    os.kill(os.getpid(), signal.SIGKILL)

  with pytest.raises(ray_pool.WorkersLost, match='while they were built'):
    with ray_pool.open(make, E, workers=1):
      pytest.fail('there is no worker')


def test_an_evaluator_s_error_reaches_the_driver(node):
  """It is of the code, not of the child: hiding it would fail all children."""
  node(1)

  def make():
    def evaluate(actions, parents, bar):
      raise KeyError('space')

    return evaluate

  with ray_pool.open(make, E, workers=1) as pool:
    pool.submit(_proposals(1), 0.0)
    with pytest.raises(KeyError, match='space'):
      pool.ready(30.0)


def test_places_are_shared_out(nodes, node):
  """A worker that has fewer cores than it could is slow; one too many waits."""
  node(3)
  node(2)
  options, _ = cluster.share(ray, 2)
  assert options == {'num_cpus': 2}
  assert cluster.share(ray, 9)[0] == {'num_cpus': 1}
