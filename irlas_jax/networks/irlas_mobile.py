"""The one searched IRLAS network that was published, for ImageNet-mobile.

Its block, in the code (index, type, kernel, inputs) with `c` channels:

  (1, separable, 1, 0)
  (2, separable, 3, 0)
  (3, add,       -, 0 and 2)
  (4, separable, 5, 0)
  (5, separable, 1, 3)
  output = [1, 4, 5], the layers that nobody reads, side by side: 3c channels

IRLAS (Guo et al., 2019, https://arxiv.org/abs/1812.05285); layer by layer as
released at https://github.com/gmh14/IRLAS. 9,962,600 parameters and 1,419 M
multiply-adds at 224x224.

Shapes: `N` images, `H` and `W` pixels, `K` classes.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Layer(NamedTuple):
  """One layer of a chain; a depthwise convolution keeps its input's width."""

  kind: str  # 'relu', 'conv', 'depthwise' or 'norm'
  features: int = 0  # of a 'conv'
  kernel: int = 1
  stride: int = 1
  bias: bool = False


STEM_FEATURES = 32
STAGES = ((32, 1), (128, 1), (256, 4), (512, 1))  # (channels c, blocks)

_RELU, _NORM = Layer('relu'), Layer('norm')


def _preactivated(features, kernel=1, stride=1):
  """The layers of a full convolution, between ReLU and normalisation."""
  return _RELU, Layer('conv', features, kernel, stride, bias=True), _NORM


def _separable(features, kernel):
  """The layers of a separable convolution, a 1x1 depthwise one included."""
  depthwise = Layer('depthwise', kernel=kernel)
  return _RELU, depthwise, Layer('conv', features), _NORM


def _transition(stage):
  """The layers before a stage's blocks, which halve the resolution."""
  features, _ = STAGES[stage]
  widen = () if stage == 0 else _preactivated(features)
  return widen + _preactivated(features, kernel=3, stride=2)


def _apply_layer(layer, x, train, name):
  """One layer on x [N, H, W, C]; convolutions pad kernel // 2 on both sides."""
  if layer.kind == 'relu':
    return nn.relu(x)
  if layer.kind == 'norm':
    norm = functools.partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)
    return norm(use_running_average=not train, name=name)(x)
  depthwise = layer.kind == 'depthwise'
  return nn.Conv(
    features=x.shape[-1] if depthwise else layer.features,
    kernel_size=(layer.kernel, layer.kernel),
    strides=layer.stride,
    padding=layer.kernel // 2,  # 'SAME' would pad (0, 1) at stride 2
    feature_group_count=x.shape[-1] if depthwise else 1,
    use_bias=layer.bias,
    name=name,
  )(x)


class Chain(nn.Module):
  """Layers one after the other, each named by its kind and position."""

  layers: tuple[Layer, ...]

  @nn.compact
  def __call__(self, x, train):
    for position, layer in enumerate(self.layers):
      kind = 'norm' if layer.kind == 'norm' else 'conv'
      x = _apply_layer(layer, x, train, f'{kind}_{position}')
    return x


class Block(nn.Module):
  """The searched block: [N, H, W, C] to [N, H, W, 3 * features].

  Where C is not `features`, a 1x1 convolution goes before operations 2 and 4,
  and another brings the result of 2 back to C channels for the sum.
  """

  features: int

  @nn.compact
  def __call__(self, x, train):
    width = x.shape[-1]
    narrow = () if width == self.features else _preactivated(self.features)
    back = () if width == self.features else (Layer('conv', width), _NORM)

    def op(index, x, layers):
      return Chain(layers, name=f'op{index}')(x, train)

    x1 = op(1, x, _separable(self.features, 1))
    x2 = op(2, x, narrow + _separable(self.features, 3))
    x3 = x + op(3, x2, back)
    x4 = op(4, x, narrow + _separable(self.features, 5))
    x5 = op(5, x3, _separable(self.features, 1))
    return jnp.concatenate([x1, x4, x5], axis=-1)


class IrlasMobile(nn.Module):
  """The network; `layer{s}_0` leads into stage s, `layer{s}_{b}` is a block."""

  num_classes: int

  @nn.compact
  def __call__(self, images, train):
    """Logits [N, K] of images [N, H, W, 3], floating point."""
    chex.assert_shape(images, (None, None, None, 3))
    chex.assert_type(images, float)
    stem = Layer('conv', STEM_FEATURES, kernel=3, stride=2)
    x = _apply_layer(stem, images, train, 'conv1')
    x = nn.relu(_apply_layer(_NORM, x, train, 'bn1'))
    for stage, (features, num_blocks) in enumerate(STAGES):
      name = f'layer{stage + 1}_'
      x = Chain(_transition(stage), name=f'{name}0')(x, train)
      for block in range(num_blocks):
        x = Block(features, name=f'{name}{block + 1}')(x, train)
    return nn.Dense(self.num_classes, name='fc')(x.mean(axis=(1, 2)))


