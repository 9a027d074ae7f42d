"""Networks of residual modules whose connections are data.

Modules of a ResNet (He et al. 2016: two 3x3 convolutions) or of a ResNeXt (Xie
et al. 2017: 1x1, 3x3 in groups, 1x1), stages of them, the width doubling and
the image halving from stage to stage. Unlike there, a module reads a sum of any
earlier nodes (see `masks`); where one is of an earlier stage, through a 1x1
convolution of the stride between the two stages, each connection its own. How
modules are connected is MaskConnect's; the adaptors and the normalisation
before the head, without which a dense network's sums would double from module
to module up to the logits, are ours.

Convolutions are written so that they stay fast inside loops on CPU. Images are
[N, H, W, C].
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from irlas_jax.networks import block, block_ops, convolution, cost
from irlas_jax.oneshot import masks as connections

EXPANSION = 2  # a ResNeXt module's width to that of its grouped convolution


class Plan(NamedTuple):
  """Which modules there are; how they are connected is not said here."""

  kind: str  # resnet or resnext
  width: int  # of the first stage
  modules: tuple[int, ...]  # of each stage
  groups: int = 1  # of a ResNeXt module's 3x3 convolution

  @property
  def stages(self) -> tuple[int, ...]:
    """The stage of each node, the stem first: [M + 1]."""
    return (0, *np.repeat(np.arange(len(self.modules)), self.modules).tolist())


class ConvNorm(nn.Module):
  """Convolution without bias, of stride 1, and batch normalisation."""

  width: int
  kernel: int
  groups: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    shape = (self.kernel, self.kernel, x.shape[-1] // self.groups, self.width)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    parts = (jnp.split(v, self.groups, axis=-1) for v in (x, kernel))
    z = [block_ops.convolve(*part) for part in zip(*parts, strict=True)]
    return block.batch_norm(train, 'bn')(jnp.concatenate(z, axis=-1))


class ResNetModule(nn.Module):
  """relu(x + F(x)), F two 3x3 convolutions: [N, H, W, C] to the same shape."""

  groups: int  # not read

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    width = x.shape[-1]
    y = nn.relu(ConvNorm(width, 3, name='conv1')(x, train))
    return nn.relu(x + ConvNorm(width, 3, name='conv2')(y, train))


class ResNeXtModule(nn.Module):
  """relu(x + F(x)), F a grouped bottleneck: [N, H, W, C] to the same shape."""

  groups: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    out = x.shape[-1]
    width = out // EXPANSION
    y = nn.relu(ConvNorm(width, 1, name='reduce')(x, train))
    y = ConvNorm(width, 3, self.groups, name='grouped')(y, train)
    return nn.relu(x + ConvNorm(out, 1, name='expand')(nn.relu(y), train))


KINDS = {'resnet': ResNetModule, 'resnext': ResNeXtModule}


class Adaptor(nn.Module):
  """1x1 convolution of a stride: [N, H, W, C] to [N, H / s, W / s, width]."""

  width: int
  stride: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    shape = (x.shape[-1], self.width)
    kernel = self.param('kernel', nn.initializers.lecun_normal(), shape)
    return convolution.pointwise(x[:, :: self.stride, :: self.stride], kernel)


class ModularNetwork(nn.Module):
  """A classifier of modules; `reads` are the connections that exist."""

  plan: Plan
  num_classes: int
  reads: tuple[tuple[int, ...], ...]  # of each module; () if it is not there

  @nn.compact
  def __call__(
    self, images: jax.Array, masks: jax.Array | None, train: bool
  ) -> jax.Array:
    """Logits [N, num_classes].

    masks [M, M] float weigh what is read; None is 1 throughout.
    """
    stem = ConvNorm(self.plan.width, 3, name='stem')
    nodes = {0: nn.relu(stem(images, train))}
    module = KINDS[self.plan.kind]
    for j, sources in enumerate(self.reads):
      if sources:
        read = [self._adapted(nodes[k], k, j) for k in sources]
        given = (
          [1.0] * len(read) if masks is None else masks[j, np.array(sources)]
        )
        x = weighted_sum(given, read)
        made = module(self.plan.groups, name=f'module{j}')
        nodes[j + 1] = made(x, train)
    x = block.batch_norm(train, 'head_bn')(nodes[len(self.reads)])
    x = nn.relu(x).mean(axis=(1, 2))
    return nn.Dense(self.num_classes, name='head')(x)

  def _adapted(self, x, k, j):
    """Node k as module j reads it."""
    before, stage = self.plan.stages[k], self.plan.stages[j + 1]
    if before == stage:
      return x
    width, stride = self.plan.width * 2**stage, 2 ** (stage - before)
    return Adaptor(width, stride, name=f'adaptor{k}_{j}')(x)


def weighted_sum(weights, values) -> jax.Array:
  """sum_k m_k x_k; its derivative by m_k is <dL/d sum, x_k>, if m_k is 0 too.

  weights [K], values K times [N, H, W, C].
  """
  return sum(m * x for m, x in zip(weights, values, strict=True))


def check(plan: Plan, image_shape: tuple[int, ...]) -> None:
  """Refuses modules that cannot be, before any work.

  Raises:
    ValueError: naming the field of the config's `network`.
  """
  if plan.kind not in KINDS:
    raise ValueError(
      f'network.kind is {plan.kind!r}: choose one of {", ".join(KINDS)}.'
    )
  if not plan.modules or min(plan.modules) < 1:
    raise ValueError(
      f'network.modules is {plan.modules}: how many each stage has, at least 1.'
    )
  for name in ('width', 'groups'):
    if getattr(plan, name) < 1:
      raise ValueError(f'network.{name} is {getattr(plan, name)}: at least 1.')
  if plan.kind == 'resnext' and plan.width % (EXPANSION * plan.groups):
    raise ValueError(
      f'network.width is {plan.width} and network.groups {plan.groups}: a '
      f'ResNeXt module has groups of width / {EXPANSION} channels, so make the '
      f'width a multiple of {EXPANSION * plan.groups}.'
    )
  most = min(image_shape[:2]).bit_length()
  if len(plan.modules) > most:
    raise ValueError(
      f'network.modules has {len(plan.modules)} stages: images of '
      f'{image_shape[0]}x{image_shape[1]} pixels allow {most}.'
    )


def whole(plan: Plan, num_classes: int) -> ModularNetwork:
  """The network with every connection that there may be; masks are data."""
  reads = tuple(tuple(range(j + 1)) for j in range(sum(plan.modules)))
  return ModularNetwork(plan, num_classes, reads)


def connected(plan: Plan, num_classes: int, masks, unread=False):
  """The network of masks [M, M] (host), to be called without masks.

  Modules that nobody reads are not there unless `unread`.
  """
  kept = np.full(len(masks), True) if unread else connections.needed(masks)
  reads = tuple(
    tuple(np.flatnonzero(row).tolist()) if keep else ()
    for row, keep in zip(np.asarray(masks), kept, strict=True)
  )
  return ModularNetwork(plan, num_classes, reads)


def shapes(module: ModularNetwork, image_shape: tuple[int, ...]) -> Any:
  """The variables of a network called without masks, as shapes and dtypes."""
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  return jax.eval_shape(
    lambda key, images: module.init(key, images, None, False),
    jax.random.key(0),
    images,
  )


def parameters(module: ModularNetwork, image_shape: tuple[int, ...]) -> int:
  """Trainable parameters."""
  return cost.count_parameters(shapes(module, image_shape))


def select(variables: Mapping, like: Mapping) -> dict:
  """Those of a network's variables that a smaller one, `like`, has."""
  return {
    name: select(variables[name], part)
    if isinstance(part, Mapping)
    else variables[name]
    for name, part in like.items()
  }
