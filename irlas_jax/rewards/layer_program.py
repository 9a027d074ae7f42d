"""Exact programs for features that read one layer's own choice only.

Apprenticeship learning (Abbeel & Ng, "Apprenticeship learning via inverse
reinforcement learning", 2004) asks for best responses, policies that maximise
w.mu(tau), and maximum-entropy learning (Ziebart et al., "Maximum entropy
inverse reinforcement learning", 2008) for expectations under
p(tau) ~ exp(w.mu(tau)), where

  mu(tau) = sum_{t < L} gamma^t phi(s_t),

divided by sum_{t < L} gamma^t if *normalised*: then the mean of phi over the
episode tau of L layers. If phi(s_t) is a function of t and the action there,
and what is legal at t does not depend on earlier actions but for the terminal,
then given L the layers are independent of each other. All of the above is then
a sum or a maximum over actions, a layer at a time, and over the T + 1 lengths.

All but `layer_features` may be jitted and vmapped; discount, in (0, 1], and
normalised may be traced. At least one episode must be legal.

Shapes: `T` steps, `A` actions a step, `D` features.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.rewards.features import Labels, labelled
from irlas_jax.rewards.policy_class import EXACT, PolicyClass
from irlas_jax.types import Array, Graph, Space

# Finite, so that sums and gradients of what is impossible are no NaN.
_IMPOSSIBLE = -1e30
_WALKS = 4  # random architectures that a space and a phi are checked on


class Layers(NamedTuple):
  """What may be chosen layer by layer, and what phi says of it.

  Action 0 is the terminal. An episode of T layers ends by itself.
  """

  features: jax.Array  # [T, A, D] phi of action a at step t; [:, 0] is not read
  legal: jax.Array  # [T, A] bool; column 0: may the episode end before layer t


class Response(NamedTuple):
  """The best episode, and what phi says of it."""

  actions: jax.Array  # [T] int32, 0 from the episode's end on
  mu: jax.Array  # [D]


def scales(num_steps: int, discount: Array, normalised: Array) -> jax.Array:
  """How much phi(s_t) counts in an episode of L layers: [T + 1 lengths, T].

  gamma^t for t < L, else 0; divided by their sum if normalised.
  """
  steps = jnp.arange(num_steps)
  inside = steps < jnp.arange(num_steps + 1)[:, None]
  powers = jnp.where(inside, discount**steps, 0.0)
  total = powers.sum(1, keepdims=True).at[0].set(1.0)  # no layers count nothing
  return jnp.where(normalised, powers / total, powers)


def log_partition(
  layers: Layers, weights: Array, discount: Array, normalised: Array
) -> jax.Array:
  """log of the mean of exp(w.mu(tau)) over the N legal episodes tau: [].

  log sum_tau exp(w.mu(tau)) - log N, which is 0 at w = 0. With N_L the number
  of episodes of L layers, n_t that of legal layers at t and c_Lt of `scales`,

    = log sum_L N_L / N prod_{t < L} 1 / n_t sum_a exp(c_Lt w.phi(t, a)),

  in logarithms throughout: N is beyond single precision. Holds [T + 1, T, A].
  """
  rewards = _rewards(layers, weights)
  legal = layers.legal[:, 1:]
  scale = scales(len(legal), discount, normalised)
  log_counts = _log_sums(jnp.zeros_like(rewards), legal)  # [T], log n_t
  # From the end of an episode on, scale is 0 and the mean is 1.
  log_means = _log_sums(scale[..., None] * rewards, legal) - log_counts
  log_episodes = jnp.pad(jnp.cumsum(log_counts), (1, 0))
  log_shares = jax.nn.log_softmax(
    jnp.where(_ends(layers), log_episodes, _IMPOSSIBLE)
  )
  return jax.nn.logsumexp(log_shares + log_means.sum(1))


def expectation(
  layers: Layers, weights: Array, discount: Array, normalised: Array
) -> jax.Array:
  """E mu(tau) under p(tau) ~ exp(w.mu(tau)), [D]: `log_partition`'s gradient.

  At w = 0 the mean over all legal episodes, each as likely.
  """
  return jax.grad(log_partition, 1)(layers, weights, discount, normalised)


def best_response(
  layers: Layers, weights: Array, discount: Array, normalised: Array
) -> Response:
  """argmax_tau w.mu(tau): the best action a layer, then the best length.

  What is best at a step does not depend on the length, for no scale is
  negative. Of equals the lowest action and the shortest episode are taken;
  lengths that are equal but for rounding may come in either order.
  """
  legal = layers.legal[:, 1:]
  rewards = jnp.where(legal, _rewards(layers, weights), _IMPOSSIBLE)
  actions = 1 + jnp.argmax(rewards, axis=1).astype(jnp.int32)
  steps = jnp.arange(len(legal))
  scale = scales(len(legal), discount, normalised)
  values = jnp.dot(scale, rewards.max(1), precision=EXACT)
  length = jnp.argmax(jnp.where(_ends(layers), values, -jnp.inf))
  phi = layers.features[steps, actions]
  mu = jnp.dot(scale[length], phi, precision=EXACT)
  return Response(jnp.where(steps < length, actions, 0), mu)


def policy_expectation(
  layers: Layers, probabilities: Array, discount: Array, normalised: Array
) -> jax.Array:
  """E mu(tau) of a policy that chooses step by step: [D].

  probabilities [T, A] are those of the actions at t given that t is reached, 0
  for illegal ones; column 0 is that of ending before layer t.
  """
  _check(layers, 'probabilities [T, A]', probabilities, slice(2))
  chosen = probabilities[:, 1:]
  going_on = chosen.sum(1)
  reached = jnp.pad(jnp.cumprod(going_on), (1, 0), constant_values=1.0)
  ending = jnp.pad(probabilities[:, 0], (0, 1), constant_values=1.0)
  phi = jnp.einsum(
    'ta,tad->td', chosen, layers.features[:, 1:], precision=EXACT
  ) / jnp.where(going_on > 0, going_on, 1.0).reshape(-1, 1)
  scale = scales(len(chosen), discount, normalised)
  shares = jnp.dot(reached * ending, scale, precision=EXACT)
  return jnp.dot(shares, phi, precision=EXACT)


def policies(layers: Layers, discount: Array, normalised: Array) -> PolicyClass:
  """All policies over legal episodes: `policy_class.pool` without the pool.

  Exact, and no larger for a space of which no pool could hold all episodes.
  """
  rest = discount, normalised
  return PolicyClass(
    expectation(layers, jnp.zeros(layers.features.shape[-1]), *rest),
    lambda weights: best_response(layers, weights, *rest).mu,
    lambda weights: log_partition(layers, weights, *rest),
  )


def layer_features(
  space: Space, phi: Callable[[Graph, jax.Array], jax.Array]
) -> Layers:
  """The layers of a space in which step t makes node t + 1.

  Action 0 must be the space's terminal. Every action is put at every step of
  random architectures, and phi(graph, node) -> [D] is applied to its node. Runs
  on the host; rows of illegal actions are 0.

  Raises:
    ValueError: between those architectures, what is legal or what phi says of
      a layer differs. A rarer dependence on other layers may go unseen; the
      programs are then wrong.
  """

  def of_action(walk, step, action):
    return phi(space.decode(walk.at[step].set(action)), step + 1)

  @jax.jit
  def build(key):
    walks, legal = jax.vmap(functools.partial(_walk, space))(key)
    over_actions = jax.vmap(of_action, in_axes=(None, None, 0))
    over_steps = jax.vmap(over_actions, in_axes=(None, 0, None))
    over_walks = jax.vmap(over_steps, in_axes=(0, None, None))
    steps, actions = jnp.arange(space.num_steps), jnp.arange(space.num_actions)
    told = legal.at[..., 0].set(False)[..., None]
    return jnp.where(told, over_walks(walks, steps, actions), 0.0), legal

  # The seed has no influence on what is returned.
  features, legal = build(jax.random.split(jax.random.key(0), _WALKS))
  for what, values in (('what is legal', legal), ('phi', features)):
    if not jnp.allclose(values, values[0]):
      raise ValueError(
        f'layer_features: {what} at a step depends on the other layers, so '
        'layers are no independent choices; use policy_class.pool.'
      )
  return Layers(features[0], legal[0])


def layer_phi(
  resolutions: Sequence[Labels],
) -> Callable[[Graph, jax.Array], jax.Array]:
  """A phi(graph, node) for `layer_features` that no renumbering changes.

  A one-hot of the node's label at each resolution; whether it reads node 0, the
  input; how many nodes it reads. These features are ours. ValueError, from phi,
  as `features.labelled` says.
  """

  def phi(graph, node):
    told = [labelled(graph, one)[node] for one in resolutions]
    reads = graph.edges[:, node]
    counts = jnp.stack([reads[0], reads.sum()])
    return jnp.concatenate([*told, counts.astype(jnp.float32)])

  return phi


def _walk(space, key):
  """A random architecture of T layers: actions [T], what was legal [T, A]."""

  def step(actions, inputs):
    t, noise = inputs
    legal = space.legal(actions, t)
    # Where no layer is legal, this comes to 0, the terminal.
    action = jnp.argmax(jnp.where(legal, noise, 0.0).at[0].set(0.0))
    return actions.at[t].set(action.astype(jnp.int32)), legal

  shape = space.num_steps, space.num_actions
  noise = jax.random.uniform(key, shape, minval=0.5)
  start = jnp.zeros(space.num_steps, jnp.int32)
  return jax.lax.scan(step, start, (jnp.arange(space.num_steps), noise))


def _rewards(layers, weights):
  """w.phi of every action but the terminal: [T, A - 1]."""
  _check(layers, 'weights [D]', weights, slice(2, None))
  return jnp.dot(layers.features[:, 1:], weights, precision=EXACT)


def _log_sums(rewards, legal):
  """log sum_a exp(rewards) over legal actions, along the last axis."""
  return jax.nn.logsumexp(jnp.where(legal, rewards, _IMPOSSIBLE), axis=-1)


def _ends(layers):
  """Whether an episode may end after 0 ... T layers: [T + 1] bool."""
  return jnp.pad(layers.legal[:, 0], (0, 1), constant_values=True)


def _check(layers, name, array, axes):
  """Raises ValueError unless `layers` fit together, and `array` their axes."""
  features, legal = layers.features.shape, layers.legal.shape
  if (len(features), legal, array.shape) != (3, features[:2], features[axes]):
    raise ValueError(
      f'layer_program: features {features}, legal {legal} and {array.shape} '
      f'do not fit together; give features [T, A, D], legal [T, A] and {name}.'
    )
