r"""How fast children are trained by one program, beside what one would do else.

python -m benchmarks.child_engine --output=benchmarks/results/child_engine.md

Sections, all or those of --sections:
  torch        a training step of five NAS-Bench-201 cells, beside PyTorch
               (eager) and beside each cell's own compiled network
  compiles     what a search of many different blocks spends on compiling
  populations  children x steps a second, one after another and by vmap, and
               the share of what the device can do
  devices      the same children on more devices
  mechanism    the program by other ways of writing it
--tiny makes all of it small, to see that everything runs.
"""

import os
import time
from typing import Any

import jax
from absl import app, flags

from benchmarks import child_engine_common as common
from benchmarks import child_engine_compiles as compiles
from benchmarks import child_engine_mechanism as mechanism
from benchmarks import child_engine_scaling as scaling
from benchmarks import child_engine_torch as torches
from benchmarks import output
from irlas_jax.networks import block
from irlas_jax.reports import records

SECTIONS = ('torch', 'compiles', 'populations', 'devices', 'mechanism')
FORMATS = ('contiguous', 'channels_last')

_SECTIONS = flags.DEFINE_list('sections', list(SECTIONS), 'What to measure.')
_DEPTHS = flags.DEFINE_list(
  'depths', '1,5', 'Section torch: cells a stage (N of NAS-Bench-201).'
)
_DEEP_CELLS = flags.DEFINE_integer(
  'deep_cells', 5, 'Section torch: of the five cells, how many for N > 1.'
)
_FORMATS = flags.DEFINE_list(
  'torch_formats', list(FORMATS), 'Memory formats of PyTorch to compare.'
)
_BFLOAT16 = flags.DEFINE_bool(
  'bfloat16', False, 'Compute in bfloat16; PyTorch by autocast.'
)
_STEPS = flags.DEFINE_integer(
  'steps', None, 'Of a run; by default 3 on CPU (1 for N > 1), else 50.'
)
_TURNS = flags.DEFINE_integer('turns', 3, 'Timed runs of each contestant.')
_SEARCHED = flags.DEFINE_integer(
  'searched', 1000, 'Section compiles: different blocks.'
)
_ALONE = flags.DEFINE_integer(
  'alone', 20, 'Section compiles: blocks compiled one by one.'
)
_POPULATIONS = flags.DEFINE_list(
  'populations', None, 'Children a call; by default 1,4,16, and 64,256 on GPU.'
)
_COUNTS = flags.DEFINE_list('device_counts', '1,2,4,8', 'Numbers of devices.')


def main(argv):
  """Measures, and prints the report."""
  del argv
  chosen = _SECTIONS.value
  unknown = sorted(set(chosen) - set(SECTIONS))
  if unknown:
    raise app.UsageError(
      f'--sections: {unknown} are none of {", ".join(SECTIONS)}.'
    )
  if 'torch' in chosen:
    _need_torch()
  measures = {
    'torch': _torch,
    'compiles': _compiles,
    'populations': _populations,
    'devices': _devices,
    'mechanism': _mechanism,
  }
  findings, parts = [], []
  for name in (name for name in SECTIONS if name in chosen):
    began, before = time.monotonic(), load()
    said, paragraphs = measures[name]()
    findings += said
    took = time.monotonic() - began
    parts += [
      *paragraphs,
      f'(Section `{name}`: {took:.0f} s; load average {before} before, '
      f'{load()} after.)',
    ]
    output.keep(_report(findings, parts))  # a run that is cut off keeps it
  output.show(_report(findings, parts))


def _report(findings: list[str], parts: list[str]) -> str:
  return '\n\n'.join(
    [
      '# Training children by one program',
      '\n'.join(f'- {finding}' for finding in findings),
      about(),
      *parts,
    ]
  )


def _need_torch() -> None:
  """Fails at once rather than after minutes."""
  try:
    import torch  # noqa: F401
  except ImportError as error:
    raise app.UsageError(
      'Section torch compares with PyTorch, which is not installed: pip '
      "install -e '.[benchmark]', or name other --sections."
    ) from error


def _on_cpu() -> bool:
  return jax.default_backend() == 'cpu'


