"""Spreading work over devices, and what devices and the compiler report.

The only place that names devices: everything else is written for one.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.monitoring
import psutil

_COMPILE_EVENT = '/jax/core/compile/backend_compile_duration'


def use_cpu_devices(count: int) -> None:
  """Splits the CPU into `count` devices; call before any computation."""
  jax.config.update('jax_num_cpu_devices', count)


def use_compilation_cache(folder: str) -> None:
  """Keeps compiled programs in `folder`, so that a later run loads them."""
  jax.config.update('jax_compilation_cache_dir', os.path.expanduser(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def count() -> int:
  """Number of local devices."""
  return jax.local_device_count()


def _mesh() -> jax.sharding.Mesh:
  """All local devices in a row, the axis `items`."""
  return jax.make_mesh(
    (count(),),
    ('items',),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.local_devices(),
  )


def spread(fn: Callable) -> Any:
  """Maps fn(item, shared) -> result over items, split over local devices.

  Each device takes its share of the leading axis `K` (a multiple of the number
  of devices) one item after another, by one program, so that an item's result
  does not depend on its place or its company. `shared` is on every device.

  Returns:
    A jitted function (items with leading K, shared) -> results with leading K.
  """
  return _sharded(
    lambda items, shared: jax.lax.map(lambda item: fn(item, shared), items)
  )


def spread_together(fn: Callable) -> Any:
  """As `spread`, but a device takes its share at once, by `vmap`.

  For items that are too small to fill a device one by one.
  """
  return _sharded(jax.vmap(fn, in_axes=(0, None)))


def _sharded(fn: Callable) -> Any:
  """fn(items, shared), jitted; each device runs it on its share of items."""
  split, copied = jax.P('items'), jax.P()
  sharded = jax.shard_map(
    fn,
    mesh=_mesh(),
    in_specs=(split, copied),
    out_specs=split,
    check_vma=False,
  )
  return jax.jit(sharded)


def replicate(tree):
  """Puts a copy of `tree` on every local device."""
  return jax.device_put(tree, jax.NamedSharding(_mesh(), jax.P()))


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
  return psutil.virtual_memory().available // count()


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
