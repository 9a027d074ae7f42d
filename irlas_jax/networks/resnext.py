"""ResNeXt, the network that IRLAS takes as its expert.

Xie et al., "Aggregated Residual Transformations for Deep Neural Networks", CVPR
2017 (https://arxiv.org/abs/1611.05431), table 1. ResNeXt-50 (32x4d) has
25,028,904 parameters and 4.2 G multiply-adds at 224x224 and 1000 classes.

A block is a 1x1 convolution, a 3x3 one in `groups` groups (of the stride) and a
1x1 one, added to its input; where that changes in shape, through a 1x1
convolution. All convolutions are followed by batch normalisation and pad
kernel // 2 on both sides. Images are [N, H, W, C].
"""

import flax.linen as nn
import jax

from irlas_jax.networks import mobilenet_v2

STEM_WIDTH = 64
EXPANSION = 2  # a block's output to its grouped convolution


class Bottleneck(nn.Module):
  """A residual block: [N, H, W, C] to EXPANSION * width channels."""

  width: int
  groups: int
  stride: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool) -> jax.Array:
    def conv_norm(name, x, *fields):
      return mobilenet_v2.ConvNorm(*fields, name=name)(x, train)

    out = EXPANSION * self.width
    y = nn.relu(conv_norm('reduce', x, self.width))
    y = conv_norm('grouped', y, self.width, 3, self.stride, self.groups)
    y = conv_norm('expand', nn.relu(y), out)
    if x.shape != y.shape:
      x = conv_norm('shortcut', x, out, 1, self.stride)
    return nn.relu(x + y)


class ResNeXt(nn.Module):
  """The network; `stage{s}_block{i}` is a residual block."""

  num_classes: int
  blocks: tuple[int, ...]  # of each stage
  groups: int
  group_width: int  # of the first stage; it doubles from stage to stage

  @nn.compact
  def __call__(self, images: jax.Array, train: bool) -> jax.Array:
    """Logits [N, num_classes] of images [N, H, W, C]."""
    stem = mobilenet_v2.ConvNorm(STEM_WIDTH, 7, 2, name='stem')
    x = nn.relu(stem(images, train))
    x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    for s, count in enumerate(self.blocks):
      width = self.groups * self.group_width * 2**s
      for i in range(count):
        stride = 2 if s > 0 and i == 0 else 1
        name = f'stage{s}_block{i}'
        x = Bottleneck(width, self.groups, stride, name=name)(x, train)
    return nn.Dense(self.num_classes, name='head')(x.mean(axis=(1, 2)))


def network(
  num_classes: int = 1000,
  blocks: tuple[int, ...] = (3, 4, 6, 3),
  groups: int = 32,
  group_width: int = 4,
) -> ResNeXt:
  """ResNeXt; unless told otherwise ResNeXt-50 (32x4d)."""
  return ResNeXt(num_classes, blocks, groups, group_width)
