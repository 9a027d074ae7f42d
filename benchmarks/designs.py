"""Hand-designed blocks beside the five experts, to choose methods by.

None of them is isomorphic to an expert. The codes are ours, after the papers
named; groups, strides and widths cannot be said in a structure code.
"""

DESIGNS = {
  # Simonyan & Zisserman 2015: two convolutions.
  'vgg': '(1, Conv, 3, 0, 0)(2, Conv, 3, 1, 0)(3, Terminal)',
  # Iandola et al. 2016, the fire module.
  'squeezenet': (
    '(1, Conv, 1, 0, 0)(2, Conv, 1, 1, 0)(3, Conv, 3, 1, 0)(4, Terminal)'
  ),
  # Larsson et al. 2017, two columns.
  'fractalnet': (
    '(1, Conv, 3, 0, 0)(2, Conv, 3, 0, 0)(3, Conv, 3, 2, 0)(4, Concat, 0, 1, 3)'
    '(5, Terminal)'
  ),
  # Szegedy et al. 2017, block A.
  'inception_resnet': (
    '(1, Conv, 1, 0, 0)(2, Conv, 1, 0, 0)(3, Conv, 3, 2, 0)(4, Conv, 1, 0, 0)'
    '(5, Conv, 3, 4, 0)(6, Conv, 3, 5, 0)(7, Concat, 0, 1, 3)'
    '(8, Concat, 0, 6, 7)(9, Conv, 1, 8, 0)(10, Add, 0, 0, 9)(11, Terminal)'
  ),
  # Szegedy et al. 2016, with a factorised 5x5.
  'inception_v3': (
    '(1, Conv, 1, 0, 0)(2, Conv, 1, 0, 0)(3, Conv, 3, 2, 0)(4, Conv, 3, 3, 0)'
    '(5, AvgPool, 3, 0, 0)(6, Conv, 1, 5, 0)(7, Terminal)'
  ),
  # Chollet 2017, the middle flow.
  'xception': (
    '(1, Conv, 3, 0, 0)(2, Conv, 3, 1, 0)(3, Conv, 3, 2, 0)(4, Add, 0, 0, 3)'
    '(5, Terminal)'
  ),
  # Gastaldi 2017, without the shaking.
  'shake_shake': (
    '(1, Conv, 3, 0, 0)(2, Conv, 3, 1, 0)(3, Conv, 3, 0, 0)(4, Conv, 3, 3, 0)'
    '(5, Add, 0, 2, 4)(6, Add, 0, 0, 5)(7, Terminal)'
  ),
  # Huang et al. 2017, without bottlenecks.
  'densenet_basic': (
    '(1, Conv, 3, 0, 0)(2, Concat, 0, 0, 1)(3, Conv, 3, 2, 0)'
    '(4, Concat, 0, 2, 3)(5, Terminal)'
  ),
  # Zhang et al. 2017, second order.
  'polynet': (
    '(1, Conv, 3, 0, 0)(2, Conv, 3, 1, 0)(3, Add, 0, 0, 1)(4, Add, 0, 2, 3)'
    '(5, Terminal)'
  ),
  # Chen et al. 2017.
  'dual_path': (
    '(1, Conv, 1, 0, 0)(2, Conv, 3, 1, 0)(3, Conv, 1, 2, 0)(4, Add, 0, 0, 3)'
    '(5, Concat, 0, 2, 4)(6, Terminal)'
  ),
}