def network(num_classes=1000) -> nn.Module:
  """The published ImageNet-mobile network of IRLAS, in NHWC.

  `__call__(images [N, H, W, 3], train)` returns logits [N, K]. The published
  network is defined at 224x224, where it averages the last 7x7 features; at
  other sizes this one averages over all positions that are left.

  In training, running variances follow the biased variance of the batch, where
  PyTorch's follow the unbiased one. Accelerators may round the inputs of
  convolutions; for logits that agree with PyTorch's in float32, run under
  `jax.default_matmul_precision('highest')`.
  """
  return IrlasMobile(num_classes)


_TORCH_LEAVES = {
  'kernel': 'weight',
  'scale': 'weight',
  'bias': 'bias',
  'mean': 'running_mean',
  'var': 'running_var',
}


def from_torch(state_dict: Mapping[str, Any], num_classes=1000):
  """Variables of `network(num_classes)` from the published checkpoint's dict.

  Args:
    state_dict: the checkpoint's names to NumPy arrays or PyTorch tensors. The
      prefix `module.` on every name is dropped; `num_batches_tracked` of a
      normalisation is ignored.
    num_classes: K, of the checkpoint.

  Returns:
    {'params': ..., 'batch_stats': ...} of float32 arrays, copied.

  Raises:
    ValueError: if entries are missing, surplus or misshapen; it names all.
  """
  template = _abstract_variables(num_classes)
  names = jax.tree_util.tree_map_with_path(_torch_name, template)
  shapes = [_torch_shape(leaf.shape) for leaf in jax.tree.leaves(template)]
  expected = dict(zip(jax.tree.leaves(names), shapes, strict=True))
  state_dict = _without_prefix(state_dict)
  _check_entries(state_dict, expected)
  return jax.tree.map(lambda name: _to_flax(state_dict[name]), names)


def _abstract_variables(num_classes):
  """Shapes of the network's variables; nothing is computed."""
  init = functools.partial(network(num_classes).init, train=False)
  images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
  return jax.eval_shape(init, jax.random.key(0), images)


def _torch_name(path, _):
  """The checkpoint's name of a variable: modules by position, then the leaf.

  params/layer3_2/op2/conv_1/kernel is layer3.2.op2.1.weight, for instance.
  """
  _, *modules, leaf = (entry.key for entry in path)
  prefix = re.sub('(conv|norm)_', '', '.'.join(modules)).replace('_', '.')
  return f'{prefix}.{_TORCH_LEAVES[leaf]}'


def _torch_shape(shape):
  """[..., I, O] to [O, I, ...]; vectors stay as they are."""
  return (*shape[:-3:-1], *shape[:-2])


def _to_flax(value):
  """A float32 copy with the axes of weights moved, [O, I, ...] to [..., I, O].

  A depthwise weight [C, 1, k, k] becomes [k, k, 1, C] by the same rule.
  """
  tensor = value.detach().cpu() if hasattr(value, 'detach') else value
  array = np.asarray(tensor, np.float32)
  if array.ndim > 1:
    array = np.moveaxis(array, (0, 1), (-1, -2))
  return jnp.array(array)


def _without_prefix(state_dict):
  """Drops the `module.` that PyTorch's DataParallel puts before every name."""
  if not all(name.startswith('module.') for name in state_dict):
    return state_dict
  return {n.removeprefix('module.'): v for n, v in state_dict.items()}


def _check_entries(state_dict, expected):
  """Raises ValueError unless names and shapes are those of `expected`."""
  counters = {
    name.replace('running_mean', 'num_batches_tracked')
    for name in expected
    if name.endswith('running_mean')
  }
  found = {
    name: tuple(np.shape(value))
    for name, value in state_dict.items()
    if name not in counters
  }
  problems = [
    f'{name}: expected shape {expected.get(name, "none, surplus")}, '
    f'found {found.get(name, "none, missing")}'
    for name in sorted(expected.keys() | found.keys())
    if expected.get(name) != found.get(name)
  ]
  if problems:
    raise ValueError(
      f'{len(problems)} entries of the state_dict do not fit this network; '
      'pass the published checkpoint and its num_classes:\n'
      + '\n'.join(problems)
    )
