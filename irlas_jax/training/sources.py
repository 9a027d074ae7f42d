"""Where labelled images come from: digits, TFDS sets, .npz files, folders.

Each reader returns a `Source`, whole and in memory, as it was published: what
is cut from it for validation is decided in `data.py`. Shapes: `N` images of
`H` by `W` pixels and `C` channels.
"""

import pathlib
import re
import zipfile
import zlib
from typing import NamedTuple

import numpy as np

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp')


class Split(NamedTuple):
  """Images and what they show."""

  images: np.ndarray  # [N, H, W, C] uint8, or float32 as the source scales it
  labels: np.ndarray  # [N] int32


class Source(NamedTuple):
  """What a reader returns."""

  train: Split
  test: Split | None  # None if the source keeps no images apart
  num_classes: int


def read_digits() -> Source:
  """The 1,797 handwritten digits, 8x8x1, that scikit-learn ships.

  Grey levels 0..16 are divided by 16, so images are float32 in [0, 1].
  """
  import sklearn.datasets

  digits = sklearn.datasets.load_digits()
  images = (digits.images[..., None] / 16).astype(np.float32)
  return Source(Split(images, digits.target.astype(np.int32)), None, 10)


def read_npz(path) -> Source:
  """Reads `images` [N, H, W(, C)] uint8 or float and `labels` [N] from a file.

  `test_images` and `test_labels` may be there too. Labels are integers from 0
  without gaps. ValueError names the file, the array and what is wrong with it.
  """
  arrays = _npz_arrays(path)
  train = _npz_split(arrays, 'images', 'labels', path)
  used = np.unique(train.labels)
  num_classes = len(used)
  if used[-1] >= num_classes:
    missing = np.argmax(used != np.arange(num_classes))
    raise ValueError(
      f'{path}: labels go up to {used[-1]} but no image has label {missing}. '
      'Renumber them from 0, without gaps.'
    )
  if not {'test_images', 'test_labels'} & set(arrays):
    return Source(train, None, num_classes)
  test = _npz_split(arrays, 'test_images', 'test_labels', path)
  return Source(train, test, num_classes)


def _npz_arrays(path) -> dict[str, np.ndarray]:
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(f'{path}: no such file.')
  if not zipfile.is_zipfile(path):  # np.load would take other files too
    raise ValueError(f'{path}: not an .npz file; write it with numpy.savez.')
  try:
    with np.load(path, allow_pickle=False) as file:
      return {key: np.asarray(file[key]) for key in file.files}
  except (ValueError, OSError, zipfile.BadZipFile, zlib.error) as error:
    raise ValueError(
      f'{path}: not readable as an .npz of plain arrays ({error}).'
    ) from error


def _npz_split(arrays, image_key, label_key, path) -> Split:
  for key in (image_key, label_key):
    if key not in arrays:
      raise ValueError(f'{path}: no array {key!r}, only {sorted(arrays)}.')
  images, labels = arrays[image_key], arrays[label_key]
  if images.ndim not in (3, 4) or not images.size:
    raise ValueError(
      f'{path}: {image_key} must be [N, H, W] or [N, H, W, C], '
      f'got shape {images.shape}.'
    )
  if images.dtype != np.uint8:
    if not np.issubdtype(images.dtype, np.floating):
      raise ValueError(
        f'{path}: {image_key} must be uint8 (0..255) or float, '
        f'got {images.dtype}.'
      )
    images = images.astype(np.float32)
  if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
    raise ValueError(
      f'{path}: {label_key} must be integers [N], '
      f'got {labels.dtype} of shape {labels.shape}.'
    )
  if len(images) != len(labels):
    raise ValueError(
      f'{path}: {len(images)} {image_key} but {len(labels)} {label_key}.'
    )
  if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
    raise ValueError(
      f'{path}: {label_key} must count from 0, '
      f'got {labels.min()} to {labels.max()}.'
    )
  images = images if images.ndim == 4 else images[..., None]
  return Split(images, labels.astype(np.int32))


def read_folder(root, image_size=None) -> Source:
  """Reads root/class/*.png (jpg, jpeg, bmp), or root/{train,test}/class/*.

  Classes are numbered in the order of their names. Images become RGB, or grey
  if all of them are, and `image_size` (an int, or height and width) if given.

  Raises:
    ValueError: naming the folder without classes or images, or the file that
      is unreadable, deeper than 8 bits, or of another size than the first.
  """
  root = pathlib.Path(root)
  folders = _class_folders(root)
  train_root, test_root = root, None
  if 'train' in folders and _class_folders(root / 'train'):
    train_root = root / 'train'
    test_root = root / 'test' if 'test' in folders else None
    others = set(folders) - {'train', 'test'}
    if others:
      raise ValueError(
        f'{root}: beside train/ and test/ there is {sorted(others)[0]}/. '
        'Validation images are drawn from train/: move them there.'
      )
  names = _class_folders(train_root)
  if len(names) < 2:
    raise ValueError(f'{train_root}: two class folders or more, got {names}.')
  train = _labelled_files(train_root, names)
  test = _labelled_files(test_root, names) if test_root else []
  images = _read_images([file for file, _ in train + test], image_size)
  labels = np.array([label for _, label in train + test], np.int32)
  n = len(train)
  held_out = Split(images[n:], labels[n:]) if test else None
  return Source(Split(images[:n], labels[:n]), held_out, len(names))


def _class_folders(root) -> list[str]:
  children = (child for child in root.iterdir() if child.is_dir())
  return sorted(c.name for c in children if not c.name.startswith('.'))


