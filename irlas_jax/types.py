"""The contracts of the library: what flows between its parts, and nothing else.

Data flows one way: choices (actions) -> architecture (`Graph`) -> network ->
`Scores` -> reward -> searcher. Every part is a value made of pure functions
whose state is a pytree of arrays.

Shapes: `T` steps of a space, `A` actions a step, `V` nodes of a graph, `F`
attributes of a node, `E` epochs, `n` architectures in a batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Array = Any  # a jax.Array under jit, a jax.Array or numpy.ndarray outside


class Graph(NamedTuple):
  """An architecture: a directed acyclic graph padded to `V` nodes.

  Nodes stand in topological order and node 0 is the input. Leading axes (a
  batch, or the cells of one architecture) are allowed on every field alike.
  """

  ops: Array  # [V] int32, row of the space's operation table; -1 padding
  attrs: Array  # [V, F] int32, named by the space: kernel, filters ...
  edges: Array  # [V, V] bool, [u, v] if v reads u; strictly upper triangular
  outputs: Array  # [V] int8: 0 none, 1 output, 2 second output


class Space(NamedTuple):
  """What can be chosen, in `T` steps of at most `A` actions each."""

  num_steps: int  # T
  num_actions: int  # A
  num_states: int  # rows of a value table over this space
  legal: Callable  # (actions [T], t) -> [A] bool; reads actions[:t] only
  state: Callable  # (actions [T], t) -> [] int32, value table row before step t
  decode: Callable  # actions [T] -> Graph
  encode: Callable  # Graph -> actions [T]; decode(encode(g)) == g
  operations: tuple[str, ...]  # names of the rows that Graph.ops points to
  attributes: tuple[str, ...]  # names of the columns of Graph.attrs
  terminal: bool  # whether action 0 ends an episode: after it only 0 is legal
  # Where layer i = 0, 1, ... has its skip connections, if the space has them:
  # at step anchors[i] + j, j < i, action 2 reads layer j and action 1 does not.
  # Which of the two are legal does not depend on the others of the layer.
  anchors: tuple[int, ...] = ()
  # What it changes, if it changes a given network: F numbers of each of its L
  # layers. Step t is about layer t // (T / L).
  layers: tuple[tuple[float, ...], ...] = ()


class Policy(NamedTuple):
  """A distribution over a space's legal action sequences, with parameters."""

  init: Callable  # (key) -> params
  sample: Callable  # (key, params, n) -> (actions [n, T], log_prob [n, T])
  log_prob: Callable  # (params, actions [n, T]) -> (log_prob, entropy) [n, T]


class Predictor(NamedTuple):
  """What architectures will score, learnt from `M` that were evaluated."""

  init: Callable  # (key, actions [T]) -> params; of the actions the shape
  # (key, params, actions [M, T], rewards [M], held [M] bool) -> params
  fit: Callable
  predict: Callable  # (params, actions [n, T]) -> rewards [n]


class Proposals(NamedTuple):
  """A batch of architectures that a searcher asks to have scored."""

  actions: Array  # [n, T] int32
  parents: Array  # [n, T] int32, what each was made from; itself if nothing
  info: Any  # pytree with leading n, e.g. the log-probability when sampled


class Searcher(NamedTuple):
  """A search strategy: three pure functions over one state pytree."""

  init: Callable  # (key) -> state
  propose: Callable  # (key, state, n) -> (Proposals, state); n is static
  update: Callable  # (key, state, Proposals, rewards [n], valid [n]) -> state


class Scores(NamedTuple):
  """What is known of `n` evaluated architectures; one row each.

  A row whose `failure` is not 0 carries no measurement; rewards map it to a
  floor. Units are in the comments; a number nobody measured is NaN.
  """

  accuracy: Array  # [n] float32 in [0, 1], on validation data
  loss: Array  # [n] float32, validation cross-entropy in nats
  params: Array  # [n] float32, number of trainable parameters
  madds: Array  # [n] float32, multiply-adds of one forward pass, one image
  latency: Array  # [n] float32 seconds a batch
  seconds: Array  # [n] float32, wall time of the evaluation
  epochs: Array  # [n] float32, of training; fewer than asked for if stopped
  curve: Array  # [n, E] float32, validation accuracy after each epoch
  # how many evaluations came before, [n] int32
  index: Array  # type: ignore[assignment]
  failure: Array  # [n] int32, one of the codes below


# Scores.failure
OK, DIVERGED, OUT_OF_MEMORY, CRASHED, ABSENT, TIMED_OUT = range(6)
FAILURES = (
  'ok',
  'diverged',
  'ran out of memory',
  'never finished',
  'is not in the table',
  'took too long',
)


class Pool(NamedTuple):
  """Where scores come from, possibly later and elsewhere.

  Its evaluators have their keys. Every id that `submit` gives out is returned
  by `ready` once, in any order; after `timeout` seconds, or if nothing is in
  work, there may be none.
  """

  submit: Callable  # (Proposals, bar [E]) -> ids [n], ints
  ready: Callable  # (timeout) -> (ids [m], Scores [m]), m may be 0


# What answers at once: (key, Proposals, bar [E]) -> Scores. After an
# evaluation at which it is below the bar, an architecture may be given up.
Evaluator = Callable[[jax.Array, Proposals, Array], Scores]

# (Scores, Graph with a leading n) -> rewards [n].
Reward = Callable[[Scores, Graph], jax.Array]
