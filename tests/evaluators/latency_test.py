"""Latency: what is timed, what a network is made of, and the sum of it."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.evaluators import latency
from irlas_jax.networks import block, mobilenet_v2, nasbench201
from irlas_jax.spaces import nasbench201 as space201
from irlas_jax.types import OK, OUT_OF_MEMORY, Proposals, Scores

pytestmark = pytest.mark.usefixtures('quick_compiles')
IMAGE = 8, 8, 3
MACRO = block.Macro((4, 6), (2, 1))
# Nobody reads the pool, 3, and the last one, 5.
LAYERS = (
  block.Layer('sep_conv', 3, (0,)),
  block.Layer('identity', 0, (0,)),
  block.Layer('max_pool', 3, (1,)),
  block.Layer('add', 0, (1, 2)),
  block.Layer('concat', 0, (1, 4)),
)
CELL = (
  '|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|'
  '+|skip_connect~0|none~1|nor_conv_3x3~2|'
)
ALL = (
  *(block.Layer(name, 3, (0,)) for name in ('conv', 'sep_conv', 'max_pool')),
  block.Layer('avg_pool', 3, (1,)),
  block.Layer('add', 0, (2, 3)),
  block.Layer('concat', 0, (4, 5)),
)


def _slow(seconds):
  """A function of an array that sleeps when it runs, and how often it ran."""
  calls = []

  def sleep(x):
    calls.append(len(calls))
    time.sleep(seconds[min(len(calls), len(seconds)) - 1])
    return x

  def fn(x):
    return jax.pure_callback(sleep, jax.ShapeDtypeStruct((), jnp.float32), x)

  return fn, calls


def test_the_median_is_of_whole_calls_after_warming_up():
  """Fails if the warm-up counts, or a call is over before its result is there.

  Two slow calls to warm up; of five timed ones two take ten times as long.
  """
  fn, calls = _slow([0.2, 0.2, 0.01, 0.1, 0.01, 0.1, 0.01])
  found = latency.measure(fn, (np.float32(1),), warmup=2, repeats=5)
  assert len(calls) == 7 and found.repeats == 5
  assert 0.01 <= found.low <= found.median < 0.1 <= found.high < 0.2


def test_no_call_is_timed_after_the_time_is_up():
  """But one is in any case."""
  fn, calls = _slow([0.02])
  found = latency.measure(fn, (np.float32(1),), 0, 100, seconds=0.05)
  assert found.repeats == len(calls) <= 3
  assert latency.measure(fn, (np.float32(1),), 0, 9, seconds=0).repeats == 1


def test_rounds_call_everything_once_in_turn():
  """One after the other, a disturbance would be that of one of them."""
  order = []

  def make(name, taken):
    def call():
      order.append(name)
      return taken * len(order)

    return call

  timers = [make('a', 1.0), make('b', 10.0)]
  found = latency.interleave(timers, warmup=1, rounds=2)
  assert order == ['a', 'b'] * 3
  np.testing.assert_array_equal(found, [[3, 40], [5, 60]])
  order.clear()
  assert latency.interleave(timers, 0, 9, seconds=25.0).shape == (2, 2)


def test_no_repeats_are_refused():
  with pytest.raises(ValueError, match='repeats is 0'):
    latency.measure(lambda x: x, (np.float32(1),), repeats=0)


def test_a_module_is_timed_on_its_inputs():
  images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
  module = block.BlockNetwork(LAYERS, MACRO, 3)
  found = latency.measure_module(module, images, warmup=0, repeats=2)
  assert 0 < found.low <= found.median <= found.high and found.repeats == 2


def test_the_pieces_of_a_block_network():
  """By hand: two blocks of width 4 at 8 x 8 and one of width 6 at 4 x 4."""
  module = block.BlockNetwork(LAYERS, MACRO, 3)

  def layers(side, width):
    shape = side, side, width
    return [
      ('sep_conv', 3, (shape,), width),
      ('max_pool', 3, (shape,), width),
      ('add', 0, (shape, shape), width),
      ('concat', 0, (shape, shape), width),
      ('join', 0, (shape, shape), 2 * width),
    ]

  assert latency.pieces(module, IMAGE) == (
    ('stem', 3, (IMAGE,), 4),
    ('conv', 1, ((8, 8, 4),), 4),
    *layers(8, 4),
    ('conv', 1, ((8, 8, 8),), 4),
    *layers(8, 4),
    ('halve', 0, ((8, 8, 8),), 8),
    ('conv', 1, ((4, 4, 8),), 6),
    *layers(4, 6),
    ('head', 0, ((4, 4, 12),), 3),
  )


def _cells(text, macro):
  graph = space201.effective(space201.parse(text))
  return nasbench201.network(graph, space201.OPERATIONS, macro, 3)


def test_the_pieces_of_a_nasbench201_network():
  """Skip connections and nones are free, and so are sums of one node."""
  module = _cells(CELL, block.Macro((4, 8), (1, 1)))

  def cell(side, width):
    shape = side, side, width
    return {
      ('conv', 3, (shape,), width): 2,
      ('conv', 1, (shape,), width): 1,
      ('avg_pool', 3, (shape,), width): 1,
      ('add', 0, (shape, shape), width): 2,
    }

  expected = cell(8, 4) | cell(4, 8)
  expected |= {
    ('stem', 3, (IMAGE,), 4): 1,
    ('reduce', 0, ((8, 8, 4),), 8): 1,
    ('norm_head', 0, ((4, 4, 8),), 3): 1,
  }
  found = latency.pieces(module, IMAGE)
  assert {piece: found.count(piece) for piece in found} == expected
  assert found[0].operation == 'stem' and found[-1].operation == 'norm_head'


def test_a_network_of_empty_cells_is_its_trunk():
  empty = '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
  found = latency.pieces(_cells(empty, block.Macro((4, 8), (2, 2))), IMAGE)
  operations = [piece.operation for piece in found]
  assert operations == ['stem', 'reduce', 'norm_head']


@pytest.mark.parametrize(
  'module',
  [
    mobilenet_v2.network(),
    block.BlockNetwork(LAYERS, MACRO._replace(imagenet=True), 3),
  ],
)
def test_networks_of_unknown_pieces_are_refused(module):
  with pytest.raises(
    ValueError, match=f'{type(module).__name__} are not known'
  ):
    latency.pieces(module, IMAGE)


def _wanted():
  module = block.BlockNetwork(ALL, block.Macro((4, 8), (1, 1)), 3)
  return {
    *latency.pieces(module, IMAGE),
    *latency.pieces(_cells(CELL, block.Macro((4, 8), (1, 1))), IMAGE),
  }


def test_a_piece_gives_what_the_next_one_reads():
  """Every piece can be run, and gives the features that it says."""
  halved = {'halve', 'reduce'}
  for piece in _wanted():
    inputs = tuple(
      jax.ShapeDtypeStruct((2, *shape), jnp.float32) for shape in piece.inputs
    )
    module = latency.Alone(piece)
    out, _ = jax.eval_shape(
      lambda x, module=module: module.init_with_output(
        jax.random.key(0), x, False
      ),
      inputs,
    )
    height, breadth, _ = piece.inputs[0]
    if piece.operation in halved:
      height, breadth = height // 2, breadth // 2
    image = () if 'head' in piece.operation else (height, breadth)
    assert out.shape == (2, *image, piece.width)


def test_pieces_are_measured_once_each():
  wanted = latency.pieces(block.BlockNetwork(LAYERS[:1], MACRO, 3), IMAGE)
  table = latency.measure_pieces(wanted, 2, warmup=0, repeats=1)
  assert set(table) == {latency.CALL, *wanted}
  assert len(table) < len(wanted)  # two blocks of the first stage are alike
  assert all(seconds > 0 for seconds in table.values())
  assert latency.predict(table, wanted) >= table[latency.CALL]


def test_an_unknown_piece_is_named():
  piece = latency.Piece('fft', 3, (IMAGE,), 4)
  with pytest.raises(ValueError, match="operation 'fft'"):
    latency.measure_module(latency.Alone(piece), (jnp.ones((1, *IMAGE)),))


def test_a_prediction_is_one_call_and_what_pieces_take_beyond():
  """By hand: 1 + 2 (5 - 1) + 0 for what is faster than doing nothing."""
  slow, fast = (latency.Piece(n, 0, (IMAGE,), 3) for n in ('slow', 'fast'))
  table = {latency.CALL: 1.0, slow: 5.0, fast: 0.5}
  assert latency.predict(table, (slow, fast, slow)) == 9.0
  assert latency.predict(table, ()) == 1.0
  with pytest.raises(ValueError, match="1 pieces .*operation='slow'"):
    latency.predict({latency.CALL: 1.0, fast: 0.5}, (slow, fast))


def test_errors_by_hand():
  """Off by 10, 50 and 20 %; the last two are in the wrong order."""
  found = latency.prediction_error([1.1, 6.0, 4.8], [1.0, 4.0, 6.0])
  assert math.isclose(found.percent, 20)
  assert math.isclose(found.correlation, 0.5)


def _scores(failure):
  nan = np.full(len(failure), np.nan, np.float32)
  return Scores(*(nan,) * 7, curve=nan[:, None], index=failure, failure=failure)


def test_scores_get_a_latency_once_for_each_architecture():
  """The third is the first again; the fourth failed."""
  asked = []

  def seconds(graph):
    asked.append(graph)
    return float(len(asked))

  failure = np.array([OK, OK, OK, OUT_OF_MEMORY], np.int32)
  evaluate = latency.with_latency(
    lambda key, proposals, bar: _scores(failure),
    space201.nasbench201(),
    seconds,
  )
  actions = np.array([[0] * 6, [1] * 6, [0] * 6, [2] * 6])
  proposals = Proposals(actions, actions, None)
  for _ in range(2):
    scores = evaluate(jax.random.key(0), proposals, np.zeros(1))
    np.testing.assert_array_equal(scores.latency, [1, 2, 1, np.nan])
    np.testing.assert_array_equal(scores.failure, failure)
  assert len(asked) == 2
  assert space201.text_of(asked[1]).count('skip_connect') == 6
