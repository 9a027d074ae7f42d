"""The padded program: chain by chain the plain network, in every respect."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import padded_equality
from irlas_jax.networks import block, metaqnn_program, padded_metaqnn
from irlas_jax.networks import metaqnn as plain
from irlas_jax.spaces import metaqnn

SIZES = metaqnn.Sizes(
  image_size=8,
  num_layers=4,
  filters=(2, 3),
  kernels=(1, 3, 5),
  pools=((3, 2), (2, 2)),
  units=(8, 5),
)
LIMITS = metaqnn_program.Limits(
  SIZES.image_size,
  SIZES.num_layers,
  metaqnn.dense_size(SIZES),
  metaqnn.layers(SIZES),
)
MACRO = block.Macro((2,), (1,))  # twice the filters and units
OPERATIONS = metaqnn.OPERATIONS
# Between them every branch, and every way to end.
TEXTS = (
  'C(3,5) P(2,2) C(2,3) P(3,2) SM',
  'C(2,1) P(3,2) FC(8) FC(5) SM',
  'C(3,3) C(2,1) P(2,2) FC(5) SM',
  'C(2,5) P(2,2) C(2,3) C(3,3) GAP',
  'C(3,1) SM',
)


def _chain(text):
  return metaqnn.parse(text, SIZES)


def _network(limits=LIMITS, channels=3, macro=MACRO):
  return padded_metaqnn.padded_network(limits, OPERATIONS, macro, 10, channels)


# The comparison's own macro-architecture is for cells.
CELLS = padded_equality.Cells(
  metaqnn.metaqnn(SIZES),
  lambda operations, macro, classes, channels: _network(channels=channels),
  lambda graph, operations, macro, classes: plain.network(
    graph, operations, MACRO, classes
  ),
)


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_every_chain_is_its_plain_network(padded, dtype):
  """Five random chains, in float64 also one for every branch and ending."""
  chains = padded_equality.random_cells(0, CELLS, 5)
  if dtype == np.float64:
    chains += map(_chain, (TEXTS[0], TEXTS[1], TEXTS[3]))
  program = padded_equality.cell_program(CELLS, padded.fast)
  program = program._replace(images=(6, 8, 8, 3))
  padded.check_equal(program, chains, dtype)


@pytest.mark.parametrize(
  'text, kernels', [*zip(TEXTS, (3, 4, 4, 4, 2), strict=True)]
)
def test_initial_weights_are_drawn_as_flax_draws_them(padded, text, kernels):
  """Convolutions, fully connected layers and the head."""
  limits = LIMITS._replace(
    choices=tuple(
      layer._replace(size=8 * layer.size) for layer in LIMITS.choices
    )
  )
  chain = _chain(text)
  sizes = np.array(chain.attrs) * [8, 1, 1]
  network = _network(limits, macro=block.Macro((1,), (1,)))
  wide = chain._replace(attrs=sizes.astype(np.int32))
  assert padded.count_drawn_kernels(network, wide) == kernels


@pytest.mark.parametrize('text', TEXTS)
def test_the_flax_variables_are_those_that_the_plain_network_reads(
  padded, text
):
  network, chain = _network(channels=1), _chain(text)
  model = plain.network(chain, OPERATIONS, MACRO, 10)
  image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
  expected = jax.eval_shape(
    lambda image: model.init(jax.random.key(0), image, True), image
  )
  found = network.to_flax(padded.random_variables(network, chain), chain)
  assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, expected)


def test_from_flax_restores_what_the_chain_uses_and_zeros_the_rest(padded):
  network, chain = _network(), _chain('C(2,3) P(3,2) FC(5) SM')
  flax_variables = network.to_flax(
    padded.random_variables(network, chain), chain
  )
  back = network.from_flax(flax_variables, chain)
  again = network.to_flax(back, chain)
  jax.tree.map(np.testing.assert_array_equal, again, flax_variables)
  kernel = back['params']['layers']['kernel']
  assert kernel.shape == (4, 5, 5, 6, 6)
  assert kernel[0, 1:4, 1:4, :3, :4].all()
  assert np.count_nonzero(kernel) == 9 * 3 * 4
  kernel = back['params']['dense1']['kernel']
  assert kernel.shape == (7, 7, 6, 16)
  assert np.count_nonzero(kernel[:3, :3, :4, :10]) == 9 * 4 * 10
  assert np.count_nonzero(kernel) == 9 * 4 * 10
  assert not back['params']['dense2']['kernel'].any()
  head = back['params']['head']['kernel']
  assert head.shape == (8, 8, 16, 10)
  assert np.count_nonzero(head) == np.count_nonzero(head[0, 0, :10]) == 100


def test_a_channel_that_no_filter_would_make_fits(padded):
  """Images may have more channels than there are filters."""
  few = LIMITS._replace(choices=LIMITS.choices[:1])
  network, chain = _network(few, channels=13), _chain('C(2,1) SM')
  variables = padded.random_variables(network, chain)
  assert variables['params']['layers']['kernel'].shape[-2:] == (13, 13)
  model = plain.network(chain, OPERATIONS, MACRO, 10)
  images = np.random.default_rng(0).normal(size=(3, 8, 8, 13))
  images = images.astype(np.float32)
  logits, _ = jax.jit(network.apply, static_argnums=3)(
    variables, chain, images, True
  )
  expected, _ = model.apply(
    network.to_flax(variables, chain), images, True, mutable=['batch_stats']
  )
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_a_step_has_types_and_values_of_float32(padded):
  """Statistics stay float32: E[x^2] - E[x]^2 has no digits in bfloat16."""
  few = [x for x in LIMITS.choices if x.kernel in (0, 3)]
  network = _network(LIMITS._replace(choices=tuple(few)))
  chain = _chain('C(2,3) P(3,2) FC(5) SM')
  variables = jax.jit(network.init)(jax.random.key(0), chain)
  rng = np.random.default_rng(0)
  images = rng.normal(size=(16, 8, 8, 3)).astype(np.float32)

  def loss(params, images):
    logits, stats = network.apply(
      variables | {'params': params}, chain, images, True
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
    lambda x, y: np.testing.assert_allclose(x, y, atol=0.02),
    stats,
    expected[1],
  )


def test_what_the_network_cannot_have_is_refused(padded):
  for macro in (block.Macro((4, 8), (1, 1)), block.Macro((4,), (2,))):
    with pytest.raises(ValueError, match='network.num_stages=1'):
      _network(macro=macro)
  network, chain = _network(), _chain('C(2,1) SM')
  variables = padded.random_variables(network, chain)
  with pytest.raises(ValueError, match='space is for 8 x 8'):
    network.apply(variables, chain, jnp.zeros((1, 8, 7, 3)), True)


def test_several_chains_at_once_are_each_what_they_are_alone(padded):
  """As an accelerator trains them: a branch becomes a choice of results."""
  few = [x for x in LIMITS.choices if x.kernel in (0, 3)]
  network = _network(LIMITS._replace(choices=tuple(few)))
  chains = [_chain('C(2,3) P(3,2) FC(5) SM'), _chain('C(3,3) C(2,3) GAP')]
  both = jax.tree.map(lambda *x: np.stack(x), *chains)
  drawn = padded.random_variables(network, chains[0])
  images = np.random.default_rng(1).normal(size=(4, 8, 8, 3))
  images = images.astype(np.float32)

  def gradient(graph):
    def loss(params):
      variables = drawn | {'params': params}
      return jnp.square(network.apply(variables, graph, images, True)[0]).mean()

    return jax.grad(loss)(drawn['params'])

  together = jax.jit(jax.vmap(gradient), compiler_options=padded.fast)(both)
  alone = jax.jit(gradient, compiler_options=padded.fast)
  for i, chain in enumerate(chains):
    found = [leaf[i] for leaf in jax.tree.leaves(together)]
    for x, y in zip(found, jax.tree.leaves(alone(chain)), strict=True):
      np.testing.assert_allclose(x, y, atol=1e-4 * np.abs(y).max())
