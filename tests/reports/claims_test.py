"""The report on claims: what it says of rows that are there or are not."""

import json

from irlas_jax import claim_figures, claim_rows, comparison
from irlas_jax.reports import claims

ROW = claim_rows.Row(
  name='lm',
  path='configs/lm.py',
  claim='Cells | found are better.',
  source='a paper',
  figure='best',
  arm='ours',
  references=('random',),
  margin=0.0,
  trainings=0.5,
  seeds=2,
  retrain=3,
  final=True,
  again={},
  published={'ours': '62.4 once'},
  arms={'ours': {'dataset': 'text'}, 'random': {'dataset': 'text'}},
  perplexity=True,
)


def _searches(perplexities):
  return [
    {
      **{'again': value, 'rise': 1.5, 'accuracy': 20.0, 'trainings': 7},
      **{'failed': 1, 'seconds': 30.0, 'proposals': 8, 'best': '(0, add)'},
      'parts': [1.0, 2.0, 3.0, 4.0],
    }
    for value in perplexities
  ]


def _write(folder, ours, theirs):
  found = {'ours': _searches(ours), 'random': _searches(theirs)}
  measured = claim_figures.measure(ROW, range(len(ours)), found)
  claims.write_row(folder, measured, 'a command', comparison.mean_interval)
  return claims.write_results(folder, ['lm', 'other'])


def test_a_row_with_all_its_seeds_has_a_verdict(tmp_path):
  """Of a perplexity a lower one is the improvement."""
  text = _write(tmp_path, [80.0, 82.0], [90.0, 92.1])
  line = next(x for x in text.splitlines() if x.startswith('| lm '))
  assert '81.00 ± 1.41 [68.29, 93.71] perplexity' in line
  assert '+10.05 [' in line and '2 of 2' in line
  # The share of trainings, 1, is above the limit: so the claim fails.
  assert '**does not hold**' in line
  assert 'Cells \\| found' in line
  assert 'are 1.00 of those of random; claimed are at most 0.50' in text
  assert '| other' in text and 'not run' in text
  content = json.loads((tmp_path / 'results.json').read_text())['rows']
  assert list(content) == ['lm'] and content['lm']['finished']
  assert content['lm']['arms']['ours']['figures']['best']['values'] == [80, 82]


def test_a_row_that_is_not_finished_is_shown_as_such(tmp_path):
  """One seed of two: no interval, and no verdict in bold."""
  text = _write(tmp_path, [80.0], [90.0])
  line = next(x for x in text.splitlines() if x.startswith('| lm '))
  assert '80.00 ± - [-, -] perplexity' in line
  assert 'not finished; so far' in line and '1 of 2' in line
  assert '**' not in line
