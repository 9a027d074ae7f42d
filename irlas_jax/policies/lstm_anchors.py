"""A recurrent policy that chooses all skip connections of a layer at once.

The controller of Zoph & Le, 2017 (arXiv 1611.01578): an LSTM that reads its own
choices, and at a layer's anchor point attends to the earlier ones (section
3.3). `policies.lstm` chooses skips one after another, a step each.

Shapes: `T` steps of a space, `A` actions a step, `L` layers, `K` steps that are
chosen at once at most, `B` beats (steps of the LSTM), `n` action sequences, `H`
hidden units of a layer.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.policies import lstm, sampling
from irlas_jax.types import Policy, Space

_NO, _YES = 1, 2  # the actions of a skip


class Controller(nn.Module):
  """One beat: (memory, token [], x [H], anchors [L, H]) -> (memory, h, z, s).

  It reads the embedding of a token and x. h [H] is the output, z [A] are logits
  of a choice, and s [L] those of skips from the anchors.
  """

  num_actions: int  # A
  hidden: int  # H
  init_scale: float

  @nn.compact
  def __call__(self, memory, token, x, anchors):
    init = lstm.symmetric_uniform(self.init_scale)

    def dense(size, name, use_bias=False):
      return nn.Dense(size, use_bias, kernel_init=init, name=name)

    embed = nn.Embed(self.num_actions + 2, self.hidden, embedding_init=init)
    memory, h = lstm.run_cells(memory, embed(token) + x, init)
    z = dense(self.num_actions, 'choice', True)(h)
    both = dense(self.hidden, 'previous')(anchors)
    both += dense(self.hidden, 'current')(h)
    return memory, h, z, dense(1, 'attention')(jnp.tanh(both))[..., 0]


class _Beats(NamedTuple):
  """What is chosen at each beat."""

  steps: np.ndarray  # [B, K] of the space; T stands for none
  layer: np.ndarray  # [B], at an anchor point that layer; elsewhere -1


class _Carry(NamedTuple):
  memory: tuple
  token: jax.Array  # [] int32, the last choice; A before the first
  x: jax.Array  # [H], of the anchors that the last layer reads
  anchors: jax.Array  # [L, H]; 0 for those to come
  actions: jax.Array  # [T] int32


def lstm_anchors(
  space: Space,
  *,
  hidden: int = 35,
  layers: int = 2,
  init_scale: float = 0.08,
  temperature: float = 1.0,
  tanh_constant: float = 0.0,
) -> Policy:
  """P(layer i reads j) = sigmoid(v . tanh(W_prev h_j + W_curr h_i)).

  h_i is the controller's output at layer i's anchor point, the beat that reads
  its last size. All skips of a layer are chosen there, each for itself; other
  choices are those of `lstm`, which has the arguments. No parameter depends on
  T or L.

  What the beat after an anchor point reads is not in the paper: ours is a token
  of its own and the mean of the h_j that were chosen, 0 without any.

  Raises:
    ValueError: for a space without `anchors`, a size below 1 or a scale out of
      range.
  """
  lstm.check(hidden, layers, init_scale, temperature, tanh_constant)
  if not space.anchors:
    raise ValueError(
      'searcher.policy.name is lstm_anchors, and this space has no skip '
      'connections to be chosen together: choose lstm.'
    )
  module = Controller(space.num_actions, hidden, init_scale)
  run: Callable = module.apply
  beats = _beats(space)
  start = _Carry(
    lstm.start(hidden, layers),
    jnp.int32(space.num_actions),
    jnp.zeros(hidden),
    jnp.zeros((len(space.anchors), hidden)),
    jnp.zeros(space.num_steps, jnp.int32),
  )

  def init(key):
    return module.init(key, *start[:-1])['params']

  def apply(params, carry: _Carry):
    memory, h, z, s = run({'params': params}, *carry[:-1])
    z, s = (lstm.scaled(x, temperature, tanh_constant) for x in (z, s))
    return memory, h, z, s

  def unroll(params, row, choose):
    def beat(carry, steps_and_layer):
      return _beat(space, apply, params, row, choose, carry, *steps_and_layer)

    carry, (log_prob, entropy) = jax.lax.scan(beat, start, tuple(beats))
    told = (
      jnp.zeros(space.num_steps).at[beats.steps].set(x, mode='drop')
      for x in (log_prob, entropy)
    )
    return carry.actions, *told

  return lstm.by_unrolling(space, init, unroll)


def _beats(space: Space) -> _Beats:
  """A beat for each size of a layer, and one for its anchor point."""
  most = max(len(space.anchors) - 1, 1)
  steps, layers, begin = [], [], 0
  for i, anchor in enumerate(space.anchors):
    chosen = [[t] for t in range(begin, anchor)]
    chosen.append(list(range(anchor, anchor + i)))
    steps += [row + [space.num_steps] * (most - len(row)) for row in chosen]
    layers += [-1] * (anchor - begin) + [i]
    begin = anchor + i
  return _Beats(np.array(steps, np.int32), np.array(layers, np.int32))


def _beat(space, apply, params, row, choose, carry: _Carry, steps, layer):
  """One beat: what is carried on; log-probabilities and entropies [K].

  `row` [T] has the draws or the actions; see `lstm.by_unrolling`.
  """
  memory, h, z, s = apply(params, carry)
  is_anchor, rank = layer >= 0, jnp.arange(len(steps))
  actions = jnp.arange(space.num_actions)
  # log P(yes) - log P(no) = s, whatever the logits of the others.
  skips = jnp.where(actions == _YES, s[: len(steps), None], 0.0)
  legal = jax.vmap(space.legal, (None, 0))(carry.actions, steps)
  log_probs = sampling.masked_log_softmax(
    jnp.where(is_anchor, skips, z[None]), legal
  )
  chosen = jax.vmap(choose)(row[steps], log_probs).astype(jnp.int32)
  read = (rank < layer) & (chosen == _YES)
  total = read @ carry.anchors[: len(steps)]
  following = _Carry(
    memory,
    jnp.where(is_anchor, space.num_actions + 1, chosen[0]).astype(jnp.int32),
    jnp.where(is_anchor, total / jnp.maximum(read.sum(), 1), 0.0),
    # Beyond the end is dropped.
    carry.anchors.at[jnp.where(is_anchor, layer, len(carry.anchors))].set(
      h, mode='drop'
    ),
    carry.actions.at[steps].set(chosen, mode='drop'),
  )
  log_prob = jnp.take_along_axis(log_probs, chosen[:, None], axis=1)[:, 0]
  return following, (log_prob, sampling.entropy(log_probs))
