r"""Which learner of the mirror stimuli ranks blocks best, by which features.

python -m benchmarks.mirror_stimuli --output=benchmarks/results/mirror.md

For every learner, and for three baselines that learn nothing, by what each of
the five experts teaches it:

  (a)  P(a one-edit neighbour of the expert outranks a random block of the same
       length), ties half, and the share of random blocks above the expert;
  (b)  the same against random blocks of 1 ... 10 layers, all lengths alike;
  others  P(another expert outranks a random block of that one's length).

Methods, that is learner and features, are chosen twice: on ten other designs
(`designs.py`) and reported on the five experts; and on two of the experts and
reported on the other three, over all ten splits. Within a split each of the two
ranks the other one, and each of the three the other two. What is reported is on
fresh blocks.
"""

import functools
import itertools
import pathlib
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from benchmarks import designs
from benchmarks import mirror_ranking as ranking
from irlas_jax import experiment, experts
from irlas_jax.policies import sampling
from irlas_jax.reports import summary
from irlas_jax.rewards import (
  apprenticeship,
  convex,
  policy_class,
  similarity,
)
from irlas_jax.types import Graph

_DRAWS = flags.DEFINE_integer('draws', 10, 'Draws to choose by, and to report.')
_RANDOM = flags.DEFINE_integer(
  'random', 4000, 'Random blocks a draw and length.'
)
_NEIGHBOURS = flags.DEFINE_integer(
  'neighbours', 500, 'Neighbours of an expert.'
)
_ROLLOUTS = flags.DEFINE_integer(
  'rollouts', 4096, 'Random blocks to learn from.'
)
_OUTPUT = flags.DEFINE_string(
  'output', None, 'A Markdown file to write as well.'
)

NAMES = tuple(experts.EXPERTS)
EVERYONE = range(len(NAMES))
PARTS = ('(a)', '(b)', 'others')
THREE = ('family', 'operation', 'kind')
PLAIN = ('nodes', 'fan_out', 'reads')
ALL = ('nodes', 'fan_out', 'fan_in', 'depths', 'reads', 'spans')


def _section(resolutions, tables, discount, normalised=True):
  return dict(
    resolutions=resolutions,
    tables=tables,
    discount=discount,
    normalised=normalised,
  )


FEATURES = {
  'layers only': _section(('operation', 'kind'), ('nodes',), 0.8),
  'one resolution': _section(('kind',), ALL, 0.8),
  'three resolutions': _section(THREE, PLAIN, 0.8),
  'three, undiscounted': _section(THREE, PLAIN, 1.0),
  'three, all tables': _section(THREE, ALL, 0.8),
  'three, raw counts': _section(THREE, PLAIN, 0.8, normalised=False),
}
LEARNERS = {
  'cosine': similarity.cosine(),
  'mean difference': similarity.mean_difference(),
  'projection': apprenticeship.projection(),
  'max margin': apprenticeship.max_margin(),
  'structured margin': convex.structured_margin(),
  'max entropy 1': convex.max_entropy(strength=1.0),
  'max entropy 0.3': convex.max_entropy(strength=0.3),
  'max entropy 0.1': convex.max_entropy(strength=0.1),
  'max entropy 0.03': convex.max_entropy(strength=0.03),
}
COSINE = 'cosine'
OPERATIONS_ALONE = {
  'histogram of operations': _section(('operation',), ('nodes',), 1.0)
}
LENGTH = ('length alone', '')
SHOWN = 'three, all tables'  # of the table of learners

Method = tuple[str, str]  # features, learner


class Results(NamedTuple):
  """Measures of every method, a leading axis of draws each."""

  methods: list[Method]
  neighbours: np.ndarray  # [methods, draws, E, 2], (a) and (b)
  above: np.ndarray  # [methods, draws, E, 2]
  others: np.ndarray  # [methods, draws, E, E]


