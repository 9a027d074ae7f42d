"""Trained children: the same number whoever stands beside a child."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax import classifiers, devices, evaluations, graph, kinds
from irlas_jax.evaluators import trained
from irlas_jax.networks import block as networks
from irlas_jax.networks import cost, padded_block
from irlas_jax.spaces import nsc
from irlas_jax.training import loop
from irlas_jax.training import recipe as recipes
from irlas_jax.types import DIVERGED, OK, OUT_OF_MEMORY, Proposals

pytestmark = pytest.mark.usefixtures('quick_compiles')

KIND = kinds.SPACES['block'].make(3, 'separable')
# The second is the first with its layers numbered otherwise.
CODES = (
  '(1, SepConv, 3, 0, 0)(2, MaxPool, 3, 0, 0)(3, Add, 0, 1, 2)(4, Terminal)',
  '(1, MaxPool, 3, 0, 0)(2, SepConv, 3, 0, 0)(3, Add, 0, 1, 2)(4, Terminal)',
  '(1, SepConv, 5, 0, 0)(2, Terminal)',
  '(1, AvgPool, 3, 0, 0)(2, Concat, 0, 0, 1)(3, Terminal)',
)
MARKED = '(1, MaxPool, 1, 0, 0)(2, Terminal)'


def _proposals(*codes):
  rows = [nsc.to_actions(nsc.parse(code), KIND.space) for code in codes]
  actions = jnp.stack(rows)
  return Proposals(actions, actions, ())


@pytest.fixture(scope='module')
def config(make_config):
  return make_config()


@pytest.fixture(scope='module')
def dataset(config):
  return classifiers.load_data(config)


@pytest.fixture(scope='module')
def real(config, dataset):
  """The evaluator of the tiny config, four children a call."""
  population = config['evaluator']['population']
  found = evaluations.trained_on(dataset, config, KIND, population)
  return found._replace(evaluate=_to_the_end(found.evaluate))


def _to_the_end(evaluate):
  """An evaluator whose children go on after every evaluation by default."""

  def with_bar(key, proposals, bar=-np.inf):
    return evaluate(key, proposals, bar)

  return with_bar


def _cost(graphs):
  count = len(graphs.ops)
  return np.full(count, 3.0), np.full(count, 7.0)


def _linear():
  """A network that compiles at once; the marked architecture gives NaN."""
  marked = KIND.space.operations.index('max_pool')

  def init(key, architecture):
    del architecture
    kernel = 0.01 * jax.random.normal(key, (64, 10))
    return {'params': {'kernel': kernel}, 'batch_stats': {}}

  def apply(variables, architecture, images, train):
    del train
    logits = images.reshape(len(images), -1) @ variables['params']['kernel']
    poison = jnp.where(architecture.ops[1] == marked, jnp.nan, 1.0)
    return logits * poison, {}

  return padded_block.PaddedNetwork(init, apply, None, None)


def _make(dataset, network=None, population=4, slots=1, **recipe):
  fields = {'epochs': 2, 'batch_size': 25, 'evaluations': 2} | recipe
  found = trained.trained(
    KIND.space,
    network or _linear(),
    _cost,
    loop.on_device(dataset),
    recipes.Recipe(**fields),
    population,
    slots,
  )
  return found._replace(evaluate=_to_the_end(found.evaluate))


def _rows(scores, *fields):
  """What was measured of each child, without the clock."""
  fields = fields or ('accuracy', 'loss', 'curve', 'failure')
  return [
    tuple(np.asarray(getattr(scores, name))[i].tolist() for name in fields)
    for i in range(len(scores.accuracy))
  ]


def test_a_score_depends_on_neither_place_nor_company(real):
  """Bits would differ between a run and its resumption."""
  evaluate = functools.partial(real.evaluate, jax.random.key(0))
  together = _rows(evaluate(_proposals(*CODES)))
  alone = [_rows(evaluate(_proposals(code)))[0] for code in CODES]
  turned = _rows(evaluate(_proposals(*CODES[::-1])))
  assert together == alone == turned[::-1]
  assert len({row[1] for row in together}) == 3  # losses; two are isomorphic


def test_isomorphic_blocks_are_one_child(real):
  """The ledger answers for both, so both must have that score."""
  scores = real.evaluate(jax.random.key(0), _proposals(*CODES[:2]))
  first, second = _rows(scores)
  assert first == second
  assert first[3] == OK and np.isfinite(first[1])


def test_another_seed_is_another_child(real):
  """Every seed would train from the same weights."""
  scores = [
    _rows(real.evaluate(jax.random.key(seed), _proposals(CODES[2])), 'loss')
    for seed in (0, 1, 0)
  ]
  assert scores[0] != scores[1]
  assert scores[0] == scores[2]


def test_child_key_depends_on_the_seed_and_on_all_of_64_bits():
  """Children with equal keys would have equal initial weights."""
  digest = '0123456789abcdef' * 4
  others = ['1123456789abcdef' * 4, '0123456789abcdee' * 4]
  keys = [*trained.child_keys(jax.random.key(0), [digest, *others])]
  keys += [*trained.child_keys(jax.random.key(1), [digest])]
  assert len({tuple(jax.random.key_data(k).tolist()) for k in keys}) == 4
  first, second = jax.random.key(0), 0x01234567
  for word in (second, 0x89ABCDEF):
    first = jax.random.fold_in(first, word)
  assert (jax.random.key_data(first) == jax.random.key_data(keys[0])).all()


def test_cost_is_that_of_the_flax_networks(real, config, dataset):
  """Tables of parameters and multiply-adds would be of another network."""
  scores = real.evaluate(jax.random.key(0), _proposals(*CODES))
  macro = networks.cifar(**config['network'])
  image = jnp.zeros((1, *dataset.train.images.shape[1:]))
  for i, code in enumerate(CODES):
    module = networks.network(
      nsc.to_graph(nsc.parse(code)), KIND.space.operations, macro, 10
    )
    variables = jax.eval_shape(
      functools.partial(module.init, train=False), jax.random.key(0), image
    )
    apply = functools.partial(module.apply, train=False)
    assert scores.params[i] == cost.count_parameters(variables)
    assert scores.madds[i] == cost.count_multiply_adds(apply, variables, image)


def test_one_program_trains_every_architecture(real):
  """A compile an architecture would take most of a search's time."""
  key = jax.random.key(0)
  real.evaluate(key, _proposals(*CODES))
  codes = [
    '(1, SepConv, 1, 0, 0)(2, SepConv, 3, 1, 0)(3, Terminal)',
    '(1, Identity, 0, 0, 0)(2, Terminal)',
    '(1, MaxPool, 1, 0, 0)(2, Add, 0, 0, 1)(3, Concat, 0, 1, 2)(4, Terminal)',
    '(1, AvgPool, 1, 0, 0)(2, AvgPool, 3, 0, 0)(3, SepConv, 5, 2, 0)'
    '(4, Terminal)',
  ]
  proposals = _proposals(*codes)
  counter = devices.CompileCounter()
  scores = real.evaluate(key, proposals)
  assert counter.total().number == 0
  assert (np.asarray(scores.failure) == OK).all()


