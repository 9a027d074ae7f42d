"""Scores recurrent cells by the language models that they make.

What `trained` is for images: one program for a whole space, in which a queue of
children takes turns in slots. The loss is the validation cross-entropy in nats
a token, so perplexity is exp(loss); the accuracy is how often the next token is
the likeliest one.
"""

from collections.abc import Callable

import jax

from irlas_jax.evaluators import slots as slots_lib
from irlas_jax.evaluators import trained
from irlas_jax.networks import language_model as networks
from irlas_jax.training import language
from irlas_jax.types import Array, Space


def make_model(
  module: networks.LanguageModel, sizes: networks.Sizes
) -> language.Model:
  """A Flax language model as the functions that are trained."""

  def apply(variables, tokens, carry, key):
    rngs = {} if key is None else {'dropout': key}
    return module.apply(variables, tokens, carry, key is not None, rngs=rngs)

  return language.Model(lambda batch: networks.start(sizes, batch), apply)


def init(key: jax.Array, module: networks.LanguageModel, sizes: networks.Sizes):
  """Variables of a language model."""
  tokens = jax.numpy.zeros((1, 1), 'int32')
  return module.init(key, tokens, networks.start(sizes, 1), False)


def make_job(
  module_of: Callable, sizes: networks.Sizes, recipe: language.Recipe
) -> slots_lib.Job:
  """The training of one child: items (key, Graph), shared a `trained.Shared`.

  `module_of` makes the language model of a traced graph. Scores are those of
  the last evaluation that was reached.
  """

  def begin(item, shared: trained.Shared) -> language.State:
    key, graph = item
    key_init, key_train = jax.random.split(key)
    variables = init(key_init, module_of(graph), sizes)
    return language.begin(key_train, variables, recipe, shared.data)

  def advance(item, state: language.State, shared: trained.Shared):
    _, graph = item
    model = make_model(module_of(graph), sizes)
    return language.make_advance(model, shared.data, recipe)(state)

  def goes_on(state: language.State, shared: trained.Shared) -> Array:
    return language.goes_on(state, recipe, shared.bar)

  def result(state: language.State) -> trained.Result:
    history = state.history
    last = history.finished - 1
    return trained.Result(
      history.accuracy[last],
      history.loss[last],
      history.accuracy,
      history.finished * (recipe.epochs // recipe.evaluations),
      history.diverged,
    )

  return slots_lib.Job(begin, advance, goes_on, result)


def language_model(
  space: Space,
  module_of: Callable,
  sizes: networks.Sizes,
  cost: Callable,
  data: language.Data,
  recipe: language.Recipe,
  population: int,
  slots: int = 1,
) -> trained.Trained:
  """An evaluator that trains up to `population` language models a call.

  Args:
    space: decodes proposals.
    module_of: (Graph, traced) -> language model, one for the whole space.
    sizes: of the models.
    cost: (Graph with leading axis) -> (parameters [n], multiply-adds of a
      token [n]).
    data: what children are trained and validated on, by this recipe.
    recipe: how.
    population: children a compiled call, a multiple of the local devices.
    slots: how many a device trains at once; fewer if memory does not suffice.

  Raises:
    ValueError: as `trained.trained`.
  """
  job = make_job(module_of, sizes, recipe)
  return trained.by_job(
    space, job, cost, data, recipe.evaluations, population, slots
  )
