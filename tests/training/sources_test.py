"""Folders and TFDS sets, made here: what is read and what is refused."""

import io
import json

import numpy as np
import PIL.Image
import pytest

from irlas_jax.training import data

# ------------------------------------------------------------------- folders


def write_image(path, value, mode='RGB', size=(4, 3)):
  """An image of one grey level, `size` as width and height."""
  path.parent.mkdir(parents=True, exist_ok=True)
  PIL.Image.new('L', size, value).convert(mode).save(path)


@pytest.fixture(name='folder')
def fixture_folder(tmp_path):
  """Thirty images of cats (grey 0..14) and dogs (grey 15..29), 3x4 pixels."""
  for i in range(30):
    suffix = ('png', 'bmp', 'PNG')[i % 3]
    name = ('cat', 'dog')[i // 15]
    write_image(tmp_path / 'pets' / name / f'{i:02}.{suffix}', i)
  (tmp_path / 'pets' / 'cat' / 'notes.txt').write_text('not an image')
  (tmp_path / 'pets' / '.cache').mkdir()
  return tmp_path / 'pets'


def test_folder_numbers_classes_by_name(folder):
  dataset = data.load(folder)
  assert dataset.num_classes == 2
  assert [len(split.labels) for split in dataset[1:4]] == [25, 2, 3]
  for images, labels in dataset[1:4]:
    assert images.shape[1:] == (3, 4, 3) and images.dtype == np.uint8
    assert ((images[:, 0, 0, 0] >= 15) == labels).all()


def test_folder_with_train_and_test(folder):
  """The test folder is read in order; class numbers are those of train/."""
  split = folder.parent / 'split'
  split.mkdir()
  folder.rename(split / 'train')
  for i in range(3):
    write_image(split / 'test' / 'dog' / f'{i}.png', 200 + i)
  dataset = data.load(split)
  assert dataset.test.images[:, 0, 0, 0].tolist() == [200, 201, 202]
  assert dataset.test.labels.tolist() == [1, 1, 1]
  assert len(dataset.train.labels) + len(dataset.valid.labels) == 30


def test_class_that_is_called_train(folder):
  """train/ with images in it is a class, not a split."""
  (folder / 'cat').rename(folder / 'train')
  dataset = data.load(folder)
  assert dataset.num_classes == 2
  assert ((dataset.train.images[:, 0, 0, 0] < 15) == dataset.train.labels).all()


def test_images_are_grey_only_if_all_are(folder):
  """One colour image makes all of them RGB; a palette or alpha counts so."""
  grey = folder.parent / 'grey'
  for i in range(30):
    write_image(grey / 'ab'[i % 2] / f'{i}.png', i, 'L')
  assert data.load(grey).train.images.shape[1:] == (3, 4, 1)
  write_image(grey / 'a' / '0.png', 0, 'RGBA')
  dataset = data.load(grey)
  assert dataset.train.images.shape[1:] == (3, 4, 3)
  assert (np.ptp(dataset.train.images, axis=-1) == 0).all()


def test_image_size_is_height_and_width(folder):
  write_image(folder / 'cat' / 'large.jpg', 7, size=(40, 30))
  for size, shape in ((5, (5, 5, 3)), ((6, 8), (6, 8, 3))):
    dataset = data.load(folder, image_size=size)
    assert dataset.train.images.shape[1:] == shape
    assert set(dataset.train.images.ravel()) <= set(range(30))


def break_size(root):
  write_image(root / 'cat' / 'odd.png', 7, size=(5, 3))
  return r'odd.png: 5x3 pixels, but .*00.png has 4x3. Set image_size'


def break_header(root):
  (root / 'dog' / 'broken.png').write_bytes(b'no image')
  return 'broken.png: unreadable'


def break_pixels(root):
  content = (root / 'dog' / '18.png').read_bytes()
  (root / 'dog' / '18.png').write_bytes(content[:50])
  return '18.png: unreadable'


def break_depth(root):
  PIL.Image.new('I;16', (4, 3)).save(root / 'cat' / 'deep.png')
  return 'deep.png: mode I;16; save it with 8 bits'


def break_class(root):
  (root / 'empty').mkdir()
  return 'empty: no image'


def break_layout(root):
  for name in ('train', 'val'):
    write_image(root / name / 'cat' / '0.png', 0)
  (root / 'cat').rename(root / 'test')
  return 'beside train/ and test/ there is dog/'


def break_test(root):
  for name in ('train/cat', 'train/dog', 'test/cow'):
    write_image(root / name / '0.png', 0)
  for name in ('cat', 'dog'):
    (root / name).rename(root.parent / name)
  return 'test/cow: no class of train/'


def break_classes(root):
  (root / 'dog').rename(root.parent / 'dog')
  return r"two class folders or more, got \['cat'\]"


@pytest.mark.parametrize(
  'damage',
  (
    break_size,
    break_header,
    break_pixels,
    break_depth,
    break_class,
    break_layout,
    break_test,
    break_classes,
  ),
)
def test_damaged_folder_is_refused_by_name(folder, damage):
  message = damage(folder)
  with pytest.raises(ValueError, match=message):
    data.load(folder)


def test_too_few_images_for_three_splits(folder):
  """Two images a class cannot be tested on, validated on and trained on."""
  small = folder.parent / 'small'
  for i in range(4):
    write_image(small / 'ab'[i % 2] / f'{i}.png', i)
  with pytest.raises(ValueError, match='4 images are too few'):
    data.load(small)


# ---------------------------------------------------------------------- TFDS


def png(value, size=(4, 3)):
  file = io.BytesIO()
  PIL.Image.new('RGB', size, (value, value, value)).save(file, 'PNG')
  return io.BytesIO(file.getvalue())


def prepare(root, splits, version='1.0.0', label='label', sizes=((4, 3),)):
  """Prepares a TFDS set 'irlas_tiny' of two classes; splits: name to count."""
  tfds = pytest.importorskip('tensorflow_datasets')
  shape = (3, 4, 3) if len(sizes) == 1 else (None, None, 3)
  features = {
    'image': tfds.features.Image(shape=shape),
    label: tfds.features.ClassLabel(num_classes=2),
  }

  def examples(count):
    for i in range(count):
      yield i, {'image': png(i, sizes[i % len(sizes)]), label: i % 2}

  with tfds.core.registered.skip_registration():

    class IrlasTiny(tfds.core.GeneratorBasedBuilder):
      """TFDS writes a set only through a class."""

      VERSION = tfds.core.Version(version)

      def _info(self):
        return tfds.core.DatasetInfo(
          builder=self, features=tfds.features.FeaturesDict(features)
        )

      def _split_generators(self, dl_manager):
        del dl_manager
        return {name: examples(count) for name, count in splits.items()}

      def _generate_examples(self):
        """Abstract in TFDS; the splits bring their own generators."""

  builder = IrlasTiny(data_dir=root, file_format='array_record')
  builder.download_and_prepare()
  return root / 'irlas_tiny' / version


@pytest.mark.parametrize('place', ('.', 'tfds'))
def test_tfds_set_is_found_in_data_dir_and_its_tfds(tmp_path, place):
  prepare(tmp_path / place, {'train': 30, 'test': 5})
  dataset = data.load('irlas_tiny', tmp_path)
  assert [len(split.labels) for split in dataset[1:4]] == [27, 3, 5]
  for images, labels in dataset[1:4]:
    assert images.shape[1:] == (3, 4, 3) and images.dtype == np.uint8
    assert (images[:, 0, 0, 0] % 2 == labels).all()


def test_data_dir_defaults_to_the_environment(tmp_path, monkeypatch):
  prepare(tmp_path, {'train': 30, 'test': 5})
  monkeypatch.setenv('IRLAS_DATA_DIR', str(tmp_path))
  assert len(data.load('irlas_tiny').test.labels) == 5


@pytest.mark.parametrize(
  'splits, sizes',
  (
    ({'train': 30, 'validation': 7}, [27, 3, 7]),
    ({'train': 30, 'validation': 7, 'test': 5}, [27, 3, 5]),
    ({'train': 30}, [25, 2, 3]),
  ),
)
def test_tfds_set_without_test_uses_validation(tmp_path, splits, sizes):
  """And one with neither keeps a tenth."""
  prepare(tmp_path, splits)
  dataset = data.load('irlas_tiny', tmp_path)
  assert [len(split.labels) for split in dataset[1:4]] == sizes


def test_newest_or_named_version_is_read(tmp_path):
  """'10.0.0' sorts before '9.0.0' as text."""
  prepare(tmp_path, {'train': 30, 'test': 9}, '9.0.0')
  prepare(tmp_path, {'train': 30, 'test': 10}, '10.0.0')
  assert len(data.load('irlas_tiny', tmp_path).test.labels) == 10
  assert len(data.load('irlas_tiny:9.0.0', tmp_path).test.labels) == 9


def test_tfds_images_of_several_sizes_need_image_size(tmp_path):
  prepare(tmp_path, {'train': 30, 'test': 4}, sizes=((4, 3), (8, 6)))
  with pytest.raises(ValueError, match=r'2 shapes.*\(3, 4, 3\).*Set image_si'):
    data.load('irlas_tiny', tmp_path)
  dataset = data.load('irlas_tiny', tmp_path, image_size=(6, 5))
  assert dataset.train.images.shape == (27, 6, 5, 3)


def test_tfds_set_of_other_features_is_refused(tmp_path):
  prepare(tmp_path, {'train': 30, 'test': 4}, label='species')
  with pytest.raises(ValueError, match="no feature 'label' .* 'species'"):
    data.load('irlas_tiny', tmp_path)


def test_tfds_set_without_train_is_refused(tmp_path):
  prepare(tmp_path, {'test': 4})
  with pytest.raises(ValueError, match="no split 'train', only .'test'"):
    data.load('irlas_tiny', tmp_path)


def test_tfds_set_that_only_tensorflow_reads_is_refused(tmp_path):
  info = prepare(tmp_path, {'train': 30, 'test': 4}) / 'dataset_info.json'
  content = json.loads(info.read_text()) | {'fileFormat': 'tfrecord'}
  info.write_text(json.dumps(content))
  with pytest.raises(ValueError, match='tfrecord.*file_format=array_record'):
    data.load('irlas_tiny', tmp_path)
