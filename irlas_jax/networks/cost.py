"""What a network costs, counted without running it.

One multiply-add is one multiplication of a convolution or a matrix product with
its addition; all else (normalisation, pooling, activations, biases) counts 0,
as in the tables of the papers.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex_core

# Primitives that run the functions they carry once, wherever they stand.
_CALLS = frozenset(
  {
    'closed_call',
    'custom_jvp_call',
    'custom_vjp_call',
    'jit',
    'remat2',
  }
)


def count_multiply_adds(fn: Callable, *args) -> int:
  """Multiply-adds of fn(*args), for the whole batch.

  Counted are convolutions (output elements x kernel elements x input features
  of a group, products with padding or dilation zeros included) and matrix
  products (batch x M x N x K). `fn` is traced and nothing is run, so arguments
  may be `jax.ShapeDtypeStruct`s; bind static ones such as `train` beforehand.

  A scan counts its body times its length, a conditional its dearest branch
  (`vmap` turns one into a selection that runs all branches, and counts all).

  Raises:
    ValueError: if products stand where how often they run is not known from
      the trace: in a `while` loop, or in another primitive with an inner
      function (a Pallas kernel, `shard_map`).
  """
  return _count_jaxpr(jax.make_jaxpr(fn)(*args).jaxpr)


def count_parameters(variables: Any) -> int:
  """Trainable parameters: elements in the 'params' of Flax variables.

  Leaves are arrays or `jax.ShapeDtypeStruct`s. Raises ValueError if there are
  variables but no 'params' among them.
  """
  if variables and 'params' not in variables:
    raise ValueError(
      f"no 'params' among the collections {sorted(variables)}; pass the "
      "variables that a module's init returns, not what is inside 'params'"
    )
  leaves = jax.tree.leaves(variables.get('params', {}))
  return sum(math.prod(leaf.shape) for leaf in leaves)


def _count_jaxpr(jaxpr) -> int:
  return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation) -> int:
  name = equation.primitive.name
  if name == 'conv_general_dilated':
    return _count_convolution(equation)
  if name == 'dot_general':
    return _count_matrix_product(equation)
  inner = [
    _count_jaxpr(jaxpr) for jaxpr in jex_core.jaxprs_in_params(equation.params)
  ]
  if name == 'scan':
    return equation.params['length'] * sum(inner)
  if name == 'cond':
    return max(inner)
  if name not in _CALLS and any(inner):
    raise ValueError(
      f'{name} holds multiply-adds that run an unknown number of times; '
      'write a loop of known length with jax.lax.scan, or count its body alone'
    )
  return sum(inner)


def _count_convolution(equation) -> int:
  """Output elements x kernel elements x input features of a group."""
  kernel = equation.invars[1].aval.shape
  features = kernel[equation.params['dimension_numbers'].rhs_spec[0]]
  return equation.outvars[0].aval.size * math.prod(kernel) // features


def _count_matrix_product(equation) -> int:
  """Output elements x length of the sum."""
  (contracted, _), _ = equation.params['dimension_numbers']
  left = equation.invars[0].aval.shape
  return equation.outvars[0].aval.size * math.prod(left[i] for i in contracted)
