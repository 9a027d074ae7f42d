"""Latencies of children: one table for all runs, and what they depend on."""

import json

import jax.numpy as jnp
import pytest

from irlas_jax.evaluators import child_latency, latency
from irlas_jax.networks import block

IMAGE = 8, 8, 3
MACRO = block.Macro((4,), (1,))
CONV, POOL = block.Layer('conv', 3, (0,)), block.Layer('max_pool', 3, (0,))


def _module(layers):
  """Stands for a graph's network: a graph is its layers here."""
  return block.BlockNetwork(layers, MACRO, 3)


CHILDREN = child_latency.Children(
  _module,
  IMAGE,
  lambda: [(CONV,), (POOL,), (CONV, POOL)],
  lambda: [(CONV,), (POOL,)],
)


@pytest.fixture(name='clockwork')
def fixture_clockwork(monkeypatch):
  """Every module takes a second more than the one before; returns them."""
  asked = []

  def measure_module(module, *inputs, repeats):
    asked.append((module, inputs, repeats))
    taken = 0.1 + len(asked)
    return latency.Latency(taken, taken, taken, repeats)

  monkeypatch.setattr(latency, 'measure_module', measure_module)
  return asked


def _predicted(path, **fields):
  return child_latency.predicted(CHILDREN, str(path), **fields)


def test_a_table_is_measured_once_and_then_only_read(tmp_path, clockwork):
  """A resumed search would predict other latencies, for other rewards."""
  path = tmp_path / 'deep' / 'table.json'
  first = _predicted(path, batch=2, calls=5)
  # A call, a stem, enter, conv, pool, join of 1 and of 2, head of 4 and of 8;
  # and two networks.
  assert len(clockwork) == 9 + 2
  assert {repeats for _, _, repeats in clockwork} == {5}
  assert clockwork[-1][1][0].shape == (2, *IMAGE)
  again = _predicted(path, batch=2)
  assert len(clockwork) == 11
  assert again.settings == first.settings
  assert again.seconds((CONV, POOL)) == first.seconds((CONV, POOL))
  # Since the call: the stem first, and so on as the pieces come.
  assert first.seconds((CONV,)) == pytest.approx(1.1 + 1 + 2 + 3 + 4 + 5)
  assert not list(path.parent.glob('*.new'))


def test_what_is_written_says_how_it_was_measured(tmp_path, clockwork):
  path = tmp_path / 'table.json'
  _predicted(path, batch=2)
  content = json.loads(path.read_text())
  assert content['batch'] == 2 and content['architectures'] == 2
  assert content['percent'] > 0
  assert content['correlation'] == pytest.approx(1)
  assert content['pieces'][0] == ['call', 0, [[1, 1, 1]], 1, 1.1]


def test_another_table_is_another_setting(tmp_path, clockwork):
  """The ledger would mix predictions of two tables."""
  one, two = (_predicted(tmp_path / name) for name in ('one', 'two'))
  assert one.settings != two.settings
  assert one.settings['latency']['name'] == 'predicted'


def test_a_table_that_does_not_fit_is_refused(tmp_path, clockwork):
  path = tmp_path / 'table.json'
  _predicted(path)
  with pytest.raises(ValueError, match='batches of 1, .*batch is 2'):
    _predicted(path, batch=2)
  other = CHILDREN._replace(image=(16, 16, 3))
  with pytest.raises(ValueError, match='lacks 8 of 8 pieces.*latency.file'):
    child_latency.predicted(other, str(path))
  for text in ('{', '[]', '{"batch": 1}', '{"batch": 1, "pieces": [[1]]}'):
    path.write_text(text)
    with pytest.raises(ValueError, match='no table of latencies'):
      _predicted(path)


def test_a_measured_child_is_its_network_at_the_batch_size(clockwork):
  clock = child_latency.measured(CHILDREN, batch=4, calls=7)
  assert clock.seconds((POOL,)) == pytest.approx(1.1)
  ((module, (images,), repeats),) = clockwork
  assert module == _module((POOL,)) and repeats == 7
  assert images.shape == (4, *IMAGE) and images.dtype == jnp.float32


def test_measurements_depend_on_how_and_where():
  """The ledger would answer with another device's or batch's."""
  made = [
    child_latency.measured(CHILDREN, **fields)
    for fields in ({}, {'batch': 2}, {'calls': 3})
  ]
  settings = [clock.settings['latency'] for clock in made]
  assert len({json.dumps(one) for one in settings}) == 3
  assert settings[0]['device']


def test_without_a_clock_nothing_changes():
  """Ledgers of before would be of no use."""
  assert child_latency.none(CHILDREN) == (None, {})


@pytest.mark.parametrize('field', ['batch', 'calls'])
def test_a_number_that_makes_no_sense_is_refused(tmp_path, field):
  with pytest.raises(ValueError, match=f'latency.{field} is 0'):
    child_latency.measured(CHILDREN, **{field: 0})
  with pytest.raises(ValueError, match=f'latency.{field} is 0'):
    _predicted(tmp_path / 'table.json', **{field: 0})
