"""The networks of NAS-Bench-201 in PyTorch, eager, to measure against.

Written after the same description as `irlas_jax.networks.nasbench201`, the way
one would in PyTorch: a module for each operation, and none for `none`. Images
are [N, C, H, W]. PyTorch is needed here only: pip install -e '.[benchmark]'.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from irlas_jax.networks import block, nasbench201
from irlas_jax.training.recipe import Recipe

try:
  import torch
  from torch import nn
  from torch.nn import functional
except ImportError as error:
  raise ImportError(
    'This part of the benchmark compares with PyTorch, which is not '
    "installed: pip install -e '.[benchmark]', or leave the section out."
  ) from error


class How(NamedTuple):
  """How PyTorch computes."""

  device: str = 'cpu'
  channels_last: bool = False  # the memory format of images and kernels
  bfloat16: bool = False  # automatic mixed precision


class ReluConvBN(nn.Module):
  """ReLU, convolution of the same size or half of it, normalisation."""

  def __init__(self, before: int, width: int, kernel: int, stride: int = 1):
    super().__init__()
    self.conv = nn.Conv2d(
      before, width, kernel, stride, kernel // 2, bias=False
    )
    self.bn = _batch_norm(width)

  def forward(self, x):
    return self.bn(self.conv(functional.relu(x)))


class Reduction(nn.Module):
  """The residual block of stride 2 between two stages."""

  def __init__(self, before: int, width: int):
    super().__init__()
    self.conv1 = ReluConvBN(before, width, 3, 2)
    self.conv2 = ReluConvBN(width, width, 3)
    self.shortcut = nn.Conv2d(before, width, 1, bias=False)

  def forward(self, x):
    y = self.conv2(self.conv1(x))
    return y + self.shortcut(functional.avg_pool2d(x, 2))


class Cell(nn.Module):
  """One cell; the module of node v is `node{v}`, if it has one."""

  def __init__(self, nodes: tuple[nasbench201.Node, ...], width: int):
    super().__init__()
    self.nodes = nodes
    for v, node in enumerate(nodes, start=1):
      layer = _layer(node.operation, width)
      if layer is not None:
        self.add_module(f'node{v}', layer)

  def forward(self, x):
    values = [x]
    for v, node in enumerate(self.nodes, start=1):
      inputs = [values[u] for u in node.preds if values[u] is not None]
      values.append(self._value(v, node, inputs, x))
    return values[-1]

  def _value(self, v, node, inputs, x):
    """A node's value; None is the zeros of `none`, which no sum has to add."""
    if node.operation == 'none':
      return None
    if node.operation == 'sum':
      return sum(inputs[1:], start=inputs[0]) if inputs else torch.zeros_like(x)
    return getattr(self, f'node{v}')(inputs[0])


def _layer(operation: str, width: int):
  match operation:
    case 'nor_conv_1x1' | 'nor_conv_3x3':
      return ReluConvBN(width, width, int(operation[-1]))
    case 'avg_pool_3x3':
      return nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    case 'skip_connect':
      return nn.Identity()
  return None


def _batch_norm(width):
  momentum = 1 - block.BN_MOMENTUM  # PyTorch's is the share of the new
  return nn.BatchNorm2d(width, eps=block.BN_EPSILON, momentum=momentum)


class Network(nn.Module):
  """The classifier: images [N, 3, H, W] to logits [N, num_classes]."""

  def __init__(self, nodes, macro: block.Macro, num_classes: int):
    super().__init__()
    before = macro.widths[0]
    self.stem = nn.Conv2d(3, before, 3, padding=1, bias=False)
    self.stem_bn = _batch_norm(before)
    self.body = nn.Sequential()
    for stage, width in enumerate(macro.widths):
      if stage > 0:
        self.body.add_module(f'stage{stage}_reduce', Reduction(before, width))
      for i in range(macro.blocks[stage]):
        self.body.add_module(f'stage{stage}_cell{i}', Cell(nodes, width))
      before = width
    self.head_bn = _batch_norm(before)
    self.head = nn.Linear(before, num_classes)

  def forward(self, images):
    x = self.body(self.stem_bn(self.stem(images)))
    return self.head(functional.relu(self.head_bn(x)).mean((2, 3)))


