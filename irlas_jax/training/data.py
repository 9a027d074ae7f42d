"""Image classification data, in memory, split into train, valid and test.

The search sees `train` and `valid`; `test` is for the final report only. How
images are cut into splits is here, how they are read is in `sources.py`.
"""

import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from irlas_jax.training import sources

Split = sources.Split

# Few training images, so that architectures differ in what they learn.
DIGITS_TRAIN, DIGITS_VALID, DIGITS_TEST = 200, 600, 500


class Dataset(NamedTuple):
  """Three splits that share no image, and the statistics of the first."""

  name: str
  train: Split
  valid: Split
  test: Split
  num_classes: int
  mean: np.ndarray  # [C] float32, over train; uint8 counts as 0..1
  std: np.ndarray  # [C] float32, likewise; 1 for a channel that is constant


def load(
  name,
  data_dir=None,
  *,
  train_size=None,
  valid_size=None,
  seed=0,
  image_size=None,
) -> Dataset:
  """Loads a data set by name or path and cuts it into three splits.

  The test images are those that the source keeps apart, or a stratified tenth
  (500 for digits) that depends on no argument. Of the others, `valid_size` go
  to validation, and then `train_size` to training. Both samples are
  stratified; a class too small to be in both is in train. Given `seed`, the
  validation images are the same for every `train_size`, a smaller `train` is
  a prefix of a larger one, and any prefix of the two is stratified too.

  Args:
    name: 'digits' (scikit-learn's), an image classification set of TFDS such
      as 'cifar10', an .npz file (see `sources.read_npz`) or a folder of class
      folders (see `sources.read_folder`).
    data_dir: where TFDS sets are looked for, also in its tfds/; by default
      the environment variable IRLAS_DATA_DIR.
    train_size: number of training images, by default all that is left (200
      for digits).
    valid_size: number of validation images, by default a tenth of the images
      that are not for testing (600 for digits); 0 for none.
    seed: picks train and valid, not test.
    image_size: int or (height, width) to which images of folders and TFDS
      sets are resized; needed if they differ in size.

  Raises:
    FileNotFoundError: a TFDS set or a file is not there.
    ValueError: the name means nothing, the data is malformed or of one class,
      or the sizes ask for more images than there are or fewer than classes.
  """
  name = str(name)
  source = _read(name, data_dir, image_size)
  for split in (source.train, source.test):
    _check(name, source, split)
  digits = name == 'digits'
  pool, test = source.train, source.test
  if test is None:
    size = DIGITS_TEST if digits else _tenth(source)
    test, pool = _cut(name, pool, size, 2, np.random.default_rng(0))
  source = source._replace(train=pool)
  if valid_size is None:
    valid_size = DIGITS_VALID if digits else _tenth(source)
  if train_size is None:
    train_size = DIGITS_TRAIN if digits else len(pool.labels) - valid_size
  _check_sizes(name, source, train_size, valid_size)
  rng = np.random.default_rng(seed)
  valid, rest = _cut(name, pool, valid_size, 1, rng)
  train, _ = _cut(name, rest, train_size, 0, rng)
  mean, std = moments(train.images)
  return Dataset(name, train, valid, test, source.num_classes, mean, std)


def digest(dataset: Dataset) -> str:
  """Names the images and labels that a search sees: 32 hexadecimal digits."""
  found = hashlib.sha256()
  for split in (dataset.train, dataset.valid):
    for array in split:
      found.update(f'{array.shape} {array.dtype}'.encode())
      found.update(np.ascontiguousarray(array).data)
  return found.hexdigest()[:32]


def stratified(labels, size, reserve, rng):
  """Indices of a sample of `size` that has every class, and of the rest.

  The i-th image of a class of n comes at place i / n of the order from which
  the first `size` are taken: one of each class first, then in proportion.

  Args:
    labels: [N] int.
    size: number of indices to take.
    reserve: how many images of each class must stay in the rest.
    rng: numpy Generator; picks the images within a class and breaks ties.

  Returns:
    (taken, rest), int arrays of `size` and N - `size`, or of fewer and more
    if the reserve leaves fewer to take.
  """
  shuffled = rng.permutation(len(labels))
  by_class = shuffled[np.argsort(labels[shuffled], kind='stable')]
  counts = np.bincount(labels)
  count = np.repeat(counts, counts)
  rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
  spare = rank < count - reserve
  place = np.where(spare, rank / count, np.inf)
  order = by_class[np.lexsort((rng.random(len(labels)), place))]
  size = min(size, int(spare.sum()))
  return order[:size], order[size:]


