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

import collections
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging

from benchmarks import designs, output
from benchmarks import mirror_ranking as ranking
from benchmarks import mirror_report as reports
from irlas_jax import kinds, objectives
from irlas_jax.policies import sampling
from irlas_jax.reports import records, table
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
  'contrastive': convex.contrastive(),
  'max entropy 1': convex.max_entropy(strength=1.0),
  'max entropy 0.3': convex.max_entropy(strength=0.3),
  'max entropy 0.1': convex.max_entropy(strength=0.1),
  'max entropy 0.03': convex.max_entropy(strength=0.03),
}
HISTOGRAM = _section(('operation',), ('nodes',), 1.0)


def main(argv):
  """Draws, fits, ranks, and prints the tables."""
  del argv
  keys = jax.random.split(jax.random.key(0), 3)
  five = ranking.stack(map(ranking.KIND.expert, reports.NAMES))
  others = ranking.stack(
    ranking.KIND.parse(text.replace('Conv', 'SepConv'))
    for text in designs.DESIGNS.values()
  )
  beside = evaluate(keys[0], others, _DRAWS.value)
  chosen_by = evaluate(keys[1], five, _DRAWS.value)
  reported = evaluate(keys[2], five, _DRAWS.value)
  chosen, _ = reports.choose(beside, range(len(designs.DESIGNS)))
  versions = ', '.join(f'{k} {v}' for k, v in records.versions().items())
  text = '\n\n'.join(
    [
      f'# Mirror stimuli: {_DRAWS.value} draws of {_RANDOM.value} random '
      f'blocks, {_NEIGHBOURS.value} neighbours, {_ROLLOUTS.value} rollouts',
      versions + '.',
      reports.designs_table(beside, reported),
      reports.splits_table(chosen_by, reported),
      reports.learners_table(reported, chosen[0]),
      reports.features_table(reported, 'the five experts'),
      reports.features_table(beside, 'the ten other designs'),
      times_table(chosen[0]),
    ]
  )
  output.show(text)


def evaluate(
  key: jax.Array, teachers: Graph, num_draws: int
) -> reports.Results:
  """Measures all methods on fresh draws for teachers [E]."""
  counters = {
    name: _counter(section)
    for name, section in (FEATURES | {'': HISTOGRAM}).items()
  }
  fits = {
    name: jax.jit(functools.partial(ranking.weights, learner))
    for name, learner in LEARNERS.items()
  }
  found: dict[reports.Method, list] = collections.defaultdict(list)
  for number, key_draw in enumerate(jax.random.split(key, num_draws)):
    logging.info('Draw %d of %d', number + 1, num_draws)
    blocks = ranking.draw(
      key_draw, teachers, _RANDOM.value, _NEIGHBOURS.value, _ROLLOUTS.value
    )
    histogram = counters[''](blocks)
    values = {
      ('length', ''): ranking.length_scores(blocks),
      ('histogram of operations', ''): ranking.scores(
        fits[reports.COSINE](histogram), histogram
      ),
    }
    for phi in FEATURES:
      counts = counters[phi](blocks)
      values |= {
        (phi, name): ranking.scores(fit(counts), counts)
        for name, fit in fits.items()
      }
    for method, scores in values.items():
      found[method].append(ranking.measure(scores, blocks))
  return _stack(found)


def _counter(section):
  phi = objectives.make_features(ranking.KIND, section)
  return ranking.counter(phi.counts)


def _stack(found) -> reports.Results:
  def stack(*names):
    return np.stack(
      [
        [np.stack([getattr(x, n) for n in names], -1) for x in measures]
        for measures in found.values()
      ]
    )

  return reports.Results(
    list(found),
    stack('same_length', 'any_length'),
    stack('same_above', 'any_above'),
    stack('others')[..., 0],
  )


def times_table(features: str, num_layers: int = 23) -> str:
  """Milliseconds at T = 23 after compilation, medians."""
  kind = kinds.SPACES['block'].make(num_layers, 'separable')
  phi = objectives.make_features(kind, FEATURES[features])
  actions = sampling.uniform_lengths(
    jax.random.key(0), kind.space, _ROLLOUTS.value
  )
  rollouts = jax.vmap(kind.space.decode)(actions)
  count = jax.jit(jax.vmap(phi.counts))
  counts = count(rollouts)
  own = count(ranking.stack(map(kind.expert, reports.NAMES), num_layers + 1))
  many = jnp.tile(own, (20, 1))
  rows: list[dict] = [
    {'': 'counts of the rollouts', 'one': _milliseconds(count, rollouts)}
  ]
  for name, learner in LEARNERS.items():

    def solve(mu, counts, learner=learner):
      return learner(mu, policy_class.pool(counts))

    hundred = jax.jit(jax.vmap(solve, in_axes=(0, None)))
    rows.append(
      {
        '': name,
        'one': _milliseconds(jax.jit(solve), own[0], counts),
        '100 experts in one vmap': _milliseconds(hundred, many, counts),
      }
    )
  title = f'## Milliseconds at T = {num_layers}, {len(phi.names)} features'
  columns = {'': '', 'one': '.1f', '100 experts in one vmap': '.1f'}
  return f'{title}\n\n' + table.markdown_table(rows, columns)


def _milliseconds(function, *args, repeats: int = 5) -> float:
  jax.block_until_ready(function(*args))
  times = []
  for _ in range(repeats):
    began = time.perf_counter()
    jax.block_until_ready(function(*args))
    times.append(time.perf_counter() - began)
  return float(1e3 * np.median(times))


if __name__ == '__main__':
  app.run(main)
