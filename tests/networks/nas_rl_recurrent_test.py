"""Recurrent cells: padded and plain, against equations and each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irlas_jax import experts, graph
from irlas_jax.networks import cost as costs
from irlas_jax.networks import language_model
from irlas_jax.networks import nas_rl_recurrent as networks
from irlas_jax.policies import sampling
from irlas_jax.spaces import nas_rl_recurrent as cells

pytestmark = pytest.mark.usefixtures('quick_compiles')
SPACE = cells.nas_rl_recurrent()
NETWORKS = networks.networks(SPACE.operations)
SIZES = language_model.Sizes(
  units=5, layers=2, dropout=0.0, tied=False, init_scale=0.5
)
WORDS = 11
PAPER = (
  'add tanh, elem_mult relu, elem_mult sigmoid; inject: add relu into 0; '
  'cell: 1'
)


def _random_cells(count):
  """In canonical numbering, as children are trained."""
  actions = sampling.uniform_actions(jax.random.key(1), SPACE, count)
  decode = jax.jit(jax.vmap(SPACE.decode))
  found = graph.Graph(*jax.device_get(decode(actions)))
  return [graph.canonical(one) for one in graph.cells(found)]


def _inputs(dtype, sizes=SIZES):
  """Tokens [S, B], and what is remembered."""
  rng = np.random.default_rng(0)
  tokens = rng.integers(WORDS, size=(7, 3))
  carry = rng.normal(size=(sizes.layers, 2, 3, sizes.units)).astype(dtype)
  return tokens, tuple((h, c) for h, c in carry)


def _draw(model, dtype, sizes=SIZES):
  """Random variables, larger than initial ones."""
  tokens, carry = _inputs(np.float32, sizes)
  template = jax.eval_shape(
    lambda: model.init(jax.random.key(0), tokens, carry, False)
  )
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: rng.normal(scale=0.5, size=x.shape).astype(dtype), template
  )


def _measure(model, variables, tokens, carry):
  """Loss, what is remembered, and the gradient of both."""

  def loss_fn(variables):
    logits, kept = model.apply(variables, tokens, carry, False)
    losses = optax.softmax_cross_entropy_with_integer_labels(
      logits[:-1], tokens[1:]
    )
    # Of what is remembered only h is bounded: relu may grow.
    return losses.mean() + sum(h.mean() for h, _ in kept), kept

  grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
  (loss, kept), gradients = grad_fn(variables)
  return loss, kept, gradients


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_every_cell_by_one_program_is_its_plain_network(dtype):
  """Losses to 1e-5 in float32 and 1e-8 in float64, by one compilation."""
  with jax.enable_x64(dtype == np.float64):
    sizes = SIZES._replace(layers=1)
    module_of = NETWORKS.padded(sizes, WORDS)
    traces = []

    @jax.jit
    def padded(graph, variables, tokens, carry):
      traces.append(1)
      return _measure(module_of(graph), variables, tokens, carry)

    chosen = _random_cells(3 if dtype == np.float32 else 6)
    tokens, carry = _inputs(dtype, sizes)
    variables = _draw(module_of(chosen[0]), dtype, sizes)
    for one in chosen:
      plain = NETWORKS.plain(one, sizes, WORDS)
      found = padded(one, variables, tokens, carry)
      measure = jax.jit(functools.partial(_measure, plain))
      expected = measure(variables, tokens, carry)
      tight = 1e-8 if dtype == np.float64 else 1e-5
      np.testing.assert_allclose(found[0], expected[0], rtol=tight, atol=tight)
      loose = 1e-8 if dtype == np.float64 else 1e-3
      for x, y in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
      ):
        scale = max(1.0, float(np.abs(y).max()))
        np.testing.assert_allclose(x, y, atol=loose * scale)
    assert len(traces) == 1, 'the graph is not data'


def test_both_have_the_same_parameters():
  """So they map by being handed over."""
  one = _random_cells(1)[0]
  tokens, carry = _inputs(np.float32)
  drawn = [
    jax.jit(lambda model=model: model.init(jax.random.key(0), tokens, carry, 0))
    for model in (
      NETWORKS.padded(SIZES, WORDS)(one),
      NETWORKS.plain(one, SIZES, WORDS),
    )
  ]
  jax.tree.map(np.testing.assert_array_equal, drawn[0](), drawn[1]())


def test_several_cells_at_once_are_each_what_they_are_alone():
  """As an accelerator trains them, by vmap."""
  chosen = _random_cells(2)
  both = jax.tree.map(lambda *x: np.stack(x), *chosen)
  sizes = SIZES._replace(layers=1)
  module_of = NETWORKS.padded(sizes, WORDS)
  tokens, carry = _inputs(np.float32, sizes)
  variables = _draw(module_of(chosen[0]), np.float32, sizes)

  def logits(graph):
    return module_of(graph).apply(variables, tokens, carry, False)[0]

  together, alone = jax.jit(jax.vmap(logits))(both), jax.jit(logits)
  for i, one in enumerate(chosen):
    np.testing.assert_allclose(together[i], alone(one), atol=1e-5)


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))


def test_the_papers_example_by_hand():
  """Two steps of the equations, in NumPy."""
  space = cells.nas_rl_recurrent(2)
  sizes = SIZES._replace(layers=1)
  model = networks.networks(space.operations).plain(
    cells.parse(PAPER, 2), sizes, WORDS
  )
  tokens, carry = _inputs(np.float32, sizes)
  variables = _draw(model, np.float32, sizes)
  _, kept = jax.jit(model.apply, static_argnums=3)(
    variables, tokens[:2], carry, False
  )
  params = variables['params']
  w1, w3 = np.split(params['layer1']['input']['kernel'], 2, axis=1)
  w2, w4 = np.split(params['layer1']['hidden'], 2, axis=1)
  (h, c), embedding = carry[0], params['embedding']['embedding']
  for row in tokens[:2]:
    x = embedding[row]
    a0 = np.tanh(x @ w1 + h @ w2)
    a0 = np.maximum(a0 + c, 0)
    c = (x @ w3) * (h @ w4)
    h = _sigmoid(a0 * np.maximum(c, 0))
  np.testing.assert_allclose(kept[0][0], h, atol=1e-5)
  np.testing.assert_allclose(kept[0][1], c, atol=1e-5)


def test_the_expert_computes_what_an_lstm_does():
  """With the sums of its leaves' matrices as those of the gates."""
  lstm = language_model.LanguageModel(language_model.lstm, SIZES, WORDS)
  tree = NETWORKS.plain(
    cells.parse(experts.RECURRENT_CELLS['lstm']), SIZES, WORDS
  )
  tokens, carry = _inputs(np.float32)
  variables = _draw(tree, np.float32)
  params = dict(variables['params'])
  for name in ('layer1', 'layer2'):
    of_leaves = [
      np.split(matrix, 8, axis=1)
      for matrix in (params[name]['input']['kernel'], params[name]['hidden'])
    ]
    read, hidden = (
      np.concatenate([w[2], w[0] + w[1], sum(w[4:]), w[3]], axis=1)
      for w in of_leaves
    )
    bias = np.zeros(read.shape[1], np.float32)
    params[name] = {'input': {'kernel': read, 'bias': bias}, 'hidden': hidden}
  found, expected = (
    jax.jit(model.apply, static_argnums=3)(drawn, tokens, carry, False)
    for model, drawn in ((tree, variables), (lstm, {'params': params}))
  )
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), found, expected
  )


@pytest.mark.parametrize('tied', [True, False])
def test_costs_are_those_of_the_traced_network(tied):
  sizes = SIZES._replace(tied=tied)
  one = _random_cells(1)[0]
  model = NETWORKS.plain(one, sizes, WORDS)
  token = jax.ShapeDtypeStruct((1, 1), jnp.int32)
  carry = language_model.start(sizes, 1)

  def init(key, token):
    return model.init_with_output(key, token, carry, False)

  inputs = jax.random.key(0), token
  _, variables = jax.eval_shape(init, *inputs)
  many = jax.tree.map(lambda x: np.stack([x, x]), one)
  found = NETWORKS.cost(many, sizes, WORDS)
  assert found.params.tolist() == 2 * [costs.count_parameters(variables)]
  madds = costs.count_multiply_adds(init, *inputs)
  assert found.madds.tolist() == 2 * [madds]
