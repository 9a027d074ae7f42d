"""Section `torch`: seconds a training step, ours beside PyTorch's, eager."""

import os
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from benchmarks import child_engine_common as common
from irlas_jax.networks import cost, nasbench201
from irlas_jax.reports import table
from irlas_jax.spaces import nasbench201 as space

EPOCH = 390  # steps: 50,000 images in batches of 128
LOGITS_TOLERANCE = 1e-4


class Race(NamedTuple):
  """One cell's times."""

  depth: int
  cell: int
  names: tuple[str, ...]
  times: common.Times
  compile: dict[str, common.Spent]  # by name


def races(
  sizes: common.Sizes, depth: int, cells: list[int], formats: list[str]
) -> list[Race]:
  """Trains each cell by all contestants, in turns; ours is compiled once."""
  data = common.make_data(sizes)
  graphs = {cell: space.parse(common.CELLS[cell]) for cell in cells}
  network = common.padded_network(sizes)
  logging.info('Compiling the one program of depth %d', depth)
  program, spent = common.compile_spread(
    common.engine(network, sizes), graphs[cells[0]], 1, data
  )
  found = []
  for cell, graph in graphs.items():
    logging.info('Measuring cell %d of depth %d', cell, depth)
    ours = common.Contestant(
      'ours',
      common.run_program(program, graph, 1, data),
      spent,
    )
    contestants = [ours, common.static(graph, sizes, data)]
    contestants += [_torch(graph, sizes, data, name) for name in formats]
    names = tuple(contestant.name for contestant in contestants)
    times = common.race(contestants, sizes)
    compiled = {item.name: item.compile for item in contestants}
    found.append(Race(depth, cell, names, times, compiled))
    logging.info('%s', step_row(found[-1]) | epoch_row(found[-1]))
  return found


def _torch(graph, sizes, data, memory_format: str) -> common.Contestant:
  """PyTorch's training; `memory_format` is contiguous or channels_last."""
  from benchmarks import torch_nasbench201

  how = torch_nasbench201.How(
    'cpu' if jax.default_backend() == 'cpu' else 'cuda',
    memory_format == 'channels_last',
    sizes.bfloat16,
  )
  trainer = torch_nasbench201.Trainer(
    _network(graph, sizes),
    data.train.images,
    data.train.labels,
    common.recipe(sizes),
    how,
  )
  return common.Contestant(
    f'PyTorch, {memory_format}', lambda: trainer.run(sizes.steps)
  )


def _network(graph, sizes: common.Sizes):
  from benchmarks import torch_nasbench201

  nodes = nasbench201.nodes_of(graph, space.OPERATIONS)
  return torch_nasbench201.Network(nodes, sizes.macro, common.NUM_CLASSES)


class Check(NamedTuple):
  """How far PyTorch's network is from ours, with the same weights."""

  params: int
  torch_params: int
  evaluating: float  # largest difference of the logits
  training: float


def check(cell: int, sizes: common.Sizes) -> Check:
  """Compares the two networks of a cell; random weights and statistics.

  Raises:
    ValueError: if they are not the same network.
  """
  import torch

  from benchmarks import torch_nasbench201

  graph = space.parse(common.CELLS[cell])
  rng = np.random.default_rng(0)
  padded = common.padded_network(sizes)
  template = jax.eval_shape(lambda: padded.init(jax.random.key(0), graph))
  drawn = jax.tree.map(
    lambda leaf: rng.uniform(0.1, 0.3, leaf.shape).astype(np.float32), template
  )
  variables = padded.to_flax(drawn, graph)
  network = _network(graph, sizes)
  torch_nasbench201.load_flax(network, variables)
  images = rng.normal(size=(4, sizes.side, sizes.side, 3)).astype(np.float32)
  theirs = torch.from_numpy(images.transpose(0, 3, 1, 2))
  differences = []
  for train in (False, True):
    ours, _ = jax.jit(padded.apply, static_argnums=3)(
      drawn, graph, images, train
    )
    with torch.no_grad():
      logits = network.train(train)(theirs).numpy()
    scale = max(1.0, float(np.abs(logits).max()))
    differences.append(float(np.abs(logits - ours).max()) / scale)
  params = torch_nasbench201.count_parameters(network)
  found = Check(cost.count_parameters(variables), params, *differences)
  if found.params != params or max(differences) > LOGITS_TOLERANCE:
    raise ValueError(f'PyTorch has another network than we: {found}')
  return found


def use_threads() -> str:
  """Gives PyTorch the cores that XLA has: what that comes to, in words."""
  import torch

  cores = (
    len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 0
  )
  torch.set_num_threads(cores or os.cpu_count() or 1)
  return (
    f'PyTorch {torch.__version__} with {torch.get_num_threads()} threads; '
    f"XLA's pool has one a core, {os.cpu_count()}"
  )


