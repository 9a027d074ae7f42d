"""Parameters of policies in files, so that one search can begin where another
one ended: NumPy's .npz, an array a parameter, named by its path.
"""

import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from irlas_jax.types import Policy


def save(path: str | os.PathLike, params: Any) -> None:
  """Writes a policy's parameters, whole or not at all."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  new = path.with_name(f'{path.stem}.new.npz')
  np.savez(new, **_flat(jax.device_get(params)))
  os.replace(new, path)


def starting_from(policy: Policy, path: str | os.PathLike) -> Policy:
  """The policy with what a file has as its first parameters.

  Raises:
    ValueError: if there is no such file, or it has those of another policy.
  """
  like = jax.eval_shape(policy.init, jax.random.key(0))
  try:
    with np.load(path, allow_pickle=False) as file:
      found = {name: file[name] for name in file.files}
  except (OSError, ValueError) as error:
    raise ValueError(f'{path} has no policy: {error}') from error
  wanted = {name: leaf.shape for name, leaf in _flat(like).items()}
  given = {name: array.shape for name, array in found.items()}
  if wanted != given:
    different = sorted(set(wanted.items()) ^ set(given.items()))
    raise ValueError(
      f'{path} has the parameters of another policy: {different[0][0]!r} '
      f'should be {wanted.get(different[0][0])}, and is '
      f'{given.get(different[0][0])}.'
    )
  arrays = [found[name] for name in _flat(like)]

  def init(key):
    del key  # nothing is drawn
    return jax.tree.unflatten(
      jax.tree.structure(like), list(map(jnp.asarray, arrays))
    )

  return policy._replace(init=init)


def _flat(params) -> dict[str, Any]:
  """{path: leaf}, in the order of the leaves; of a single array: 'all'."""
  if not isinstance(params, dict):
    return {'all': params}
  flat = traverse_util.flatten_dict(params, sep='/')
  paths = jax.tree_util.tree_leaves_with_path(params)
  names = ['/'.join(part.key for part in path) for path, _ in paths]
  return {name: flat[name] for name in names}
