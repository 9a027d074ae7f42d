"""Binary masks over the connections of modules, and the shadow behind them.

Ahmed & Torresani, "MaskConnect: Connectivity learning by gradient descent",
ECCV 2018 (arXiv 1807.11473); only the abstract was at hand, so the rule is a
reconstruction. Each module sums what it reads; a mask says which of the earlier
nodes that is, `fan_in` of them. Behind the masks is a real-valued shadow in
[0, 1], to which the gradient of the masks is applied.

Node 0 is the stem and node j + 1 module j, so module j may read nodes 0 to j:
masks and shadows are [M, M], [j, k] where module j reads node k, lower
triangular. A module with fewer candidates than `fan_in` reads all of them.
"""

import jax
import jax.numpy as jnp
import numpy as np

START = 0.5  # of the shadow
_LEAST = 1e-6  # what a shadow of 0 is drawn with: p is defined for zeros


def candidates(count: int) -> jax.Array:
  """What may be read: [M, M] bool."""
  return jnp.tril(jnp.ones((count, count), bool))


def shadow(count: int) -> jax.Array:
  """The shadow before the first step: [M, M] float32."""
  return START * candidates(count).astype(jnp.float32)


def strongest(values: jax.Array, fan_in: int) -> jax.Array:
  """The masks [M, M] bool of the largest `fan_in` values of each row.

  Among equals the nearest node is taken.
  """
  allowed = candidates(len(values))
  ranked = jnp.where(allowed, values, -jnp.inf)[:, ::-1]
  _, index = jax.lax.top_k(ranked, fan_in)
  chosen = jax.nn.one_hot(index, len(values), dtype=bool).any(1)[:, ::-1]
  return chosen & allowed


def draw(key: jax.Array, shadow: jax.Array, fan_in: int) -> jax.Array:
  """Masks [M, M] bool: `fan_in` distinct nodes of p_j = r_j / sum(r_j) a row.

  By Gumbel's top-k, which is drawing one after another without putting back
  (Kool et al. 2019). Nodes whose shadow is 0 come after all others, alike.
  """
  noise = jax.random.gumbel(key, shadow.shape, shadow.dtype)
  return strongest(jnp.log(jnp.maximum(shadow, _LEAST)) + noise, fan_in)


def learnt(shadow: jax.Array, slopes: jax.Array, rate) -> jax.Array:
  """r <- clip(r - rate * dL/dm, 0, 1), of candidates; all [M, M]."""
  moved = jnp.clip(shadow - rate * slopes, 0.0, 1.0)
  return jnp.where(candidates(len(shadow)), moved, 0.0)


def nearest(count: int, fan_in: int) -> jax.Array:
  """Every module reads the `fan_in` nodes before it; 1 is a chain."""
  return strongest(jnp.zeros((count, count)), fan_in)


def random(key: jax.Array, count: int, fan_in: int) -> jax.Array:
  """Every module reads `fan_in` nodes drawn uniformly."""
  return draw(key, shadow(count), fan_in)


def needed(masks) -> np.ndarray:
  """Which modules the last one depends on, itself too: [M] bool, on the host.

  The others are read by nobody, or by such modules only.
  """
  masks = np.asarray(masks)
  found = np.zeros(len(masks), bool)
  found[-1] = True
  for j in reversed(range(1, len(masks))):  # module j reads module k - 1
    if found[j]:
      found[:-1] |= masks[j, 1:]
  return found


def text_of(masks) -> str:
  """What each module reads, as '0; 0 1; 0 2', the stem being 0."""
  return '; '.join(
    ' '.join(map(str, np.flatnonzero(row))) for row in np.asarray(masks)
  )
