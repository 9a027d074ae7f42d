"""Cutting, naming and .npz files; CIFAR-10 where there is one."""

import collections
import os

import numpy as np
import pytest

from irlas_jax.training import data


def identities(split):
  """What tells the images of a split apart: their bytes."""
  return [image.tobytes() for image in split.images]


def assert_disjoint(dataset):
  """No image is in two splits, or twice in one."""
  names = sum(map(identities, dataset[1:4]), [])
  assert len(set(names)) == len(names)


def numbered(labels, start=0):
  """A uint8 [N, 2, 2, 1] image a label, no two alike."""
  number = np.arange(start, start + len(labels))
  pixels = np.stack([number // 256, number % 256, labels, labels], axis=1)
  return pixels.reshape(-1, 2, 2, 1).astype(np.uint8)


@pytest.fixture(name='save')
def fixture_save(tmp_path):
  """Writes arrays to an .npz file and returns its path."""

  def save(**arrays):
    path = tmp_path / 'data.npz'
    np.savez(path, **arrays)
    return path

  return save


# ---------------------------------------------------------------- stratified


def test_sample_has_each_class_once_and_then_in_proportion():
  """By hand: places 0, .1 ... of class 0, 0, .5 of class 1, 0 of class 2."""
  labels = np.repeat([0, 1, 2], [10, 2, 1])
  for size, counts in ((3, [1, 1, 1]), (7, [5, 1, 1]), (9, [6, 2, 1])):
    taken, rest = data.stratified(labels, size, 0, np.random.default_rng(0))
    # The place .5 is shared by one image of class 0 and one of class 1.
    assert np.abs(np.bincount(labels[taken]) - counts).max() <= 1
    assert sorted([*taken, *rest]) == list(range(13))
    assert set(labels[taken]) == {0, 1, 2}


def test_reserve_stays_in_the_rest():
  """Without it a rare class is tested on, but never trained on."""
  labels = np.repeat([0, 1, 2], [10, 2, 1])
  taken, rest = data.stratified(labels, 9, 2, np.random.default_rng(0))
  assert np.bincount(labels[taken]).tolist() == [8]
  assert np.bincount(labels[rest]).tolist() == [2, 2, 1]


def test_any_prefix_of_a_sample_is_stratified():
  labels = np.random.default_rng(1).permutation(np.repeat([0, 1], [90, 30]))
  taken, _ = data.stratified(labels, 100, 0, np.random.default_rng(0))
  share = np.cumsum(labels[taken]) - np.arange(1, 101) / 4
  assert np.abs(share).max() <= 1


# -------------------------------------------------------------------- digits


def test_digits_come_in_the_documented_sizes_and_scale():
  digits = data.load('digits')
  assert [len(split.labels) for split in digits[1:4]] == [200, 600, 500]
  assert digits.train.images.shape == (200, 8, 8, 1)
  assert digits.train.images.dtype == np.float32
  assert digits.train.labels.dtype == np.int32
  assert digits.num_classes == 10
  assert (digits.train.images.min(), digits.train.images.max()) == (0, 1)
  for split in digits[1:4]:
    counts = np.bincount(split.labels)
    assert len(counts) == 10 and np.ptp(counts) <= len(split.labels) // 100 + 2


def test_digits_splits_share_no_image():
  """All 1,797 digits differ, so a leak would show as a repeated image."""
  assert_disjoint(data.load('digits', train_size=697, valid_size=600))


def test_seed_changes_train_and_valid_but_not_test():
  first, again, other = (data.load('digits', seed=seed) for seed in (0, 0, 1))
  for one, two in zip(first[1:4], again[1:4], strict=True):
    assert identities(one) == identities(two)
  assert identities(first.test) == identities(other.test)
  assert set(identities(first.valid)) != set(identities(other.valid))
  assert set(identities(first.train)) != set(identities(other.train))


def test_train_size_leaves_the_validation_images_alone():
  """Else accuracies of two training set sizes are not comparable."""
  small, large = (data.load('digits', train_size=n) for n in (50, 300))
  assert identities(small.valid) == identities(large.valid)
  assert identities(small.train) == identities(large.train)[:50]


@pytest.mark.parametrize(
  'sizes, message',
  (
    ({'train_size': 698}, '698 .* 600 = 1298, but there are 1297'),
    ({'train_size': 9}, 'train_size 9 .* 10 or more'),
    ({'valid_size': 9}, 'valid_size 9 .* 10 or more'),
    ({'valid_size': -1}, 'valid_size -1'),
  ),
)
def test_impossible_sizes_are_refused_with_the_numbers(sizes, message):
  with pytest.raises(ValueError, match=message):
    data.load('digits', **sizes)


def test_no_validation_set_at_all():
  """The final training of a found architecture uses every image."""
  digits = data.load('digits', train_size=1297, valid_size=0)
  assert [len(split.labels) for split in digits[1:4]] == [1297, 0, 500]


# ---------------------------------------------------------------- statistics


def test_moments_of_bytes_by_hand():
  """Channel 0: 0 and 255, mean and deviation 1/2. Channel 1 is constant."""
  images = np.array([[0, 51], [255, 51]], np.uint8).reshape(2, 1, 1, 2)
  mean, std = data.moments(images)
  np.testing.assert_allclose(mean, [0.5, 0.2])
  np.testing.assert_allclose(std, [0.5, 1])
  assert mean.dtype == std.dtype == np.float32


def test_moments_of_floats_match_numpy():
  """Floats keep their scale."""
  images = np.random.default_rng(0).normal(3, 2, (50, 4, 4, 3))
  mean, std = data.moments(images.astype(np.float32))
  np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-5)
  np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-5)


