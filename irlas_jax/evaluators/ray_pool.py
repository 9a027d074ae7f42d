"""A pool of workers over Ray: one actor a place, one proposal a task.

An actor builds its evaluator once, so each worker compiles once. It has one
call in flight, so what it works on when it dies is known.

- A worker that dies is replaced, and its child is tried again elsewhere; a
  child whose workers died `MAX_DEATHS` times is CRASHED. A lost node is no
  child's fault.
- A child that takes too long is TIMED_OUT and not tried again: a hung call
  cannot be cancelled, so its worker is killed and replaced.
- A worker waits for a place, so that nodes may come and go.

Shapes: `n` proposals, `m` results, `T` steps of a space, `E` evaluations.
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from irlas_jax import cluster
from irlas_jax.evaluators import ray_worker
from irlas_jax.types import (
  CRASHED,
  TIMED_OUT,
  Array,
  Pool,
  Proposals,
  Scores,
)

MAX_DEATHS = 2  # of workers on one child
MAX_BUILD_DEATHS = 3  # of workers in a row, before any had built
_PATIENCE = 60.0  # seconds without workers before a word about it


class WorkersLost(RuntimeError):
  """Workers die while they are built."""


class _Task(NamedTuple):
  id: int
  arguments: tuple  # of `Worker.score`
  deaths: int = 0


@dataclasses.dataclass(eq=False)
class _Seat:
  """A place for a worker, who is being built, at work or idle."""

  actor: Any
  call: Any  # in flight; None: idle
  place: ray_worker.Place | None = None  # None: being built
  task: _Task | None = None
  deadline: float = float('inf')


@contextlib.contextmanager
def open(
  make_evaluator: Callable[[], ray_worker.PlainEvaluator],
  num_evaluations: int,
  workers: int,
  address: str = '',
  timeout: float = 0.0,
  least: int = 1,
) -> Iterator[Pool]:
  """A pool whose workers end with the block.

  Args:
    make_evaluator: called in each worker; goes there by pickle.
    num_evaluations: E, length of a learning curve.
    workers: how many there are to be; some may come later.
    address: of a cluster, see `cluster.connected`.
    timeout: seconds a child may take, without building; 0 is any time.
    least: how many workers are built before the block begins.

  Raises:
    What `make_evaluator` raises; WorkersLost; see `cluster.connected`. Later
    errors of an evaluator are raised by `ready`.
  """
  with cluster.connected(address, workers) as ray:
    crew = _Crew(ray, make_evaluator, num_evaluations, workers, timeout)
    try:
      crew.wait_for(least)
      yield Pool(crew.submit, crew.ready)
    finally:
      crew.close()


class _Crew:
  """The workers and what they have to do."""

  def __init__(self, ray, make_evaluator, num_evaluations, workers, timeout):
    self._ray, self._timeout = ray, timeout or float('inf')
    self._num_evaluations = num_evaluations
    options, self._cores = cluster.share(ray, workers)
    self._worker = ray.remote(ray_worker.Worker).options(**options)
    self._make = ray.put(make_evaluator)
    self._next = self._build_deaths = 0
    self._queue: collections.deque[_Task] = collections.deque()
    self._seats = [self._seated() for _ in range(workers)]

  def submit(self, proposals: Proposals, bar: Array) -> list[int]:
    """Queues proposals; their ids [n]."""
    actions, parents = map(np.asarray, (proposals.actions, proposals.parents))
    bar = np.broadcast_to(bar, self._num_evaluations).astype(np.float32)
    ids = list(range(self._next, self._next + len(actions)))
    self._next += len(ids)
    self._queue.extend(
      _Task(i, (*pair, bar))
      for i, *pair in zip(ids, actions, parents, strict=True)
    )
    self._assign()
    return ids

  def ready(self, timeout: float) -> tuple[list[int], Scores]:
    """Waits for results, for so many seconds at most: ids [m], Scores [m]."""
    until = time.monotonic() + timeout
    found: dict[int, Mapping] = {}
    while not found and self._has_work():
      found = self._collect(until)
      self._assign()
      if time.monotonic() >= until:
        break
    return list(found), self._scores(found.values())

  def wait_for(self, least: int) -> None:
    """Returns when workers are built; raises what building raises."""
    patience = time.monotonic() + _PATIENCE
    while sum(seat.place is not None for seat in self._seats) < least:
      self._collect(patience)
      if time.monotonic() > patience:
        logging.warning(
          'Fewer than %d workers are ready after %.0f s: either building takes '
          'long, or the cluster has no free place. Waiting on.',
          least,
          _PATIENCE,
        )
        patience = float('inf')

  def close(self) -> None:
    """Ends the workers, whatever they are doing."""
    for seat in self._seats:
      self._ray.kill(seat.actor)

  def _seated(self) -> _Seat:
    actor = self._worker.remote()
    return _Seat(actor, actor.build.remote(self._make, self._cores))

  def _has_work(self) -> bool:
    return bool(self._queue) or any(seat.task for seat in self._seats)

  def _assign(self) -> None:
    """Gives tasks to idle workers."""
    for seat in self._seats:
      if not self._queue:
        return
      if seat.call is None:
        seat.task = self._queue.popleft()
        seat.call = seat.actor.score.remote(*seat.task.arguments)
        seat.deadline = time.monotonic() + self._timeout

  def _collect(self, until: float) -> dict[int, Mapping]:
    """{id: row} of what is finished, once something is or `until` has come."""
    busy = {seat.call: seat for seat in self._seats if seat.call is not None}
    first = min([until, *(seat.deadline for seat in busy.values())])
    left = max(first - time.monotonic(), 0)
    wait, calls = self._ray.wait, list(busy)
    done, _ = wait(calls, timeout=None if left == float('inf') else left)
    if done:
      done, _ = wait(calls, num_returns=len(calls), timeout=0)
    found: dict[int, Mapping] = {}
    for call, result in zip(done, self._results(done), strict=True):
      found |= self._take(busy[call], result)
    now = time.monotonic()
    for seat in list(self._seats):
      if seat.deadline < now:
        found |= self._give_up(seat)
    return found

  def _results(self, calls) -> list[Any]:
    """What calls returned; of those that failed, the error."""
    try:
      return self._ray.get(calls)
    except self._ray.exceptions.RayError:
      return [self._result(call) for call in calls]

  def _result(self, call) -> Any:
    try:
      return self._ray.get(call)
    except self._ray.exceptions.RayTaskError as error:
      if isinstance(error.cause, Exception):
        raise error.cause from error
      raise
    except self._ray.exceptions.RayError as error:
      return error

  def _take(self, seat: _Seat, result) -> dict[int, Mapping]:
    task = seat.task
    if isinstance(result, Exception):
      return self._bury(seat, result)
    if task is None:
      self._build_deaths = 0
      seat.place, seat.call = result, None
      return {}
    seat.call, seat.task, seat.deadline = None, None, float('inf')
    return {task.id: result}

  def _bury(self, seat: _Seat, error) -> dict[int, Mapping]:
    """A worker died: another takes its seat, and its task is tried again."""
    task, blamed = seat.task, self._is_alive(seat.place)
    logging.warning('A worker was lost: %s', ' '.join(str(error).split())[:300])
    self._replace(seat)
    if task is None:
      self._count_build_death(error)
      return {}
    task = task._replace(deaths=task.deaths + blamed)
    if task.deaths >= MAX_DEATHS:
      return {task.id: {'failure': CRASHED}}
    self._queue.appendleft(task)
    return {}

  def _is_alive(self, place: ray_worker.Place | None) -> bool:
    """Whether a worker's node is still there, so that the node is not why."""
    alive = {node['NodeID'] for node in self._ray.nodes() if node['Alive']}
    return place is not None and place.node in alive

  def _count_build_death(self, error) -> None:
    self._build_deaths += 1
    if self._build_deaths >= MAX_BUILD_DEATHS:
      raise WorkersLost(
        f'{MAX_BUILD_DEATHS} workers in a row died while they were built; the '
        f'last one said: {error}'
      ) from error

  def _give_up(self, seat: _Seat) -> dict[int, Mapping]:
    """A call took too long: only its worker's end ends it."""
    task = seat.task
    assert task is not None  # only tasks have deadlines
    logging.warning('A child took more than %.0f s.', self._timeout)
    self._replace(seat)
    return {task.id: {'failure': TIMED_OUT, 'seconds': self._timeout}}

  def _replace(self, seat: _Seat) -> None:
    self._ray.kill(seat.actor)
    fresh = self._seated()
    self._seats[self._seats.index(seat)] = fresh

  def _scores(self, rows) -> Scores:
    """Scores [m] of rows that may leave out what they do not know."""
    nothing: dict[str, Any] = dict.fromkeys(Scores._fields, float('nan'))
    curve = [float('nan')] * self._num_evaluations
    nothing |= {'curve': curve, 'index': 0, 'failure': 0}
    columns: dict[str, Any] = {
      name: [row.get(name, default) for row in rows]
      for name, default in nothing.items()
    }
    columns['curve'] = np.reshape(columns['curve'], (-1, len(curve)))
    whole = ('index', 'failure')
    return Scores(
      **{
        name: np.asarray(x, np.int32 if name in whole else np.float32)
        for name, x in columns.items()
      }
    )
