"""Where the batches of one large training come from.

A feed hides whether images are on the devices already, and are picked there by
index, or are read and decoded while the network is trained. Batches `B` are
those of all devices together; their rows are split over the devices.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import devices
from irlas_jax.training import data as datasets
from irlas_jax.training import loop

EVALUATION_BATCH = 250


class Feed(NamedTuple):
  """Batches for training and scoring, in a form that `take` understands."""

  steps_per_epoch: int
  mean: np.ndarray  # [C]
  std: np.ndarray  # [C]
  # Traced: (held, batch) -> images [B, H, W, C], labels [B], counted [B] bool,
  # which is False for rows that only fill a batch up.
  take: Callable
  train: Any  # what is held on the devices, for `take`
  valid: Any
  test: Any
  train_batches: Callable  # (key of an epoch, first step) -> Iterator
  valid_batches: Callable  # () -> Iterator
  test_batches: Callable  # () -> Iterator


def resident(
  dataset: datasets.Dataset, batch_size: int, mesh: jax.sharding.Mesh
) -> Feed:
  """A data set of which every device holds a copy."""
  train, valid, test = (
    loop.Arrays(*devices.copied_to(mesh, tuple(split)))
    for split in (dataset.train, dataset.valid, dataset.test)
  )
  size = len(dataset.train.labels)
  steps = size // batch_size

  def take(held: loop.Arrays, batch):
    rows, at = batch
    index, count = rows[at], held.labels.shape[0]
    used = jnp.minimum(index, count - 1)
    return held.images[used], held.labels[used], index < count

  def train_batches(key, first):
    order = jax.random.permutation(key, size)[: steps * batch_size]
    return batches(order.reshape(steps, batch_size), first)

  def batches(rows, first=0) -> Iterator:
    rows = devices.copied_to(mesh, np.asarray(rows, np.int32))
    return ((rows, np.int32(at)) for at in range(first, len(rows)))

  def all_of(split):
    return lambda: batches(rows_of(len(split.labels), mesh.size))

  return Feed(
    steps,
    dataset.mean,
    dataset.std,
    take,
    train,
    valid,
    test,
    train_batches,
    all_of(dataset.valid),
    all_of(dataset.test),
  )


def rows_of(size: int, num_devices: int) -> np.ndarray:
  """[batches, B] all rows below `size`, and few beyond it to fill batches."""
  num_batches = -(-size // EVALUATION_BATCH)
  batch = -(-size // num_batches)
  batch = -(-batch // num_devices) * num_devices
  return np.arange(num_batches * batch).reshape(num_batches, batch)
