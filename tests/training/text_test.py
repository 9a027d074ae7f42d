"""Text as numbers: files by hand, the vocabulary, and what is refused."""

import os

import numpy as np
import pytest

from irlas_jax.training import text as texts

LINES = {
  'train': ' the cat sat \n the dog sat on the cat \n',
  'valid': ' the cow sat \n',
  'test': ' on the cat \n\n',
}


@pytest.fixture
def folder(tmp_path):
  """A text with a name of one's own for each file."""
  for split, lines in LINES.items():
    (tmp_path / f'mine.{split}.txt').write_text(lines)
  return tmp_path


def _words(text, split):
  return [text.words[row] for row in getattr(text, split)]


def test_words_and_ends_of_lines_are_read_in_order(folder):
  text = texts.load(folder)
  assert _words(text, 'train') == (
    'the cat sat <eos> the dog sat on the cat <eos>'.split()
  )
  assert _words(text, 'valid') == 'the <unk> sat <eos>'.split()
  assert _words(text, 'test') == 'on the cat <eos> <eos>'.split()
  assert text.words == ('the', '<eos>', 'cat', 'sat', 'dog', 'on', '<unk>')
  assert text.train.dtype == np.int32


def test_a_small_vocabulary_keeps_the_most_frequent_words(folder):
  """And the two that are no words."""
  text = texts.load(folder, num_words=4)
  assert text.words == ('the', '<eos>', 'cat', '<unk>')
  assert _words(text, 'train')[:6] == 'the cat <unk> <eos> the <unk>'.split()


def test_the_first_tokens_make_text_and_vocabulary(folder):
  text = texts.load(folder, num_tokens=4)
  assert _words(text, 'train') == 'the cat sat <eos>'.split()
  assert set(text.words) == {'the', 'cat', 'sat', '<eos>', '<unk>'}
  assert len(text.valid) == 4, 'all of the validation text'


def test_a_digest_names_what_a_search_sees(folder):
  before = texts.digest(texts.load(folder))
  assert texts.digest(texts.load(folder)) == before
  (folder / 'mine.test.txt').write_text('another test')
  assert texts.digest(texts.load(folder)) == before
  (folder / 'mine.valid.txt').write_text('the dog')
  assert texts.digest(texts.load(folder)) != before


def test_ptb_is_looked_for_in_the_data_directory(folder, monkeypatch):
  inside = folder / 'ptb'
  inside.mkdir()
  for split in LINES:
    path = folder / f'mine.{split}.txt'
    path.rename(inside / f'ptb.{split}.txt')
  found = texts.load('ptb', folder)
  assert len(found.train) == 11
  monkeypatch.setenv('IRLAS_DATA_DIR', str(inside))
  assert texts.digest(texts.load('ptb')) == texts.digest(found)


def test_the_penn_treebank_has_its_published_sizes():
  if not os.path.exists(f'{os.environ.get("IRLAS_DATA_DIR")}/ptb'):
    pytest.skip('the Penn Treebank is looked for in IRLAS_DATA_DIR')
  text = texts.load('ptb')
  sizes = [len(split) for split in (text.train, text.valid, text.test)]
  assert sizes == [929_589, 73_760, 82_430]
  assert len(text.words) == 10_000


def _refused(error, *args, **fields):
  with pytest.raises(error) as found:
    texts.load(*args, **fields)
  assert '\n' not in str(found.value)
  return str(found.value)


def test_what_is_missing_is_named_with_the_remedy(folder, monkeypatch):
  monkeypatch.delenv('IRLAS_DATA_DIR', raising=False)
  assert 'IRLAS_DATA_DIR' in _refused(FileNotFoundError, 'ptb')
  message = _refused(FileNotFoundError, 'ptb', folder / 'nowhere')
  assert str(folder / 'nowhere' / 'ptb' / 'ptb.train.txt') in message
  assert 'Mikolov' in message
  message = _refused(FileNotFoundError, 'nonesuch')
  assert 'nonesuch' in message and 'ptb or the path' in message
  (folder / 'mine.valid.txt').unlink()
  message = _refused(FileNotFoundError, folder)
  assert str(folder) in message and 'valid.txt' in message


def test_a_file_without_words_is_named(folder):
  path = folder / 'mine.test.txt'
  path.write_text(' \n\n')
  assert f'{path}: no words' in _refused(ValueError, folder)
  path.write_bytes(b'\xff\xfe\x00')
  assert f'{path}: no UTF-8' in _refused(ValueError, folder)


def test_two_files_of_a_split_are_refused(folder):
  (folder / 'another.train.txt').write_text('words')
  message = _refused(ValueError, folder)
  assert 'another.train.txt and mine.train.txt' in message


def test_a_vocabulary_of_no_words_is_refused(folder):
  assert 'text.num_words is 2' in _refused(ValueError, folder, num_words=2)