def main(argv):
  """Draws, fits, ranks, and prints the tables."""
  del argv
  keys = jax.random.split(jax.random.key(0), 3)
  five = ranking.stack(ranking.KIND.expert(name) for name in NAMES)
  others = ranking.stack(
    ranking.KIND.parse(text.replace('Conv', 'SepConv'))
    for text in designs.DESIGNS.values()
  )
  beside = evaluate(keys[0], others, _DRAWS.value)
  chosen_by = evaluate(keys[1], five, _DRAWS.value)
  reported = evaluate(keys[2], five, _DRAWS.value)
  versions = ', '.join(f'{k} {v}' for k, v in summary.versions().items())
  text = '\n\n'.join(
    [
      f'# Mirror stimuli: {_DRAWS.value} draws of {_RANDOM.value} random '
      f'blocks, {_NEIGHBOURS.value} neighbours, {_ROLLOUTS.value} rollouts',
      versions + '.',
      designs_table(beside, reported),
      splits_table(chosen_by, reported),
      learners_table(reported),
      features_table(reported, 'the five experts'),
      features_table(beside, 'the ten other designs'),
      times_table(),
    ]
  )
  print(text)
  if _OUTPUT.value:
    pathlib.Path(_OUTPUT.value).write_text(text + '\n')


def evaluate(key: jax.Array, teachers: Graph, num_draws: int) -> Results:
  """Measures all methods on fresh draws for teachers [E]."""
  phis = {
    name: experiment.make_features(ranking.KIND, section)
    for name, section in (FEATURES | OPERATIONS_ALONE).items()
  }
  counters = {name: ranking.counter(phi.counts) for name, phi in phis.items()}
  fits = {
    name: jax.jit(functools.partial(ranking.weights, learner))
    for name, learner in LEARNERS.items()
  }
  found: dict[Method, list] = {}
  for number, key_draw in enumerate(jax.random.split(key, num_draws)):
    logging.info('Draw %d of %d', number + 1, num_draws)
    blocks = ranking.draw(
      key_draw, teachers, _RANDOM.value, _NEIGHBOURS.value, _ROLLOUTS.value
    )
    lengths = ranking.length_scores(blocks)
    found.setdefault(LENGTH, []).append(ranking.measure(lengths, blocks))
    for phi, count in counters.items():
      counts = count(blocks)
      for name, fit in fits.items():
        if phi in OPERATIONS_ALONE and name != COSINE:
          continue
        values = ranking.scores(fit(counts), counts)
        measures = ranking.measure(values, blocks)
        found.setdefault((phi, name), []).append(measures)
  return _stack(found)


def _stack(found) -> Results:
  def stack(*names):
    return np.stack(
      [
        [np.stack([getattr(x, n) for n in names], -1) for x in measures]
        for measures in found.values()
      ]
    )

  return Results(
    list(found),
    stack('same_length', 'any_length'),
    stack('same_above', 'any_above'),
    stack('others')[..., 0],
  )


def others_mean(others, teachers, taught) -> np.ndarray:
  """Mean over pairs of different experts: [..., E, E] -> [...]."""
  pairs = [(i, j) for i in teachers for j in taught if i != j]
  return np.mean([others[..., i, j] for i, j in pairs], axis=0)


def criterion(results: Results, experts) -> np.ndarray:
  """What methods are chosen by: the mean of (a), (b) and others: [methods]."""
  experts = list(experts)
  neighbours = results.neighbours[:, :, experts].mean((1, 2, 3))
  others = others_mean(results.others, experts, experts).mean(1)
  return (2 * neighbours + others) / 3


def interval(differences: np.ndarray, seed: int = 0) -> tuple:
  """Mean of [draws, experts], and its 95 % interval over both.

  Bootstrap percentiles: draws and experts are drawn again, each with
  replacement, as differences of one expert (or one draw) go together.
  """
  rng = np.random.default_rng(seed)
  num_draws, num_experts = differences.shape
  draws = rng.integers(num_draws, size=(10_000, num_draws, 1))
  experts = rng.integers(num_experts, size=(10_000, 1, num_experts))
  means = differences[draws, experts].mean((1, 2))
  return differences.mean(), *np.percentile(means, (2.5, 97.5))


