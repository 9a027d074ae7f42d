"""Architectures as text: what the text forms of all spaces share."""

import json
import pathlib


class GenotypeError(ValueError):
  """A text that is no architecture: what is wrong with it, and where."""


def read(path) -> str:
  """The `genotype` of a JSON file, such as a search's `best.json`.

  Raises:
    GenotypeError: naming the file, if it has none.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise GenotypeError(f'{path}: no such genotype file.')
  try:
    content = json.loads(path.read_text())
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise GenotypeError(f'{path} is not JSON: {error}.') from error
  text = content.get('genotype') if isinstance(content, dict) else None
  if not isinstance(text, str):
    raise GenotypeError(
      f'{path} has no genotype: expected {{"genotype": "..."}}, with the text '
      'that a search writes into best.json.'
    )
  return text
