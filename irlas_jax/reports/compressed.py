"""What a finished compression leaves behind: student.json, and a table."""

import pathlib

from irlas_jax.reports import records, table

_COLUMNS = {
  'network': '',
  'parameters': ',.0f',
  'compression': '.1f',
  'reward': '.3f',
  'validation %': '.2f',
  'test %': '.2f',
}


def write(workdir, outcome) -> str:
  """Writes `student.json` of a `compression.Compressed`; the text to print."""
  path = pathlib.Path(workdir) / 'student.json'
  rows = _rows(outcome)
  found, reference = outcome.found, outcome.reference
  content = {
    'genotype': found.text,
    'test_accuracy': found.test_accuracy,
    'params': found.params,
    'compression': reference.params / found.params,
    'reward': found.reward,
    'teacher': {
      'genotype': reference.text,
      'test_accuracy': reference.test_accuracy,
      'valid_accuracy': reference.accuracy,
      'params': reference.params,
    },
    'students': [one._asdict() for one in outcome.students],
    'config': outcome.final['config'],
    'versions': records.versions(),
  }
  records.write_json(path, records.plain(content))
  return '\n'.join(
    (
      table.format_table(rows, _COLUMNS),
      '',
      f'Student: {found.text}',
      'Rewards and validation accuracies are those of few epochs; tested is '
      'what was then distilled fully.',
      f'Written to {path}; its network, to {path.parent / "student"}.',
    )
  )


def _rows(outcome) -> list[dict]:
  """The teacher's, and one for each student."""
  reference = outcome.reference
  return [
    _row(
      'teacher',
      reference.params,
      1.0,
      None,
      reference.accuracy,
      reference.test_accuracy,
    ),
    *(
      _row(
        one.name,
        one.params,
        reference.params / one.params,
        one.reward,
        one.accuracy,
        one.test_accuracy,
      )
      for one in outcome.students
    ),
  ]


def _row(name, params, ratio, reward, accuracy, tested) -> dict:
  return {
    'network': name,
    'parameters': params,
    'compression': ratio,
    'reward': reward,
    'validation %': 100 * accuracy,
    'test %': 100 * tested,
  }
