"""Files with a genotype: what is read, and what is refused in one line."""

import json

import pytest

from irlas_jax.spaces import genotypes


def test_the_genotype_of_a_searchs_file_is_read(tmp_path):
  path = tmp_path / 'best.json'
  path.write_text(json.dumps({'genotype': '0-1', 'reward': 3.0}))
  assert genotypes.read(path) == genotypes.read(str(path)) == '0-1'


@pytest.mark.parametrize(
  'content, words',
  [
    (b'', 'is not JSON'),
    (b'{"genotype": ', 'is not JSON'),
    (b'\xff\xfe\x00', 'is not JSON'),
    (b'[]', 'has no genotype'),
    (b'"0-1"', 'has no genotype'),
    (b'{"text": "0-1"}', 'has no genotype'),
    (b'{"genotype": 3}', 'has no genotype'),
    (b'{"genotype": null}', 'has no genotype'),
  ],
)
def test_a_file_without_one_is_refused_by_name(tmp_path, content, words):
  path = tmp_path / 'mine.json'
  path.write_bytes(content)
  with pytest.raises(genotypes.GenotypeError, match=words) as error:
    genotypes.read(path)
  assert str(path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['nowhere.json', ''])
def test_what_is_no_file_is_refused_by_name(tmp_path, name):
  """A folder too."""
  with pytest.raises(genotypes.GenotypeError, match='no such') as error:
    genotypes.read(tmp_path / name)
  assert str(tmp_path / name) in str(error.value)
