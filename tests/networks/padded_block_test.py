"""The padded program: block by block the plain network, in every respect."""

import jax
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax import devices
from irlas_jax.networks import block as plain
from irlas_jax.networks import block_ops, padded_block
from irlas_jax.spaces import block, nsc

NUM_LAYERS = 5
# Compiles several times faster; what is computed stays the same.
FAST = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}


def _compare_all(operations, dtype):
  """Differences of 5 random blocks, and how many programs were compiled."""
  blocks = padded_equality.random_blocks(0, operations, NUM_LAYERS, 5)
  # Ties everywhere: equal neighbours are pooled again between the stages.
  blocks[0] = [block.Choice('max_pool', 3, (0,))] * 2
  network = padded_equality.program(operations, NUM_LAYERS, FAST)
  counter = devices.CompileCounter()
  rows = [
    padded_equality.compare(network, layers, seed, dtype, FAST)
    for seed, layers in enumerate(blocks)
  ]
  return rows, counter.total().number


@pytest.mark.parametrize('operations', block.OPERATION_SETS)
def test_every_block_is_its_plain_network_in_float64(operations):
  """One program for all blocks, and one compile for each plain network."""
  jax.random.key(0)
  with jax.enable_x64(True):
    rows, compiled = _compare_all(operations, np.float64)
  for row in rows:
    assert max(row) < 1e-8, row
    assert row.unused == 0
  assert compiled == 1 + len(rows)
