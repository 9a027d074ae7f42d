"""N2N's reward: how much smaller a student is, and how accurate it stays.

Ashok et al., ICLR 2018 (arXiv 1709.06030). Not in percent: at most 1, and -1
for what is no student. Shapes: `n` students.
"""

import jax
import jax.numpy as jnp

from irlas_jax.types import OK, Graph, Reward, Scores


def n2n_reward(
  params: float,
  accuracy: float,
  *,
  max_params: float = 0.0,
  min_accuracy: float = 0.0,
  epoch_size: int = 5,
  patience: float = 15.0,
) -> Reward:
  """R = C (2 - C) A / A_teacher, with C = 1 - parameters / the teacher's.

  -1 without a measurement, or where nothing was saved. (The authors' other
  degenerate networks, images that vanish and dense layers of very few or very
  many inputs, are not among the students here.) If a constraint is violated
  R = (e - 1) + e C (2 - C) A / A_teacher, where e falls from 1 to 0,
  e = max(0, 1 - epoch / patience)^4.

  Args:
    params: the teacher's.
    accuracy: the teacher's on validation data, in [0, 1].
    max_params: constraint, parameters of a student at most; 0 is none.
    min_accuracy: constraint, its accuracy at least; 0 is none.
    epoch_size: students an epoch, 5 in the paper; counted are different ones.
    patience: epochs until a violation is worth -1 whatever else.

  Raises:
    ValueError: for a number that is not positive.
  """
  if min(params, accuracy, epoch_size, patience) <= 0:
    raise ValueError(
      f'reward.teacher_params is {params}, reward.teacher_accuracy {accuracy}, '
      f'reward.epoch_size {epoch_size} and reward.patience {patience}: all '
      'above 0. launch.compress fills in the first two, of its teacher.'
    )

  def reward(scores: Scores, graphs: Graph) -> jax.Array:
    del graphs
    saved = 1 - scores.params / params
    value = saved * (2 - saved) * scores.accuracy / accuracy
    violated = scores.accuracy < min_accuracy
    if max_params:
      violated |= scores.params > max_params
    epoch = scores.index // epoch_size
    share = jnp.maximum(0.0, 1 - epoch / patience) ** 4
    value = jnp.where(violated, share - 1 + share * value, value)
    measured = (scores.failure == OK) & jnp.isfinite(value) & (saved > 0)
    return jnp.where(measured, value, -1.0)

  return reward
