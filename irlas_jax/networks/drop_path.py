"""Dropping whole paths of a network while it is trained.

ScheduledDropPath of NASNet (Zoph et al., "Learning transferable architectures
for scalable image recognition", CVPR 2018): the probability rises linearly over
the training, and from cell to cell.
"""

import flax.linen as nn
import jax


def scheduled(rate, progress, index: int, count: int):
  """rate * progress * (index + 1) / count: the probability in cell `index`.

  `progress` [] is the share of the training that is done; `rate` is reached at
  its end, in the last of `count` cells.
  """
  return rate * progress * (index + 1) / count


class DropPath(nn.Module):
  """Zeroes x [N, ...] of an example as a whole; what is kept is / (1 - rate).

  Draws from the collection 'drop_path'; `rate` [] in [0, 1) may be traced.
  """

  @nn.compact
  def __call__(self, x: jax.Array, rate) -> jax.Array:
    keep = 1 - rate
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    kept = jax.random.bernoulli(self.make_rng('drop_path'), keep, shape)
    return x * (kept / keep).astype(x.dtype)
