"""Labelled images that are too many for memory, read while they are needed.

A TFDS set in ArrayRecord is read at random and decoded on the host by threads,
by Grain. Which images a step sees, and how each is cropped, depends on the
epoch's key and the step alone, so that a training goes on anywhere.
"""

import io
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from irlas_jax import devices
from irlas_jax.training import data as datasets
from irlas_jax.training import feed, sources

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_TRIES = 10  # to draw a crop that fits


class Records(NamedTuple):
  """Images of one split that are still encoded."""

  read: Callable  # row -> {'image': bytes, 'label': int}
  rows: np.ndarray  # [N] of the source


class Stream(NamedTuple):
  """Three splits that share no image, and how they are decoded."""

  name: str
  train: Records
  valid: Records
  test: Records
  num_classes: int
  image_shape: tuple[int, int, int]  # H, W, C after decoding, uint8
  crop: Callable  # (bytes, numpy Generator) -> [H, W, C], for training
  centre: Callable  # (bytes) -> [H, W, C], for scoring
  threads: int
  mean: np.ndarray  # [C]
  std: np.ndarray  # [C]


def load(
  name: str,
  data_dir: str | None = None,
  *,
  image_size: int,
  resize: int,
  valid_size: int,
  min_area: float = 0.08,
  threads: int = 16,
  mean=IMAGENET_MEAN,
  std=IMAGENET_STD,
) -> Stream:
  """Opens a prepared TFDS set; nothing is decoded yet.

  `valid_size` images, the same ones always, are kept from the 'train' split to
  watch by. The 'test' split, else 'validation', is for testing.

  Args:
    name: of an image classification set of TFDS, such as 'imagenet2012'.
    data_dir: where it is looked for, also in its tfds/; by default the
      environment variable IRLAS_DATA_DIR.
    image_size: pixels a side.
    resize: to score, the shorter side is brought to so many pixels before the
      centre is cut out.
    valid_size: images kept for validation.
    min_area: least share of an image's area that a training crop has.
    threads: that decode, each a batch at a time.
    mean: of the channels, uint8 as 0..1.
    std: likewise.

  Raises:
    FileNotFoundError: the set is not there.
    ValueError: it has other features or splits, or a size is out of range.
  """
  _check(image_size, resize, min_area, threads)
  data_dir = data_dir or os.environ.get('IRLAS_DATA_DIR')
  root = pathlib.Path(data_dir).expanduser() if data_dir else None
  places = [root, root / 'tfds'] if root else []
  folder = sources.find_tfds(name, places)
  if folder is None:
    raise datasets.not_found(name, places)
  builder = sources.open_tfds(folder)
  held_out = [s for s in ('test', 'validation') if s in builder.info.splits]
  if not held_out:
    raise ValueError(f"{folder}: no split 'test' or 'validation' to test on.")
  read, size = sources.encoded_tfds(builder, 'train')
  read_test, test_size = sources.encoded_tfds(builder, held_out[0])
  if not 0 < valid_size < size:
    raise ValueError(
      f'stream.valid_size is {valid_size}: {name} has {size} training images.'
    )
  order = np.random.default_rng(0).permutation(size)
  channels = builder.info.features['image'].shape[-1]
  mode = 'L' if channels == 1 else 'RGB'
  return Stream(
    name,
    Records(read, np.sort(order[valid_size:])),
    Records(read, np.sort(order[:valid_size])),
    Records(read_test, np.arange(test_size)),
    builder.info.features['label'].num_classes,
    (image_size, image_size, channels),
    lambda content, rng: random_crop(content, rng, image_size, min_area, mode),
    lambda content: centre_crop(content, image_size, resize, mode),
    threads,
    np.broadcast_to(np.float32(mean), channels),
    np.broadcast_to(np.float32(std), channels),
  )


def _check(image_size, resize, min_area, threads):
  if not 0 < image_size <= resize:
    raise ValueError(
      f'stream.image_size is {image_size} and stream.resize {resize}: above 0, '
      'and the first at most the second.'
    )
  if not 0 < min_area <= 1:
    raise ValueError(f'stream.min_area is {min_area}: above 0, at most 1.')
  if threads < 1:
    raise ValueError(f'stream.threads is {threads}: at least 1.')


