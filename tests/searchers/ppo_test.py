"""PPO on one step with two actions, worked by hand; and beside REINFORCE."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irlas_jax.policies import free_logits, lstm
from irlas_jax.searchers import ppo, reinforce
from irlas_jax.types import Proposals, Space


def make_space(num_steps, num_actions):
  return Space(
    num_steps,
    num_actions,
    1,
    lambda actions, t: jnp.ones(num_actions, bool),
    lambda actions, t: jnp.int32(0),
    None,
    None,
    (),
    (),
    False,
  )


_POLICY = free_logits.free_logits(make_space(1, 2))


def batch(actions, rewards, chances, valid=None):
  actions = jnp.array(actions, jnp.int32)[:, None]
  valid = jnp.ones(len(actions), bool) if valid is None else jnp.array(valid)
  info = {'log_prob': jnp.log(jnp.array(chances))[:, None]}
  info['updates'] = jnp.zeros(len(actions), jnp.int32)
  return Proposals(actions, actions, info), jnp.array(rewards, 'float32'), valid


def make(**kwargs):
  fields = {'epochs': 1, 'entropy_weight': 0.0} | kwargs
  return ppo.ppo(_POLICY, optax.sgd(1.0), **fields)


def start(average=0.5):
  """Equal chances, and a baseline of 1/2 from one batch before."""
  state = make().init(jax.random.key(0))
  return state._replace(
    average=jnp.float32(0.05 * average), updates=jnp.int32(1)
  )


def update(searcher, state, rows):
  return jax.jit(searcher.update)(jax.random.key(0), state, *rows)


_ONE_STEP = jax.jit(make().update)


@pytest.mark.parametrize(
  'chance, reward, push, jit',
  [
    (0.5, 1, 0.25, True),  # ratio 1: d log pi(1) = 1/2 and R - b = 1/2
    (0.25, 1, 0.0, True),  # ratio 2: better, but likelier by 1.2 already
    (0.25, 0, -0.5, True),  # ratio 2: worse, so all the way back counts
    (0.25, 0, -0.5, False),
    (5 / 9, 1, 0.225, True),  # ratio 0.9, within the bounds
    (1.0, 0, 0.0, True),  # ratio 1/2: worse, but rarer by 0.8 already
    (1.0, 1, 0.125, True),  # ratio 1/2: better, and far to go
  ],
)
def test_a_ratio_pays_until_it_is_clipped(chance, reward, push, jit):
  """Action 1 has chance 1/2 now; `chance` is what it had."""
  function = _ONE_STEP if jit else make().update
  rows = batch([1], [reward], [chance])
  after = function(jax.random.key(0), start(), *rows)
  np.testing.assert_allclose(
    after.params, [[-push, push]], rtol=1e-5, atol=1e-7
  )
  assert after.updates == 2


def test_every_epoch_sees_the_ratio_that_the_last_one_left():
  """Without a clip: logits (-x, x), pi(1) = 1 / (1 + exp(-2x)), three steps."""
  x = 0.0
  for _ in range(3):
    p = 1 / (1 + np.exp(-2 * x))
    x += p / 0.5 * 0.5 * (1 - p)
  searcher = make(epochs=3, clip=np.inf)
  after = update(searcher, start(), batch([1], [1], [0.5]))
  np.testing.assert_allclose(after.params, [[-x, x]], rtol=1e-5)
  clipped = update(make(epochs=3, clip=0.2), start(), batch([1], [1], [0.5]))
  # The first step, to a ratio of 1.24, is beyond the clip.
  np.testing.assert_allclose(clipped.params, [[-0.25, 0.25]], rtol=1e-5)


def test_minibatches_follow_each_other():
  """Two rows one after the other: the second's ratio is no longer 1."""
  searcher = make(num_minibatches=2, clip=np.inf)
  after = update(searcher, start(), batch([1, 1], [1, 1], [0.5, 0.5]))
  p = 1 / (1 + np.exp(-0.5))
  x = 0.25 + p * (1 - p)
  np.testing.assert_allclose(after.params, [[-x, x]], rtol=1e-5)


def test_a_ratio_beyond_float32_does_no_harm():
  rows = batch([1, 1], [1, 0], [1e-38, 0.5])
  rows[0].info['log_prob'] = rows[0].info['log_prob'].at[0].set(-500.0)
  after = update(make(), start(), rows)
  np.testing.assert_allclose(after.params, [[0.125, -0.125]], rtol=1e-5)


