"""How long networks take on the present device: measured, or predicted.

What is timed is a network for inference, its normalisations folded, as one
compiled program. A prediction is cheaper: every piece of a network (an
operation with its kernel, width and input shapes) is measured once alone, and a
network takes the sum of its pieces. What that sum does not see:

  fusion   the compiler makes one loop of neighbours that are apart here, so a
           ReLU, a sum or a concatenation alone costs more than inside
  memory   a piece alone finds its input in the cache, and its output need not
           stay while others run
  overlap  branches that a device runs side by side are added up

so it serves to order networks rather than to time them; `prediction_error`
says how well it does either.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from irlas_jax import graph as graphs
from irlas_jax.networks import block, folding, nasbench201
from irlas_jax.types import (
  OK,
  Array,
  Evaluator,
  Graph,
  Proposals,
  Scores,
  Space,
)

Shape = tuple[int, int, int]  # H, W, C


class Latency(NamedTuple):
  """Seconds of a call."""

  median: float
  low: float  # first quartile
  high: float  # third quartile
  repeats: int


class Piece(NamedTuple):
  """A part of a network; equal ones are measured once."""

  operation: str
  kernel: int
  inputs: tuple[Shape, ...]
  width: int  # features that come out


class PredictionError(NamedTuple):
  """How far predictions are from measurements of the same networks."""

  percent: float  # median of |predicted / measured - 1| * 100
  correlation: float  # Spearman's, of ranks


CALL = Piece('call', 0, ((1, 1, 1),), 1)  # what a call costs that does nothing


def measure(
  fn: Callable,
  example: tuple,
  warmup: int = 3,
  repeats: int = 30,
  seconds: float = math.inf,
) -> Latency:
  """Times compiled calls of fn(*example), each until its outputs are there.

  Args:
    fn: a function of arrays; compiled first, which is not timed.
    example: its arguments; put on the device first, which is not timed.
    warmup: calls before the timed ones.
    repeats: timed calls at most.
    seconds: after which no further call is timed; one is in any case.

  Raises:
    ValueError: if there is nothing to time.
  """
  if repeats < 1:
    raise ValueError(f'repeats is {repeats}: time at least one call.')
  found = interleave([timer(fn, example)], warmup, repeats, seconds)[:, 0]
  low, median, high = np.percentile(found, [25, 50, 75]).tolist()
  return Latency(median, low, high, len(found))


def timer(fn: Callable, example: tuple) -> Callable[[], float]:
  """fn(*example), compiled, as a call that says how many seconds it took."""
  example = jax.device_put(example)
  compiled = jax.jit(fn).lower(*example).compile()

  def call() -> float:
    began = time.perf_counter()
    jax.block_until_ready(compiled(*example))
    return time.perf_counter() - began

  return call


def interleave(
  timers: Sequence[Callable[[], float]],
  warmup: int = 3,
  rounds: int = 30,
  seconds: float = math.inf,
) -> np.ndarray:
  """Seconds [R, n] of calls in R rounds, in each of which all are called once.

  What disturbs the machine for a while disturbs all of them alike, so what they
  take relative to each other is steadier than what they take. No round begins
  after `seconds` of timed calls; one does in any case.
  """
  for _ in range(warmup):
    for call in timers:
      call()
  found: list[list[float]] = []
  while len(found) < rounds and (not found or np.sum(found) < seconds):
    found.append([call() for call in timers])
  return np.array(found)


def measure_module(module: nn.Module, *inputs: Any, **how: Any) -> Latency:
  """Times a module (*inputs, train) for inference, with random weights.

  `inputs` are `jax.ShapeDtypeStruct`s, `how` what `measure` takes.
  """
  return measure(*for_inference(module, *inputs), **how)


def for_inference(module: nn.Module, *inputs: Any) -> tuple[Callable, tuple]:
  """A module's folded call and an example of its arguments, all random."""
  folded = folding.fold(module, *inputs)

  def init(*inputs):
    return folded.convert(module.init(jax.random.key(0), *inputs, False))

  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda leaf: _weights(rng, leaf.shape), jax.eval_shape(init, *inputs)
  )
  images = jax.tree.map(lambda leaf: _normal(rng, leaf.shape), inputs)
  return folded.apply, (variables, *images)


def _weights(rng, shape) -> np.ndarray:
  """Normal weights that keep signals about as large as they are."""
  return _normal(rng, shape) / np.float32(math.prod(shape[:-1]) ** 0.5)


def _normal(rng, shape) -> np.ndarray:
  return rng.normal(size=shape).astype(np.float32)


def pieces(module: nn.Module, image: Shape) -> tuple[Piece, ...]:
  """What a network consists of, for images [H, W, C].

  Make the module of a NAS-Bench-201 cell from its effective graph: the compiler
  leaves out what does not reach the output.

  Raises:
    ValueError: for another network than the block space's with the CIFAR macro,
      or NAS-Bench-201's.
  """
  if isinstance(module, block.BlockNetwork) and not module.macro.imagenet:
    return tuple(_trunk(module, image, _block_pieces, 'halve', 'head'))
  if isinstance(module, nasbench201.NasBench201Network):
    return tuple(_trunk(module, image, _cell_pieces, 'reduce', 'norm_head'))
  raise ValueError(
    f'The pieces of {type(module).__name__} are not known: give a network of '
    'the block space with the CIFAR macro, or of NAS-Bench-201; or measure it.'
  )