def test_rows_have_the_shapes_and_units_of_scores(dataset):
  """Whoever reads a score reads another number."""
  evaluate = _make(dataset).evaluate
  scores = evaluate(jax.random.key(0), _proposals(*CODES[:3]))
  assert scores.curve.shape == (3, 2)
  np.testing.assert_array_equal(scores.curve[:, -1], scores.accuracy)
  assert ((scores.accuracy > 0) & (scores.accuracy < 1)).all()
  assert np.isnan(scores.latency).all()
  assert (scores.seconds > 0).all() and (scores.seconds < 60).all()
  assert scores.params.tolist() == [3] * 3 and scores.madds.tolist() == [7] * 3
  assert scores.index.dtype == scores.failure.dtype == np.int32


def test_accuracy_is_of_the_last_evaluation_reached(dataset):
  """A child that stops early would be scored by what never happened."""
  never = _make(dataset, epochs=4, evaluations=4, patience=1, learning_rate=0.0)
  scores = never.evaluate(jax.random.key(0), _proposals(CODES[2]))
  reached = np.isfinite(scores.curve[0])
  assert reached.tolist() == [True, True, False, False]
  assert scores.accuracy[0] == scores.curve[0, 1]
  assert scores.failure[0] == OK


@pytest.mark.parametrize('slots', [1, 2])
def test_a_child_below_the_bar_is_dropped_and_says_so(dataset, slots):
  """It would be trained on, or its row would claim the whole training."""
  evaluator = _make(dataset, slots=slots, epochs=8, evaluations=4)
  evaluate = functools.partial(evaluator.evaluate, jax.random.key(0))
  whole = evaluate(_proposals(*CODES))
  assert whole.epochs.tolist() == [8] * 4
  least = np.full(4, -np.inf)
  second = whole.curve[:, 1]
  least[1] = np.median(second)
  stopped = evaluate(_proposals(*CODES), least)
  passes = second >= least[1]
  assert 0 < passes.sum() < 4
  np.testing.assert_array_equal(stopped.epochs, np.where(passes, 8, 4))
  wanted = np.where(passes[:, None] | (np.arange(4) < 2), whole.curve, np.nan)
  np.testing.assert_array_equal(stopped.curve, wanted)
  accuracy = np.where(passes, whole.accuracy, second)
  np.testing.assert_array_equal(stopped.accuracy, accuracy)
  assert (stopped.failure == OK).all()


