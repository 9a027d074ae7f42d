"""The recurrent policy against its equations, written out in NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.policies import lstm
from irlas_jax.types import Space

pytestmark = pytest.mark.usefixtures('quick_compiles')


def make_space(num_steps, num_actions=3):
  """Only 0 and the last action after a 1; anything else always."""

  def legal(actions, t):
    ends = jnp.arange(num_actions) % (num_actions - 1) == 0
    after_one = (t > 0) & (actions[jnp.maximum(t - 1, 0)] == 1)
    return jnp.where(after_one, ends, True)

  return Space(
    num_steps,
    num_actions,
    num_steps,
    legal,
    lambda actions, t: t,
    None,
    None,
    (),
    (),
    False,
  )


SPACE = make_space(3)


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))


def _cell(weights, c, h, x):
  def gate(name):
    inner = weights[f'h{name}']
    return (
      x @ weights[f'i{name}']['kernel'] + h @ inner['kernel'] + inner['bias']
    )

  kept, added, shown = (_sigmoid(gate(name)) for name in 'fio')
  c = kept * c + added * np.tanh(gate('g'))
  return c, shown * np.tanh(c)


def _step_log_probs(params, actions, layers, temperature, bound):
  """log pi of each step, by the equations of an LSTM."""
  hidden = params['Embed_0']['embedding'].shape[1]
  memory = [(np.zeros(hidden), np.zeros(hidden)) for _ in range(layers)]
  token, told = 3, []
  for t, action in enumerate(actions):
    x = params['Embed_0']['embedding'][token]
    for i in range(layers):
      memory[i] = _cell(params[f'OptimizedLSTMCell_{i}'], *memory[i], x)
      x = memory[i][1]
    z = x @ params['Dense_0']['kernel'] + params['Dense_0']['bias']
    z = bound * np.tanh(z / temperature) if bound else z / temperature
    allowed = [0, 2] if t and actions[t - 1] == 1 else [0, 1, 2]
    told.append(z[action] - np.log(np.exp(z[allowed]).sum()))
    token = action
  return told


@pytest.mark.parametrize(
  'layers, temperature, bound', [(1, 1.0, 0.0), (2, 2.0, 0.0), (1, 2.0, 1.5)]
)
def test_log_prob_is_that_of_the_equations(layers, temperature, bound):
  policy = lstm.lstm(
    SPACE,
    hidden=3,
    layers=layers,
    init_scale=2.0,
    temperature=temperature,
    tanh_constant=bound,
  )
  params = policy.init(jax.random.key(0))
  rows = np.array([[0, 2, 1], [1, 2, 2], [2, 1, 0]], np.int32)
  found, _ = jax.jit(policy.log_prob)(params, rows)
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  expected = [
    _step_log_probs(params, row, layers, temperature, bound) for row in rows
  ]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_weights_start_uniform_and_biases_at_0():
  """Within the published range, and all over it; its sizes too."""
  params = lstm.lstm(SPACE).init(jax.random.key(0))
  assert {'OptimizedLSTMCell_0', 'OptimizedLSTMCell_1'} < set(params)
  chex.assert_shape(params['Embed_0']['embedding'], (4, 35))
  weights, biases = [], []
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    (biases if path[-1].key == 'bias' else weights).append(np.ravel(leaf))
  np.testing.assert_array_equal(np.concatenate(biases), 0)
  weights = np.concatenate(weights)
  assert np.abs(weights).max() <= 0.08
  # Of some 20,000: tenths of the range are as full as each other.
  shares = np.histogram(weights, 10, (-0.08, 0.08))[0] / len(weights)
  np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_the_same_parameters_run_on_a_deeper_space():
  """And its first steps are those of the shallow one."""
  shallow = lstm.lstm(SPACE, hidden=3, init_scale=1.0)
  deep = lstm.lstm(make_space(7), hidden=3, init_scale=1.0)
  params = shallow.init(jax.random.key(0))
  chex.assert_trees_all_equal_shapes(params, deep.init(jax.random.key(1)))
  actions, log_prob = jax.jit(deep.sample, static_argnums=2)(
    jax.random.key(2), params, 4
  )
  first, _ = jax.jit(shallow.log_prob)(params, actions[:, :3])
  np.testing.assert_allclose(log_prob[:, :3], first, rtol=1e-5, atol=1e-6)


def test_a_choice_depends_on_all_before_it():
  """Of the first action, two steps later, with the same one between."""
  policy = lstm.lstm(SPACE, hidden=3, layers=1, init_scale=2.0)
  params = policy.init(jax.random.key(0))
  rows = jnp.array([[0, 0, 0], [2, 0, 0]])
  log_prob, _ = jax.jit(policy.log_prob)(params, rows)
  assert abs(log_prob[0, 2] - log_prob[1, 2]) > 1e-3


@pytest.mark.parametrize(
  'wrong, words',
  [
    ({'hidden': 0}, 'hidden=0'),
    ({'layers': 0}, 'layers=0'),
    ({'temperature': 0.0}, 'temperature=0.0'),
    ({'tanh_constant': -1.0}, 'tanh_constant=-1.0'),
    ({'init_scale': -0.1}, 'init_scale=-0.1'),
  ],
)
def test_sizes_and_scales_out_of_range_are_refused(wrong, words):
  with pytest.raises(ValueError, match=words):
    lstm.lstm(SPACE, **wrong)
