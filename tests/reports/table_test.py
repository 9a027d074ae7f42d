"""Tables, written out by hand."""

import textwrap

import jax.numpy as jnp
import numpy as np
import pytest

from irlas_jax.reports import table

ROWS = [
  {'block': 'resnet', 'accuracy': 0.9123, 'layers': 3},
  {'block': 'found by search', 'accuracy': 0.95, 'layers': 12},
  {'block': 'failed', 'accuracy': float('nan'), 'seconds': 7.25},
]


def _text(block):
  return textwrap.dedent(block).strip('\n')


def test_numbers_stand_right_and_words_left():
  assert table.format_table(ROWS) == _text("""
    block            accuracy  layers  seconds
    ---------------  --------  ------  -------
    resnet             0.9123       3        -
    found by search    0.9500      12        -
    failed                  -       -    7.250
  """)


def test_columns_and_formats_are_chosen():
  columns = {'accuracy': '.1%', 'block': '', 'layers': '03d'}
  assert table.format_table(ROWS, columns) == _text("""
    accuracy  block            layers
    --------  ---------------  ------
       91.2%  resnet              003
       95.0%  found by search     012
           -  failed                -
  """)


def test_markdown():
  assert table.markdown_table(ROWS, ['block', 'layers']) == _text("""
    | block           | layers |
    | --------------- | -----: |
    | resnet          |      3 |
    | found by search |     12 |
    | failed          |      - |
  """)


def test_markdown_escapes_bars_and_has_rules_of_three():
  assert table.markdown_table([{'a': 'x|y', 'b': 1}, {'a': 'z', 'b': 2}]) == (
    '| a    |   b |\n| ---- | --: |\n| x\\|y |   1 |\n| z    |   2 |'
  )


@pytest.mark.parametrize(
  'values, expected',
  [
    ([0.5, 93.21], ['0.50', '93.21']),
    ([1234567.0, 2.5], ['1234567', '2']),
    ([0.00123], ['0.001230']),
    ([2e-7, 1e-9], ['2e-07', '1e-09']),
    ([4e12], ['4e+12']),
    ([0.0], ['0.0']),
    ([1, 0.25], ['1.000', '0.250']),
    ([-0.5, float('inf')], ['-0.5000', 'inf']),
    ([3, -20], ['3', '-20']),
    ([True, False], ['True', 'False']),
    ([None, 'two\nlines'], ['-', 'two lines']),
  ],
)
def test_digits_suit_the_column(values, expected):
  text = table.format_table([{'x': value} for value in values])
  assert [line.strip() for line in text.splitlines()[2:]] == expected


def test_arrays_of_one_number_are_numbers():
  rows = [{'a': np.float32(0.5), 'b': jnp.int32(7), 'c': jnp.array(jnp.nan)}]
  assert table.format_table(rows).splitlines()[2].split() == [
    '0.5000',
    '7',
    '-',
  ]


def test_a_column_with_words_and_numbers_stands_left():
  text = table.format_table([{'x': 10}, {'x': 'none'}])
  assert text == 'x\n----\n10\nnone'


def test_a_head_wider_than_its_cells():
  text = table.format_table([{'name': 'a', 'reward': 1}])
  assert text == 'name  reward\n----  ------\na          1'


def test_no_rows_leave_the_head():
  assert table.format_table([], ['a', 'bc']) == 'a  bc\n-  --'


@pytest.mark.parametrize('write', [table.format_table, table.markdown_table])
@pytest.mark.parametrize(
  'rows, columns, message',
  [
    (ROWS, ['acuracy'], "No row has .'acuracy'.: the columns are .'block'"),
    (ROWS, {'block': '.2f'}, "Column 'block': 'resnet' does not fit"),
    ([], None, 'neither rows nor columns'),
  ],
)
def test_what_is_wrong_is_named(write, rows, columns, message):
  with pytest.raises(ValueError, match=message):
    write(rows, columns)