def section(
  found: list[Race], checked: Check, cell: int, threads: str
) -> list[str]:
  """The section's paragraphs."""
  return [
    '## One training step beside PyTorch, eager',
    f'{threads}. The networks of cell {cell} agree: {checked.params} '
    f'parameters in both, logits with the same weights differ by at most '
    f'{checked.evaluating:.0e} in evaluation and {checked.training:.0e} in '
    'training mode, relative to the largest. Ours is the program of all cells, '
    'initialisation and an evaluation on 10 images included; `static` is the '
    "cell's own Flax network, without what does not reach the output. Ratios "
    'are to the faster of the two memory formats of PyTorch; medians and '
    'ranges of the rounds. `fastest` is of the fastest round of each, which '
    'other load disturbed least.',
    table.markdown_table([step_row(race) for race in found]),
    '## Compiling and one epoch, seconds',
    f'An epoch is {EPOCH} steps, extrapolated. One of our programs trains all '
    'cells of a depth, so its compiling is paid once in a search; here each '
    'epoch is charged with all of it. The clock `cpu` counts the seconds of '
    'all cores that the process had, which other load changes least; waiting '
    "of PyTorch's threads for each other is partly in it.",
    table.markdown_table(
      [epoch_row(race, clock) for race in found for clock in ('wall', 'cpu')]
    ),
  ]


def step_row(race: Race) -> dict[str, Any]:
  """Medians of a step, and ratios to PyTorch within each round."""
  medians = np.median(race.times.wall, axis=0)
  row: dict[str, Any] = {'N': race.depth, 'cell': race.cell}
  row |= {f'{n}, s': float(m) for n, m in zip(race.names, medians, strict=True)}
  best = _fastest_torch(race)
  for i, name in enumerate(('ours', 'static')):
    wall, cpu = (x[:, i] / x[:, best] for x in race.times)
    row[f'{name} / PyTorch'] = common.spread_of(wall)
    row[f'{name} / PyTorch, CPU time'] = f'{np.median(cpu):.2f}'
    least = race.times.wall.min(axis=0)
    row[f'{name} / PyTorch, fastest'] = f'{least[i] / least[best]:.2f}'
  return row


def epoch_row(race: Race, clock: str = 'wall') -> dict[str, Any]:
  """Compiling, and compiling with an epoch, beside PyTorch's epoch."""
  medians = np.median(getattr(race.times, clock), axis=0)
  ours, static = (getattr(race.compile[n], clock) for n in ('ours', 'static'))
  theirs = EPOCH * medians[_fastest_torch(race)]
  ours_all, static_all = ours + EPOCH * medians[0], static + EPOCH * medians[1]
  return {
    'N': race.depth,
    'cell': race.cell,
    'clock': clock,
    'ours: compile': f'{ours:.1f}',
    'static: compile': f'{static:.1f}',
    'ours: compile + epoch': f'{ours_all:.0f}',
    'static: compile + epoch': f'{static_all:.0f}',
    'PyTorch: epoch': f'{theirs:.0f}',
    'ours is first': 'yes' if ours_all < theirs else 'no',
  }


def _fastest_torch(race: Race) -> int:
  """The column of PyTorch's faster memory format, by medians."""
  medians = np.median(race.times.wall, axis=0)
  columns = [i for i, n in enumerate(race.names) if n.startswith('PyTorch')]
  return min(columns, key=lambda i: medians[i])


def findings(found: list[Race]) -> list[str]:
  """What the section says, in sentences."""
  sentences = []
  for depth in sorted({race.depth for race in found}):
    rows = [race for race in found if race.depth == depth]
    ratios = {
      race.cell: np.median(
        race.times.wall[:, 0] / race.times.wall[:, _fastest_torch(race)]
      )
      for race in rows
    }
    slower = [str(cell) for cell, ratio in ratios.items() if ratio > 1]
    epochs = sum(epoch_row(race)['ours is first'] == 'yes' for race in rows)
    low, high = min(ratios.values()), max(ratios.values())
    sentences.append(
      f'N={depth}: a step of ours takes {low:.2f} to {high:.2f} times one of '
      f"PyTorch's faster memory format; PyTorch is faster for "
      f'{len(slower)} of {len(rows)} cells'
      f'{" (" + ", ".join(slower) + ")" if slower else ""}. Compiling and one '
      f"epoch of ours is done before PyTorch's epoch for {epochs} of "
      f'{len(rows)}.'
    )
  return sentences
