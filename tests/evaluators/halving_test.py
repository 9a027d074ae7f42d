"""The bar of successive halving, by hand."""

import numpy as np
import pytest

from irlas_jax.evaluators import halving

NAN, LOW = np.nan, -np.inf
# Of six children the fifth stopped after two evaluations, the sixth diverged.
CURVES = np.array(
  [
    [0.1, 0.2, 0.3, 0.4, 0.5],
    [0.5, 0.6, 0.7, 0.8, 0.9],
    [0.4, 0.5, 0.6, 0.7, 0.8],
    [0.3, 0.3, 0.3, 0.3, 0.3],
    [0.2, 0.2, NAN, NAN, NAN],
    [NAN, NAN, NAN, NAN, NAN],
  ]
)


def test_the_bar_is_the_last_of_the_best_part():
  """Rungs 1, 2, 4 of eta 2: of 5, 5 and 4 children the best 2, 2 and 2."""
  found = halving.bar(CURVES, 2)
  np.testing.assert_allclose(found, [0.4, 0.5, LOW, 0.7, LOW])
  assert found.dtype == np.float32


def test_other_factors_have_other_rungs_and_parts():
  """Of 5, 4 children a third is one."""
  np.testing.assert_allclose(halving.bar(CURVES, 3), [0.5, LOW, 0.7, LOW, LOW])


def test_without_halving_or_with_too_few_all_go_on():
  """The first children have nobody to be compared with."""
  assert (halving.bar(CURVES, 0) == LOW).all()
  assert (halving.bar(CURVES[:0], 2) == LOW).all()
  assert (halving.bar(CURVES[:1], 2) == LOW).all()


@pytest.mark.parametrize('eta', [0.5, 1, -2, float('nan')])
def test_a_factor_that_drops_nobody_or_all_is_refused(eta):
  """A search would run without what its config says."""
  with pytest.raises(ValueError, match='evaluator.halving is .*more than 1'):
    halving.check(eta, 4)


def test_halving_without_evaluations_on_the_way_is_refused():
  """There would be no moment to drop anybody."""
  halving.check(2, 4)
  halving.check(0, 1)
  with pytest.raises(ValueError, match=r'Raise\s+train.evaluations'):
    halving.check(2, 1)
