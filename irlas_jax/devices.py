"""Spreading work over devices, and what devices and the compiler report.

The only place that names devices: everything else is written for one.
"""

import functools
import os
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.monitoring
import numpy as np
import psutil
from jax.experimental import multihost_utils

_COMPILE_EVENT = '/jax/core/compile/backend_compile_duration'


def use_cpu_devices(count: int) -> None:
  """Splits the CPU into `count` devices; call before any computation."""
  jax.config.update('jax_num_cpu_devices', count)


def use_compilation_cache(folder: str) -> None:
  """Keeps compiled programs in `folder`, so that a later run loads them."""
  jax.config.update('jax_compilation_cache_dir', os.path.expanduser(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def join(coordinator: str, num_processes: int, process_id: int) -> None:
  """Makes this process one of several that work as one; before all else.

  Every process runs the same program; `coordinator` is host:port of process 0.
  'auto' lets the environment say all three (a TPU pod, Slurm).
  """
  if coordinator == 'auto':
    jax.distributed.initialize()
  else:
    jax.distributed.initialize(coordinator, num_processes, process_id)


def is_first() -> bool:
  """Whether this process is the one that writes files and prints."""
  return jax.process_index() == 0


def told_by_first(function: Callable) -> Callable:
  """`function`, run by the first process only, which tells all its result.

  What it raises is raised by all. Every process has to make the same calls in
  the same order. With one process it is `function`.
  """
  if jax.process_count() == 1:
    return function

  @functools.wraps(function)
  def told(*args, **kwargs):
    message = b''
    if is_first():
      message = pickle.dumps(_outcome(function, args, kwargs))
    length = multihost_utils.broadcast_one_to_all(np.int32(len(message)))
    content = np.zeros(int(length), np.uint8)
    content[: len(message)] = np.frombuffer(message, np.uint8)
    content = multihost_utils.broadcast_one_to_all(content)
    error, result = pickle.loads(np.asarray(content, np.uint8).tobytes())
    if error is not None:
      raise error
    return result

  return told


def _outcome(function, args, kwargs):
  """(what it raised or None, its result)."""
  try:
    return None, function(*args, **kwargs)
  except Exception as error:
    return error, None


def count() -> int:
  """Number of devices, those of all processes together."""
  return jax.device_count()


def row(count: int = 0, everywhere: bool = True) -> jax.sharding.Mesh:
  """Devices that work together: a mesh with the one axis `items`.

  Args:
    count: how many, the first ones; 0 is all.
    everywhere: those of all processes, each of which then has to run the same
      program; else those of this process, which works alone.
  """
  found = jax.devices() if everywhere else jax.local_devices()
  used = np.array(found[: count or len(found)])
  kinds = (jax.sharding.AxisType.Auto,)
  return jax.sharding.Mesh(used, ('items',), axis_types=kinds)


def share(tree):
  """Splits the leading axis of all arrays over the devices."""
  return _put(row(), tree, jax.P('items'))


def replicate(tree):
  """Puts a copy of `tree` on every device."""
  return copied_to(row(), tree)


def copied_to(mesh: jax.sharding.Mesh, tree):
  """Arrays that all processes have alike, whole on every device of a mesh."""
  return _put(mesh, tree, jax.P())


def _put(mesh: jax.sharding.Mesh, tree, spec):
  """Arrays that all processes have alike, on a mesh by `spec`."""
  sharding = jax.NamedSharding(mesh, spec)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)

  def put(x):
    if isinstance(x, jax.Array) and jax.dtypes.issubdtype(
      x.dtype, jax.dtypes.prng_key
    ):
      return jax.random.wrap_key_data(
        put(jax.random.key_data(x)), impl=jax.random.key_impl(x)
      )
    whole = np.asarray(x)
    return jax.make_array_from_callback(
      whole.shape, sharding, lambda index: whole[index]
    )

  return jax.tree.map(put, tree)


def gather(tree):
  """Arrays that are split over devices, whole, as NumPy arrays everywhere."""
  if jax.process_count() == 1:
    return jax.device_get(tree)
  return multihost_utils.process_allgather(tree, tiled=True)


def spread_shares(fn: Callable) -> Any:
  """Runs fn(items, shared) -> results on every device, with its share of items.

  Each device, of whichever process, takes its part of the leading axis `K` (a
  multiple of the number of devices; see `share` and `gather`), by one program.
  `shared` is on every device.

  Returns:
    A jitted function (items with leading K, shared) -> results with leading K.
  """
  split, copied = jax.P('items'), jax.P()
  sharded = jax.shard_map(
    fn,
    mesh=row(),
    in_specs=(split, copied),
    out_specs=split,
    check_vma=False,
  )
  return jax.jit(sharded)


def spread_together(fn: Callable) -> Any:
  """Maps fn(item, shared) -> result by `vmap`, split over the devices.

  For items that are too small to fill a device one by one.
  """
  return spread_shares(jax.vmap(fn, in_axes=(0, None)))


def most_dividing(batch_size: int, everywhere: bool = True) -> int:
  """The most devices, of all or of this process, that a batch is split over."""
  most = jax.device_count() if everywhere else jax.local_device_count()
  return max(n for n in range(1, most + 1) if batch_size % n == 0)


def split_in(mesh: jax.sharding.Mesh, tree):
  """Traced arrays, their leading axis split over the devices of a mesh."""
  sharding = jax.NamedSharding(mesh, jax.P('items'))
  return jax.lax.with_sharding_constraint(tree, sharding)


def joined(mesh: jax.sharding.Mesh, tree):
  """One batch from the rows that each process has of it, in their order."""
  sharding = jax.NamedSharding(mesh, jax.P('items'))
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, x), tree
  )


def processes_of(mesh: jax.sharding.Mesh) -> tuple[int, int]:
  """This process's place among those of a mesh, and their number."""
  found = sorted({device.process_index for device in mesh.devices.flat})
  return found.index(jax.process_index()), len(found)


def copying(
  mesh: jax.sharding.Mesh, fn: Callable, donated: tuple[int, ...] = ()
) -> Any:
  """`fn`, jitted; its results are whole on every device of a mesh.

  Arguments at the places `donated` give their memory to the results.
  """
  whole = jax.NamedSharding(mesh, jax.P())
  return jax.jit(fn, out_shardings=whole, donate_argnums=donated)


def wait_for_all() -> None:
  """Returns when all processes have come here."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices('irlas_jax')


def predicted_bytes(compiled) -> int:
  """Memory that one call of a compiled function needs on one device."""
  memory = compiled.memory_analysis()
  return (
    memory.temp_size_in_bytes
    + memory.argument_size_in_bytes
    + memory.output_size_in_bytes
  )


def available_bytes() -> int | None:
  """Free memory of one local device; None where nobody says."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit'] - stats.get('bytes_in_use', 0)
  if jax.default_backend() != 'cpu':
    return None
  return psutil.virtual_memory().available // jax.local_device_count()


class Compiles(NamedTuple):
  """How many programs were compiled, and the seconds that took."""

  number: int
  seconds: float


class CompileCounter:
  """Counts what XLA compiles (loads from the cache included) from now on."""

  def __init__(self):
    self._durations: list[float] = []
    jax.monitoring.register_event_duration_secs_listener(self._listen)

  def _listen(self, event: str, duration_secs: float, **_) -> None:
    if event == _COMPILE_EVENT:
      self._durations.append(duration_secs)

  def total(self) -> Compiles:
    """What has been compiled since this counter was made."""
    return Compiles(len(self._durations), sum(self._durations))
