"""The full training of one language model, with a single look at the test text.

On one device, from evaluation to evaluation: it is kept at each of them, goes
on from there after an interruption, and may be stopped there.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax import devices
from irlas_jax.evaluators import language_model, retrained
from irlas_jax.networks import cost
from irlas_jax.networks import language_model as networks
from irlas_jax.training import language
from irlas_jax.training import text as texts


class Position(NamedTuple):
  """All that the rest of a training depends on, and the time spent."""

  state: language.State  # with the data of its key
  seconds: Any  # []


def retrain(
  key: jax.Array,
  module: networks.LanguageModel,
  text: texts.Text,
  recipe: language.Recipe,
  *,
  workdir: str | os.PathLike | None = None,
  settings: Mapping = {},
  should_stop: Callable[[], bool] = lambda: False,
) -> retrained.Retrained:
  """Trains a language model on the training text, then tests it once.

  Args:
    key: of all that is drawn.
    module: what is trained.
    text: its splits.
    recipe: how.
    workdir: where the training is kept at every evaluation, in `training/`, and
      taken up again. Without it nothing is kept.
    settings: JSON of all that the result depends on; a kept training of others
      is refused.
    should_stop: asked at every evaluation.

  Raises:
    ValueError: if the recipe does not fit the text, or the workdir has a
      training with other settings.
    retrained.Stopped: if `should_stop` said so before the end.
  """
  language.check(recipe, len(text.train))
  key_init, key_train = jax.random.split(key)
  variables = language_model.init(key_init, module, module.sizes)
  model = language_model.make_model(module, module.sizes)
  data = language.on_device(text, recipe)
  mesh = devices.row(1, everywhere=False)
  keeper = retrained.make_keeper(workdir, settings, should_stop, mesh)
  state = language.begin(key_train, variables, recipe, data)
  advance = jax.jit(language.make_advance(model, data, recipe))
  position = keeper.load(_position(state, 0.0))
  began = time.monotonic() - float(position.seconds)
  state = _state(position)
  while language.goes_on(state, recipe):
    state = jax.block_until_ready(advance(state))
    keeper.save(_position(state, time.monotonic() - began))
    if language.goes_on(state, recipe) and keeper.should_stop():
      raise retrained.Stopped(
        f'Stopped after evaluation {int(state.history.finished)}; the same '
        'call goes on from there.'
      )
  seconds = time.monotonic() - began
  windows = language.all_windows(text.test, recipe.batch_size, recipe.unroll)
  accuracy, loss = jax.jit(language.make_evaluate(model))(
    state.variables, jax.tree.map(jnp.asarray, windows)
  )
  return retrained.Retrained(
    jax.device_get(state.variables),
    jax.device_get(state.history),
    float(accuracy),
    float(loss),
    cost.count_parameters(variables),
    _multiply_adds(module, variables),
    seconds,
  )


def _position(state: language.State, seconds: float) -> Position:
  state = state._replace(key=jax.random.key_data(state.key))
  return jax.device_get(Position(state, np.float64(seconds)))


def _state(position: Position) -> language.State:
  state = jax.tree.map(jnp.asarray, position.state)
  return state._replace(key=jax.random.wrap_key_data(state.key))


def _multiply_adds(module: networks.LanguageModel, variables) -> int:
  """Of one token."""
  tokens = jnp.zeros((1, 1), jnp.int32)
  start = networks.start(module.sizes, 1)
  return cost.count_multiply_adds(
    lambda tokens: module.apply(variables, tokens, start, False), tokens
  )
