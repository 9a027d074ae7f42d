"""What a finished search or training leaves behind, for people to look at.

A search's workdir gets `best.json`, `reward.png`, `block.png` and `cost.png`;
a full training's gets `final.json`.
"""

import json
import math
import pathlib

import numpy as np
from scipy import stats

from irlas_jax.reports import curves, records, stimuli, table


def write_search(workdir, outcome) -> str:
  """Writes the files of a finished search (`experiment.Outcome`).

  Returns the text to print: the table and where the files are.
  """
  workdir, best = pathlib.Path(workdir), outcome.best
  content = {
    'genotype': best.genotype,
    'reward': best.reward,
    'scores': records.plain(best.scores),
    'hash': json.loads(best.key)[0],
    'proposal': outcome.trials.index(best) + 1,
    'seed': outcome.config['seed'],
    'config': outcome.config,
    'versions': records.versions(),
  }
  records.write_json(workdir / 'best.json', content)
  _draw_search(workdir, outcome)
  lines = [
    '',
    table.format_table(_rows(outcome), _columns(outcome.config)),
    '',
    *_figures(outcome),
    *_explanation(outcome),
    f'Written to {workdir}: best.json, reward.png, block.png, cost.png',
  ]
  return '\n'.join(lines)


_FEWEST_PREDICTED = 3  # of which a rank correlation is worth a line
_COLUMNS = {
  'architecture': '',
  'reward': '.2f',
  'accuracy %': '.2f',
  'parameters': ',.0f',
  'multiply-adds': ',.0f',
  'layers': '.0f',
}
_LANGUAGE = {'architecture': '', 'reward': '.5f', 'perplexity': '.2f'}


def _columns(config) -> dict[str, str]:
  """Those of the table, by whether children are language models."""
  return _LANGUAGE | _COLUMNS | _LANGUAGE if 'text' in config else _COLUMNS


def _row(name, scores, reward, length) -> dict:
  return {
    'architecture': name,
    'reward': reward,
    'perplexity': np.exp(scores['loss']),
    'accuracy %': 100 * scores['accuracy'],
    'parameters': scores['params'],
    'multiply-adds': scores['madds'],
    'layers': length,
  }


def _mean(trials, field) -> float:
  """The mean over trials in which it was measured; NaN if there is none."""
  values = np.array([trial.scores[field] for trial in trials])
  measured = values[~np.isnan(values)]
  return float(measured.mean()) if len(measured) else math.nan


def _mean_row(name, trials) -> dict:
  fields = ('accuracy', 'loss', 'params', 'madds')
  scores = {f: _mean(trials, f) for f in fields}
  reward = np.mean([trial.reward for trial in trials])
  return _row(name, scores, reward, np.mean([t.length for t in trials]))


