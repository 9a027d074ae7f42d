"""Text as numbers, split into train, valid and test: Penn Treebank or any.

A split is a file of lines of words between blanks; the end of a line is a word
too. The vocabulary is that of the training file.
"""

import collections
import hashlib
import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

UNKNOWN, END = '<unk>', '<eos>'
SPLITS = ('train', 'valid', 'test')


class Text(NamedTuple):
  """Three splits as rows of one vocabulary; `N` tokens each."""

  name: str
  train: np.ndarray  # [N] int32
  valid: np.ndarray  # [N] int32
  test: np.ndarray  # [N] int32
  words: tuple[str, ...]  # most frequent first


def load(
  name: str,
  data_dir: str | None = None,
  *,
  num_tokens: int = 0,
  num_words: int = 0,
) -> Text:
  """Reads a text by name or path.

  Args:
    name: 'ptb' for the files ptb.{train,valid,test}.txt in data_dir/ptb or
      data_dir, or a folder with one file each that ends in train.txt, valid.txt
      and test.txt.
    data_dir: by default the environment variable IRLAS_DATA_DIR.
    num_tokens: of the training text, the first ones; 0 is all.
    num_words: of the vocabulary, the most frequent ones of these tokens; 0 is
      all. Other words, and those that valid and test only have, are <unk>.

  Raises:
    FileNotFoundError: a file is not there, with what to do.
    ValueError: a file has no words or is no text.
  """
  paths = _find(str(name), data_dir)
  train, valid, test = (_words(paths[split]) for split in SPLITS)
  train = train[: num_tokens or None]
  words = _vocabulary(train, num_words)
  row = {word: i for i, word in enumerate(words)}

  def rows(tokens: list[str]) -> np.ndarray:
    unknown = row[UNKNOWN]
    return np.array([row.get(token, unknown) for token in tokens], np.int32)

  return Text(str(name), rows(train), rows(valid), rows(test), words)


def digest(text: Text) -> str:
  """Names the tokens that a search sees: 32 hexadecimal digits."""
  found = hashlib.sha256('\n'.join(text.words).encode())
  for split in (text.train, text.valid):
    found.update(f'{split.shape}'.encode())
    found.update(np.ascontiguousarray(split).data)
  return found.hexdigest()[:32]


def _find(name: str, data_dir: str | None) -> dict[str, pathlib.Path]:
  """The path of each split."""
  if name == 'ptb':
    return _find_ptb(data_dir or os.environ.get('IRLAS_DATA_DIR'))
  folder = pathlib.Path(name).expanduser()
  if not folder.is_dir():
    raise FileNotFoundError(
      f'{name}: no such folder. dataset is ptb or the path of a folder with '
      'train.txt, valid.txt and test.txt.'
    )
  return {split: _only(folder, split) for split in SPLITS}


def _find_ptb(data_dir: str | None) -> dict[str, pathlib.Path]:
  if not data_dir:
    raise FileNotFoundError(
      'ptb: nobody says where it is. Set data_dir or IRLAS_DATA_DIR to the '
      'folder that has ptb/ptb.train.txt, ptb/ptb.valid.txt and '
      'ptb/ptb.test.txt.'
    )
  root = pathlib.Path(data_dir).expanduser()
  names = {split: f'ptb.{split}.txt' for split in SPLITS}
  folder = next(
    (x for x in (root / 'ptb', root) if (x / names['train']).is_file()),
    root / 'ptb',
  )
  for file in names.values():
    if not (folder / file).is_file():
      raise FileNotFoundError(
        f'{folder / file}: no such file. Put the three files of the Penn '
        f"Treebank in Mikolov's preparation there: {', '.join(names.values())}."
      )
  return {split: folder / file for split, file in names.items()}


def _only(folder: pathlib.Path, split: str) -> pathlib.Path:
  """The one file of a split."""
  found = sorted(folder.glob(f'*{split}.txt'))
  if not found:
    raise FileNotFoundError(f'{folder}: no file there ends in {split}.txt.')
  if len(found) > 1:
    raise ValueError(
      f'{folder}: {found[0].name} and {found[1].name} both end in {split}.txt; '
      'keep one of them there.'
    )
  return found[0]


def _words(path: pathlib.Path) -> list[str]:
  try:
    lines = path.read_text(encoding='utf-8').splitlines()
  except UnicodeDecodeError as error:
    raise ValueError(f'{path}: no UTF-8 text ({error}).') from error
  if not any(line.split() for line in lines):
    raise ValueError(f'{path}: no words in it. Put text there, a line a row.')
  return [word for line in lines for word in (*line.split(), END)]


def _vocabulary(tokens: Iterable[str], num_words: int) -> tuple[str, ...]:
  """The most frequent words, of equally frequent ones the first by name."""
  counts = collections.Counter(tokens)
  for word in (UNKNOWN, END):
    counts[word] += 0
  order = sorted(counts, key=lambda word: (-counts[word], word))
  if not num_words:
    return tuple(order)
  if num_words < 3:
    raise ValueError(
      f'text.num_words is {num_words}: {UNKNOWN}, {END} and one word or more.'
    )
  kept = [word for word in order if word not in (UNKNOWN, END)]
  kept = kept[: num_words - 2] + [UNKNOWN, END]
  return tuple(word for word in order if word in set(kept))
