"""Reads a benchmark table from an `.npz` file, whichever form it has."""

import os
from collections.abc import Callable
from typing import NamedTuple

from irlas_jax.tables import arrays as files
from irlas_jax.tables import choices, ecnas, nasbench101, nasbench201
from irlas_jax.tables.table import Table, TableError

_REMEDY = 'Get the file anew, or mend it by the forms of tables in BUILD.md.'


class _Form(NamedTuple):
  """A way to write a table, known by the names of its arrays."""

  name: str
  arrays: frozenset[str]  # what tells it from the forms after it
  datasets: tuple[str, ...]  # to choose from; () if its metrics say it
  parse: Callable  # (arrays, dataset) -> Table


def _whole(parse):
  return lambda arrays, dataset: parse(arrays)


_FORMS = (
  _Form(
    'NAS-Bench-201',
    frozenset(['arch_str']),
    nasbench201.DATASETS,
    nasbench201.parse,
  ),
  _Form(
    'EC-NAS',
    frozenset(['epoch_budget']),
    ('cifar10',),
    _whole(ecnas.parse),
  ),
  _Form(
    'NAS-Bench-101',
    frozenset(['key', 'adj', 'val_acc']),
    ('cifar10',),
    _whole(nasbench101.parse),
  ),
  _Form('your own', frozenset(['choices']), (), _whole(choices.parse)),
)


def load(path: str | os.PathLike, dataset: str = 'cifar10') -> Table:
  """The table of a file.

  Args:
    path: of an `.npz` file of one of the forms that BUILD.md describes; which
      it is shows in the names of its arrays.
    dataset: of a file with several, which one is meant: 'cifar10', 'cifar100'
      or 'ImageNet16-120'. Files with one refuse another; tables of one's own,
      which name their metrics themselves, do not read it.

  Raises:
    FileNotFoundError: if there is no such file.
    TableError: if it is damaged, of no known form, or wrong somewhere.
  """
  arrays = files.read(path)
  form = next((form for form in _FORMS if form.arrays <= arrays.keys()), None)
  if form is None:
    known = ', '.join(f'{sorted(f.arrays)} ({f.name})' for f in _FORMS)
    raise TableError(
      f'{path}: of no known form. It holds {", ".join(arrays) or "nothing"}; '
      f'a table is known by its arrays {known}. {_REMEDY}'
    )
  if form.datasets and dataset not in form.datasets:
    raise TableError(
      f'{path}: dataset {dataset!r} is not in it. Choose one of '
      f'{", ".join(form.datasets)}.'
    )
  try:
    return form.parse(arrays, dataset)
  except TableError as error:
    raise TableError(f'{path}: {error}. {_REMEDY}') from None