def test_deviation_of_a_constant_float_is_one():
  """Rounding leaves a trace that must not become the deviation."""
  mean, std = data.moments(np.full((100, 8, 8, 1), 1000.1, np.float32))
  np.testing.assert_allclose(mean, [1000.1])
  assert std.tolist() == [1]


def test_statistics_see_training_images_only(save):
  """A mean over all images leaks the others into training."""
  labels = np.arange(40) % 2
  images = np.zeros((40, 2, 2, 1), np.uint8)
  path = save(
    images=images,
    labels=labels,
    test_images=images + 255,
    test_labels=labels,
  )
  dataset = data.load(path)
  assert dataset.mean.tolist() == [0] and dataset.std.tolist() == [1]
  digits = data.load('digits')
  np.testing.assert_allclose(digits.mean, digits.train.images.mean(), rtol=1e-6)


# ----------------------------------------------------------------- npz files


def test_npz_keeps_a_tenth_for_testing(save):
  labels = np.arange(200) % 4
  dataset = data.load(save(images=numbered(labels), labels=labels))
  assert [len(split.labels) for split in dataset[1:4]] == [162, 18, 20]
  assert np.bincount(dataset.test.labels).tolist() == [5, 5, 5, 5]
  assert_disjoint(dataset)
  for images, labels in dataset[1:4]:
    assert (images[:, 1, 1, 0] == labels).all()  # labels move with images


def test_npz_with_test_images_of_its_own(save):
  """They come back as they are, in their order; grey images gain C = 1."""
  labels, test_labels = np.arange(20) % 2, np.array([1, 1, 0])
  tests = numbered(test_labels, start=20)[..., 0]
  path = save(
    images=numbered(labels)[..., 0],
    labels=labels.astype(np.int64),
    test_images=tests,
    test_labels=test_labels,
  )
  dataset = data.load(path, valid_size=4)
  assert (dataset.test.images[..., 0] == tests).all()
  assert dataset.test.labels.tolist() == [1, 1, 0]
  assert dataset.train.images.shape == (16, 2, 2, 1)
  assert_disjoint(dataset)


def test_rare_class_is_in_train(save):
  """The only image of class 1 is of no use but to train on."""
  labels = np.repeat([0, 1], [60, 1])
  dataset = data.load(save(images=numbered(labels), labels=labels))
  assert (dataset.train.labels == 1).any()


LABELS = np.arange(20) % 2
FLOATS = numbered(LABELS).astype(np.float64)


@pytest.mark.parametrize(
  'change, message',
  (
    ({'labels': None}, "no array 'labels', only .'images'"),
    ({'images': None}, "no array 'images'"),
    ({'labels': LABELS[:19]}, '20 images but 19 labels'),
    ({'labels': LABELS + 0.0}, 'labels must be integers .* float64'),
    ({'labels': LABELS[:, None]}, r'labels must be integers .*\(20, 1\)'),
    ({'labels': LABELS - 1}, 'labels must count from 0, got -1 to 0'),
    ({'labels': LABELS + 2**40}, 'labels must count from 0'),
    ({'labels': LABELS + 1}, 'labels go up to 2 but no image has label 0'),
    ({'labels': LABELS * 2}, 'labels go up to 2 but no image has label 1'),
    ({'labels': LABELS * 0}, 'only one class'),
    ({'images': np.where(FLOATS == 7, np.nan, FLOATS)}, r'NaN .*\[7, 0, 1, 0'),
    ({'images': FLOATS.ravel()}, r'images must be \[N, H, W\].*\(80,\)'),
    ({'images': FLOATS[:, :, :0]}, r'images must be .*\(20, 2, 0, 1\)'),
    ({'images': FLOATS.astype(int)}, 'images must be uint8 .* int64'),
    ({'images': FLOATS.astype(object)}, 'not readable .* allow_pickle'),
    ({'test_images': FLOATS}, "no array 'test_labels'"),
    ({'test_labels': LABELS}, "no array 'test_images'"),
    (
      {'test_images': FLOATS[:, :1], 'test_labels': LABELS},
      r'test images are float32 \(1, 2, 1\)',
    ),
    (
      {'test_images': FLOATS, 'test_labels': LABELS + 1},
      'labels from 1 to 2, but classes from 0 to 1',
    ),
  ),
)
def test_malformed_npz_is_refused_by_name(save, change, message):
  arrays = {'images': FLOATS, 'labels': LABELS} | change
  path = save(**{k: v for k, v in arrays.items() if v is not None})
  with pytest.raises(ValueError, match=message) as info:
    data.load(path)
  assert str(path) in str(info.value)


