"""Gradients of an architecture's loss at weights that depend on it.

Liu et al., "DARTS: Differentiable architecture search", ICLR 2019 (arXiv
1806.09055), section 2.3. Weights w minimise the training loss; an architecture
a is judged by the validation loss at w' = w - rate * grad_w L_train(w, a), one
step on. Losses are functions (w, a) -> [], w any pytree, a any array.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

_STEP = 0.01  # of the finite difference, over the length of the direction

Loss = Callable[..., jax.Array]  # (w, a) -> []


def first_order(valid_loss: Loss, weights, architecture):
  """grad_a L_val(w, a): as if the weights did not depend on it (rate 0)."""
  return jax.grad(valid_loss, argnums=1)(weights, architecture)


def second_order(
  train_loss: Loss, valid_loss: Loss, weights, architecture, rate
):
  """grad_a L_val(w - rate * grad_w L_train(w, a), a), differentiated as it is.

  By reverse mode over reverse mode, since convolutions with derivatives of
  their own (networks.convolution) have no forward mode.
  """

  def unrolled(architecture):
    slope = jax.grad(train_loss)(weights, architecture)
    return valid_loss(_moved(weights, slope, -rate), architecture)

  return jax.grad(unrolled)(architecture)


def finite_difference(
  train_loss: Loss, valid_loss: Loss, weights, architecture, rate
):
  """The same but for a finite difference in place of second derivatives.

    grad_a L_val(w', a) - rate (grad_a L_train(w+, a) - grad_a L_train(w-, a))
                          / (2 e),   w+- = w +- e v,  v = grad_w' L_val(w', a)

  with e = 0.01 / ||v||, DARTS's equations 7 and 8. No derivative of a
  derivative is taken, which on a CPU is what is slow.
  """
  step = _moved(weights, jax.grad(train_loss)(weights, architecture), -rate)
  direction, direct = jax.grad(valid_loss, argnums=(0, 1))(step, architecture)
  length = jnp.maximum(optax.tree.norm(direction), 1e-12)
  reach = _STEP / length
  ahead, behind = (
    first_order(train_loss, _moved(weights, direction, way), architecture)
    for way in (reach, -reach)
  )
  return direct - rate * (ahead - behind) / (2 * reach)


def _moved(weights, direction, far):
  return jax.tree.map(lambda w, d: w + far * d, weights, direction)
