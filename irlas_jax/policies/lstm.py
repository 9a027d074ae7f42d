"""A recurrent policy: an LSTM that reads its own choices, one a step.

The controller of Zoph & Le, 2017 (arXiv 1611.01578), whose sizes are the
defaults, and of NASNet (Zoph et al., 2018, arXiv 1707.07012).

Shapes: `T` steps of a space, `A` actions a step, `n` action sequences, `H`
hidden units of a layer.
"""

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from irlas_jax.policies import sampling
from irlas_jax.types import Policy, Space


class Controller(nn.Module):
  """One step: (each layer's cell and output, token []) -> (them, logits [A]).

  A token is the action of the step before, or `A` where there is none.
  """

  num_actions: int  # A
  hidden: int  # H
  init_scale: float

  @nn.compact
  def __call__(self, memory, token):
    init = symmetric_uniform(self.init_scale)
    x = nn.Embed(self.num_actions + 1, self.hidden, embedding_init=init)(token)
    memory, x = run_cells(memory, x, init)
    return memory, nn.Dense(self.num_actions, kernel_init=init)(x)


def run_cells(memory, x: jax.Array, init: Callable):
  """One step of cells above each other: (what they remember, the output [H]).

  Called by a compact module, whose cells they are; `init` draws their weights.
  """
  kept = []
  for carry in memory:
    cell = nn.OptimizedLSTMCell(
      x.shape[-1], kernel_init=init, recurrent_kernel_init=init
    )
    carry, x = cell(carry, x)
    kept.append(carry)
  return tuple(kept), x


def start(hidden: int, layers: int):
  """What is remembered before the first step: ([H], [H]) a layer."""
  zeros = jnp.zeros(hidden)
  return ((zeros, zeros),) * layers


def scaled(z: jax.Array, temperature: float, tanh_constant: float) -> jax.Array:
  """Logits z over the temperature, then c tanh(z) unless c is 0."""
  z = z / temperature
  return tanh_constant * jnp.tanh(z) if tanh_constant else z


def lstm(
  space: Space,
  *,
  hidden: int = 35,
  layers: int = 2,
  init_scale: float = 0.08,
  temperature: float = 1.0,
  tanh_constant: float = 0.0,
) -> Policy:
  """pi(a | prefix) = softmax of the controller's logits over the legal actions.

  Each choice is embedded and read at the next step. One embedding and one head
  serve all steps, so no parameter depends on T, and those of one space run on
  a deeper one with as many actions. (The papers have a softmax for each kind
  of step. A `Space` does not tell kinds; what is legal does.)

  Args:
    space: what is chosen.
    hidden: units of a layer, and of the embedding. NASNet has 100.
    layers: cells above each other. NASNet has 1.
    init_scale: weights start uniform in [-init_scale, init_scale], biases at 0.
      NASNet has 0.1.
    temperature: divides the logits; above 1 explores more.
    tanh_constant: c, with which logits z become c tanh(z) after that, so that
      no choice becomes certain; 0 leaves them. Neither paper has these two;
      Pham et al., 2018 (arXiv 1802.03268) have 5.0 and 2.5.

  Raises:
    ValueError: for a size below 1 or a scale out of range.
  """
  check(hidden, layers, init_scale, temperature, tanh_constant)
  module = Controller(space.num_actions, hidden, init_scale)
  apply: Callable = module.apply
  memory = start(hidden, layers)

  def init(key):
    return module.init(key, memory, jnp.int32(space.num_actions))['params']

  def logits(params, memory, token):
    memory, z = apply({'params': params}, memory, token)
    return memory, scaled(z, temperature, tanh_constant)

  def unroll(params, row, choose):
    return _unroll(space, memory, params, logits, row, choose)

  return by_unrolling(space, init, unroll)


def by_unrolling(space: Space, init: Callable, unroll: Callable) -> Policy:
  """The policy whose samples and log-probabilities are one function's.

  unroll(params, row, choose) -> (actions, log-probabilities, entropies) [T],
  where choose(row[t], log_probs [A]) is the action at step t. Given actions for
  a row, it is they that are read, so what is drawn and what a given sequence is
  worth come from the same lines.
  """

  def each(params, rows, choose):
    return jax.vmap(lambda row: unroll(params, row, choose))(rows)

  def sample(key, params, n):
    def choose(u, log_probs):
      return sampling.pick(u, jnp.exp(log_probs))

    draws = jax.random.uniform(key, (n, space.num_steps))
    return each(params, draws, choose)[:2]

  def log_prob(params, actions):
    chex.assert_shape(actions, (None, space.num_steps))
    return each(params, actions, lambda action, _: action)[1:]

  return Policy(init, sample, log_prob)


def _unroll(
  space: Space,
  memory: Any,
  params: Any,
  logits: Callable,
  rows: jax.Array,
  choose: Callable,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Chooses step by step: (actions, their log-probabilities, entropies) [T]."""

  def step(carry, row):
    memory, token, actions = carry
    t, given = row
    memory, z = logits(params, memory, token)
    log_probs = sampling.masked_log_softmax(z, space.legal(actions, t))
    action = choose(given, log_probs).astype(jnp.int32)
    told = action, log_probs[action], sampling.entropy(log_probs)
    return (memory, action, actions.at[t].set(action)), told

  nothing = jnp.zeros(space.num_steps, jnp.int32)
  carry = memory, jnp.int32(space.num_actions), nothing
  return jax.lax.scan(step, carry, (jnp.arange(space.num_steps), rows))[1]


def symmetric_uniform(scale: float) -> Callable:
  """Draws weights from [-scale, scale]."""

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -scale, scale)

  return init


def check(hidden, layers, init_scale, temperature, tanh_constant) -> None:
  """Raises ValueError for a size below 1 or a scale out of range."""
  if min(hidden, layers) < 1:
    raise ValueError(
      f'lstm has hidden={hidden} and layers={layers}: at least 1 of each.'
    )
  if temperature <= 0 or min(init_scale, tanh_constant) < 0:
    raise ValueError(
      f'lstm has temperature={temperature}, init_scale={init_scale} and '
      f'tanh_constant={tanh_constant}: the first must be above 0, the others '
      '0 or more.'
    )