def _trunk(module, image, repeated, between, head) -> Iterator[Piece]:
  """The pieces of a macro-architecture; `repeated` gives those of a block."""
  macro = module.macro
  height, breadth, _ = image
  yield Piece('stem', 3, (image,), macro.widths[0])
  channels = macro.widths[0]
  for stage, width in enumerate(macro.widths):
    if stage > 0:
      before = height, breadth, channels
      channels = width if between == 'reduce' else channels
      yield Piece(between, 0, (before,), channels)
      height, breadth = height // 2, breadth // 2
    for _ in range(macro.blocks[stage]):
      shape = height, breadth, channels
      yield from (found := repeated(module, shape, width))
      channels = found[-1].width if found else channels
  yield Piece(head, 0, ((height, breadth, channels),), module.num_classes)


def _block_pieces(module, shape, width) -> list[Piece]:
  """A block's projection, its layers and the concatenation of its leaves."""
  inner = (*shape[:2], width)
  leaves = len(block.leaves_of(module.layers))
  return [
    Piece('conv', 1, (shape,), width),
    *(
      Piece(layer.operation, layer.kernel, (inner,) * len(layer.preds), width)
      for layer in module.layers
      if layer.operation != 'identity'
    ),
    Piece('join', 0, (inner,) * leaves, leaves * width),
  ]


def _cell_pieces(module, shape, width) -> list[Piece]:
  """A cell's convolutions, poolings and sums of more than one node."""
  return [
    Piece(*_CELL_PIECES[node.operation], (shape,) * len(node.preds), width)
    for node in module.nodes
    if node.operation in _CELL_PIECES
    and (node.operation != 'sum' or len(node.preds) > 1)
  ]


_CELL_PIECES = {
  'nor_conv_1x1': ('conv', 1),
  'nor_conv_3x3': ('conv', 3),
  'avg_pool_3x3': ('avg_pool', 3),
  'sum': ('add', 0),
}


class Alone(nn.Module):
  """A piece as a network of its own."""

  piece: Piece

  @nn.compact
  def __call__(self, inputs: tuple[jax.Array, ...], train: bool) -> jax.Array:
    operation, kernel, _, width = self.piece
    x = inputs[0]
    match operation:
      case 'call':
        return x + 1
      case 'stem':
        x = nn.Conv(width, (kernel, kernel), use_bias=False)(x)
        return block.batch_norm(train)(x)
      case 'conv':
        return block.ReluConvBN(width, kernel)(x, train)
      case 'sep_conv':
        return block.ReluSepConvBN(width, kernel)(x, train)
      case 'max_pool':
        return block.max_pool(x, kernel)
      case 'avg_pool':
        return block.avg_pool(x, kernel)
      case 'add':
        return sum(inputs, start=jnp.zeros_like(x))
      case 'concat':
        joined = jnp.concatenate(inputs, axis=-1)
        return nn.Conv(width, (1, 1), use_bias=False)(joined)
      case 'join':
        return jnp.concatenate(inputs, axis=-1)
      case 'halve':
        return nn.max_pool(x, (2, 2), (2, 2))
      case 'reduce':
        return nasbench201.ResidualReduction(width)(x, train)
      case 'norm_head':
        x = block.batch_norm(train)(x)
        return nn.Dense(width)(nn.relu(x).mean(axis=(1, 2)))
      case 'head':
        return nn.Dense(width)(nn.relu(x).mean(axis=(1, 2)))
    raise ValueError(f'No piece has the operation {operation!r}.')


def measure_pieces(
  wanted: Iterable[Piece], batch: int, **how: Any
) -> dict[Piece, float]:
  """Seconds a batch of each piece and of `CALL`; `how` is for `measure`."""
  return {
    piece: measure_module(*alone(piece, batch), **how).median
    for piece in dict.fromkeys((CALL, *wanted))
  }


def alone(piece: Piece, batch: int) -> tuple[nn.Module, tuple]:
  """A piece as a network, and its inputs as `jax.ShapeDtypeStruct`s."""
  inputs = tuple(
    jax.ShapeDtypeStruct((batch, *shape), jnp.float32) for shape in piece.inputs
  )
  return Alone(piece), inputs


def predict(table: Mapping[Piece, float], wanted: Iterable[Piece]) -> float:
  """Seconds a batch of a network: one call, and what its pieces take beyond.

  Raises:
    ValueError: if a piece has not been measured.
  """
  wanted = tuple(wanted)
  if missing := {CALL, *wanted} - set(table):
    raise ValueError(
      f'{len(missing)} pieces are not in the table, {min(missing)} among them: '
      'measure them with measure_pieces at the same batch size.'
    )
  beyond = [max(table[p] - table[CALL], 0) for p in wanted]
  return math.fsum([table[CALL], *beyond])  # whatever their order


def prediction_error(predicted, measured) -> PredictionError:
  """Of seconds [n] of the same networks in the same order."""
  predicted, measured = np.asarray(predicted), np.asarray(measured)
  percent = float(np.median(np.abs(predicted / measured - 1)) * 100)
  correlation = float(stats.spearmanr(predicted, measured).statistic)
  return PredictionError(percent, correlation)


def with_latency(
  evaluate: Evaluator, space: Space, seconds: Callable[[Graph], float]
) -> Evaluator:
  """An evaluator whose scores have the latency of each graph as well.

  `seconds` gives it of a graph, once for isomorphic ones. Rows that failed have
  none.
  """
  known: dict[str, float] = {}

  def latency(actions):
    graph = jax.device_get(space.decode(jnp.asarray(actions)))
    digest = graphs.digest(graph)
    if digest not in known:
      known[digest] = seconds(graph)
    return known[digest]

  def evaluate_with_latency(
    key: jax.Array, proposals: Proposals, bar: Array
  ) -> Scores:
    scores = evaluate(key, proposals, bar)
    rows = zip(proposals.actions, scores.failure, strict=True)
    found = [latency(a) if f == OK else math.nan for a, f in rows]
    return scores._replace(latency=np.asarray(found, np.float32))

  return evaluate_with_latency