def test_dropping_children_compiles_nothing(dataset):
  """A compile costs more than the training that is saved."""
  evaluator = _make(dataset, epochs=4, evaluations=4)
  evaluate = functools.partial(evaluator.evaluate, jax.random.key(0))
  evaluate(_proposals(*CODES))
  counter = devices.CompileCounter()
  for least in (0.0, 0.1, np.array([0.2, -np.inf, 0.3, 0.0])):
    evaluate(_proposals(*CODES), least)
  assert counter.total().number == 0


def test_slots_train_the_same_children(dataset):
  """Children that stand side by side would not be those of a queue."""
  proposals = _proposals(*CODES[1:], MARKED)
  rows = [
    _make(dataset, slots=slots, epochs=4, evaluations=4).evaluate(
      jax.random.key(0), proposals
    )
    for slots in (1, 2, 4)
  ]
  for other in rows[1:]:
    np.testing.assert_allclose(other.loss, rows[0].loss, rtol=1e-5)
    np.testing.assert_array_equal(other.failure, rows[0].failure)


def test_a_real_network_trains_in_slots(real, config, dataset):
  """Branches become selections under vmap; weights must not mix."""
  evaluator = evaluations.trained_on(dataset, config, KIND, 4, slots=2)
  together = evaluator.evaluate(jax.random.key(0), _proposals(*CODES), -np.inf)
  alone = real.evaluate(jax.random.key(0), _proposals(*CODES))
  np.testing.assert_allclose(together.loss, alone.loss, rtol=1e-3)


def test_memory_halves_the_slots_before_and_during_the_run(
  dataset, monkeypatch
):
  """A prediction may be wrong; children that fit would get the floor."""
  tried = []

  def compiled(slots):
    def program(queue, shared):
      tried.append(slots)
      if slots > 1:
        raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory')
      return _FINE(len(queue[1]))

    return program

  _with_programs(monkeypatch, compiled)
  monkeypatch.setattr(devices, 'predicted_bytes', lambda run: run.slots * 100)
  monkeypatch.setattr(devices, 'available_bytes', lambda: 250)
  evaluator = _make(dataset, slots=4)
  evaluate = functools.partial(evaluator.evaluate, jax.random.key(0))
  assert evaluate(_proposals(*CODES[:3])).failure.tolist() == [OK] * 3
  assert tried == [2, 1]  # 4 were not even tried
  evaluate(_proposals(*CODES[:3]))
  assert tried == [2, 1, 1]  # and what failed is not tried again


def _FINE(count):
  value = np.full(count, 0.5, np.float32)
  return trained.Result(value, value, value[:, None], value, value > 1)


def _with_programs(monkeypatch, compiled):
  """Compiled programs are `compiled(slots)`, which know their slots."""
  wanted = []

  class Run:
    def __init__(self, slots):
      self.slots, self._run = slots, compiled(slots)

    def __call__(self, queue, shared):
      return self._run(queue, shared)

  class Lowered:
    lower = staticmethod(lambda *_: Lowered)
    compile = staticmethod(lambda: Run(wanted[-1]))

  def spread(fn):
    wanted.append(inspect.getclosurevars(fn).nonlocals['slots'])
    return Lowered

  monkeypatch.setattr(devices, 'spread_shares', spread)


