r"""Does accuracy with generated weights rank architectures, and how fast is it?

python -m benchmarks.ghn --output=benchmarks/results/ghn_cpu.md
python -m benchmarks.ghn --ghn_parts=nasbench201 --ghn_steps=20000  # a GPU

Graph hypernetworks (arXiv 1810.05749) are to rank architectures as training
would. For random ones this compares the accuracy with generated weights with
that of the trained networks: of digits blocks, trained here by the evaluator
`trained`, and of NAS-Bench-201, whose table has it. A predictor earns its keep
if it says more than what costs nothing, so the numbers of parameters and of
multiply-adds (and of the table zen-score) stand beside it, and its rank
correlation given the number of parameters, with a 95 % interval by bootstrap
over architectures.

The part `speed` times 1,000 blocks scored by the evaluator, and the generation
of the weights of a NAS-Bench-201 network of 8 cells and two reductions at 16
channels. The public PyTorch GHN-2 takes 0.78 s for a network of 8 cells and 16
channels on one thread. --tiny does all of it on next to nothing, to see that it
runs.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from scipy import stats

from benchmarks import output
from configs import ghn_small
from irlas_jax import evaluations, hypernetworks, kinds, sections
from irlas_jax import graph as graphs
from irlas_jax.evaluators import hypernetwork as evaluator
from irlas_jax.networks import block, hypernetwork
from irlas_jax.policies import sampling
from irlas_jax.reports import table
from irlas_jax.tables import table as tables
from irlas_jax.types import Graph, Proposals, Scores
from launch import cli

_PARTS = flags.DEFINE_list(
  'ghn_parts', ['digits', 'speed'], 'Of digits, nasbench201 and speed.'
)
_COUNT = flags.DEFINE_integer('ghn_architectures', 100, 'Random ones to rank.')
_STEPS = flags.DEFINE_integer('ghn_steps', 2000, 'Of training, a hypernetwork.')
_META = flags.DEFINE_integer('ghn_meta_batch', 4, 'Architectures a step.')
_EPOCHS = flags.DEFINE_integer('ghn_epochs', 10, 'That digits are trained for.')
_TRAIN = flags.DEFINE_integer(
  'ghn_train_images', 40000, 'Of CIFAR-10, for the hypernetwork.'
)
_IMAGES = flags.DEFINE_integer(
  'ghn_images', 1000, 'Of CIFAR-10, that a score is of.'
)
_SPEED = flags.DEFINE_integer('ghn_scored', 1000, 'Blocks that are timed.')

TABLE = 'nas-bench-201/nasbench201.npz'
RESAMPLES = 2000
TOP = 0.5  # share of the architectures that "top" is


@dataclasses.dataclass(frozen=True)
class Ranked:
  """What is known of the same architectures, arrays [n]."""

  title: str
  trained: np.ndarray  # accuracy
  predictors: dict[str, np.ndarray]  # the hypernetwork's first
  note: str


def main(argv):
  """Measures, and prints the tables."""
  del argv
  parts: dict[str, Callable[[], str]] = {
    'digits': lambda: show(digits()),
    'nasbench201': lambda: show(cells()),
    'speed': speed,
  }
  for name in _PARTS.value:
    if name not in parts:
      raise ValueError(f'--ghn_parts: {name!r} is none of {", ".join(parts)}.')
  with cli.session():
    title = '# Graph hypernetworks'
    output.show('\n\n'.join([title, *(parts[name]() for name in _PARTS.value)]))


def show(ranked: Ranked) -> str:
  """A section with a row of each predictor."""
  rows = [
    {'predictor': name, **correlations(values, ranked)}
    for name, values in ranked.predictors.items()
  ]
  return '\n\n'.join(
    [f'## {ranked.title}', ranked.note, table.markdown_table(rows, COLUMNS)]
  )


COLUMNS = {
  'predictor': '',
  'number': '',
  'Pearson': '.2f',
  'Spearman': '.2f',
  'Pearson, top half': '.2f',
  'Spearman, top half': '.2f',
  'Spearman given parameters': '.2f',
  '95 % interval': '',
}


def pearson(x: np.ndarray, y: np.ndarray) -> float:
  """Correlation of arrays [n]; NaN where one is constant."""
  if min(np.ptp(x), np.ptp(y)) == 0:
    return np.nan
  return float(np.corrcoef(x, y)[0, 1])


def correlations(values: np.ndarray, ranked: Ranked) -> dict[str, Any]:
  """Of a predictor with the trained accuracy; NaN rows are left out."""
  known = np.isfinite(values) & np.isfinite(ranked.trained)
  values, trained = values[known], ranked.trained[known]
  params = ranked.predictors['parameters'][known]
  top = np.argsort(-trained, kind='stable')[: int(TOP * len(trained))]
  row = {
    'number': len(values),
    'Pearson': pearson(values, trained),
    'Spearman': spearman(values, trained),
    'Pearson, top half': pearson(values[top], trained[top]),
    'Spearman, top half': spearman(values[top], trained[top]),
  }
  if np.array_equal(values, params):
    return row
  low, high = interval(values, trained, params)
  return row | {
    'Spearman given parameters': partial(values, trained, params),
    '95 % interval': f'{low:.2f} to {high:.2f}',
  }


def spearman(x: np.ndarray, y: np.ndarray) -> float:
  """Rank correlation of arrays [n]; NaN where one is constant."""
  return pearson(stats.rankdata(x), stats.rankdata(y))


def partial(x: np.ndarray, y: np.ndarray, given: np.ndarray) -> float:
  """Rank correlation of x and y given a third: first-order partial."""
  xy, xz, yz = spearman(x, y), spearman(x, given), spearman(y, given)
  rest = (1 - xz**2) * (1 - yz**2)
  return float((xy - xz * yz) / np.sqrt(rest)) if rest > 1e-9 else np.nan


def interval(x, y, given, resamples: int = RESAMPLES) -> tuple[float, float]:
  """95 % of `partial` over architectures drawn again with replacement."""
  rng = np.random.default_rng(0)
  drawn = [
    partial(x[rows], y[rows], given[rows])
    for rows in rng.integers(0, len(x), (resamples, len(x)))
  ]
  known = [value for value in drawn if np.isfinite(value)] or [np.nan]
  low, high = np.percentile(known, [2.5, 97.5])
  return float(low), float(high)


def digits_config() -> dict[str, Any]:
  """That of the search, with this benchmark's sizes."""
  config = ghn_small.get_config().to_dict()
  config['search'] = config['search'] | {
    'batch': 4 if output.TINY.value else 50
  }
  if output.TINY.value:
    config['space'] = config['space'] | {'num_layers': 2}
    config['data'] = config['data'] | {'train_size': 50, 'valid_size': 50}
    config['network'] = {'width': 2, 'num_stages': 1, 'blocks_per_stage': 1}
    tiny = {'images': 50, 'image_batch': 50, 'passes': 1, 'hidden': 4}
    config['evaluator'] = _weighing(config, **tiny)
  return with_steps(config, _STEPS.value)