def test_the_entropy_term_has_its_gradient():
  """Without advantage only 0.1 dH/dz_i = -0.1 p_i (log p_i + H) is left."""
  params = jnp.array([[1.0, -0.5]])
  p = np.exp([1.0, -0.5]) / np.exp([1.0, -0.5]).sum()
  rows = batch([1, 0], [0.5, 0.5], p[::-1])
  state = start()._replace(params=params)
  after = update(make(entropy_weight=0.1), state, rows)
  entropy = -(p * np.log(p)).sum()
  expected = params + 0.1 * -p * (np.log(p) + entropy)
  np.testing.assert_allclose(after.params, expected, rtol=1e-5)


@pytest.fixture(name='sampled', scope='module')
def fixture_sampled():
  """A recurrent policy, a state of REINFORCE with it, and what it proposes."""
  policy = lstm.lstm(make_space(3, 3), hidden=3, layers=1, init_scale=1.0)
  searcher = reinforce.reinforce(policy, optax.adam(0.1), entropy_weight=0.1)
  state = searcher.init(jax.random.key(0))
  state = state._replace(average=jnp.float32(0.02), updates=jnp.int32(1))
  propose = jax.jit(searcher.propose, static_argnums=2)
  proposals, _ = propose(jax.random.key(1), state, 6)
  rewards = jnp.arange(6, dtype=jnp.float32) / 5
  valid = jnp.arange(6) != 2
  return policy, searcher, state, (proposals, rewards, valid)


def test_one_epoch_of_one_minibatch_is_reinforce(sampled):
  policy, searcher, state, rows = sampled
  one = ppo.ppo(
    policy, optax.adam(0.1), clip=np.inf, epochs=1, entropy_weight=0.1
  )
  expected = update(searcher, state, rows)
  found = update(one, state, rows)
  chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-6)
  moved = jax.tree.map(
    lambda x, y: np.abs(x - y).max(), found.params, state.params
  )
  assert max(jax.tree.leaves(moved)) > 0.01


def test_the_first_batch_teaches_the_baseline_only():
  state = make().init(jax.random.key(0))
  rows = batch([1, 0], [1, 0], [0.5, 0.4])
  after = update(make(epochs=2), state, rows)
  chex.assert_trees_all_equal(after.params, state.params)
  np.testing.assert_allclose(after.average, 0.05 * 0.5, rtol=1e-5)


@pytest.mark.parametrize('jit', [True, False])
def test_minibatches_use_each_valid_row_once_an_epoch(jit):
  """Seven of ten rows in three parts of two or three, in three epochs."""
  valid = jnp.array([1, 0, 1, 1, 1, 0, 1, 1, 0, 1], bool)
  cut = functools.partial(ppo.minibatches, epochs=3, number=3)
  rows, used = (jax.jit(cut) if jit else cut)(jax.random.key(0), valid)
  chex.assert_shape([rows, used], (9, 4))
  counts = np.sum(used, axis=1).reshape(3, 3)
  assert sorted(counts[0].tolist()) == [2, 2, 3]
  rows = np.asarray(rows).reshape(3, -1)
  used = np.asarray(used).reshape(3, -1)
  orders = [row[mask].tolist() for row, mask in zip(rows, used, strict=True)]
  for order in orders:
    assert sorted(order) == np.flatnonzero(valid).tolist()
  assert orders[0] != orders[1] != orders[2]


def test_more_minibatches_than_rows_leave_some_out():
  """Without a row an optimiser would walk on by its moments."""
  rows, used = ppo.minibatches(jax.random.key(0), jnp.ones(2, bool), 1, 5)
  np.testing.assert_array_equal(np.sum(used, axis=1), [1, 1, 0, 0, 0])
  searcher = ppo.ppo(_POLICY, optax.adam(0.1), epochs=1, num_minibatches=5)
  state = start()._replace(opt_state=optax.adam(0.1).init(start().params))
  after = update(searcher, state, batch([1, 0], [1, 0], [0.5, 0.5]))
  assert after.opt_state[0].count == 2


def test_hyper_parameters_may_be_traced():
  """A sweep over clips, decays and entropy weights is a vmap."""
  rows = batch([1, 0, 1], [1, 0, 0], [0.45, 0.5, 0.3])

  def run(clip, decay, weight):
    searcher = make(
      epochs=2, clip=clip, baseline_decay=decay, entropy_weight=weight
    )
    return searcher.update(jax.random.key(0), start(), *rows)

  swept = jnp.array([[0.2, 0.9, 0.0], [0.05, 0.5, 0.3]])
  found = jax.jit(jax.vmap(run))(*swept.T)
  alone = jax.jit(run)
  for i, row in enumerate(swept.tolist()):
    one = jax.tree.map(lambda x, i=i: x[i], found)
    chex.assert_trees_all_close(one, alone(*row), rtol=1e-5)


@pytest.mark.parametrize('field', ['epochs', 'num_minibatches'])
def test_a_count_below_1_is_refused(field):
  with pytest.raises(ValueError, match=f'{field}=0'):
    make(**{field: 0})
