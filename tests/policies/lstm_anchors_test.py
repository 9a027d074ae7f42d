"""The policy of anchor points against its equations, written out in NumPy."""

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.policies import lstm_anchors, sampling
from irlas_jax.spaces import nas_rl

pytestmark = pytest.mark.usefixtures('quick_compiles')

SIZES = nas_rl.Sizes(3, heights=(1,), widths=(1, 3), filters=(4, 8))
SPACE = nas_rl.nas_rl(SIZES)
HIDDEN = 3


def _make(space=SPACE, **fields):
  fields = {'hidden': HIDDEN, 'layers': 1, 'init_scale': 2.0} | fields
  return lstm_anchors.lstm_anchors(space, **fields)


@pytest.fixture(name='jitted', scope='module')
def fixture_jitted():
  plain = _make()
  return plain._replace(
    sample=jax.jit(plain.sample, static_argnums=2),
    log_prob=jax.jit(plain.log_prob),
  )


@pytest.fixture(name='params', scope='module')
def fixture_params():
  return _make().init(jax.random.key(1))


@pytest.fixture(name='every', scope='module')
def fixture_every():
  """All legal sequences: 4 + 4 x 8 + 4 x 8 x 16."""
  rows = np.zeros((1, SPACE.num_steps), np.int32)
  masks = jax.jit(jax.vmap(SPACE.legal, (0, None)))
  for t in range(SPACE.num_steps):
    which, action = np.nonzero(np.asarray(masks(rows, t)))
    rows = rows[which]
    rows[:, t] = action
  assert len(rows) == 4 + 4 * 8 + 4 * 8 * 16
  return rows


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


def _told(params, actions):
  """log pi of each step [T] by the equations: sizes, then skips, by layer."""
  c, h, token, x = *np.zeros((2, HIDDEN)), SPACE.num_actions, np.zeros(HIDDEN)
  anchors, told, t = [], [], 0

  def beat(c, h):
    read = params['Embed_0']['embedding'][token] + x
    return _cell(params['OptimizedLSTMCell_0'], c, h, read)

  for i in range(3):
    for field in range(3):
      c, h = beat(c, h)
      x = np.zeros(HIDDEN)
      z = h @ params['choice']['kernel'] + params['choice']['bias']
      allowed = [[1], [1, 2], [1, 2]][field] + [0] * (field == 0 and i > 0)
      told.append(z[actions[t]] - np.log(np.exp(z[allowed]).sum()))
      token = actions[t]
      t += 1
      if token == 0:
        return told + [0.0] * (SPACE.num_steps - t)
    c, h = beat(c, h)
    for j in range(i):
      both = anchors[j] @ params['previous']['kernel']
      both = np.tanh(both + h @ params['current']['kernel'])
      p = _sigmoid(both @ params['attention']['kernel'][:, 0])
      told.append(np.log(p if actions[t + j] == 2 else 1 - p))
    read = [anchors[j] for j in range(i) if actions[t + j] == 2]
    x = np.mean(read, axis=0) if read else np.zeros(HIDDEN)
    token, t = SPACE.num_actions + 1, t + i
    anchors.append(h)
  return told


