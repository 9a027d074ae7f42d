"""Tables of one's own: what is read, and what is refused with which words."""

import numpy as np
import pytest

from irlas_jax.tables import choices, table


def make(**changes):
  """Two steps of 2 and 3 choices; values [6, 2]. None takes an array away."""
  arrays = {
    'choices': np.array([2, 3]),
    'metrics': np.array(['valid', 'time']),
    'units': np.array(['percent', 's']),
    'values': np.array([[10.0 * i, 1 + i] for i in range(6)]),
  } | changes
  return {name: array for name, array in arrays.items() if array is not None}


def test_all_combinations_are_row_major():
  found = choices.parse(make())
  assert found.cells.sizes == (2, 3)
  assert found.cells.choices.tolist() == [
    [0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]
  ]  # fmt: skip
  assert found.cells.choices.dtype == np.int32


def test_percent_becomes_a_fraction_and_other_units_stay():
  valid, time = choices.parse(make()).metrics.values()
  assert valid.unit == 'fraction' and time.unit == 's'
  np.testing.assert_allclose(valid.values, [0, 0.1, 0.2, 0.3, 0.4, 0.5])
  assert time.values.tolist() == [1, 2, 3, 4, 5, 6]
  assert valid.values.dtype == time.values.dtype == np.float32


def test_some_combinations_in_any_order():
  actions = np.array([[1, 2], [0, 0]], np.uint8)
  values = np.array([[94.0, 1], [50, 2]])
  found = choices.parse(make(actions=actions, values=values))
  assert found.cells.choices.tolist() == [[1, 2], [0, 0]]
  np.testing.assert_allclose(found.metrics['valid'].values, [0.94, 0.5])


def test_what_was_not_measured_stays_so():
  values = np.array([[np.nan if i == 2 else i, 1] for i in range(6)])
  found = choices.parse(make(values=values)).metrics['valid'].values
  assert np.flatnonzero(np.isnan(found)).tolist() == [2]


def changed(row, column, value):
  values = make()['values']
  values[row, column] = value
  return values


SIX = choices.all_actions([2, 3])


@pytest.mark.parametrize(
  'changes, words',
  [
    ({'choices': np.array([2, 0])}, ['`choices` row 1', 'less than one']),
    ({'choices': np.array([2.0, 3.0])}, ['`choices`', 'integers']),
    ({'choices': np.array([[2, 3]])}, ['`choices` has shape']),
    ({'choices': np.array([2, 4])}, ['`values` has 6 rows', '8 comb']),
    ({'choices': np.array([10**6] * 9)}, ['`values` has 6 rows']),
    ({'metrics': np.array(['a', 'a'])}, ['`metrics` row 1', 'repetition']),
    ({'metrics': None}, ['`metrics` is not there']),
    ({'units': np.array(['s'])}, ['`units` has shape (1,), must be [2]']),
    ({'units': np.array(['s', ''])}, ["`units` of 'time' is empty"]),
    ({'values': np.zeros((6, 3))}, ['`values` has shape (6, 3)']),
    ({'values': changed(3, 0, 100.5)}, ['`values[valid]` row 3 (100.5)']),
    ({'values': changed(3, 0, -1)}, ['`values[valid]` row 3']),
    ({'values': changed(4, 1, np.inf)}, ['`values[time]` row 4']),
    ({'values': np.full((6, 2), np.nan)}, ['`values[valid]` is NaN in every']),
    (
      {'units': np.array(['fraction', 's'])},
      ['`values[valid]` row 1 (10.0)', "'percent' (0-100)", '5 of 6'],
    ),
    ({'actions': SIX[:5]}, ['`actions` has shape (5, 2), must be [6, 2]']),
    ({'actions': SIX.astype(float)}, ['`actions`', 'integers']),
    ({'actions': SIX + [0, 1]}, ['`actions` row 2 ([0 3])', '[2, 3]']),
    ({'actions': SIX - 1}, ['`actions` row 0']),
    ({'actions': SIX // 2}, ['`actions` row 1', 'repeats an earlier']),
  ],
)
def test_wrong_array_is_refused_by_name_and_row(changes, words):
  with pytest.raises(table.TableError) as error:
    choices.parse(make(**changes))
  text = str(error.value)
  assert '\n' not in text
  for word in words:
    assert word in text
