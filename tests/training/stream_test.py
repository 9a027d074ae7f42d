"""Images read while training: which ones, how cropped, and from where again."""

import io

import jax
import numpy as np
import PIL.Image
import pytest

from irlas_jax import devices
from irlas_jax.training import stream

tfds = pytest.importorskip('tensorflow_datasets')


def encoded(value, size=(20, 12)):
  """A PNG whose red is its value, and whose green grows from left to right."""
  pixels = np.zeros((size[1], size[0], 3), np.uint8)
  pixels[..., 0] = value
  pixels[..., 1] = np.arange(size[0])
  file = io.BytesIO()
  PIL.Image.fromarray(pixels).save(file, 'PNG')
  return file.getvalue()


def prepare(root, train=50, test=9):
  """A TFDS set 'irlas_stream' of images of several sizes, as ArrayRecord."""
  features = {
    'image': tfds.features.Image(shape=(None, None, 3)),
    'label': tfds.features.ClassLabel(num_classes=5),
  }

  def examples(first, count):
    for i in range(first, first + count):
      image = io.BytesIO(encoded(i, (20 + i % 3, 12)))
      yield i, {'image': image, 'label': i % 5}

  with tfds.core.registered.skip_registration():

    class IrlasStream(tfds.core.GeneratorBasedBuilder):
      """TFDS writes a set only through a class."""

      VERSION = tfds.core.Version('1.0.0')

      def _info(self):
        return tfds.core.DatasetInfo(
          builder=self, features=tfds.features.FeaturesDict(features)
        )

      def _split_generators(self, dl_manager):
        del dl_manager
        return {
          'train': examples(0, train),
          'validation': examples(train, test),
        }

      def _generate_examples(self):
        """Abstract in TFDS; the splits bring their own generators."""

  IrlasStream(data_dir=root, file_format='array_record').download_and_prepare()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  folder = tmp_path_factory.mktemp('stream')
  prepare(folder)
  return folder


def _load(root, **changes):
  fields = dict(image_size=8, resize=10, valid_size=7, threads=2)
  return stream.load('irlas_stream', root, **(fields | changes))


def _batches(root, epoch=0, first=0, size=10):
  data = stream.streamed(_load(root), size, devices.row())
  key = jax.random.fold_in(jax.random.key(0), epoch)
  found = [jax.device_get(b) for b in data.train_batches(key, first)]
  return [batch[:2] for batch in found]


def _values(batches):
  """What the images were written with."""
  return np.concatenate([images[:, 0, 0, 0] for images, _ in batches])


def test_an_epoch_sees_every_image_once_but_the_rest(root):
  """43 training images make four batches of ten."""
  batches = _batches(root)
  values = _values(batches)
  labels = np.concatenate([labels for _, labels in batches])
  assert [images.shape for images, _ in batches] == [(10, 8, 8, 3)] * 4
  assert len(set(values.tolist())) == 40
  np.testing.assert_array_equal(values % 5, labels)
  assert np.any(np.diff(values.astype(int)) < 0), 'not shuffled'


def test_the_three_splits_share_no_image(root):
  data = stream.streamed(_load(root), 10, devices.row())
  seen = {}
  for name in ('valid', 'test'):
    values = []
    for images, labels, counted in getattr(data, f'{name}_batches')():
      images, labels, counted = map(np.asarray, (images, labels, counted))
      values += images[counted, 0, 0, 0].tolist()
      np.testing.assert_array_equal(images[:, 0, 0, 0] % 5, labels)
    seen[name] = set(values)
    assert len(values) == len(seen[name])
  assert len(seen['valid']) == 7 and seen['test'] == set(range(50, 59))
  train = {*range(50)} - seen['valid']
  assert set(_values(_batches(root)).tolist()) <= train


def test_a_training_goes_on_at_any_step(root):
  """Another order or another crop would be another training."""
  whole, rest = _batches(root), _batches(root, first=2)
  jax.tree.map(np.testing.assert_array_equal, whole[2:], rest)
  assert len(rest) == 2
  again = _batches(root)
  jax.tree.map(np.testing.assert_array_equal, whole, again)


def test_another_epoch_has_another_order_and_other_crops(root):
  one, other = _batches(root), _batches(root, epoch=1)
  assert np.any(_values(one) != _values(other))
  shared = set(_values(one).tolist()) & set(_values(other).tolist())

  def images(batches):
    return {i[0, 0, 0]: i for images, _ in batches for i in images}

  first, second = images(one), images(other)
  differ = [np.any(first[value] != second[value]) for value in shared]
  assert np.mean(differ) > 0.9


def test_the_centre_is_what_is_scored():
  """Of 20 x 12, resized to 10 high, the middle 8: columns 5.2 to 14.8."""
  image = stream.centre_crop(encoded(7), 8, 10, 'RGB')
  assert image.shape == (8, 8, 3) and (image[..., 0] == 7).all()
  expected = 5.2 + 9.6 * (np.arange(8) + 0.5) / 8 - 0.5
  np.testing.assert_allclose(image[4, :, 1], expected, atol=0.7)


def test_crops_have_the_shares_and_ratios_that_are_asked_for():
  """Recovered from the gradients of an image with rows and columns."""
  pixels = np.zeros((200, 240, 3), np.uint8)
  pixels[..., 0], pixels[..., 1] = np.arange(200)[:, None], np.arange(240)
  file = io.BytesIO()
  PIL.Image.fromarray(pixels).save(file, 'PNG')
  rng = np.random.default_rng(0)
  shares, ratios = [], []
  for _ in range(200):
    found = stream.random_crop(file.getvalue(), rng, 8, 0.2, 'RGB')
    found = found.astype(float)
    height = (found[-1, 0, 0] - found[0, 0, 0]) * 8 / 7
    width = (found[0, -1, 1] - found[0, 0, 1]) * 8 / 7
    shares.append(height * width / 200 / 240)
    ratios.append(width / height)
  assert min(shares) > 0.18 and max(shares) < 1.05
  assert 0.4 < np.mean(shares) < 0.65
  assert min(ratios) > 0.7 and max(ratios) < 1.4
  assert np.ptp(ratios) > 0.4


def test_an_image_that_no_crop_fits_is_cut_in_the_centre():
  long = stream.random_crop(
    encoded(3, (200, 2)), np.random.default_rng(0), 4, 1.0, 'RGB'
  )
  assert long.shape == (4, 4, 3) and np.all(abs(long[..., 1] - 99.5) <= 1.5)


@pytest.mark.parametrize(
  'change, words',
  [
    ({'resize': 7}, 'stream.resize 7'),
    ({'min_area': 0.0}, 'stream.min_area'),
    ({'threads': 0}, 'stream.threads'),
    ({'valid_size': 50}, 'stream.valid_size is 50: .* has 50'),
  ],
)
def test_what_is_out_of_range_is_refused(root, change, words):
  with pytest.raises(ValueError, match=words):
    _load(root, **change)


def test_a_set_that_is_not_there_is_refused_with_the_command(tmp_path):
  with pytest.raises(FileNotFoundError, match='tfds build imagenet2012'):
    stream.load('imagenet2012', tmp_path, image_size=8, resize=8, valid_size=1)
