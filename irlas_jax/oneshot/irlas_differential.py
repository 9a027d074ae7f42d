"""IRLAS-differential: DARTS with the mirror stimuli in the architecture's loss.

Guo et al., "IRLAS", CVPR 2019, say that their guidance suits other searches,
differentiable ones among them; equation and figures were not at hand, so all
of this is a reconstruction. On DARTS (Liu et al., ICLR 2019), in the cell of
NAS-Bench-201:

  L(alpha) = L_val(w*(alpha), alpha) - lambda * F_topo(softmax(alpha))

A step moves alpha by that, on a batch of validation images, and then the
weights by the training loss, on a batch of training images.

`E` = 6 edges, `O` operations, `S` steps an epoch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from irlas_jax.networks import block, nasbench201
from irlas_jax.oneshot import bilevel, mixed_network, steps, topology_score
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes

EDGES = mixed_network.EDGES
_SCATTER = 1e-3  # of alpha at the start, as in DARTS
_BETAS = 0.5, 0.999  # of alpha's Adam, as in DARTS


class State(NamedTuple):
  """Between two epochs."""

  params: dict
  opt_state: optax.OptState
  alpha: jax.Array  # [E, O]
  alpha_state: optax.OptState
  done: jax.Array  # [] int32 steps


class Sizes(NamedTuple):
  """All that a program of the method is made for."""

  operations: tuple[str, ...]  # of an edge, in the space's order
  macro: block.Macro
  num_classes: int
  image_shape: tuple[int, int, int]
  num_train: int
  num_valid: int


# Of the architecture's gradient: (train_loss, valid_loss, w, alpha, rate).
ORDERS: dict[str, Callable] = {
  'first': lambda train_loss, valid_loss, weights, alpha, rate: (
    bilevel.first_order(valid_loss, weights, alpha)
  ),
  'second': bilevel.finite_difference,
  'second_exact': bilevel.second_order,
}


def irlas_differential(
  sizes: Sizes,
  recipe: recipes.Recipe,
  order: str = 'first',
  learning_rate: float = 3e-4,
  weight_decay: float = 1e-3,
  with_none: bool = False,
) -> steps.Method:
  """The method; rate and decay are alpha's, the weights' are the recipe's.

  `with_none` is that of `derived`, for the curves.

  `epoch` takes a lambda [] and the `EdgeScores` as further arguments, so that
  searches with and without an expert are one program.

  Raises:
    ValueError: for an order, a recipe or images that cannot be.
  """
  check(sizes, recipe, order)
  module = mixed_network.MixedNetwork(
    sizes.operations, sizes.macro, sizes.num_classes
  )
  number = steps.num_steps(sizes.num_train, recipe)
  tx, rate = (
    make(recipe, number) for make in (recipes.optimizer, recipes.schedule)
  )
  alpha_tx = optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.adam(learning_rate, *_BETAS),
  )

  def loss_on(batch, smoothing):
    images, labels = batch

    def loss(params, alpha):
      logits = module.apply({'params': params}, images, jax.nn.softmax(alpha))
      return steps.cross_entropy(logits, labels, smoothing)

    return loss

  def init(key: jax.Array) -> State:
    key_weights, key_alpha = jax.random.split(key)
    shape = len(EDGES), len(sizes.operations)
    alpha = _SCATTER * jax.random.normal(key_alpha, shape)
    images = jnp.zeros((1, *sizes.image_shape))
    shapes = jax.eval_shape(module.init, key_weights, images, alpha)
    params = steps.variables(
      key_weights, shapes['params'], mixed_network.STACKED
    )
    opt_states = tx.init(params), alpha_tx.init(alpha)
    return State(params, opt_states[0], alpha, opt_states[1], jnp.int32(0))

  def step(data, weight, scores, state: State, inputs):
    keys, train_rows, valid_rows = inputs
    train_loss = loss_on(
      steps.batch(keys[0], data, data.train, train_rows, recipe),
      recipe.label_smoothing,
    )
    valid_loss = loss_on(
      steps.batch(keys[1], data, data.valid, valid_rows, recipe), 0.0
    )
    slope = ORDERS[order](
      train_loss, valid_loss, state.params, state.alpha, rate(state.done)
    )
    slope -= weight * topology_score.gradient(scores, state.alpha)
    alpha, alpha_state = _moved(alpha_tx, slope, state.alpha_state, state.alpha)
    loss, slopes = jax.value_and_grad(train_loss)(state.params, alpha)
    params, opt_state = _moved(tx, slopes, state.opt_state, state.params)
    return State(params, opt_state, alpha, alpha_state, state.done + 1), loss

  def epoch(
    key: jax.Array,
    data: loop.Data,
    state: State,
    weight: jax.Array,
    scores: topology_score.EdgeScores,
  ):
    key_train, key_valid, key_steps = jax.random.split(key, 3)
    rows = functools.partial(
      steps.rows, steps=number, batch_size=recipe.batch_size
    )
    index = rows(key_train, sizes.num_train), rows(key_valid, sizes.num_valid)
    keys = jax.random.split(key_steps, (number, 2))
    run = functools.partial(step, data, weight, scores)
    state, losses = jax.lax.scan(run, state, (keys, *index))
    found = summary(state.alpha, sizes.operations, with_none)
    topology = topology_score.score(scores, state.alpha)
    return state, {'loss': losses.mean(), 'topology': topology, **found}

  def score(data: loop.Data, state: State):
    def network(params, images, _):
      weights = jax.nn.softmax(state.alpha)
      return module.apply({'params': params}, images, weights), None

    evaluate = loop.make_evaluate(network, data.valid, data.mean, data.std)
    return evaluate(state.params)

  return steps.Method(init, epoch, score)


def check(sizes: Sizes, recipe: recipes.Recipe, order: str) -> None:
  """Refuses what cannot be searched, before any work.

  Raises:
    ValueError: naming the field.
  """
  if order not in ORDERS:
    raise ValueError(
      f'oneshot.order is {order!r}: choose one of {", ".join(ORDERS)}.'
    )
  nasbench201.check_macro(sizes.macro)
  nasbench201.check_image(sizes.macro, sizes.image_shape)
  steps.check_recipe(recipe, sizes.num_train)


def _moved(tx, slope, opt_state, value) -> tuple[Any, Any]:
  updates, opt_state = tx.update(slope, opt_state, value)
  return optax.apply_updates(value, updates), opt_state


def derived(
  alpha: jax.Array, operations: tuple[str, ...], with_none: bool = False
) -> jax.Array:
  """The cell: the likeliest operation of each edge, [E] int32.

  Without `none`, as in DARTS: normalisation undoes what a larger share of it
  does to a node, so how likely it becomes says little.
  """
  none = jnp.arange(len(operations)) == operations.index('none')
  allowed = alpha if with_none else jnp.where(none, -jnp.inf, alpha)
  return jnp.argmax(allowed, axis=-1).astype(jnp.int32)


def summary(
  alpha: jax.Array, operations: tuple[str, ...], with_none: bool = False
) -> dict:
  """What becomes of a search, DARTS's collapse among it; all [].

  entropy      of the operations of an edge in nats, the mean over edges
  none_share   of the edges, those whose likeliest operation is `none`
  skip_share   of the derived cell's edges, those that are skip connections
  convolutions how many lie on a way from the cell's input to its output; where
               there is none, the cell has nothing to learn
  """
  p, cell = jax.nn.softmax(alpha), derived(alpha, operations, with_none)
  likeliest = derived(alpha, operations, with_none=True)
  return {
    'entropy': -jnp.sum(p * jax.nn.log_softmax(alpha), axis=-1).mean(),
    'none_share': jnp.mean(likeliest == operations.index('none')),
    'skip_share': jnp.mean(cell == operations.index('skip_connect')),
    'convolutions': convolutions(cell, operations),
  }


def convolutions(cell: jax.Array, operations: tuple[str, ...]) -> jax.Array:
  """[] int32, how many convolutions of a cell [E] are on a way through it."""
  there = cell != operations.index('none')
  reached = {0: jnp.bool_(True)}  # from the input; edges are in order
  for e, (source, target) in enumerate(EDGES):
    way = reached[source] & there[e]
    reached[target] = reached.get(target, jnp.bool_(False)) | way
  read = {EDGES[-1][1]: jnp.bool_(True)}  # by the output
  for e, (source, target) in reversed(list(enumerate(EDGES))):
    way = read[target] & there[e]
    read[source] = read.get(source, jnp.bool_(False)) | way
  kernels = jnp.array([name.startswith('nor_conv') for name in operations])
  used = [
    reached[source] & read[target] & kernels[cell[e]]
    for e, (source, target) in enumerate(EDGES)
  ]
  return jnp.sum(jnp.stack(used)).astype(jnp.int32)
