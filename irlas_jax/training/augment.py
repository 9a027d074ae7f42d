"""Random changes to a batch of images, as pure functions that jit.

Images [B, H, W, C] are float32 and already normalised, so that the zeros of
`crop` and `cutout` are the mean colour. Every image draws its own change, but
that a batch is mixed by one share.
"""

import chex
import jax
import jax.numpy as jnp


def normalise(images, mean, std):
  """(images - mean) / std as float32; uint8 images count as 0..1.

  Shapes: [..., C], [C], [C]; returns [..., C].
  """
  images, mean, std = map(jnp.asarray, (images, mean, std))
  chex.assert_shape([mean, std], (images.shape[-1],))
  scale = 255.0 if images.dtype == jnp.uint8 else 1.0
  return (images.astype(jnp.float32) / scale - mean) / std


def crop(key, images, pad):
  """A random window [H, W] of each image after padding it with `pad` zeros.

  `pad` is static. The offsets are uniform over (2 * pad + 1)^2.
  """
  chex.assert_rank(images, 4)
  if pad < 0:
    raise ValueError(f'pad must be 0 or more, got {pad}.')
  batch, *window = images.shape
  offsets = jax.random.randint(key, (batch, 2), 0, 2 * pad + 1)
  padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

  # Slices copy whole rows: on a CPU this beats gathering pixel by pixel.
  def window_at(image, offset):
    return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), window)

  return jax.vmap(window_at)(padded, offsets)


def flip(key, images):
  """Mirrors each image left to right with probability 1/2."""
  chex.assert_rank(images, 4)
  mirrored = jax.random.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
  return jnp.where(mirrored, images[:, :, ::-1], images)


def cutout(key, images, size):
  """Zeros a square of `size` pixels a side (DeVries & Taylor, 2017).

  Its centre is uniform over the pixels; what falls outside is clipped.
  """
  chex.assert_rank(images, 4)
  if size < 0:
    raise ValueError(f'size must be 0 or more, got {size}.')
  batch, height, width, _ = images.shape
  key_row, key_column = jax.random.split(key)
  rows = _hidden(key_row, batch, height, size)[:, :, None, None]
  columns = _hidden(key_column, batch, width, size)[:, None, :, None]
  return jnp.where(rows & columns, 0, images)


def _hidden(key, batch, length, size):
  """Which of `length` lines a square of `size` covers: [B, length] bool."""
  centre = jax.random.randint(key, (batch, 1), 0, length)
  offset = jnp.arange(length) - centre + size // 2
  return (offset >= 0) & (offset < size)


def augment(key, images, *, pad=0, mirror=False, cutout_size=0):
  """Crop, flip, cutout, each if asked for; by default the images themselves."""
  key_crop, key_flip, key_cutout = jax.random.split(key, 3)
  if pad:
    images = crop(key_crop, images, pad)
  if mirror:
    images = flip(key_flip, images)
  if cutout_size:
    images = cutout(key_cutout, images, cutout_size)
  return images


def mixup(key, images, alpha):
  """Mixes the images of a batch in pairs (Zhang et al., 2018).

  x'_i = share x_i + (1 - share) x_{partner(i)}, with share ~ Beta(alpha, alpha)
  for the batch, as in the authors' code, and a random permutation of partners.

  Returns:
    (images [B, H, W, C], partner [B] int32, share []); the loss is to weigh
    the labels of an image and of its partner alike.
  """
  chex.assert_rank(images, 4)
  if not alpha > 0:
    raise ValueError(f'alpha must be above 0, got {alpha}.')
  key_share, key_partner = jax.random.split(key)
  share = jax.random.beta(key_share, alpha, alpha)
  partner = jax.random.permutation(key_partner, images.shape[0])
  return share * images + (1 - share) * images[partner], partner, share