def test_a_diverged_child_leaves_the_others_alone(dataset):
  """One NaN in a call must not become everybody's."""
  evaluate = functools.partial(_make(dataset).evaluate, jax.random.key(0))
  together = evaluate(_proposals(CODES[2], MARKED, CODES[3]))
  alone = evaluate(_proposals(CODES[2], CODES[3]))
  assert together.failure.tolist() == [OK, DIVERGED, OK]
  assert np.isnan(together.accuracy[1]) and np.isnan(together.loss[1])
  rows = _rows(together)
  assert [rows[0], rows[2]] == _rows(alone)


def test_a_learning_rate_that_is_too_large_is_a_divergence(dataset):
  """It has to be a floor in the reward and not a crash."""
  evaluate = _make(dataset, learning_rate=3e38).evaluate
  scores = evaluate(jax.random.key(0), _proposals(*CODES[:3]))
  assert scores.failure.tolist() == [DIVERGED] * 3
  assert np.isnan(scores.accuracy).all()


def test_a_call_out_of_memory_is_a_result(dataset, monkeypatch):
  """One large call must not end a search."""

  def program(items, shared):
    del items, shared
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of memory')

  evaluate = _broken(dataset, monkeypatch, program).evaluate
  scores = evaluate(jax.random.key(0), _proposals(*CODES[:3]))
  assert scores.failure.tolist() == [OUT_OF_MEMORY] * 3
  assert np.isnan(scores.accuracy).all() and scores.curve.shape == (3, 2)
  assert scores.params.tolist() == [3] * 3


def test_another_error_of_the_device_is_not_taken_for_memory(
  dataset, monkeypatch
):
  """A lost device would give every later child the floor."""

  def program(items, shared):
    del items, shared
    raise jax.errors.JaxRuntimeError('INTERNAL: the device is lost')

  evaluate = _broken(dataset, monkeypatch, program).evaluate
  with pytest.raises(jax.errors.JaxRuntimeError, match='lost'):
    evaluate(jax.random.key(0), _proposals(CODES[2]))


def _broken(dataset, monkeypatch, program):
  """An evaluator whose compiled program is `program`."""

  class Lowered:
    lower = staticmethod(lambda *_: Lowered)
    compile = staticmethod(lambda: program)

  monkeypatch.setattr(devices, 'spread_shares', lambda fn: Lowered)
  monkeypatch.setattr(devices, 'predicted_bytes', lambda compiled: 1)
  return _make(dataset)


def test_memory_that_will_not_suffice_is_refused_with_both_numbers():
  """A user has to see how far off a config is."""
  trained.check_memory(2_000_000_000, 2_000_000_000)
  trained.check_memory(2_000_000_000, None)
  message = r'3\.21 GB, and a device has 1\.50 GB free: lower train\.batch_size'
  with pytest.raises(trained.MemoryTooSmall, match=message):
    trained.check_memory(3_210_000_000, 1_500_000_000)


def test_memory_is_checked_before_the_first_child(dataset, monkeypatch):
  """The kernel would end the process instead, in the middle of a search."""
  monkeypatch.setattr(devices, 'available_bytes', lambda: 1000)
  evaluator = _make(dataset)
  with pytest.raises(trained.MemoryTooSmall):
    evaluator.prepare()
  with pytest.raises(trained.MemoryTooSmall):
    evaluator.evaluate(jax.random.key(0), _proposals(CODES[2]))


@pytest.mark.parametrize('slots', [0, 3])
def test_more_slots_than_children_are_refused(dataset, monkeypatch, slots):
  """They would stand empty for ever."""
  monkeypatch.setattr(devices, 'count', lambda: 2)
  with pytest.raises(
    ValueError, match=f'evaluator.slots is {slots}: .* 1 to 2'
  ):
    _make(dataset, slots=slots)


@pytest.mark.parametrize('population', [-2, 0, 3])
def test_a_population_that_devices_cannot_share_is_refused(
  dataset, monkeypatch, population
):
  """XLA would say it in its own words, after the compile."""
  monkeypatch.setattr(devices, 'count', lambda: 2)
  message = f'evaluator.population is {population}: .* multiple of the 2'
  with pytest.raises(ValueError, match=message):
    _make(dataset, population=population)


def test_a_recipe_or_a_batch_that_does_not_fit_is_refused(dataset):
  """Both would fail in the middle of a search."""
  with pytest.raises(ValueError, match='train.batch_size is 51'):
    _make(dataset, batch_size=51)
  with pytest.raises(ValueError, match='5 proposals: at most 4'):
    _make(dataset).evaluate(jax.random.key(0), _proposals(*CODES, MARKED))


