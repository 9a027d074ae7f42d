"""The policies that read a teacher's layers: N2N's two, and their transfer."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import experiment
from irlas_jax.policies import bilstm, layer_lstm, stored
from irlas_jax.spaces import layer_table, metaqnn, n2n

pytestmark = pytest.mark.usefixtures('quick_compiles')

SMALL = 'C(20,3) C(20,3) C(20,3) M(2,2) C(40,5)'
LARGE = f'{SMALL} C(80,3) C(80,3) C(80,1) GAP'
MAKE = {'bilstm': bilstm.bilstm, 'layer_lstm': layer_lstm.layer_lstm}
CASES = [('bilstm', 'removal'), ('layer_lstm', 'shrinkage')]


def _space(text, stage):
  return n2n.n2n(layer_table.read(text), stage)


@pytest.fixture(name='made', scope='module', params=CASES)
def fixture_made(request):
  """Space, policy, parameters; weights large, so that it is not uniform."""
  name, stage = request.param
  space = _space(SMALL, stage)
  policy = MAKE[name](space, hidden=4, init_scale=2.0)
  policy = policy._replace(
    sample=jax.jit(policy.sample, static_argnums=2),
    log_prob=jax.jit(policy.log_prob),
  )
  return space, policy, policy.init(jax.random.key(1))


def test_samples_are_told_their_own_log_probability(made):
  """And are legal."""
  space, policy, params = made
  actions, told = policy.sample(jax.random.key(0), params, 64)
  again, entropy = policy.log_prob(params, actions)
  np.testing.assert_allclose(told, again, rtol=1e-5, atol=1e-6)
  legal = jax.vmap(space.legal, (None, 0))(
    actions[0], jnp.arange(space.num_steps)
  )
  chosen = np.asarray(legal)[np.arange(space.num_steps), np.asarray(actions)]
  assert chosen.all()
  forced = np.asarray(legal).sum(1) == 1
  assert forced.any()
  np.testing.assert_allclose(np.asarray(told)[:, forced], 0, atol=1e-6)
  np.testing.assert_allclose(np.asarray(entropy)[:, forced], 0, atol=1e-5)


def test_probabilities_of_a_step_are_those_of_its_actions(made):
  """Of the first step with a choice, over all that is legal there."""
  space, policy, params = made
  actions, _ = policy.sample(jax.random.key(2), params, 1)
  t = 1 if space.num_actions == 2 else 0
  rows = np.repeat(np.asarray(actions), space.num_actions, axis=0)
  rows[:, t] = np.arange(space.num_actions)
  log_prob, entropy = policy.log_prob(params, rows)
  chances = np.exp(np.asarray(log_prob)[:, t])
  np.testing.assert_allclose(chances.sum(), 1, rtol=1e-5)
  assert len(set(chances.round(3))) > 1
  expected = -np.sum(chances * np.log(chances))
  np.testing.assert_allclose(np.asarray(entropy)[:, t], expected, rtol=1e-4)


def test_a_layer_is_seen_by_both_sides():
  """The first choice depends on the last layer, with `layer_lstm` it cannot."""
  changed = SMALL.replace('C(40,5)', 'C(640,5)')
  differences = {}
  for name, stage in CASES:
    spaces = [_space(text, stage) for text in (SMALL, changed)]
    made = [MAKE[name](s, hidden=4, init_scale=2.0) for s in spaces]
    params = made[0].init(jax.random.key(0))
    actions = jnp.ones((1, spaces[0].num_steps), jnp.int32)
    found = [np.asarray(one.log_prob(params, actions)[0]) for one in made]
    differences[name] = np.abs(found[0] - found[1])[0]
  assert differences['bilstm'][1] > 1e-4
  assert differences['layer_lstm'][:8].max() == 0
  assert differences['layer_lstm'][8:].max() > 1e-4


def test_a_choice_depends_on_those_before_it():
  space = _space(SMALL, 'shrinkage')
  policy = layer_lstm.layer_lstm(space, hidden=4, init_scale=2.0)
  rows = np.zeros((2, space.num_steps), np.int32)
  rows[1, 0] = 9
  log_prob, _ = policy.log_prob(policy.init(jax.random.key(0)), rows)
  assert abs(log_prob[0, 2] - log_prob[1, 2]) > 1e-4


@pytest.mark.parametrize('name, stage', CASES)
def test_what_was_learnt_of_a_small_teacher_runs_on_a_large_one(
  name, stage, tmp_path
):
  """By the config's field, from a file; what is not that policy is refused."""
  small = MAKE[name](_space(SMALL, stage), hidden=4)
  params = small.init(jax.random.key(3))
  stored.save(tmp_path / 'policy.npz', params)
  policy = {'name': name, 'file': str(tmp_path / 'policy.npz')}
  section = {'name': 'reinforce', 'learning_rate': 0.1}
  section['policy'] = policy | {name: {'hidden': 4}}
  large = _space(LARGE, stage)
  kind = type('Kind', (), {'space': large})
  searcher = experiment.make_searcher({'searcher': section}, kind)
  state = searcher.init(jax.random.key(4))
  chex.assert_trees_all_equal(state.params, params)
  proposals, _ = jax.jit(searcher.propose, static_argnums=2)(
    jax.random.key(5), state, 3
  )
  assert proposals.actions.shape == (3, large.num_steps)
  section['policy'] = policy | {name: {'hidden': 5}}
  with pytest.raises(ValueError, match='of another policy'):
    experiment.make_searcher({'searcher': section}, kind)
  section['policy'] = policy | {'file': str(tmp_path / 'none.npz')}
  with pytest.raises(ValueError, match='none.npz has no policy'):
    experiment.make_searcher({'searcher': section}, kind)


@pytest.mark.parametrize('name', MAKE)
def test_a_space_without_layers_and_sizes_out_of_range_are_refused(name):
  with pytest.raises(ValueError, match='choose lstm'):
    MAKE[name](metaqnn.metaqnn(metaqnn.Sizes(8, 2)))
  with pytest.raises(ValueError, match='hidden=0'):
    MAKE[name](_space(SMALL, 'removal'), hidden=0)