def random_crop(
  content: bytes, rng: np.random.Generator, size: int, min_area: float, mode
) -> np.ndarray:
  """A random part of an image, resized to [size, size, C] uint8.

  Of its area a uniform share, of a log-uniform aspect ratio from 3/4 to 4/3,
  anywhere; as for Inception (Szegedy et al., 2015). Without one that fits in
  ten tries, the largest square in the centre.
  """
  area = rng.uniform(min_area, 1, _TRIES)
  ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), _TRIES))
  place = rng.uniform(size=2)
  with _open(content) as image:
    width, height = image.size
    sides = np.sqrt(area * width * height * np.stack([ratio, 1 / ratio]))
    fits = (sides[0] <= width) & (sides[1] <= height)
    if not fits.any():
      return _square(image, 1.0, size, mode)
    sides = sides[:, np.argmax(fits)]
    corner = place * (np.array([width, height]) - sides)
    return _part(image, corner, sides, size, mode)


def centre_crop(content: bytes, size: int, resize: int, mode) -> np.ndarray:
  """The centre [size, size, C] of an image whose shorter side is `resize`."""
  with _open(content) as image:
    return _square(image, size / resize, size, mode)


def _open(content):
  import PIL.Image

  return PIL.Image.open(io.BytesIO(content))


def _square(image, share, size, mode):
  """The square in the centre, of this share of the shorter side."""
  sides = np.full(2, share * min(image.size))
  return _part(image, (np.array(image.size) - sides) / 2, sides, size, mode)


def _part(image, corner, sides, size, mode):
  box = (*corner.tolist(), *(corner + sides).tolist())
  # 2 is bilinear; PIL widens its support where it shrinks.
  part = image.convert(mode).resize((size, size), resample=2, box=box)
  array = np.asarray(part)
  return array if array.ndim == 3 else array[..., None]


def streamed(
  stream: Stream, batch_size: int, mesh: jax.sharding.Mesh
) -> feed.Feed:
  """The feed of a stream: each process reads its own rows of every batch."""
  place, count = devices.processes_of(mesh)
  steps = len(stream.train.rows) // batch_size

  def train_batches(key, first) -> Iterator:
    seed = int(jax.random.bits(key))
    rows = _shuffled(stream.train.rows, seed)
    examples = rows.random_map(
      lambda row, rng: _example(stream.train, row, stream.crop, rng)
    )
    return batches(examples, batch_size, first, steps)

  def batches(examples, batch, first, last) -> Iterator:
    import grain

    local = examples.batch(batch // count, drop_remainder=True)
    own = local[first * count + place : last * count : count]
    options = grain.ReadOptions(
      num_threads=stream.threads, prefetch_buffer_size=2 * stream.threads
    )
    return (
      devices.joined(mesh, found) for found in own.to_iter_dataset(options)
    )

  def all_of(records: Records):
    def scored() -> Iterator:
      import grain

      size = len(records.rows)
      rows = feed.rows_of(size, mesh.size)

      def example(row):
        used = records.rows[min(row, size - 1)]
        found = _example(records, used, stream.centre)
        return (*found[:2], row < size)

      examples = grain.MapDataset.source(rows.reshape(-1)).map(example)
      return batches(examples, rows.shape[1], 0, len(rows))

    return scored

  return feed.Feed(
    steps,
    stream.mean,
    stream.std,
    lambda held, batch: batch,
    (),
    (),
    (),
    train_batches,
    all_of(stream.valid),
    all_of(stream.test),
  )


def _shuffled(rows: np.ndarray, seed: int):
  import grain

  return grain.MapDataset.source(rows).seed(seed).shuffle()


def _example(
  records: Records, row, decode: Callable, *arguments
) -> tuple[Any, ...]:
  """(image, label, counted) of a row."""
  found = records.read(int(row))
  image = decode(found['image'], *arguments)
  return image, np.int32(found['label']), True
