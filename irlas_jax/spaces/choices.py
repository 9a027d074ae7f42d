"""Independent choices: at every step one of so many, whatever came before.

The space of a table that says of its rows only what was chosen at each step.
Shapes: `T` steps, `A` actions (the most that a step has), `V` = T + 1 nodes.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.spaces import genotypes
from irlas_jax.types import Graph, Space


def choices(sizes: Sequence[int]) -> Space:
  """`sizes[t]` choices at step t; an architecture is a chain of them.

  Node t + 1 of the graph is the choice at step t: operation 1 + t, and what was
  chosen as its attribute.

  Raises:
    ValueError: if there is no step, or one without a choice.
  """
  steps = np.arange(len(sizes) + 1)
  attrs_of_input = jnp.zeros(1, jnp.int32)

  def decode(actions):
    chosen = jnp.asarray(actions, jnp.int32)
    return Graph(
      jnp.asarray(steps, jnp.int32),
      jnp.concatenate([attrs_of_input, chosen])[:, None],
      jnp.asarray(steps[:, None] + 1 == steps),
      jnp.asarray(steps == len(sizes), jnp.int8),
    )

  def encode(graph):
    return jnp.asarray(graph.attrs, jnp.int32)[1:, 0]

  names = ('input', *(f'step {t}' for t in range(len(sizes))))
  return independent(sizes, decode, encode, names, ('choice',))


def text_of(graph: Graph) -> str:
  """What was chosen at each step, as 3-0-1."""
  return '-'.join(map(str, np.asarray(graph.attrs)[1:, 0].tolist()))


def parse(text: str, sizes: Sequence[int]) -> Graph:
  """The graph of such a text, as NumPy arrays.

  Raises:
    GenotypeError: if it is not one choice a step.
  """
  words = text.split('-')
  if len(words) != len(sizes) or not all(
    word.isdecimal() and int(word) < size
    for word, size in zip(words, sizes, strict=False)
  ):
    raise genotypes.GenotypeError(
      f'{text!r}: write one choice a step, each from 0 to '
      f'{"-".join(str(size - 1) for size in sizes)}.'
    )
  return jax.device_get(choices(sizes).decode([int(word) for word in words]))


def independent(
  sizes: Sequence[int],
  decode: Callable,
  encode: Callable,
  operations: tuple[str, ...],
  attributes: tuple[str, ...],
) -> Space:
  """The space of such choices whose graphs `decode` makes.

  A value table tells apart the step and the previous action: row
  t * A + a_{t-1}.

  Raises:
    ValueError: if there is no step, or one without a choice.
  """
  if not len(sizes) or min(sizes) < 1:
    raise ValueError(
      f'A space with {list(sizes)} choices at its steps: give one step or '
      'more, and each one choice or more.'
    )
  num_actions = max(sizes)
  masks = np.arange(num_actions) < np.asarray(sizes)[:, None]  # [T, A]

  def legal(actions, t):
    del actions  # whatever came before
    return jnp.asarray(masks)[t]

  def state(actions, t):
    previous = jnp.where(t > 0, actions[t - 1], 0)
    return jnp.asarray(t * num_actions + previous, jnp.int32)

  return Space(
    len(sizes),
    num_actions,
    len(sizes) * num_actions,
    legal,
    state,
    decode,
    encode,
    operations,
    attributes,
    terminal=False,
  )