def test_log_prob_is_that_of_the_equations(jitted, params, every):
  rows = every[:: len(every) // 12]
  found, _ = jitted.log_prob(params, rows)
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  expected = [_told(params, row.tolist()) for row in rows]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_all_architectures_have_probability_1_together(jitted, params, every):
  log_prob, entropy = jitted.log_prob(params, every)
  chances = np.exp(np.sum(log_prob, axis=1))
  np.testing.assert_allclose(chances.sum(), 1, rtol=1e-5)
  # E sum_t H_t is the entropy of the whole.
  whole = -np.vdot(chances, np.log(chances))
  np.testing.assert_allclose(
    np.vdot(chances, np.sum(entropy, axis=1)), whole, rtol=1e-4
  )


def test_samples_come_as_often_as_log_prob_says(jitted, params, every):
  """Nothing illegal among them, and each told its own log-probability."""
  actions, told = jitted.sample(jax.random.key(0), params, 4000)
  chex.assert_type(actions, jnp.int32)
  again, _ = jitted.log_prob(params, actions)
  np.testing.assert_allclose(told, again, rtol=1e-5, atol=1e-6)
  log_prob, _ = jitted.log_prob(params, every)
  chances = np.exp(np.sum(log_prob, axis=1))
  places = SPACE.num_actions ** np.arange(SPACE.num_steps)
  found, counts = np.unique(np.asarray(actions) @ places, return_counts=True)
  where = {name: i for i, name in enumerate((every @ places).tolist())}
  shares = np.zeros(len(every))
  shares[[where[name] for name in found.tolist()]] = counts / 4000
  np.testing.assert_allclose(shares, chances, atol=0.03)


def test_skips_of_a_layer_do_not_read_each_other(jitted, params):
  """The last layer's second is as likely whatever its first is."""
  whole = [1, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1]
  other = [1, 1, 2, 1, 2, 1, 2, 1, 1, 1, 2, 1]
  log_prob, _ = jitted.log_prob(params, np.array([whole, other], np.int32))
  first, second = np.asarray(log_prob)[:, 10:].T
  np.testing.assert_allclose(np.exp(first).sum(), 1, rtol=1e-5)
  assert second[0] == second[1]
  assert 0.01 < np.exp(first[0]) < 0.99


def test_later_layers_read_which_skips_there_are(jitted, params):
  """The third layer's width, by whether the second reads the first."""
  rows = [[1, 1, 2, 1, 2, 1, skip, 1, 1, 1, 1, 1] for skip in (1, 2)]
  log_prob, _ = jitted.log_prob(params, np.array(rows, np.int32))
  assert abs(log_prob[0, 8] - log_prob[1, 8]) > 1e-3


def test_the_same_parameters_run_on_a_deeper_space(params, jitted):
  """And on its first layers say the same."""
  deep = _make(nas_rl.nas_rl(SIZES._replace(num_layers=5)))
  chex.assert_trees_all_equal_shapes(params, deep.init(jax.random.key(1)))
  actions, told = jax.jit(deep.sample, static_argnums=2)(
    jax.random.key(2), params, 40
  )
  # Those that go on after three layers: below that the end is a choice.
  rows = np.asarray(actions)[:, : SPACE.num_steps]
  found, _ = jitted.log_prob(params, rows)
  np.testing.assert_allclose(
    np.asarray(told)[:, : SPACE.num_steps], found, rtol=1e-4, atol=1e-5
  )


def test_a_space_of_one_length_has_no_choice_of_it(params):
  """Growing searches narrow the space; log-probabilities follow."""
  narrow = sampling.of_length(SPACE, nas_rl.num_steps(2, SIZES))
  policy = _make(narrow)
  actions, told = policy.sample(jax.random.key(0), params, 20)
  assert (actions[:, 3] > 0).all() and (actions[:, 7:] == 0).all()
  assert (told[:, [3, *range(7, 12)]] == 0).all()


def test_without_jit_it_is_the_same(jitted, params):
  plain, key = _make(), jax.random.key(2)
  whole = plain.sample(key, params, 4)
  chex.assert_trees_all_close(jitted.sample(key, params, 4), whole, rtol=1e-5)


def test_the_gradient_is_that_of_finite_differences(jitted, params, every):
  flat, unravel = jax.flatten_util.ravel_pytree(params)
  rows = every[:: len(every) // 5]

  @jax.jit
  def value(x):
    log_prob, entropy = jitted.log_prob(unravel(x), rows)
    return jnp.sum(log_prob) + 2 * jnp.sum(entropy)

  ascent = jax.jit(jax.grad(value))(flat)
  chex.assert_tree_all_finite(ascent)
  way = ascent / jnp.linalg.norm(ascent)
  slope = (value(flat + 0.01 * way) - value(flat - 0.01 * way)) / 0.02
  np.testing.assert_allclose(slope, jnp.vdot(ascent, way), rtol=1e-2)


def test_weights_start_uniform_and_biases_at_0():
  """A skip is as likely as not, and the attention has no bias."""
  params = lstm_anchors.lstm_anchors(SPACE).init(jax.random.key(0))
  chex.assert_shape(params['previous']['kernel'], (35, 35))
  chex.assert_shape(params['attention']['kernel'], (35, 1))
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    most = 0 if path[-1].key == 'bias' else 0.08
    assert np.abs(leaf).max() <= most
  assert 'bias' not in params['previous'] and 'bias' not in params['current']


def test_no_key_is_used_twice():
  policy = _make()

  def run(key):
    key_init, key_sample = jax.random.split(key)
    return policy.sample(key_sample, policy.init(key_init), 3)

  with jax.debug_key_reuse(True):
    jax.jit(run).trace(jax.random.key(0))


def test_what_it_cannot_be_made_for_is_refused():
  with pytest.raises(ValueError, match='choose lstm'):
    lstm_anchors.lstm_anchors(SPACE._replace(anchors=()))
  with pytest.raises(ValueError, match='hidden=0'):
    _make(hidden=0)