def moments(images):
  """Mean and standard deviation [C] float32 of images [N, H, W, C].

  uint8 is read as 0..1. A constant channel has deviation 1: dividing by it
  then leaves zeros.
  """
  scale = 255 if images.dtype == np.uint8 else 1
  flat = images.reshape(-1, images.shape[-1])
  mean = flat.mean(axis=0, dtype=np.float64)
  # einsum widens block by block; flat.var() would hold it all in float64.
  square = np.einsum('nc,nc->c', flat, flat, dtype=np.float64, casting='unsafe')
  std = np.sqrt(np.maximum(square / len(flat) - mean**2, 0))
  constant = std <= 1e-6 * np.abs(mean)  # rounding leaves up to 1e-7
  std = np.where(constant, scale, std) / scale
  return (mean / scale).astype(np.float32), std.astype(np.float32)


def _read(name, data_dir, image_size) -> sources.Source:
  path = pathlib.Path(name).expanduser()
  if image_size is not None and (name == 'digits' or path.suffix == '.npz'):
    raise ValueError(f'{name}: image_size is for folders and TFDS sets only.')
  if name == 'digits':
    return sources.read_digits()
  if path.suffix == '.npz':
    return sources.read_npz(path)
  data_dir = data_dir or os.environ.get('IRLAS_DATA_DIR')
  root = pathlib.Path(data_dir).expanduser() if data_dir else None
  places = [root, root / 'tfds'] if root else []
  prepared = sources.find_tfds(name, places)
  if prepared:
    return sources.read_tfds(prepared, image_size)
  if path.is_dir():
    return sources.read_folder(path, image_size)
  raise not_found(name, places)


def not_found(name, places) -> Exception:
  """The error for a name that is nowhere: what it could have been."""
  import tensorflow_datasets as tfds

  base = name.partition(':')[0]
  known = tfds.list_builders(with_community_datasets=False)
  if base.partition('/')[0] not in known:
    return ValueError(
      f"{name!r} is no data set. It may be 'digits', the path of an .npz file, "
      'the path of a folder of class folders, or an image classification set '
      "of TFDS, such as 'cifar10' (all: tfds.list_builders())."
    )
  folders = [place / base for place in places]
  configs = sorted(
    {i.parts[-3] for f in folders for i in f.glob('*/*/dataset_info.json')}
  )
  if configs:
    return FileNotFoundError(
      f'{name}: name one of its prepared configs, as in {base}/{configs[0]}: '
      f'{configs}.'
    )
  looked = ' and '.join(map(str, folders))
  return FileNotFoundError(
    f'{name}: not found in {looked or "any place: set IRLAS_DATA_DIR"}. This '
    f'fetches it, and needs TensorFlow, which reading does not: tfds build '
    f'{name} --data_dir={places[0] if places else "$IRLAS_DATA_DIR"} '
    '--file_format=array_record'
  )


def _check(name, source, split):
  """Refuses what no reader may return; `split` may be None."""
  if source.num_classes < 2:
    raise ValueError(f'{name}: only one class; classification needs two.')
  if split is None:
    return
  images, labels = split
  like = source.train.images
  if images.shape[1:] != like.shape[1:] or images.dtype != like.dtype:
    raise ValueError(
      f'{name}: test images are {images.dtype} {images.shape[1:]}, '
      f'training images {like.dtype} {like.shape[1:]}.'
    )
  if images.dtype not in (np.uint8, np.float32):
    raise ValueError(f'{name}: images are {images.dtype}, not uint8 or float.')
  if images.dtype == np.float32 and not np.isfinite(images).all():
    first = np.argwhere(~np.isfinite(images))[0].tolist()
    raise ValueError(f'{name}: NaN or infinity in an image, first at {first}.')
  if labels.min() < 0 or labels.max() >= source.num_classes:
    raise ValueError(
      f'{name}: labels from {labels.min()} to {labels.max()}, but classes '
      f'from 0 to {source.num_classes - 1}.'
    )


def _check_sizes(name, source, train_size, valid_size):
  available, asked = len(source.train.labels), train_size + valid_size
  if min(train_size, valid_size or train_size) < source.num_classes:
    raise ValueError(
      f'{name}: train_size {train_size} and valid_size {valid_size} must both '
      f'be {source.num_classes} or more, one image a class (valid_size may be '
      '0).'
    )
  if asked > available:
    raise ValueError(
      f'{name}: train_size {train_size} + valid_size {valid_size} = {asked}, '
      f'but there are {available} images beside the test images.'
    )


def _tenth(source) -> int:
  """A tenth of the training images, one a class at the least."""
  return max(len(source.train.labels) // 10, source.num_classes)


def _cut(name, split, size, reserve, rng):
  """A stratified part of a split, and the rest."""
  taken, rest = stratified(split.labels, size, reserve, rng)
  if len(taken) < size:
    raise ValueError(
      f'{name}: {len(split.labels)} images are too few to keep {size} apart '
      'for testing and some of each class to train on.'
    )
  return tuple(Split(split.images[i], split.labels[i]) for i in (taken, rest))
