"""Parameters and multiply-adds of NASNets, counted from the graph.

Equal to a count over the traced network (networks.cost). Host arithmetic in
float64, exact below 2^53.
"""

from typing import NamedTuple

import numpy as np

from irlas_jax.networks import block, nasnet, nasnet_ops, nasnet_plan
from irlas_jax.networks.block_cost import Cost
from irlas_jax.types import Graph


class _Counts(NamedTuple):
  """What the cost of a cell depends on; leading axes are the graph's."""

  inner: np.ndarray  # [..., rows] operations that keep the image's size
  entries: np.ndarray  # [..., rows] operations of stride 2
  concats: np.ndarray  # [...]
  leaves: np.ndarray  # [...] states that are concatenated
  kept: np.ndarray  # [...] inputs among these that have to be halved


def cost(
  graph: Graph,
  operations: tuple[str, ...],
  macro: block.Macro,
  image_shape: tuple[int, int, int],
  num_classes: int,
) -> Cost:
  """Cost of the networks of architectures [..., 2, V] (host arrays)."""
  counts = [_count(graph, operations, cell) for cell in (0, 1)]
  height, width, channels = image_shape
  if macro.imagenet:
    height, width = (height - 1) // 2, (width - 1) // 2
    stem = nasnet.STEM_WIDTH
  else:
    stem = nasnet.STEM_FACTOR * macro.widths[0]
  weights = 9 * channels * stem
  parts: list[tuple] = [(weights + 2 * stem, height * width * weights)]
  before = older = np.full_like(counts[0].leaves, stem)
  for place in nasnet_plan.places(macro):
    area_in = height * width
    if place.reduction:
      height, width = -(-height // 2), -(-width // 2)
    areas = area_in, height * width
    cell = counts[place.reduction]
    parts.append(_cell(cell, operations, place.width, before + older, areas))
    older, before = before, cell.leaves * place.width
  parts.append(((before + 1) * num_classes, before * num_classes))
  params, madds = zip(*parts, strict=True)
  return Cost(sum(params), sum(madds))


def _count(graph: Graph, operations, cell: int) -> _Counts:
  ops = np.asarray(graph.ops)[..., cell, :]
  edges = np.asarray(graph.edges)[..., cell, :, :]
  leaves = np.asarray(graph.outputs)[..., cell, :] > 0
  is_input = (ops == 0) | (ops == operations.index('previous'))
  halves = (edges & is_input[..., None]).any(-2) & (cell == 1)
  chosen = ops[..., None] == np.arange(len(operations))
  return _Counts(
    (chosen & ~halves[..., None]).sum(-2, float),
    (chosen & halves[..., None]).sum(-2, float),
    (ops == operations.index('concat')).sum(-1, float),
    leaves.sum(-1, float),
    (leaves & is_input).sum(-1, float) * (cell == 1),
  )


def _operation(name: str, width: int, entry: bool) -> tuple[int, int]:
  """Weights of an operation, and of its normalisations."""
  weights = norms = 0
  for layer in nasnet_ops.layers_of(name, entry):
    branch = nasnet_ops.INNER[nasnet_ops.find(nasnet_ops.INNER, layer)]
    if 'conv' in layer:
      weights += branch.taps * width**2 + branch.kernel**2 * width
    norms += branch.normalised * 2 * width
  return weights, norms


def _cell(counts: _Counts, operations, width, features_in, areas) -> tuple:
  """One cell with inputs of `features_in` channels in all, on area `areas[0]`.

  An input is halved at no cost but that of its own convolutions: those of a
  factorised reduction have half the width each.
  """
  enter = features_in * width
  weights = (2 * counts.concats + counts.kept) * width**2
  norms = 2 * width * (2 + counts.kept)
  for row, name in enumerate(operations):
    if name in ('input', 'previous', *nasnet_plan.MERGES):
      continue
    for number, entry in ((counts.inner, False), (counts.entries, True)):
      of_weights, of_norms = _operation(name, width, entry)
      weights = weights + number[..., row] * of_weights
      norms = norms + number[..., row] * of_norms
  return enter + weights + norms, areas[0] * enter + areas[1] * weights