def _labelled_files(root, names) -> list[tuple[pathlib.Path, int]]:
  files = []
  for name in _class_folders(root):
    if name not in names:
      raise ValueError(f'{root / name}: no class of train/ has this name.')
    found = [
      file
      for file in sorted((root / name).iterdir())
      if file.suffix.lower() in SUFFIXES and not file.name.startswith('.')
    ]
    if not found:
      raise ValueError(f'{root / name}: no image ({", ".join(SUFFIXES)}).')
    files += [(file, names.index(name)) for file in found]
  if not files:
    raise ValueError(f'{root}: no class folders.')
  return files


def _read_images(files, image_size) -> np.ndarray:
  """Images [N, H, W, C] uint8, of one mode and size."""
  headers = [
    _open(file, lambda image: (image.mode, image.size)) for file in files
  ]
  for file, (mode, size) in zip(files, headers, strict=True):
    if mode[0] in 'IF':
      raise ValueError(f'{file}: mode {mode}; save it with 8 bits a channel.')
    if image_size is None and size != headers[0][1]:
      raise ValueError(
        f'{file}: {size[0]}x{size[1]} pixels, but {files[0]} has '
        f'{headers[0][1][0]}x{headers[0][1][1]}. Set image_size.'
      )
  grey = all(mode in ('1', 'L') for mode, _ in headers)

  def decode(image):
    return _resized(image.convert('L' if grey else 'RGB'), image_size)

  return np.stack([_open(file, decode) for file in files])


def _open(file, read_fn):
  """`read_fn` of the opened image; ValueError names an unreadable file."""
  import PIL.Image

  try:
    with PIL.Image.open(file) as image:
      return read_fn(image)
  # A broken PNG is a SyntaxError to PIL.
  except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
    raise ValueError(f'{file}: unreadable as an image ({error}).') from error


def _resized(image, image_size) -> np.ndarray:
  """A PIL image as [H, W, C], resized bilinearly if a size is given."""
  if image_size is not None:
    height, width = np.broadcast_to(image_size, 2).tolist()
    image = image.resize((width, height), resample=2)  # PIL's BILINEAR
  array = np.asarray(image)
  return array if array.ndim == 3 else array[..., None]


def find_tfds(name, places) -> pathlib.Path | None:
  """The folder of a prepared TFDS set in the first of `places` that has it.

  `name` is 'set', 'set/config' or either with ':1.2.3'; without a version it
  is the newest one.
  """
  base, _, version = name.partition(':')
  if pathlib.Path(base).is_absolute():
    return None
  for place in places:
    infos = (pathlib.Path(place) / base).glob('*/dataset_info.json')
    found = {info.parent.name: info.parent for info in infos}
    found = {v: f for v, f in found.items() if re.fullmatch(r'\d+(\.\d+)*', v)}
    if version in found:
      return found[version]
    if found and not version:
      return found[max(found, key=lambda v: [int(x) for x in v.split('.')])]
  return None


def read_tfds(folder, image_size=None) -> Source:
  """Reads a set that TFDS prepared as ArrayRecord, without TensorFlow.

  Its 'test' split, else its 'validation' split, is the test set.

  Raises:
    ValueError: if it has no split 'train', its features are not an image and
      a class label, it is of another file format, or its images differ in
      size and no `image_size` is given.
  """
  builder = open_tfds(folder)
  splits = builder.info.splits
  held_out = [split for split in ('test', 'validation') if split in splits]
  train = _tfds_split(builder, 'train', image_size)
  test = _tfds_split(builder, held_out[0], image_size) if held_out else None
  return Source(train, test, builder.info.features['label'].num_classes)


def open_tfds(folder):
  """The TFDS builder of a prepared image classification set, checked.

  Raises:
    ValueError: as `read_tfds` does, but for the images' sizes.
  """
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(folder)
  features, splits = builder.info.features, list(builder.info.splits)
  wanted = {'image': tfds.features.Image, 'label': tfds.features.ClassLabel}
  for key, kind in wanted.items():
    if key not in features or not isinstance(features[key], kind):
      raise ValueError(
        f'{folder}: no feature {key!r} of type {kind.__name__}, so this is '
        f'no image classification set; it has {sorted(features)}.'
      )
  if features['image'].np_dtype != np.uint8:
    raise ValueError(f'{folder}: images must be uint8, 8 bits a channel.')
  if 'train' not in splits:
    raise ValueError(f"{folder}: no split 'train', only {sorted(splits)}.")
  return builder


def encoded_tfds(builder, split):
  """(row -> {'image': bytes, 'label': int}, number of rows) of a split.

  Images are as they are stored, such as JPEG; rows are read when asked for.
  """
  import tensorflow_datasets as tfds

  skip = {'image': tfds.decode.SkipDecoding()}
  source = _data_source(builder, split, decoders=skip)
  return source.__getitem__, len(source)


def _data_source(builder, split, **options):
  try:
    return builder.as_data_source(split, **options)
  except NotImplementedError as error:
    raise ValueError(
      f'{builder.data_dir}: stored as {builder.info.file_format.value}, which '
      'only TensorFlow reads. Prepare it with --file_format=array_record.'
    ) from error


def _tfds_split(builder, split, image_size) -> Split:
  import PIL.Image

  source = _data_source(builder, split)
  rows = source.__getitems__(range(len(source)))  # one by one takes 3x longer
  images = [row['image'] for row in rows]
  if image_size is not None:
    grey = images[0].shape[-1] == 1
    arrays = [image[..., 0] if grey else image for image in images]
    images = [_resized(PIL.Image.fromarray(a), image_size) for a in arrays]
  shapes = {image.shape for image in images}
  if len(shapes) > 1:
    raise ValueError(
      f'{builder.data_dir}: images of {len(shapes)} shapes, such as '
      f'{sorted(shapes)[0]} and {sorted(shapes)[-1]}. Set image_size.'
    )
  labels = np.array([row['label'] for row in rows], np.int32)
  return Split(np.stack(images), labels)
