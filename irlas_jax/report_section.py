"""The `report` section of a study: what is reported of a table, and checks.

Shapes: `N` rows of the table.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from irlas_jax import sections
from irlas_jax.tables import table as tables


class Column(NamedTuple):
  """A number of every row of a table, the last one of what is not in it."""

  name: str
  values: np.ndarray  # [N + 1] float64, NaN at N
  unit: str


def check(report: Mapping, arms: Collection[str], table: tables.Table) -> None:
  """Refuses a section that names what is not there.

  Raises:
    ValueError: naming the field and what there is.
  """
  sections.check_sections(report, 'metric', 'metrics')
  metrics = columns(report, table)
  _check_known('metric', [report['metric']], metrics)
  _check_known('front', report.get('front', ()), metrics)
  _check_known('published', report.get('published', {}), arms)
  for asked in report.get('comparisons', ()):
    _check_known('comparisons', [asked['arm'], asked['reference']], arms)
    if 'target' in asked:
      _check_known('comparisons', [asked['target']], report.get('targets', ()))
    else:
      _check_known('comparisons', [asked['metric']], metrics)


def _check_known(field: str, names, known) -> None:
  for name in names:
    if name not in known:
      raise sections.ConfigError(
        f'report.{field} has {name!r}: choose from '
        f'{", ".join(map(str, known))}.'
      )


def columns(report: Mapping, table: tables.Table) -> dict[str, Column]:
  """The columns that `report.metrics` asks for, by name."""
  return {
    name: column(table, name, chosen)
    for name, chosen in report['metrics'].items()
  }


def column(table: tables.Table, name: str, chosen) -> Column:
  """One metric of a table, or the median of several.

  Several are first divided by their own means over the table, so that units
  and sizes do not count: 1 is an average row.
  """
  if isinstance(chosen, str):
    values, unit = tables.metric(table, chosen)
    scale, unit = (100.0, '%') if unit == 'fraction' else (1.0, unit)
    found = scale * values.astype(float)
  else:
    each = [tables.metric(table, one).values.astype(float) for one in chosen]
    found = np.median([one / np.nanmean(one) for one in each], axis=0)
    unit = 'of the mean'
  return Column(name, np.append(found, np.nan), unit)
