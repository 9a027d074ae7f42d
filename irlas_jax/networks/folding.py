"""Batch normalisation folded into the convolutions before it, for inference.

With running averages a normalisation multiplies every channel by a number and
adds one, as the weights and the bias of a convolution can do as well (Jacob et
al., https://arxiv.org/abs/1712.05877, section 3.2). Works on any Flax Linen
module as it is: its calls are intercepted, and what feeds what is read from its
trace. A normalisation whose input is not the output of a convolution, or that
is not the only one to read it, stays as one multiplication and one addition.
"""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.ad_checkpoint import checkpoint_name

Path = tuple[str, ...]
_SEPARATOR = '/'
_CONV, _NORM = 'conv', 'norm'


class Folded(NamedTuple):
  """A module for inference, as two pure functions."""

  convert: Callable  # {'params', 'batch_stats'} of the module -> {'params'}
  apply: Callable  # (what convert returns, *inputs) -> the module's outputs


class _Found(NamedTuple):
  epsilons: dict[Path, float]  # of each normalisation
  convs: dict[Path, Path]  # of each one to fold, the convolution before it


def fold(module: nn.Module, *inputs: Any) -> Folded:
  """A module as it is called with train=False, its normalisations folded.

  Args:
    module: called as (*inputs, train); features are the last axis.
    *inputs: examples, or `jax.ShapeDtypeStruct`s: the module is traced on them
      and nothing is run.

  Raises:
    ValueError: if a normalisation works on another axis than the last.
  """
  found = _find(module, inputs)
  return Folded(_make_convert(found), _make_apply(module, found))


def _make_convert(found):
  """Moves scales and shifts; convolutions get a bias where they had none."""

  def convert(variables):
    params = traverse_util.flatten_dict(variables.get('params', {}))
    stats = traverse_util.flatten_dict(variables.get('batch_stats', {}))
    for path, epsilon in found.epsilons.items():
      scale, shift = _affine(path, epsilon, params, stats)
      params[*path, 'scale'], params[*path, 'bias'] = scale, shift
    for path, conv in found.convs.items():
      scale, shift = params.pop((*path, 'scale')), params.pop((*path, 'bias'))
      bias = params.get((*conv, 'bias'), 0.0)
      params[*conv, 'kernel'] = params[*conv, 'kernel'] * scale
      params[*conv, 'bias'] = bias * scale + shift
    return {'params': traverse_util.unflatten_dict(params)}

  return convert


def _affine(path, epsilon, params, stats):
  """What a normalisation multiplies by and adds, [C] each."""
  mean, var = stats[*path, 'mean'], stats[*path, 'var']
  scale = params.get((*path, 'scale'), 1.0) / jnp.sqrt(var + epsilon)
  return scale, params.get((*path, 'bias'), 0.0) - mean * scale


def _make_apply(module, found):
  """The module's call in which convolutions add what normalisations did."""
  folded = set(found.convs.values())

  def intercept(call, args, kwargs, context):
    here, kind = context.module, _kind(context)

    def get(name):
      return here.get_variable('params', name)

    if kind == _NORM:
      kept = here.path not in found.convs
      return args[0] * get('scale') + get('bias') if kept else args[0]
    outputs = call(*args, **kwargs)
    missing = kind == _CONV and here.path in folded and not here.use_bias
    return outputs + get('bias') if missing else outputs

  def apply(variables, *inputs):
    with nn.intercept_methods(intercept):
      return module.apply(variables, *inputs, False)

  return apply


def _kind(context):
  """Whether a call is that of a convolution or of a normalisation, or None."""
  if context.method_name != '__call__':
    return None
  kinds = {nn.Conv: _CONV, nn.BatchNorm: _NORM}
  return kinds.get(type(context.module))


def _find(module, inputs):
  """Traces the module with the outputs of both kinds marked in the program."""
  epsilons = {}

  def intercept(call, args, kwargs, context):
    here, kind = context.module, _kind(context)
    if kind is None:
      return call(*args, **kwargs)
    if kind == _NORM:
      _check_axis(here)
      epsilons[here.path] = here.epsilon
    outputs = args[0] if kind == _NORM else call(*args, **kwargs)
    return checkpoint_name(outputs, _SEPARATOR.join((kind, *here.path)))

  def traced(*inputs):
    with nn.intercept_methods(intercept):
      outputs, _ = module.init_with_output(jax.random.key(0), *inputs, False)
    return outputs

  return _Found(epsilons, _pairs(jax.make_jaxpr(traced)(*inputs).jaxpr))


def _check_axis(norm):
  if norm.axis != -1:
    raise ValueError(
      f'The normalisation {_SEPARATOR.join(norm.path)} works on the axis '
      f'{norm.axis}: only networks whose features are the last axis, -1, can '
      'be folded.'
    )


def _pairs(jaxpr) -> dict[Path, Path]:
  """Of each normalisation that alone reads a convolution, that convolution.

  Modules that are called more than once are left out.
  """
  marks = [e for e in jaxpr.eqns if e.primitive.name == 'name']
  calls = collections.Counter(e.params['name'] for e in marks)
  readers = [e.invars for e in jaxpr.eqns] + [jaxpr.outvars]
  reads = collections.Counter(id(v) for invars in readers for v in invars)
  made = {id(e.outvars[0]): e.params['name'] for e in marks}
  pairs = {}
  for equation in marks:
    read = id(equation.invars[0])
    norm, conv = equation.params['name'], made.get(read, '')
    kinds = tuple(n.partition(_SEPARATOR)[0] for n in (norm, conv))
    once = calls[norm] == calls[conv] == reads[read] == 1
    if kinds == (_NORM, _CONV) and once:
      pairs[_path(norm)] = _path(conv)
  return pairs


def _path(name) -> Path:
  return tuple(name.split(_SEPARATOR)[1:])
