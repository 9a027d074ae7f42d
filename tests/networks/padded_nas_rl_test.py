"""The padded program: each architecture the plain network, in every respect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax.networks import block, nas_rl_program, padded_nas_rl
from irlas_jax.networks import nas_rl as plain
from irlas_jax.spaces import nas_rl

SIZES = nas_rl.Sizes(
  num_layers=4,
  heights=(1, 3),
  widths=(1, 5),
  filters=(2, 3),
  strides=(1, 2),
  pooled_layers=(2,),
)
LIMITS = nas_rl_program.Limits(
  4, ((1, 1), (1, 5), (3, 1), (3, 5)), 3, strided=True, pooled=True
)
SIMPLE = LIMITS._replace(strided=False, pooled=False)
MACRO = block.Macro((2,), (1,))  # twice the filters
ONE = block.Macro((1,), (1,))
OPERATIONS = nas_rl.OPERATIONS
# A chain; two that are classified, of different sizes, and one that reads
# images of two sizes; a layer alone.
TEXTS = (
  'C(3,5,3) from 0; C(1,1,2) P(2) from 1; C(3,1,2) S(2,1) from 2',
  'C(3,1,3) S(1,2) from 0; C(1,5,2) P(2) from 0; C(3,5,3) from 1 2; '
  'C(1,1,2) S(2,2) from 0',
  'C(3,5,2) from 0',
)


def _parse(text):
  return nas_rl.parse(text, SIZES)


def _network(limits=LIMITS, channels=3, macro=MACRO):
  return padded_nas_rl.padded_network(limits, OPERATIONS, macro, 10, channels)


# The comparison's own macro-architecture is for cells.
CELLS = padded_equality.Cells(
  nas_rl.nas_rl(SIZES),
  lambda operations, macro, classes, channels: _network(channels=channels),
  lambda graph, operations, macro, classes: plain.network(
    graph, operations, MACRO, classes
  ),
)


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_every_architecture_is_its_plain_network(padded, dtype):
  """Five random ones, and those above; images are no squares."""
  found = padded_equality.random_cells(0, CELLS, 5)
  if dtype == np.float64:
    found += map(_parse, TEXTS)
  program = padded_equality.cell_program(CELLS, padded.fast)
  program = program._replace(images=(6, 7, 8, 3))
  padded.check_equal(program, found, dtype)


@pytest.mark.parametrize('text, kernels', [*zip(TEXTS, (4, 5, 2), strict=True)])
def test_initial_weights_are_drawn_as_flax_draws_them(padded, text, kernels):
  """Convolutions, by all that they read, and the head."""
  found = _parse(text)
  attrs = np.array(found.attrs)
  attrs[:, 2] *= 16
  network = _network(LIMITS._replace(filters=48), macro=ONE)
  wide = found._replace(attrs=attrs)
  assert padded.count_drawn_kernels(network, wide) == kernels


@pytest.mark.parametrize('text', TEXTS)
def test_the_flax_variables_are_those_that_the_plain_network_reads(
  padded, text
):
  network, found = _network(channels=1), _parse(text)
  model = plain.network(found, OPERATIONS, MACRO, 10)
  image = jax.ShapeDtypeStruct((1, 8, 7, 1), jnp.float32)
  expected = jax.eval_shape(
    lambda image: model.init(jax.random.key(0), image, True), image
  )
  variables = network.to_flax(padded.random_variables(network, found), found)
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, expected)


def test_from_flax_restores_what_is_used_and_zeros_the_rest(padded):
  network, found = _network(), _parse(TEXTS[1])
  flax_variables = network.to_flax(
    padded.random_variables(network, found), found
  )
  back = network.from_flax(flax_variables, found)
  again = network.to_flax(back, found)
  jax.tree.map(np.testing.assert_array_equal, again, flax_variables)
  kernel = back['params']['layers']['kernel']
  # Pairs of a layer and a node before it: (1, 0), (2, 0), (2, 1), (3, 0) ...
  assert kernel.shape == (10, 3, 5, 6, 6)
  assert kernel[0, :, 2, :3, :6].all()
  assert np.count_nonzero(kernel[0]) == 3 * 1 * 3 * 6
  assert np.count_nonzero(kernel[1]) == 1 * 5 * 3 * 4
  assert not kernel[[2, 3, 7, 8, 9]].any()
  assert np.count_nonzero(kernel[4]) == 3 * 5 * 6 * 6
  assert np.count_nonzero(kernel[5]) == 3 * 5 * 4 * 6
  head = back['params']['head']['kernel']
  assert head.shape == (5, 6, 10)
  assert not head[:3].any() and head[3].all() and head[4, :4].all()


def test_a_channel_that_no_filter_would_make_fits(padded):
  """Images may have more channels than there are filters."""
  network, found = _network(SIMPLE, channels=13), _parse('C(1,5,2) from 0')
  variables = padded.random_variables(network, found)
  assert variables['params']['layers']['kernel'].shape[-2:] == (13, 13)
  model = plain.network(found, OPERATIONS, MACRO, 10)
  images = np.random.default_rng(0).normal(size=(3, 8, 8, 13))
  images = images.astype(np.float32)
  logits, _ = jax.jit(network.apply, static_argnums=3)(
    variables, found, images, True
  )
  expected, _ = model.apply(
    network.to_flax(variables, found), images, True, mutable=['batch_stats']
  )
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_a_step_has_types_and_values_of_float32(padded):
  """Statistics stay float32: E[x^2] - E[x]^2 has no digits in bfloat16."""
  network, found = _network(), _parse(TEXTS[0])
  variables = jax.jit(network.init)(jax.random.key(0), found)
  rng = np.random.default_rng(0)
  images = rng.normal(size=(16, 8, 8, 3)).astype(np.float32)

  def loss(params, images):
    logits, stats = network.apply(
      variables | {'params': params}, found, images, True
    )
    return jnp.square(logits).mean(), (logits, stats)

  step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=padded.fast)
  half = jax.tree.map(
    lambda x: x.astype(jnp.bfloat16), (variables['params'], images)
  )
  whole = jax.tree.map(lambda x: x.astype(jnp.float32), half)
  (grads, (logits, stats)), (_, expected) = step(*half), step(*whole)
  assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.bfloat16.dtype}
  assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {np.dtype('f4')}
  np.testing.assert_allclose(logits.astype(jnp.float32), expected[0], atol=0.1)
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, atol=0.03),
    stats,
    expected[1],
  )


def test_several_at_once_are_each_what_they_are_alone(padded):
  """As an accelerator trains them: a branch becomes a choice of results."""
  network = _network()
  found = [_parse(TEXTS[0]), _parse(TEXTS[1])]
  both = jax.tree.map(lambda *x: np.stack(x), *found)
  drawn = padded.random_variables(network, found[0])
  images = np.random.default_rng(1).normal(size=(4, 8, 8, 3))
  images = images.astype(np.float32)

  def gradient(graph):
    def loss(params):
      variables = drawn | {'params': params}
      return jnp.square(network.apply(variables, graph, images, True)[0]).mean()

    return jax.grad(loss)(drawn['params'])

  together = jax.jit(jax.vmap(gradient), compiler_options=padded.fast)(both)
  alone = jax.jit(gradient, compiler_options=padded.fast)
  for i, one in enumerate(found):
    leaves = [leaf[i] for leaf in jax.tree.leaves(together)]
    for x, y in zip(leaves, jax.tree.leaves(alone(one)), strict=True):
      np.testing.assert_allclose(x, y, atol=1e-4 * max(np.abs(y).max(), 1e-3))


def test_another_macro_architecture_is_refused():
  for macro in (block.Macro((4, 8), (1, 1)), block.Macro((4,), (2,))):
    with pytest.raises(ValueError, match='network.num_stages=1'):
      _network(macro=macro)