def test_children_are_trained_in_canonical_numbering(dataset):
  """Weights of layer 1 would depend on how a searcher numbers layers."""
  seen = []

  def cost_fn(graphs):
    seen.append(graphs)
    return _cost(graphs)

  evaluator = trained.trained(
    KIND.space,
    _linear(),
    cost_fn,
    loop.on_device(dataset),
    recipes.Recipe(epochs=1, batch_size=25),
    2,
  )
  evaluator.evaluate(jax.random.key(0), _proposals(*CODES[:2]), 0.0)
  expected = graph.canonical(nsc.to_graph(nsc.parse(CODES[0]), 3))
  for i in range(2):
    for field, wanted in zip(seen[0], expected, strict=True):
      np.testing.assert_array_equal(field[i], wanted)


def test_a_recipe_that_the_padded_program_cannot_follow_is_refused(dataset):
  """Children would be trained without what their scores claim."""
  with pytest.raises(ValueError, match='train.drop_path is 0.2: children'):
    _make(dataset, drop_path=0.2)


def test_a_child_at_chance_begins_again_as_often_as_it_may(dataset):
  """With each restart fresh weights and 0.5 of the rate, by one program.

  Chance is made so high that all are at it: what is left is of the last
  beginning, trained to its end.
  """
  fields = dict(restart_factor=0.5, restart_below=0.99, learning_rate=0.1)
  plain = _rows(_make(dataset).evaluate(jax.random.key(0), _proposals(*CODES)))
  found = {}
  for restarts in (0, 1, 2):
    evaluate = _make(dataset, restarts=restarts, **fields).evaluate
    scores = evaluate(jax.random.key(0), _proposals(*CODES))
    found[restarts] = _rows(scores)
    assert np.isfinite(scores.curve).all() and (scores.epochs == 2).all()
  assert found[0] == plain
  assert found[0] != found[1] != found[2]


def test_a_child_that_learns_at_once_is_not_restarted(dataset):
  """Its numbers are those of a recipe without restarts."""
  plain = _make(dataset).evaluate
  eager = _make(dataset, restarts=3, restart_below=0.0).evaluate
  key, proposals = jax.random.key(0), _proposals(*CODES)
  assert _rows(eager(key, proposals)) == _rows(plain(key, proposals))


@pytest.mark.parametrize('slots', [1, 2])
def test_each_child_has_restarts_of_its_own(dataset, slots):
  """Company in the same call changes nothing, at once or in turn."""
  fields = dict(restarts=2, restart_below=0.12, learning_rate=1e-3)
  evaluate = _make(dataset, slots=slots, **fields).evaluate
  key = jax.random.key(0)
  together = _rows(evaluate(key, _proposals(*CODES)))
  alone = [_rows(evaluate(key, _proposals(code)))[0] for code in CODES]
  assert together == alone


def test_a_restart_has_another_key_and_a_lower_rate(dataset):
  """Seen in the state of the job: the factor, and the weights."""
  recipe = recipes.Recipe(
    epochs=2,
    batch_size=25,
    evaluations=2,
    restarts=2,
    restart_below=0.99,
    clip_norm=1.0,
  )
  job = trained.make_job(_linear(), recipe)
  data = loop.on_device(dataset)
  shared = trained.Shared(data, jnp.full(2, -jnp.inf))
  code = nsc.to_graph(nsc.parse(CODES[2]), 3)
  item = jax.random.key(0), jax.tree.map(jnp.asarray, code)
  states = [job.begin(item, shared)]
  advance = jax.jit(job.advance)
  for _ in range(4):
    states.append(advance(item, states[-1], shared))
  assert [int(state.restarts) for state in states] == [0, 1, 2, 2, 2]
  factors = [float(state.learner.opt_state[-1].factor) for state in states]
  np.testing.assert_allclose(factors, [1, 0.4, 0.16, 0.16, 0.16], rtol=1e-6)
  assert [int(state.history.finished) for state in states] == [0, 0, 0, 1, 2]
  kernels = [state.learner.variables['params']['kernel'] for state in states]
  assert all(np.any(kernels[i] != kernels[i + 1]) for i in range(4))
  assert [bool(job.goes_on(state, shared)) for state in states] == 4 * [
    True
  ] + [False]
