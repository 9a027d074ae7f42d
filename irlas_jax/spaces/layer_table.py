"""Networks as tables of layers, for compression: their text, two families.

A text has a word a layer, `C(64,3) [C(64,3) -] M(2,2) GAP D(128)`:

  C(filters,kernel)         convolution, batch normalisation, ReLU; padded so
  C(filters,kernel,stride)  that only its stride makes an image smaller
  M(kernel,stride)          max pooling of whole windows
  A(kernel,stride)          average pooling of whole windows
  GAP                       global average pooling
  D(units)                  fully connected, ReLU
  [ ... ]                   convolutions that a shortcut goes around
  -                         where a layer of the teacher was removed

The classifier, a dense layer, follows and is not written. Inside of brackets
the last convolution has no ReLU; its sum with the shortcut has. The shortcut
is the identity if it can be, else a 1x1 convolution with normalisation.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from irlas_jax.spaces import genotypes

OPERATIONS = (
  'input',
  'conv',
  'max_pool',
  'avg_pool',
  'global_avg_pool',
  'fully_connected',
)
MIN_SIZE = 10  # filters or units that nothing shrinks below

_WORDS = {
  'C': ('conv', re.compile(r'C\((\d+),(\d+)(?:,(\d+))?\)')),
  'M': ('max_pool', re.compile(r'M()\((\d+),(\d+)\)')),
  'A': ('avg_pool', re.compile(r'A()\((\d+),(\d+)\)')),
  'G': ('global_avg_pool', re.compile(r'GAP()()()')),
  'D': ('fully_connected', re.compile(r'D\((\d+)\)()()')),
}


class Layer(NamedTuple):
  """A layer; numbers are 0 where they have no meaning."""

  operation: str
  size: int = 0  # filters or units
  kernel: int = 0
  stride: int = 0
  skip_start: bool = False  # the first, or the last, that a shortcut goes round
  skip_end: bool = False


# A layer for each of a teacher's; None where it was removed.
Layers = Sequence[Layer | None]


def read(text: str) -> tuple[Layer | None, ...]:
  """The layers of a text.

  Raises:
    GenotypeError: naming the layer that is none, or may not stand there.
  """
  words = text.split()
  found: list[Layer | None] = []
  for i, word in enumerate(words, start=1):
    layer = None if word == '-' else _layer(word)
    if isinstance(layer, str):
      raise genotypes.GenotypeError(f'{text!r}: layer {i}, {word!r}, {layer}')
    found.append(layer)
  kept = [(i, layer) for i, layer in enumerate(found, 1) if layer]
  wrong = _order_error(kept)
  if wrong:
    raise genotypes.GenotypeError(f'{text!r}: {wrong}')
  return tuple(found)


def _layer(word: str) -> Layer | str:
  """The layer of a word; what is wrong with it if it is none."""
  inner = word.removeprefix('[').removesuffix(']')
  operation, pattern = _WORDS.get(inner[:1], ('', None))
  match = pattern.fullmatch(inner) if pattern else None
  if not match:
    return (
      'is no layer: write C(filters,kernel) or C(filters,kernel,stride), '
      'M(kernel,stride), A(kernel,stride), GAP, D(units), or - for a layer '
      'that was removed.'
    )
  size, kernel, stride = (int(x) if x else 0 for x in match.groups())
  if operation == 'conv':
    stride = stride if match[3] is not None else 1
  elif inner != word:
    return 'stands in brackets, which are for convolutions.'
  numbers = {
    'conv': (size, kernel, stride),
    'fully_connected': (size,),
    'global_avg_pool': (1,),
  }.get(operation, (kernel, stride))
  if min(numbers) < 1:
    return 'has a 0: at least 1.'
  ends = word.startswith('['), word.endswith(']')
  return Layer(operation, size, kernel, stride, *ends)


def _order_error(kept: list[tuple[int, Layer]]) -> str:
  """What is wrong with the order of (number, layer), or ''."""
  if not kept:
    return 'there is no layer.'
  is_open, flat = False, False
  for i, layer in kept:
    if (
      layer.skip_start
      and is_open
      or layer.skip_end
      and not (is_open or layer.skip_start)
    ):
      return f'layer {i}: brackets do not match, or stand in others.'
    is_open = (is_open or layer.skip_start) and not layer.skip_end
    if (is_open or layer.skip_end) and layer.operation != 'conv':
      return f'layer {i} stands in brackets, which are for convolutions.'
    if flat and layer.operation != 'fully_connected':
      return f'layer {i} follows GAP or D, which only D may.'
    flat = layer.operation in ('global_avg_pool', 'fully_connected')
  return f'the bracket before layer {kept[-1][0]} is not closed.' * is_open


def text_of(layers: Layers) -> str:
  """The text of layers."""
  return ' '.join(map(_word, layers))


def _word(layer: Layer | None) -> str:
  if layer is None:
    return '-'
  match layer.operation:
    case 'conv':
      stride = f',{layer.stride}' if layer.stride != 1 else ''
      word = f'C({layer.size},{layer.kernel}{stride})'
    case 'max_pool' | 'avg_pool':
      word = f'{layer.operation[0].upper()}({layer.kernel},{layer.stride})'
    case 'fully_connected':
      word = f'D({layer.size})'
    case _:
      word = 'GAP'
  return '[' * layer.skip_start + word + ']' * layer.skip_end


def compact(text: str) -> str:
  """The text of a student as one that stands for itself: no layer is '-'."""
  return text_of([layer for layer in read(text) if layer])


def check_image(layers: Layers, image_size: int) -> None:
  """Refuses pools whose windows do not fit into images of so many pixels.

  Raises:
    GenotypeError: naming the layer.
  """
  side = image_size
  for i, layer in enumerate(layers, start=1):
    if layer is None:
      continue
    if layer.operation == 'conv':
      side = -(-side // layer.stride)
    elif layer.operation in ('max_pool', 'avg_pool'):
      if layer.kernel > side:
        raise genotypes.GenotypeError(
          f'{text_of(layers)!r}: layer {i} pools windows of {layer.kernel} '
          f'pixels a side, and reads {side}: images of {image_size} pixels are '
          'too small for it.'
        )
      side = (side - layer.kernel) // layer.stride + 1


def vgg(widths: Sequence[int], depths: Sequence[int]) -> str:
  """VGG as for CIFAR: depths[i] convolutions of widths[i], then 2x2 pooling.

  VGG-19 has widths (64, 128, 256, 512, 512) and depths (2, 2, 4, 4, 4).
  """
  stages = (
    [*[Layer('conv', width, 3, 1)] * depth, Layer('max_pool', 0, 2, 2)]
    for width, depth in zip(widths, depths, strict=True)
  )
  return text_of([layer for stage in stages for layer in stage])


def resnet(widths: Sequence[int], depths: Sequence[int]) -> str:
  """ResNet as for CIFAR: depths[i] blocks of two convolutions of widths[i].

  A convolution of widths[0] comes first, global average pooling last; stages
  but the first begin with stride 2. ResNet-18 has widths (64, 128, 256, 512)
  and depths (2, 2, 2, 2).
  """
  layers = [Layer('conv', widths[0], 3, 1)]
  for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
    for block in range(depth):
      stride = 2 if stage and not block else 1
      layers.append(Layer('conv', width, 3, stride, skip_start=True))
      layers.append(Layer('conv', width, 3, 1, skip_end=True))
  return text_of([*layers, Layer('global_avg_pool')])


FAMILIES = {'vgg': vgg, 'resnet': resnet}


def teacher_text(
  teacher: str = '',
  family: str = '',
  widths: Sequence[int] = (),
  depths: Sequence[int] = (),
) -> str:
  """The teacher that the fields of an `n2n` space name, as text.

  Raises:
    ValueError: unless there is either a text or a family with its sizes.
  """
  if bool(teacher) == bool(family):
    raise ValueError(
      'Of space.teacher, its layers as text, and space.family, one of '
      f'{", ".join(FAMILIES)}, give one.'
    )
  if teacher:
    return teacher
  if family not in FAMILIES:
    raise ValueError(
      f'space.family is {family!r}: choose one of {", ".join(FAMILIES)}.'
    )
  if not widths or len(widths) != len(depths) or min(*widths, *depths) < 1:
    raise ValueError(
      f'space.widths is {widths} and space.depths {depths}: a number, at least '
      '1, for each stage.'
    )
  return FAMILIES[family](widths, depths)


def shrunk(number: int, percent: int, least: int) -> int:
  """`number` percent of itself, rounded down, at least `least` or as it was."""
  return max(number * percent // 100, min(least, number))


def uniform(text: str, percents: Sequence[int]) -> list[str]:
  """The baseline: all filters and units shrunk alike, a student a percentage.

  Shortcuts stay what they are, since their ends shrink alike.
  """
  return [
    text_of(
      [
        layer._replace(size=shrunk(layer.size, percent, MIN_SIZE))
        if layer and layer.size
        else layer
        for layer in read(text)
      ]
    )
    for percent in percents
  ]