def differences(results: Results, method: Method, other: Method):
  """Of (a), (b) and others, method less other: [draws, E] each."""
  a, b = results.methods.index(method), results.methods.index(other)
  near = results.neighbours[a] - results.neighbours[b]
  others = results.others[a] - results.others[b]
  off = ~np.eye(others.shape[-1], dtype=bool)
  return near[..., 0], near[..., 1], others.mean(-1, where=off)


def learners_table(results: Results) -> str:
  """Every learner on the features SHOWN, with what sets it off from cosine."""
  rows = []
  for method in results.methods:
    if method[0] in FEATURES and method[0] != SHOWN:
      continue
    i = results.methods.index(method)
    near, above = results.neighbours[i], results.above[i]
    others = others_mean(results.others[i], EVERYONE, EVERYONE)
    rows.append(
      [
        method[1] if method[0] in FEATURES else f'baseline: {method[0]}',
        f'{near[..., 0].mean():.3f}',
        f'{above[..., 0].mean():.2%}',
        f'{near[..., 1].mean():.3f}',
        f'{above[..., 1].mean():.2%}',
        f'{others.mean():.3f}',
        *map(_told, differences(results, method, (SHOWN, COSINE))),
      ]
    )
  header = ['learner', '(a)', 'above', '(b)', 'above', 'others']
  header += [f'{x} less cosine' for x in ('(a)', '(b)', 'others')]
  return f'## Learners, on {SHOWN}\n\n' + _markdown(header, rows)


def features_table(results: Results, whose: str) -> str:
  """(a) / (b) / others of every learner on every features."""
  everyone = range(results.others.shape[-1])
  rows = []
  for phi in FEATURES:
    cells = []
    for learner in LEARNERS:
      i = results.methods.index((phi, learner))
      near = results.neighbours[i].mean((0, 1))
      others = others_mean(results.others[i], everyone, everyone).mean()
      cells.append(f'{near[0]:.3f} / {near[1]:.3f} / {others:.3f}')
    rows.append([phi, *cells])
  title = f'## (a) / (b) / others, of {whose}'
  return f'{title}\n\n' + _markdown(['features', *LEARNERS], rows)


def choose(results: Results, teachers) -> tuple[Method, Method]:
  """The best method by some experts, and the best that is plain cosine."""
  score = criterion(results, teachers)
  known = [i for i, m in enumerate(results.methods) if m[0] in FEATURES]
  plain = [i for i in known if results.methods[i][1] == COSINE]
  best, cosine = (max(some, key=lambda i: score[i]) for some in (known, plain))
  return results.methods[best], results.methods[cosine]


def designs_table(beside: Results, reported: Results) -> str:
  """Chosen on the ten other designs, reported on the five experts."""
  method, cosine = choose(beside, range(beside.others.shape[-1]))
  rows = []
  for rival in ((method[0], COSINE), cosine):
    gains = differences(reported, method, rival)
    measured = _held_out(reported, reported.methods.index(rival), EVERYONE)
    rows.append([f'cosine, {rival[0]}', _triple(measured), *map(_told, gains)])
  measured = _held_out(reported, reported.methods.index(method), EVERYONE)
  title = (
    '## Chosen on ten other designs, reported on the five experts\n\n'
    f'Chosen: **{method[1]}, {method[0]}**, (a) / (b) / others '
    f'{_triple(measured)}.'
  )
  header = [
    'against',
    'its (a) / (b) / others',
    *(f'gain in {x}' for x in PARTS),
  ]
  return f'{title}\n\n' + _markdown(header, rows)