@pytest.mark.parametrize('content', (b'', b'no zip', b'half'))
def test_what_is_no_npz_is_refused_by_name(save, content):
  path = save(images=FLOATS, labels=LABELS)
  whole = path.read_bytes()
  path.write_bytes(whole[: len(whole) // 2] if content == b'half' else content)
  with pytest.raises(ValueError, match='data.npz: not'):
    data.load(path)


def test_npz_with_flipped_bytes_is_refused_by_name(tmp_path):
  path = tmp_path / 'data.npz'
  np.savez_compressed(path, images=FLOATS, labels=LABELS)
  content = bytearray(path.read_bytes())
  content[60:100] = bytes(40)
  path.write_bytes(content)
  with pytest.raises(ValueError, match='data.npz: not readable'):
    data.load(path)


def test_missing_npz_and_pointless_image_size(tmp_path, save):
  with pytest.raises(FileNotFoundError, match='none.npz: no such file'):
    data.load(tmp_path / 'none.npz')
  path = save(images=FLOATS, labels=LABELS)
  with pytest.raises(ValueError, match='image_size is for folders'):
    data.load(path, image_size=4)


# --------------------------------------------------------------------- names


def test_missing_tfds_set_says_where_and_how(tmp_path, monkeypatch):
  """And never starts a download."""
  with pytest.raises(FileNotFoundError) as info:
    data.load('cifar10', tmp_path)
  for part in (
    str(tmp_path / 'cifar10'),
    str(tmp_path / 'tfds' / 'cifar10'),
    f'tfds build cifar10 --data_dir={tmp_path} --file_format=array_record',
    'TensorFlow',
  ):
    assert part in str(info.value)
  assert not list(tmp_path.iterdir())
  monkeypatch.delenv('IRLAS_DATA_DIR', raising=False)
  with pytest.raises(FileNotFoundError, match='set IRLAS_DATA_DIR'):
    data.load('cifar10')


def test_missing_config_of_a_tfds_set_is_named(tmp_path):
  folder = tmp_path / 'cifar10_corrupted' / 'fog_1' / '1.0.0'
  folder.mkdir(parents=True)
  (folder / 'dataset_info.json').touch()
  with pytest.raises(FileNotFoundError, match='as in cifar10_corrupted/fog_1'):
    data.load('cifar10_corrupted', tmp_path)


@pytest.mark.parametrize('name', ('cifar11', 'no/such/folder', '/no/folder'))
def test_unknown_name_lists_what_is_possible(tmp_path, name):
  with pytest.raises(ValueError, match=f'{name}.*digits.*npz.*folder.*TFDS'):
    data.load(name, tmp_path)


def test_cifar10_as_published():
  """The statistics are those commonly quoted for the 50,000 images."""
  root = os.environ.get('IRLAS_DATA_DIR')
  if not root:
    pytest.skip('IRLAS_DATA_DIR is not set: no CIFAR-10 to read.')
  dataset = data.load('cifar10', valid_size=0)
  assert dataset.train.images.shape == (50_000, 32, 32, 3)
  assert dataset.test.images.shape == (10_000, 32, 32, 3)
  assert collections.Counter(dataset.train.labels.tolist()) == {
    label: 5000 for label in range(10)
  }
  assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
  np.testing.assert_allclose(dataset.mean, [0.4914, 0.4822, 0.4465], atol=1e-4)
  np.testing.assert_allclose(dataset.std, [0.2470, 0.2435, 0.2616], atol=1e-4)
  assert not set(identities(dataset.train)) & set(identities(dataset.test))
