"""Random search: the baseline that every searcher must beat."""

from irlas_jax.policies import sampling
from irlas_jax.types import Proposals, Searcher, Space


def random_search(space: Space) -> Searcher:
  """Proposes uniformly over the legal actions at every step; learns nothing.

  The distribution is that of `free_logits` with zero logits: uniform over
  choices, not over architectures, so short episodes are the likelier ones.
  """

  def init(key):
    del key  # there is nothing to hold
    return ()

  def propose(key, state, n):
    actions = sampling.uniform_actions(key, space, n)
    return Proposals(actions, actions, ()), state

  def update(key, state, proposals, rewards, valid):
    del key, proposals, rewards, valid  # no reward changes anything
    return state

  return Searcher(init, propose, update)