def sizes_of_nasbench(depth: int) -> common.Sizes:
  """NAS-Bench-201's own networks, of `depth` cells a stage."""
  if output.TINY.value:
    return common.Sizes(block.cifar(4, 1, depth), 8, 8, 1, 1, _BFLOAT16.value)
  default = 50 if not _on_cpu() else 3 if depth == 1 else 1
  steps = _STEPS.value or default
  macro = block.cifar(16, 3, depth)
  rounds = _TURNS.value
  return common.Sizes(macro, 32, 128, steps, rounds, _BFLOAT16.value)


def sizes_of_scaling() -> common.Sizes:
  """On CPU one stage and small batches, which compile and train soon."""
  if output.TINY.value:
    return common.Sizes(block.cifar(4, 1, 1), 8, 8, 1, 1, _BFLOAT16.value)
  if not _on_cpu():
    return sizes_of_nasbench(1)
  macro, rounds = block.cifar(16, 1, 1), _TURNS.value
  return common.Sizes(macro, 32, 32, 2, rounds, _BFLOAT16.value)


def _torch():
  threads = torches.use_threads()
  depths = [1] if output.TINY.value else list(map(int, _DEPTHS.value))
  checked = torches.check(common.DENSE, sizes_of_nasbench(depths[0]))
  found = []
  for depth in depths:
    cells = list(common.CELLS)[::-1]  # the dense one is the first
    number = 1 if output.TINY.value else len(cells)
    number = number if depth == 1 else min(number, _DEEP_CELLS.value)
    sizes = sizes_of_nasbench(depth)
    found += torches.races(sizes, depth, cells[:number], _FORMATS.value)
  section = torches.section(found, checked, common.DENSE, threads)
  return torches.findings(found), section


def _compiles():
  count, layers, population = _SEARCHED.value, 6, 20
  number = _ALONE.value
  if output.TINY.value:
    count, layers, population, number = 8, 2, 4, 1
  actions, blocks = compiles.random_blocks(layers, count)
  found = compiles.search(layers, actions, population)
  other = compiles.alone(blocks[:number])
  return compiles.findings(found, other), compiles.section(found, other)


def _populations():
  sizes = sizes_of_scaling()
  default = ['1', '4', '16'] if _on_cpu() else ['1', '4', '16', '64', '256']
  named = ['2'] if output.TINY.value else _POPULATIONS.value or default
  rates = [
    scaling.rate(common.DENSE, sizes, children, way)
    for way in scaling.WAYS
    for children in map(int, named)
  ]
  large = (2048, 2**26) if _on_cpu() else (8192, 2**30)
  peak = scaling.measure_peak(
    sizes, *((256, 2**20) if output.TINY.value else large)
  )
  needed = scaling.work(common.DENSE, sizes)
  section = scaling.population_section(rates, peak, needed, sizes)
  return scaling.population_findings(rates), section


def _devices():
  sizes = sizes_of_scaling()
  counts = [1, 2] if output.TINY.value else list(map(int, _COUNTS.value))
  rates = scaling.device_rates(common.DENSE, sizes, counts)
  return scaling.device_findings(rates), scaling.device_section(rates, sizes)


def _mechanism():
  sizes = sizes_of_scaling()
  ways, cells = list(mechanism.WAYS), [common.DENSE, 9412]
  if output.TINY.value:
    cells = cells[:1]
  costs = mechanism.measure(sizes, cells, ways)
  return mechanism.findings(costs), mechanism.section(costs, sizes)


def load() -> str:
  """Processes that ran or waited in the last minute."""
  return f'{os.getloadavg()[0]:.1f}'


def about() -> str:
  """What was measured, where, with which versions and command."""
  versions = ', '.join(f'{k} {v}' for k, v in records.versions().items())
  given: dict[str, Any] = {
    name: flags.FLAGS[name].serialize()
    for name in ('sections', 'tiny', 'depths', 'deep_cells', 'torch_formats')
    + ('bfloat16', 'steps', 'turns', 'searched', 'alone', 'populations')
    + ('device_counts',)
    if flags.FLAGS[name].present
  }
  command = ' '.join(['python -m benchmarks.child_engine', *given.values()])
  return (
    f'{os.cpu_count()} cores, device {jax.devices()[0].device_kind} '
    f'({jax.default_backend()}), random images, '
    f'{"bfloat16" if _BFLOAT16.value else "float32"}. Times are in turns, '
    f'ratios within a round. `{command}`. {versions}.'
  )


if __name__ == '__main__':
  app.run(main)