def count_parameters(network: nn.Module) -> int:
  """Trainable parameters."""
  return sum(p.numel() for p in network.parameters())


def load_flax(network: Network, variables: Mapping) -> None:
  """Copies the variables of the Flax network of the same cell.

  Raises:
    KeyError: if a tensor has no counterpart, or a counterpart no tensor.
  """
  arrays = dict(_renamed(variables))
  state = network.state_dict()
  wanted = {name for name in state if not name.endswith('num_batches_tracked')}
  if wanted != set(arrays):
    raise KeyError(f'Only on one side: {sorted(wanted ^ set(arrays))}')
  for name, array in arrays.items():
    state[name].copy_(torch.from_numpy(array))


_NAMES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias'} | {
  'mean': 'running_mean',
  'var': 'running_var',
}
_AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # kernels: outputs first


def _renamed(variables) -> Iterator[tuple[str, np.ndarray]]:
  """Names and arrays as PyTorch has them."""

  def walk(path, tree):
    if isinstance(tree, Mapping):
      for name, branch in tree.items():
        yield from walk((*path, name), branch)
      return
    array = np.array(tree, np.float32)
    name = '.'.join((*path[:-1], _NAMES[path[-1]]))
    name = f'body.{name}' if name.startswith('stage') else name
    yield name, np.ascontiguousarray(array.transpose(_AXES[array.ndim]))

  for collection in ('params', 'batch_stats'):
    yield from walk((), variables[collection])


class Trainer:
  """Trains a network on images that lie on the device already."""

  def __init__(
    self, network: Network, images, labels, recipe: Recipe, how: How
  ):
    """Images [N, H, W, 3] and labels [N] as NumPy arrays, normalised."""
    device, size = torch.device(how.device), recipe.batch_size
    tensor = torch.from_numpy(
      np.array(images, np.float32).transpose(0, 3, 1, 2)
    )
    layout = (
      torch.channels_last if how.channels_last else torch.contiguous_format
    )
    self._images = tensor.to(device).contiguous(memory_format=layout)
    self._labels = torch.from_numpy(np.array(labels, np.int64)).to(device)
    self._network = network.to(device).train()
    self._network.to(memory_format=layout)  # type: ignore[call-overload]
    self._optimizer = torch.optim.SGD(
      _groups(network, recipe.weight_decay),
      recipe.learning_rate,
      recipe.momentum,
      nesterov=True,
    )
    self._how, self._batch_size = how, size

  def run(self, steps: int) -> None:
    """Makes so many steps, and waits for the device to finish them."""
    order = torch.randperm(len(self._labels), device=self._labels.device)
    batches = order[: steps * self._batch_size].split(self._batch_size)
    for index in batches:
      self._step(index)
    if self._how.device == 'cuda':
      torch.cuda.synchronize()

  def _step(self, index):
    images, labels = self._images[index], self._labels[index]
    with torch.autocast(
      self._how.device, torch.bfloat16, enabled=self._how.bfloat16
    ):
      loss = functional.cross_entropy(self._network(images), labels)
    self._optimizer.zero_grad(set_to_none=True)
    loss.backward()
    self._optimizer.step()


def _groups(network, decay: float) -> list[dict]:
  """Kernels decay; biases and normalisations, which are vectors, do not."""
  kernels = [p for p in network.parameters() if p.ndim > 1]
  vectors = [p for p in network.parameters() if p.ndim == 1]
  return [
    {'params': kernels, 'weight_decay': decay},
    {'params': vectors, 'weight_decay': 0.0},
  ]
