"""JSON that reads back as what was written, measured numbers included.

A finite float is the shortest text that reads back as the same double (float32
is widened, which is exact), infinities are 1e999 and -1e999, NaN is null, so
that SQL leaves it out of averages and comparisons.
"""

import json
import math


def flat(config, place='') -> dict[str, str]:
  """{dotted name: JSON of the leaf}."""
  if not isinstance(config, dict) or not config:
    return {place: dumps(config, place)}
  leaves: dict[str, str] = {}
  for name, value in config.items():
    leaves |= flat(value, f'{place}.{name}' if place else name)
  return leaves


def dumps(value, place, measured=False) -> str:
  """Strict JSON with sorted keys; `measured` takes NumPy, NaN and infinities.

  None is refused among measured values, because null is read back as NaN.
  """
  if measured and hasattr(value, 'tolist'):
    value = value.tolist()
  if isinstance(value, dict) and all(isinstance(name, str) for name in value):
    items = (
      f'{json.dumps(name)}:{dumps(value[name], f"{place}.{name}", measured)}'
      for name in sorted(value)
    )
    return f'{{{",".join(items)}}}'
  if isinstance(value, list | tuple):
    items = (dumps(v, f'{place}[{i}]', measured) for i, v in enumerate(value))
    return f'[{",".join(items)}]'
  special = isinstance(value, float) and not math.isfinite(value)
  if special and measured:
    return {'nan': 'null', 'inf': '1e999', '-inf': '-1e999'}[str(float(value))]
  plain = isinstance(value, str | int | float) or (
    value is None and not measured
  )
  if special or not plain:
    raise ValueError(f'{place} is {value!r}, which cannot be stored as JSON.')
  return json.dumps(value)


def numbers(value):
  """Undoes `measured` in what was read back: None is NaN."""
  if isinstance(value, dict):
    return {name: numbers(item) for name, item in value.items()}
  if isinstance(value, list):
    return [numbers(item) for item in value]
  return math.nan if value is None else value
