"""MaskConnect: connections between modules learnt by gradient descent.

Ahmed & Torresani, ECCV 2018 (arXiv 1807.11473); a reconstruction from its
abstract and from BinaryConnect's scheme, see `masks`. For each minibatch masks
are drawn from the shadow, weights take a step of gradient descent, and the
shadow one by the gradient of the binary masks, that of connections which are
not active included. Then the strongest connections are kept and the weights are
trained on. Sizes, rates and how the epochs are split are ours.

`M` modules, `S` steps an epoch.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from irlas_jax.oneshot import masks as connections
from irlas_jax.oneshot import modular_network, steps
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes


class State(NamedTuple):
  """Between two epochs."""

  variables: Any  # {'params', 'batch_stats'} of the whole network
  opt_state: optax.OptState
  shadow: jax.Array  # [M, M] float32 in [0, 1]
  masks: jax.Array  # [M, M] bool, what is kept if the search ends here
  done: jax.Array  # [] int32 steps


class Sizes(NamedTuple):
  """All that a program of the method is made for."""

  plan: modular_network.Plan
  num_classes: int
  image_shape: tuple[int, int, int]
  num_train: int


def check_fan_in(fan_in: int, count: int) -> None:
  """Raises ValueError for a fan-in that no module has."""
  if not 1 <= fan_in <= count:
    raise ValueError(
      f'oneshot.fan_in is {fan_in}: at least 1, and at most {count}, the '
      'number of modules of the network.'
    )


def maskconnect(
  sizes: Sizes,
  recipe: recipes.Recipe,
  fan_in: int,
  mask_learning_rate: float,
) -> steps.Method:
  """The method; the shadow's rate follows the schedule of the weights'.

  `init` may be told masks [M, M] as a second argument. `epoch` takes a bool []
  as a fourth one: masks are drawn and the shadow learns, or both stay as they
  are. It is data, so that one program searches, trains on, and compares.

  Raises:
    ValueError: for a fan-in, modules or a recipe that cannot be.
  """
  count = sum(sizes.plan.modules)
  modular_network.check(sizes.plan, sizes.image_shape)
  check_fan_in(fan_in, count)
  steps.check_recipe(recipe, sizes.num_train)
  module = modular_network.whole(sizes.plan, sizes.num_classes)
  number = steps.num_steps(sizes.num_train, recipe)
  tx = recipes.optimizer(recipe, number)
  schedule = recipes.schedule(recipe, number)
  make_slopes = functools.partial(slopes, module, recipe.label_smoothing)

  def init(key: jax.Array, fixed: Any = None) -> State:
    images = jnp.zeros((1, *sizes.image_shape))
    shadow = connections.shadow(count)
    shapes = jax.eval_shape(
      lambda key: module.init(key, images, jnp.ones((count, count)), False), key
    )
    variables = steps.variables(key, shapes)
    masks = connections.strongest(shadow, fan_in) if fixed is None else fixed
    opt_state = tx.init(variables['params'])
    return State(variables, opt_state, shadow, masks, jnp.int32(0))

  def step(data, learn, state: State, inputs):
    key, index = inputs
    key_masks, key_images = jax.random.split(key)
    images, labels = steps.batch(key_images, data, data.train, index, recipe)
    drawn = connections.draw(key_masks, state.shadow, fan_in)
    masks = jnp.where(learn, drawn, state.masks)
    found = make_slopes(state.variables, masks, images, labels)
    params = state.variables['params']
    updates, opt_state = tx.update(found.params, state.opt_state, params)
    params = optax.apply_updates(params, updates)
    variables = {'params': params, 'batch_stats': found.batch_stats}
    share = schedule(state.done) / recipe.learning_rate
    rate = jnp.where(learn, mask_learning_rate * share, 0.0)
    shadow = connections.learnt(state.shadow, found.masks, rate)
    state = State(variables, opt_state, shadow, state.masks, state.done + 1)
    return state, found.loss

  def epoch(
    key: jax.Array, data: loop.Data, state: State, learn: jax.Array | bool
  ):
    key_order, key_steps = jax.random.split(key)
    index = steps.rows(key_order, sizes.num_train, number, recipe.batch_size)
    keys = jax.random.split(key_steps, number)
    run = functools.partial(step, data, learn)
    state, losses = jax.lax.scan(run, state, (keys, index))
    best = connections.strongest(state.shadow, fan_in)
    state = state._replace(masks=jnp.where(learn, best, state.masks))
    return state, {'loss': losses.mean(), 'decided': decided(state.shadow)}

  def score(data: loop.Data, state: State):
    weights = state.masks.astype(jnp.float32)

    def network(variables, images, _):
      return module.apply(variables, images, weights, False), None

    evaluate = loop.make_evaluate(network, data.valid, data.mean, data.std)
    return evaluate(state.variables)

  return steps.Method(init, epoch, score)


class Slopes(NamedTuple):
  """A batch's loss and its gradients."""

  loss: jax.Array  # []
  params: Any
  masks: jax.Array  # [M, M] dL/dm, of inactive connections too
  batch_stats: Any  # after this batch


def slopes(module, smoothing, variables, masks, images, labels) -> Slopes:
  """Cross-entropy of the network with these masks [M, M], differentiated."""

  def loss_fn(params, weights):
    given = {**variables, 'params': params}
    logits, new = module.apply(
      given, images, weights, True, mutable=['batch_stats']
    )
    loss = steps.cross_entropy(logits, labels, smoothing)
    return loss, new['batch_stats']

  grad_fn = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)
  weights = masks.astype(jnp.result_type(images))
  (loss, stats), (d_params, d_masks) = grad_fn(variables['params'], weights)
  return Slopes(loss, d_params, d_masks, stats)


def decided(shadow: jax.Array) -> jax.Array:
  """[] mean distance of the candidates' shadow from its start, 1 at most."""
  allowed = connections.candidates(len(shadow))
  far = jnp.abs(shadow - connections.START) / connections.START
  return (far * allowed).sum() / allowed.sum()
