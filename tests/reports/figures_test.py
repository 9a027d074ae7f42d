"""Files appear whole or not at all."""

import matplotlib
import pytest
from matplotlib import figure
from PIL import Image

from irlas_jax.reports import figures


def test_writes_150_dots_an_inch_into_a_new_folder(tmp_path):
  path = figures.save(figure.Figure(figsize=(2, 1)), tmp_path / 'new' / 'a.png')
  with Image.open(path) as image:
    assert image.size == (300, 150)
  assert [file.name for file in path.parent.iterdir()] == ['a.png']


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(b'old')
  broken = figure.Figure()
  broken.text(0, 0, r'$\no_such_command$')
  with pytest.raises(ValueError):
    figures.save(broken, path)
  assert path.read_bytes() == b'old'
  assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_do_not_name_the_library(tmp_path):
  data = figures.save(figure.Figure(), tmp_path / 'a.png').read_bytes()
  assert (
    b'atplotlib' not in data and matplotlib.__version__.encode() not in data
  )
