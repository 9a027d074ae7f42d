"""Result files: strict JSON, whole or as it was."""

import json
import math

import numpy as np
import pytest

from irlas_jax.reports import records


def test_versions_are_those_installed():
  """A result is worth little without them."""
  found = records.versions()
  assert found['numpy'] == np.__version__
  assert found['python'].count('.') == 2 and 'irlas_jax' in found


def test_what_json_cannot_say_becomes_null():
  """Other programs refuse NaN."""
  value = {'a': [math.nan, 1.5, (math.inf, 2)], 'b': 'nan'}
  assert records.plain(value) == {'a': [None, 1.5, [None, 2]], 'b': 'nan'}


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
  """A result must not be lost to its successor's failure."""
  path = tmp_path / 'new' / 'result.json'
  records.write_json(path, {'a': 1})
  with pytest.raises(ValueError):
    records.write_json(path, {'a': math.nan})
  assert json.loads(path.read_text()) == {'a': 1}
  records.write_json(path, {'a': 2})
  assert json.loads(path.read_text()) == {'a': 2}
  assert [p.name for p in path.parent.iterdir()] == ['result.json']
