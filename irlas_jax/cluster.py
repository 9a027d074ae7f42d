"""Ray: starting or joining a cluster, and how its machines are shared out.

Imports neither Ray before it is asked for nor JAX at all, so that a worker
without JAX starts in a tenth of the time and memory.
"""

import contextlib
import fcntl
import importlib.util
import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

ACCELERATORS = ('GPU', 'TPU')  # Ray's names
# Read when Ray is imported. Without it the control store grows by 3 KiB a call.
_SETTINGS = {'RAY_task_events_report_interval_ms': '0'}
_KNOCK = 10.0  # seconds that a cluster has to answer


class NoRay(ValueError):
  """Ray is not installed."""


class Share(NamedTuple):
  """What a worker gets of a cluster."""

  options: dict[str, Any]  # for Ray
  cores: int  # that it keeps to; 0 is any


def is_installed() -> bool:
  """Whether there is Ray."""
  return importlib.util.find_spec('ray') is not None


@contextlib.contextmanager
def connected(address: str = '', workers: int = 1) -> Iterator[Any]:
  """Ray, as a module, connected until the block ends.

  Call it before the first computation of JAX, which does not like forks. A
  process that is connected already stays so.

  Args:
    address: of a cluster, host:port or 'auto'; '' starts one on this machine,
      which ends with the block.
    workers: that it has to have room for, if it is started.

  Raises:
    NoRay: with how to get it.
    ConnectionError: if there is no cluster at the address.
  """
  if not is_installed():
    raise NoRay(
      'Ray is not installed: pip install --constraint constraints.txt '
      "--editable '.[distributed]', or set search.workers=0."
    )
  for name, value in _SETTINGS.items():
    os.environ.setdefault(name, value)
  import ray

  if ray.is_initialized():
    yield ray
    return
  _knock(address)
  ray.init(
    address=address or 'local',
    num_cpus=None if address else max(workers, _num_cores()),
    log_to_driver=False,
    logging_level=logging.WARNING,
    include_dashboard=None if address else False,
  )
  try:
    yield ray
  finally:
    ray.shutdown()


def _knock(address: str) -> None:
  """Raises ConnectionError if nobody answers; Ray takes minutes to say so."""
  host, colon, port = address.rpartition(':')
  if not colon or not port.isdecimal() or '/' in host:
    return  # 'auto', or another form
  try:
    socket.create_connection((host, int(port)), timeout=_KNOCK).close()
  except OSError as error:
    raise ConnectionError(
      f'No Ray cluster answers at {address} ({error}): start one, see '
      'BUILD.md, or leave the address out.'
    ) from error


def share(ray: Any, workers: int) -> Share:
  """An accelerator a worker where there are any, else as many cores as fit.

  On machines with fewer cores than places (a cluster that says it has more
  than it has) workers are not kept to any.
  """
  nodes = [node['Resources'] for node in ray.nodes() if node['Alive']]
  for name in ACCELERATORS:
    if any(node.get(name) for node in nodes):
      return Share(_accelerator(name), 0)
  cores = fitting([int(node.get('CPU', 0)) for node in nodes], workers)
  crowded = any(node.get('CPU', 0) > _num_cores() for node in nodes)
  return Share({'num_cpus': cores}, 0 if crowded else cores)


def _accelerator(name: str) -> dict[str, Any]:
  return {'num_gpus': 1} if name == 'GPU' else {'resources': {name: 1}}


def fitting(cores: Sequence[int], workers: int) -> int:
  """The most cores a worker, so that all find room on nodes with so many.

  1 if there is not room for all: some wait for a node to come.
  """
  most = max([1, *cores])
  rooms = (n for n in range(most, 0, -1) if sum(c // n for c in cores))
  return next((n for n in rooms if sum(c // n for c in cores) >= workers), 1)


def _num_cores() -> int:
  return len(os.sched_getaffinity(0))


def keep_to(count: int) -> None:
  """Keeps this process, and all that it starts, to cores that nobody else has.

  JAX takes every core it sees, and several such processes slow each other
  down; call before it is imported. Cores are claimed by locks that the
  operating system drops with the process. Does nothing where `count` is 0, is
  all cores, or is more than are free.
  """
  cores = sorted(os.sched_getaffinity(0))
  if not 0 < count < len(cores):
    return
  claims: dict[int, int] = {}
  for core in cores:
    claim = _claim(core) if len(claims) < count else None
    if claim is not None:
      claims[core] = claim
  if len(claims) == count:
    os.sched_setaffinity(0, claims)
    return
  for claim in claims.values():
    os.close(claim)


def _claim(core: int) -> int | None:
  """An open file, locked as long as this process lives; None: it is taken."""
  name = f'irlas_jax_{os.getuid()}_core_{core}'
  path = os.path.join(tempfile.gettempdir(), name)
  descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    os.close(descriptor)
    return None
  return descriptor