def _rows(outcome) -> list[dict]:
  trials, best, expert = outcome.trials, outcome.best, outcome.expert
  tail = max(len(trials) // 10, 1)
  rows = [
    _row('best block', best.scores, best.reward, best.length),
    _mean_row(f'mean of the first {tail} proposals', trials[:tail]),
    _mean_row(f'mean of the last {tail} proposals', trials[-tail:]),
  ]
  if expert is not None:
    length = int(np.sum(np.asarray(expert.graph.ops) >= 0)) - 1
    name = f'expert {outcome.config["expert"]}'
    rows.insert(1, _row(name, expert.scores, None, length))
  return rows


def _figures(outcome) -> list[str]:
  trials = outcome.trials
  distinct = len({trial.key for trial in trials})
  failed = len({t.key for t in trials if t.scores['failure'] != 0})
  whole = outcome.config.get('train', {}).get('epochs', 0)
  early = {t.key for t in trials if t.scores['epochs'] < whole}
  stopped = f'{len(early)} stopped early, ' if early else ''
  compiles = outcome.compiles
  return [
    f'{len(trials)} proposals, {distinct} distinct architectures trained, '
    f'{stopped}{failed} failed; {outcome.seconds:.0f} s.',
    f'{compiles.number} programs compiled or loaded, '
    f'{compiles.seconds:.1f} s of that time.',
    f'Best block: {outcome.best.genotype}',
    *_prediction(trials),
  ]


def _prediction(trials) -> list[str]:
  """How well rewards were predicted, of what was then evaluated."""
  told = [t for t in trials if not np.isnan(t.predicted)]
  if len(told) < _FEWEST_PREDICTED:
    return []
  rho = stats.spearmanr(
    [trial.predicted for trial in told], [trial.reward for trial in told]
  ).statistic
  return [
    f'The predictor ranked the {len(told)} proposals that it was asked about '
    f'with a rank correlation of {rho:.2f} to their rewards.'
  ]


def _explanation(outcome) -> list[str]:
  if not outcome.explanation:
    return []
  terms = ', '.join(
    f'{name} ({value:+.2f})' for name, value in outcome.explanation
  )
  return [f'Most like the expert in: {terms}.']


def _draw_search(workdir, outcome) -> None:
  trials, config = outcome.trials, outcome.config
  failed = [trial.scores['failure'] != 0 for trial in trials]
  rewards = [trial.reward for trial in trials]
  explores = np.array([trial.exploration for trial in trials])
  title = f'{config["searcher"]["name"]} on {_data(config)}'
  curves.reward_curve(
    workdir / 'reward.png',
    rewards,
    exploration=None if np.isnan(explores).all() else explores,
    failed=failed,
    window=max(len(trials) // 10, 1),
    title=f'{title}: {len(trials)} proposals',
  )
  expert = outcome.expert
  reference = expert and (expert.scores['accuracy'], expert.scores['madds'])
  curves.accuracy_against_cost(
    workdir / 'cost.png',
    [trial.scores['accuracy'] for trial in trials],
    [trial.scores['madds'] for trial in trials],
    rewards=rewards,
    best=trials.index(outcome.best),
    expert=reference,
    title=title,
  )
  accuracy = 100 * outcome.best.scores['accuracy']
  drawn = {f'Best, {accuracy:.1f} %': outcome.graph}
  if outcome.expert_graph is not None:
    drawn[f'Expert: {config["expert"]}'] = outcome.expert_graph
  stimuli.draw(
    workdir / 'block.png',
    outcome.parts.kind.space,
    list(drawn.values()),
    list(drawn),
    outcome.seen,
  )


def _data(config) -> str:
  """Where accuracies come from: a data set, or a table's file."""
  return config.get('dataset') or pathlib.Path(config['evaluator']['file']).stem


def write_final(workdir, final) -> str:
  """Writes `final.json` of a full training; returns the text to print."""
  result = final.result
  content = {
    'genotype': final.genotype,
    'test_accuracy': result.test_accuracy,
    'test_loss': result.test_loss,
    'valid_accuracy': np.asarray(result.history.accuracy).tolist(),
    'params': result.params,
    'madds': result.madds,
    'seconds': result.seconds,
    'config': final.config,
    'versions': records.versions(),
  }
  path = pathlib.Path(workdir) / 'final.json'
  records.write_json(path, records.plain(content))
  return _final_text(content, path)


def read_final(workdir, config, genotype: str) -> str | None:
  """The text of `write_final`, if just this training was finished before.

  None if there is no `final.json` of this canonical genotype, config and
  versions in the workdir.
  """
  path = pathlib.Path(workdir) / 'final.json'
  if not path.exists():
    return None
  content = json.loads(path.read_text())
  wanted = {
    'genotype': genotype,
    'config': config,
    'versions': records.versions(),
  }
  wanted = json.loads(json.dumps(records.plain(wanted)))
  same = all(content.get(name) == value for name, value in wanted.items())
  return _final_text(content, path) if same else None


def _final_text(content, path) -> str:
  accuracy = content['test_accuracy']
  perplexity, loss = '', content['test_loss']
  if 'text' in content['config'] and loss is not None:
    perplexity = f'Test perplexity {np.exp(loss):.2f}. '
  return (
    f'{perplexity}Test accuracy {100 * accuracy:.2f} % '
    f'(error {100 * (1 - accuracy):.2f} %), '
    f'{content["params"]:,} parameters, {content["madds"]:,} multiply-adds, '
    f'{content["seconds"]:.0f} s. Written to {path}'
  )
