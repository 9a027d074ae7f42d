"""Sections of a config: names become functions, and fields are checked.

A section, such as `config.searcher`, has a `name` and the fields that the named
choice takes. Fields of one choice may stand in a subsection of its name, so
that `--config.searcher.name=random` needs no other change.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple


class ConfigError(ValueError):
  """A config that names something that is not there, or a wrong value."""


class Choice(NamedTuple):
  """What a name stands for, and the config fields that it takes."""

  make: Callable
  fields: tuple[str, ...]


def by_keywords(make: Callable) -> Choice:
  """A choice whose config fields are the keyword-only arguments of `make`."""
  return Choice(make, keywords(make))


def keywords(function: Callable, *more: str) -> tuple[str, ...]:
  """The names of a function's keyword-only arguments, and further ones."""
  parameters = inspect.signature(function).parameters.values()
  names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
  return (*names, *more)


def choose(config: Mapping, section: str, table: dict[str, Choice]) -> Callable:
  """The choice that `config[section]` names, with its fields bound.

  Raises:
    ConfigError: for a name or a field that does not exist, or one left out.
  """
  if not isinstance(config[section], Mapping):
    raise ConfigError(
      f'{section} is {config[section]!r}: give a section with a name, one of '
      f'{", ".join(table)}.'
    )
  values = dict(config[section])
  name = values.pop('name', None)
  if name not in table:
    raise ConfigError(
      f'{section}.name is {name!r}: choose one of {", ".join(table)}.'
    )
  own = dict(values.get(name, {}))
  fields = {k: v for k, v in values.items() if k not in table} | own
  choice = table[name]
  for field in fields:
    if field not in choice.fields:
      raise ConfigError(
        f'{section}.{field} is no field of {name!r}, which takes '
        f'{", ".join(choice.fields) or "none"}.'
      )
  _check_given(section, choice.make, choice.fields, fields)
  return functools.partial(choice.make, **fields)


def bind(section: str, function: Callable, values: Mapping):
  """Calls a function with a section's fields, checked against its arguments.

  Raises:
    ConfigError: for a field that does not exist, or one left out.
  """
  known = inspect.signature(function).parameters
  for field in values:
    if field not in known:
      raise ConfigError(
        f'{section}.{field} does not exist: there are {", ".join(known)}.'
      )
  _check_given(section, function, known, values)
  return function(**values)


def _check_given(section: str, function: Callable, names, given) -> None:
  """Refuses to call without an argument among `names` that has no default."""
  for parameter in inspect.signature(function).parameters.values():
    needed = parameter.name in names and parameter.default is parameter.empty
    if needed and parameter.name not in given:
      raise ConfigError(f'{section}.{parameter.name} is missing.')


def check_counts(section: str, values: Mapping, *names: str) -> None:
  """ConfigError for a field among `names` that is given and below 1."""
  for name in names:
    count = values.get(name)
    if count is not None and count < 1:
      raise ConfigError(f'{section}.{name} is {count}: at least 1.')


def check_sections(config: Mapping, *names: str) -> None:
  """ConfigError for a section that a config does not have."""
  for name in names:
    if name not in config:
      raise ConfigError(f'The config has no {name!r}.')