def splits_table(chosen_by: Results, reported: Results) -> str:
  """The ten splits: chosen on two experts, reported on the other three."""
  rows = []
  gains: dict[str, list] = {'the same features': [], 'its own best ones': []}
  for pair in itertools.combinations(EVERYONE, 2):
    held = [i for i in EVERYONE if i not in pair]
    method, cosine = choose(chosen_by, pair)
    measured = [
      _held_out(reported, reported.methods.index(m), held)
      for m in (method, (method[0], COSINE), cosine)
    ]
    for gain, rival in zip(gains.values(), measured[1:], strict=True):
      gain.append(_scatter(measured[0] - rival, held))
    name = ' + '.join(NAMES[i] for i in pair)
    rows.append([name, f'{method[1]}, {method[0]}', *map(_triple, measured)])
  header = ['chosen on', 'method', 'report', 'cosine', 'cosine at its best']
  title = '## Chosen on two experts, reported on three: (a) / (b) / others'
  means = [
    f'Mean gain on cosine with {name}: '
    + ', '.join(
      f'{part} {_told(gain)}'
      for part, gain in zip(PARTS, np.nanmean(gain, axis=0), strict=True)
    )
    for name, gain in gains.items()
  ]
  return '\n\n'.join([title, _markdown(header, rows), *means])


def _held_out(results, method, held):
  """(a), (b) and others of the experts held out: [3, draws, len(held)]."""
  near = results.neighbours[method][:, held]
  others = [others_mean(results.others[method], [i], held) for i in held]
  return np.stack([near[..., 0], near[..., 1], np.stack(others, -1)])


def _scatter(values, held):
  """[3, draws, held] -> [3, draws, E], NaN for experts not held out."""
  full = np.full((*values.shape[:2], len(NAMES)), np.nan)
  full[..., held] = values
  return full


def times_table(num_layers: int = 23) -> str:
  """Milliseconds at T = 23 after compilation, medians."""
  kind = experiment.SPACES['block'].make(num_layers, 'separable')
  phi = experiment.make_features(kind, FEATURES[SHOWN])
  actions = sampling.uniform_lengths(
    jax.random.key(0), kind.space, _ROLLOUTS.value
  )
  rollouts = jax.vmap(kind.space.decode)(actions)
  count = jax.jit(jax.vmap(phi.counts))
  counts = count(rollouts)
  own = count(ranking.stack(kind.expert(name) for name in NAMES))
  many = jnp.tile(own, (20, 1))
  rows = [
    ['feature counts of the rollouts', _milliseconds(count, rollouts), '']
  ]
  for name, learner in LEARNERS.items():

    def solve(mu, counts, learner=learner):
      return learner(mu, policy_class.pool(counts))

    one = jax.jit(solve)
    hundred = jax.jit(jax.vmap(solve, in_axes=(0, None)))
    rows.append(
      [
        name,
        _milliseconds(one, own[0], counts),
        _milliseconds(hundred, many, counts),
      ]
    )
  header = ['', 'one', '100 experts in one vmap']
  title = f'## Milliseconds at T = {num_layers}, {len(phi.names)} features'
  return f'{title}\n\n' + _markdown(header, rows)


def _milliseconds(function, *args, repeats: int = 5) -> str:
  jax.block_until_ready(function(*args))
  times = []
  for _ in range(repeats):
    began = time.perf_counter()
    jax.block_until_ready(function(*args))
    times.append(time.perf_counter() - began)
  return f'{1e3 * np.median(times):.1f}'


def _told(values) -> str:
  mean, low, high = interval(values)
  return f'{mean:+.3f} [{low:+.3f}, {high:+.3f}]'


def _triple(values) -> str:
  return ' / '.join(f'{x:.3f}' for x in values.mean((1, 2)))


def _markdown(header, rows) -> str:
  lines = [header, ['---'] * len(header), *rows]
  return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


if __name__ == '__main__':
  app.run(main)
