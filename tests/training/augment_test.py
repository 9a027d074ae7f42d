"""Augmentation: properties checked by hand, with and without jit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.training import augment

KEY = jax.random.key(0)
# Every pixel of every image has a value of its own, and none is zero.
IMAGES = jnp.arange(1.0, 64 * 5 * 6 * 2 + 1).reshape(64, 5, 6, 2)
FUNCTIONS = {
  'crop': lambda key, images: augment.crop(key, images, 2),
  'flip': augment.flip,
  'cutout': lambda key, images: augment.cutout(key, images, 3),
  'all': lambda key, images: augment.augment(
    key, images, pad=2, mirror=True, cutout_size=3
  ),
}


@pytest.fixture(params=(False, True), ids=('eager', 'jit'), name='maybe_jit')
def fixture_maybe_jit(request):
  """Every property must survive compilation."""
  return jax.jit if request.param else lambda function: function


def shifts(image, pad):
  """The (2 * pad + 1)^2 images that a crop may return."""
  padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
  height, width, _ = image.shape
  return np.stack(
    [
      padded[row : row + height, column : column + width]
      for row in range(2 * pad + 1)
      for column in range(2 * pad + 1)
    ]
  )


def test_crop_is_one_of_the_shifts(maybe_jit):
  """An offset outside the padding, or a mixed-up image, fits no shift."""
  cropped = maybe_jit(FUNCTIONS['crop'])(KEY, IMAGES)
  for image, result in zip(np.array(IMAGES), np.array(cropped), strict=True):
    assert (shifts(image, 2) == result).all(axis=(1, 2, 3)).sum() == 1


def test_crop_reaches_every_shift():
  """An offset never drawn, such as the last, would make crops lopsided."""
  image = np.array(IMAGES[0])
  images = jnp.broadcast_to(image, (500, *image.shape))
  cropped = np.array(augment.crop(KEY, images, 1))
  equal = (cropped[:, None] == shifts(image, 1)).all(axis=(2, 3, 4))
  # 500 / 9 = 56 each; five standard deviations are 35.
  assert equal.sum(axis=0).min() > 20
  assert equal.sum() == 500


def test_crop_without_padding_changes_nothing():
  chex.assert_trees_all_equal(augment.crop(KEY, IMAGES, 0), IMAGES)


def test_flip_mirrors_about_half_and_undoes_itself(maybe_jit):
  """Flips rows, or the batch as one, and this fails."""
  flip = maybe_jit(augment.flip)
  once = np.array(flip(KEY, IMAGES))
  same = (once == np.array(IMAGES)).all(axis=(1, 2, 3))
  mirrored = (once == np.array(IMAGES)[:, :, ::-1]).all(axis=(1, 2, 3))
  assert (same ^ mirrored).all()
  assert 16 < mirrored.sum() < 48  # four standard deviations from 32
  chex.assert_trees_all_equal(flip(KEY, once), IMAGES)


@pytest.mark.parametrize('size', (1, 2, 3))
def test_cutout_zeros_one_clipped_square(maybe_jit, size):
  """The zeros are one rectangle, in all channels, no side above `size`."""
  cutout = maybe_jit(lambda key, images: augment.cutout(key, images, size))
  result = np.array(cutout(KEY, IMAGES))
  zero = (result == 0).all(axis=-1)
  assert (zero == (result == 0).any(axis=-1)).all()
  assert (result == np.where(zero[..., None], 0, IMAGES)).all()
  rows, columns = zero.any(axis=2), zero.any(axis=1)
  assert (zero == rows[:, :, None] & columns[:, None, :]).all()
  for side in (rows.sum(axis=1), columns.sum(axis=1)):
    assert 1 <= side.min() and side.max() == size
  for line in np.concatenate([np.pad(rows, ((0, 0), (0, 1))), columns]):
    assert np.ptp(np.flatnonzero(line)) + 1 == line.sum()


def test_cutout_is_centred_on_every_pixel_alike():
  """With size 3 on a 5x5 image a corner is hidden by 4 of 25 centres."""
  images = jnp.ones((4000, 5, 5, 1))
  hidden = 1 - np.array(augment.cutout(KEY, images, 3)).mean(axis=0)[..., 0]
  line = np.array([2, 3, 3, 3, 2])
  np.testing.assert_allclose(hidden, np.outer(line, line) / 25, atol=0.04)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_same_key_same_images_other_key_other_images(maybe_jit, name):
  function = maybe_jit(FUNCTIONS[name])
  first = function(KEY, IMAGES)
  chex.assert_trees_all_equal(first, function(KEY, IMAGES))
  assert (first != function(jax.random.key(1), IMAGES)).any()
  chex.assert_equal_shape([first, IMAGES])
  assert first.dtype == IMAGES.dtype


@pytest.mark.parametrize('name', FUNCTIONS)
def test_images_differ_in_what_is_drawn(name):
  """One draw for the whole batch is the classic mistake."""
  images = jnp.broadcast_to(IMAGES[:1], IMAGES.shape)
  result = np.array(FUNCTIONS[name](KEY, images))
  assert len(np.unique(result, axis=0)) > 1


@pytest.mark.parametrize('name', FUNCTIONS)
def test_key_is_consumed_once(name):
  """Two draws from one key would tie the row of a crop to its column."""
  with jax.debug_key_reuse(True):
    jax.jit(FUNCTIONS[name])(jax.random.key(2), IMAGES)


def test_augment_does_nothing_unless_asked():
  chex.assert_trees_all_equal(augment.augment(KEY, IMAGES), IMAGES)


@pytest.mark.parametrize(
  'options', ({'pad': 2}, {'mirror': True}, {'cutout_size': 3})
)
def test_augment_does_what_is_asked(options):
  """An option left out of the composition would leave the images alone."""
  result = augment.augment(KEY, IMAGES, **options)
  assert (result != IMAGES).any()


def test_normalise_counts_uint8_as_fractions():
  """By hand: (51 / 255 - 0.1) / 0.5 = 0.2 and (255 / 255 - 0.2) / 0.4 = 2."""
  images = np.array([51, 255], np.uint8).reshape(1, 1, 1, 2)
  mean, std = np.array([0.1, 0.2]), np.array([0.5, 0.4])
  result = jax.jit(augment.normalise)(images, mean, std)
  assert result.dtype == jnp.float32
  np.testing.assert_allclose(result.ravel(), [0.2, 2.0], rtol=1e-6)


def test_normalise_takes_floats_as_they_are():
  """By hand: (3 - 1) / 4 = 0.5; a division by 255 would leave -0.247."""
  images = np.full((1, 1, 1, 1), 3.0)
  result = augment.normalise(images, np.array([1.0]), np.array([4.0]))
  np.testing.assert_allclose(result, 0.5)


@pytest.mark.parametrize('function', (augment.crop, augment.cutout))
def test_negative_size_is_refused(function):
  with pytest.raises(ValueError, match='0 or more, got -1'):
    function(KEY, IMAGES, -1)


@pytest.mark.parametrize('name', FUNCTIONS)
def test_a_single_image_is_refused(name):
  """Without its batch axis an image would be read as a batch of columns."""
  with pytest.raises(AssertionError):
    FUNCTIONS[name](KEY, IMAGES[0])


def test_mixup_is_the_share_of_each_image_and_of_its_partner(maybe_jit):
  """Partners are a permutation: no image is lost."""
  mixup = maybe_jit(lambda key, images: augment.mixup(key, images, 0.4))
  mixed, partner, share = mixup(KEY, IMAGES)
  assert sorted(partner.tolist()) == list(range(64))
  assert partner.tolist() != list(range(64)) and 0 <= share <= 1
  expected = share * IMAGES + (1 - share) * np.asarray(IMAGES)[partner]
  np.testing.assert_allclose(mixed, expected, rtol=1e-5)


def test_shares_of_mixup_are_of_the_beta_distribution():
  """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
  keys = jax.random.split(KEY, 2000)
  images = jnp.ones((1, 1, 1, 1))
  shares = jax.vmap(lambda key: augment.mixup(key, images, 0.2)[2])(keys)
  assert abs(shares.mean() - 0.5) < 0.04
  assert abs(shares.var() - 1 / 5.6) < 0.01


def test_the_key_of_mixup_decides_and_is_consumed_once():
  with jax.debug_key_reuse(True):
    first = jax.jit(lambda key: augment.mixup(key, IMAGES, 1.0))(KEY)
  chex.assert_trees_all_close(first, augment.mixup(KEY, IMAGES, 1.0))
  other = augment.mixup(jax.random.key(1), IMAGES, 1.0)
  assert first[2] != other[2] and (first[1] != other[1]).any()


def test_mixup_without_alpha_is_refused():
  with pytest.raises(ValueError, match='alpha must be above 0, got 0'):
    augment.mixup(KEY, IMAGES, 0.0)