def with_steps(config: Mapping, steps: int) -> dict[str, Any]:
  """The config with a hypernetwork of about so many steps of training."""
  train = config['train']
  an_epoch = max(config['data']['train_size'] // train['batch_size'], 1)
  epochs = 1 if output.TINY.value else max(round(steps / an_epoch), 1)
  changed = {'epochs': epochs, 'evaluations': 1}
  changed['step_epochs'] = max(round(0.7 * epochs), 1)
  meta_batch = 2 if output.TINY.value else _META.value
  return {
    **config,
    'train': train | changed,
    'evaluator': _weighing(config, meta_batch=meta_batch),
  }


def _weighing(config: Mapping, **fields) -> dict[str, Any]:
  """The evaluator of a config, with other fields of its hypernetwork."""
  evaluator = dict(config['evaluator'])
  return evaluator | {'ghn': evaluator['ghn'] | fields}


def digits() -> Ranked:
  """Random blocks, trained here."""
  config = digits_config()
  kind = sections.choose(config, 'space', kinds.SPACES)()
  actions = distinct(kind, 6 if output.TINY.value else _COUNT.value)
  began = time.monotonic()
  predicted = score(evaluations.make(config, kind), actions)
  spent = time.monotonic() - began
  epochs = 1 if output.TINY.value else _EPOCHS.value
  recipe = dict(epochs=epochs, batch_size=50, optimizer='adam')
  recipe |= dict(learning_rate=5e-3, schedule='cosine')
  children = config | {'train': recipe, 'evaluator': {'name': 'trained'}}
  trained = score(evaluations.make(children, kind), actions)
  return Ranked(
    'Digits blocks',
    np.asarray(trained.accuracy),
    predictors(predicted),
    f'{len(actions)} blocks of up to {kind.space.num_steps} layers. Accuracy '
    f'after {epochs} epochs: {spread(trained)}; with generated weights: '
    f'{spread(predicted)}. {told(config, spent)}',
  )


def cells() -> Ranked:
  """Random cells of NAS-Bench-201, trained by those who made the table."""
  kind = kinds.SPACES['nasbench201'].make()
  actions = distinct(kind, 6 if output.TINY.value else _COUNT.value)
  config = cells_config()
  began = time.monotonic()
  predicted = score(evaluations.make(config, kind), actions)
  spent = time.monotonic() - began
  known = evaluations.make(
    config | {'evaluator': dict(name='table', file=TABLE, accuracy='test_200')},
    kind,
  )
  assert known.rows is not None and known.table is not None
  rows = np.array([int(known.rows.locate(one)) for one in actions])
  trained = tables.metric(known.table, 'test_200').values[rows]
  zen = tables.metric(known.table, 'zen').values[rows]
  return Ranked(
    'NAS-Bench-201, CIFAR-10',
    trained,
    predictors(predicted) | {'zen-score': zen},
    f'{len(actions)} cells, by their test accuracy after 200 epochs; with '
    f'generated weights, one cell a stage, {spread(predicted)}. '
    f'{told(config, spent)}',
  )


def cells_config() -> dict[str, Any]:
  """CIFAR-10 at 16 channels, one cell a stage."""
  config = ghn_small.get_config().to_dict()
  tiny = output.TINY.value
  return with_steps(
    config
    | {
      'space': {'name': 'nasbench201'},
      'dataset': 'digits' if tiny else 'cifar10',
      'data': {
        'train_size': 50 if tiny else _TRAIN.value,
        'valid_size': 50 if tiny else 5000,
      },
      'network': dict(
        width=4 if tiny else 16, num_stages=3, blocks_per_stage=1
      ),
      'search': {'num_proposals': 1, 'batch': 4 if tiny else 10},
      'train': config['train'] | {'pad': 0 if tiny else 4, 'mirror': not tiny},
      'evaluator': _weighing(config, images=50 if tiny else _IMAGES.value),
    },
    _STEPS.value,
  )


def distinct(kind: kinds.SpaceKind, count: int) -> np.ndarray:
  """Random actions [n, T] of architectures that differ in what they compute."""
  drawn = sampling.uniform_lengths(jax.random.key(1), kind.space, 20 * count)
  found: dict[str, np.ndarray] = {}
  for actions in np.asarray(drawn):
    graph = jax.device_get(kind.view(kind.space.decode(jnp.asarray(actions))))
    found.setdefault(graphs.digest(graph), actions)
    if len(found) == count:
      break
  return np.stack(list(found.values()))


def score(evaluation: evaluations.Evaluation, actions: np.ndarray) -> Scores:
  """Scores of architectures, a call of the evaluator after another."""
  evaluation.prepare()
  size = evaluation.population
  found = [
    evaluation.evaluate(
      jax.random.key(0),
      Proposals(part, part, None),
      np.full(evaluation.num_evaluations, -np.inf, np.float32),
    )
    for part in np.split(actions, range(size, len(actions), size))
  ]
  return jax.tree.map(lambda *rows: np.concatenate(rows), *found)


def predictors(predicted: Scores) -> dict[str, np.ndarray]:
  """By name; costs are of the network with generated weights."""
  return {
    'generated weights': np.asarray(predicted.accuracy),
    'its loss, negative': -np.asarray(predicted.loss),
    'parameters': np.asarray(predicted.params),
    'multiply-adds': np.asarray(predicted.madds),
  }


def spread(scores: Scores) -> str:
  """Mean and standard deviation of accuracies."""
  return f'{np.nanmean(scores.accuracy):.2f} ± {np.nanstd(scores.accuracy):.2f}'


def told(config: Mapping, seconds: float) -> str:
  """How a hypernetwork came about."""
  train, size = config['train'], config['data']['train_size']
  steps = train['epochs'] * (size // train['batch_size'])
  return (
    f'The hypernetwork was trained for {steps} steps of '
    f'{config["evaluator"]["ghn"]["meta_batch"]} architectures on '
    f'{train["batch_size"]} of {size} images; with compiling and scoring '
    f'{seconds:.0f} s on {jax.device_count()} devices.'
  )


def speed() -> str:
  """Seconds for blocks scored, and for one network's weights."""
  config = with_steps(digits_config(), 1)
  kind = sections.choose(config, 'space', kinds.SPACES)()
  count = 4 if output.TINY.value else _SPEED.value
  evaluation = evaluations.make(config, kind)
  key = jax.random.key(2)
  actions = np.asarray(sampling.uniform_lengths(key, kind.space, count))
  score(evaluation, actions[: evaluation.population])  # trains and compiles
  began = time.monotonic()
  score(evaluation, actions)
  scored = time.monotonic() - began
  rows = [
    {
      'what': f'{count} digits blocks scored, {config["network"]["width"]} '
      f'channels, {config["evaluator"]["ghn"]["images"]} images each',
      'seconds': scored,
      'goal': 10.0,
    },
    {
      'what': 'weights of one NAS-Bench-201 network, 16 channels, 8 cells',
      'seconds': generation(),
      'goal': 0.08,
    },
  ]
  columns = {'what': '', 'seconds': '.3f', 'goal': '.2f'}
  return '\n\n'.join(
    [
      '## Speed',
      f'On {jax.device_count()} devices ({jax.devices()[0].device_kind}); the '
      'weights on one.',
      table.markdown_table(rows, columns),
    ]
  )


def generation(calls: int = 30) -> float:
  """Median seconds for the weights of one network of eight cells."""
  kind = kinds.SPACES['nasbench201'].make()
  tiny = output.TINY.value
  macro = (
    block.Macro((2,), (1,)) if tiny else block.Macro((16, 32, 64), (3, 3, 2))
  )
  assert kind.network is not None
  network = kind.network(kind.space.operations, macro, 10, 3)
  child = evaluator.make_child(
    kind.space,
    network,
    hypernetworks.LAYOUTS['nasbench201'],
    macro,
    hypernetwork.Sizes(),
  )
  params = jax.jit(child.init)(jax.random.key(0))
  actions = sampling.uniform_actions(jax.random.key(1), kind.space, calls)
  drawn = jax.jit(jax.vmap(kind.space.decode))(actions)
  generate = jax.jit(child.generate)
  seconds = []
  for i in range(-1, 1 if tiny else calls):  # the first one compiles
    graph = Graph(*(field[i] for field in drawn))
    began = time.monotonic()
    jax.block_until_ready(generate(params, graph))
    seconds.append(time.monotonic() - began)
  return float(np.median(seconds[1:]))


if __name__ == '__main__':
  cli.run(main)
