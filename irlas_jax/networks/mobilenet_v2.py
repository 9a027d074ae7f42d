"""MobileNetV2, to compare with: inverted residuals with linear bottlenecks.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR
2018 (https://arxiv.org/abs/1801.04381), table 2. A multiplier above 1 widens
the last convolution as well; every width is a multiple of 8. At 224x224 and
1000 classes:

  multiplier   parameters   multiply-adds
  1.0           3,504,872           301 M
  1.4           6,108,776           582 M

Convolutions pad kernel // 2 on both sides. Images are [N, H, W, C].
"""

from typing import NamedTuple

import flax.linen as nn
import jax

from irlas_jax.networks import block


class Stage(NamedTuple):
  """Equal inverted residuals one after the other; the first has the stride."""

  expansion: int
  width: int  # at multiplier 1
  blocks: int
  stride: int


STEM_WIDTH, LAST_WIDTH = 32, 1280
STAGES = (
  Stage(1, 16, 1, 1),
  Stage(6, 24, 2, 2),
  Stage(6, 32, 3, 2),
  Stage(6, 64, 4, 2),
  Stage(6, 96, 3, 1),
  Stage(6, 160, 3, 2),
  Stage(6, 320, 1, 1),
)
_DIVISOR = 8


def scaled(width: int, multiplier: float) -> int:
  """The multiple of 8 nearest to width x multiplier.

  At least 8, and the next one if rounding would take off more than a tenth.
  """
  exact = width * multiplier
  near = max(_DIVISOR, int(exact + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
  return near if near >= 0.9 * exact else near + _DIVISOR


class ConvNorm(nn.Module):
  """Convolution without bias and batch normalisation."""

  width: int
  kernel: int = 1
  stride: int = 1
  groups: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    x = nn.Conv(
      self.width,
      (self.kernel, self.kernel),
      self.stride,
      padding=self.kernel // 2,
      feature_group_count=self.groups,
      use_bias=False,
      name='conv',
    )(x)
    return block.batch_norm(train, 'bn')(x)


class InvertedResidual(nn.Module):
  """Widens, convolves depthwise and narrows; [N, H, W, C] to `width`."""

  expansion: int
  width: int
  stride: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    inner = self.expansion * x.shape[-1]
    y = x
    if self.expansion > 1:
      y = nn.relu6(ConvNorm(inner, name='expand')(y, train))
    depthwise = ConvNorm(inner, 3, self.stride, inner, name='depthwise')
    y = nn.relu6(depthwise(y, train))
    y = ConvNorm(self.width, name='project')(y, train)
    return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
  """The network; `stage{s}_block{i}` is an inverted residual."""

  num_classes: int
  multiplier: float = 1.0

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [N, num_classes] of images [N, H, W, C]."""
    stem = ConvNorm(scaled(STEM_WIDTH, self.multiplier), 3, 2, name='stem')
    x = nn.relu6(stem(images, train))
    for s, stage in enumerate(STAGES):
      width = scaled(stage.width, self.multiplier)
      for i in range(stage.blocks):
        stride = stage.stride if i == 0 else 1
        x = InvertedResidual(
          stage.expansion, width, stride, name=f'stage{s}_block{i}'
        )(x, train)
    last = scaled(LAST_WIDTH, max(1.0, self.multiplier))
    x = nn.relu6(ConvNorm(last, name='last')(x, train))
    return nn.Dense(self.num_classes, name='head')(x.mean(axis=(1, 2)))


def network(num_classes: int = 1000, multiplier: float = 1.0) -> MobileNetV2:
  """MobileNetV2 of this width; the paper's are 1.0 and 1.4."""
  return MobileNetV2(num_classes, multiplier)
