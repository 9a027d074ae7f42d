"""Screening: a predictor chooses which of a searcher's proposals are trained.

As in Faster Block-QNN (Zhong et al., 2018, arXiv 1808.05584): the searcher
proposes several times as many architectures as are evaluated, those that a
predictor thinks best of are, and a random share beside them. How the paper does
it is not published in full; this is a reconstruction, for any searcher.

Shapes: `n` proposals, `k` candidates for each, `T` steps of a space, `M`
architectures remembered.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.searchers import ring
from irlas_jax.types import Predictor, Searcher


class ScreenedState(NamedTuple):
  """The searcher's own, and what the predictor learns from and has learnt."""

  inner: Any
  memory: ring.Ring  # [M] evaluated architectures and their rewards
  predictor: Any


def screened(
  inner: Searcher,
  predictor: Predictor,
  num_steps: int,
  memory_size: int,
  *,
  candidates: int = 20,
  random_share: float | jax.Array = 0.1,
  warm_up: int = 32,
  refit_every: int = 32,
) -> Searcher:
  """A searcher that proposes what is promising among `inner`'s proposals.

  Candidates that were evaluated before come last. Until `warm_up` rewards are
  known the predictor is not asked. `info` of a proposal has what was predicted
  of it, NaN until then.

  Args:
    inner: proposes k n candidates and is told the rewards of n.
    predictor: is fitted to the memory.
    num_steps: T.
    memory_size: M; the oldest are forgotten.
    candidates: k.
    random_share: of the proposals, chosen without the predictor; may be traced.
    warm_up: evaluations before the predictor is first fitted.
    refit_every: evaluations between two fits.

  Raises:
    ValueError: for a number out of range.
  """
  if min(candidates, warm_up, refit_every) < 1:
    raise ValueError(
      f'screened has candidates={candidates}, warm_up={warm_up} and '
      f'refit_every={refit_every}: at least 1 of each.'
    )
  if memory_size < warm_up:
    raise ValueError(
      f'screened remembers {memory_size} architectures and first asks the '
      f'predictor after {warm_up}: raise memory_size.'
    )

  def init(key):
    key_inner, key_predictor = jax.random.split(key)
    blank = jnp.zeros(num_steps, jnp.int32)
    return ScreenedState(
      inner.init(key_inner),
      ring.empty(memory_size, num_steps),
      predictor.init(key_predictor, blank),
    )

  def propose(key, state, n):
    key_inner, key_choice = jax.random.split(key)
    many, own = inner.propose(key_inner, state.inner, candidates * n)
    asked = state.memory.pushed >= warm_up
    predicted = predictor.predict(state.predictor, many.actions)
    predicted = jnp.where(asked, predicted, jnp.nan)
    fresh = ring.unseen(
      state.memory, many.actions, jnp.ones(candidates * n, bool)
    )
    share = jnp.where(asked, random_share, 1.0)
    order = preference(key_choice, predicted, fresh, share, n)[:n]
    chosen = jax.tree.map(lambda x: x[order], many)
    info = {'inner': chosen.info, 'predicted': predicted[order]}
    if isinstance(chosen.info, dict) and 'exploration' in chosen.info:
      info['exploration'] = chosen.info['exploration']
    return chosen._replace(info=info), state._replace(inner=own)

  def update(key, state, proposals, rewards, valid):
    key_inner, key_fit = jax.random.split(key)
    before = state.memory.pushed
    memory = ring.push(state.memory, proposals.actions, rewards, valid)
    due = memory.pushed // refit_every > before // refit_every
    due |= before < warm_up
    held = jnp.arange(memory_size) < ring.num_held(memory)
    fitted = jax.lax.cond(
      due & (memory.pushed >= warm_up),
      lambda: predictor.fit(
        key_fit, state.predictor, memory.actions, memory.rewards, held
      ),
      lambda: state.predictor,
    )
    own = proposals._replace(info=proposals.info['inner'])
    inner_state = inner.update(key_inner, state.inner, own, rewards, valid)
    return ScreenedState(inner_state, memory, fitted)

  return Searcher(init, propose, update)


def preference(
  key: jax.Array,
  predicted: jax.Array,
  fresh: jax.Array,
  share: jax.Array,
  n: int,
) -> jax.Array:
  """The order in which candidates [m] are preferred, `n` of which are taken.

  What is not `fresh` [m] comes last. Of the n places, a number drawn with
  probability `share` [] each goes to candidates at random, and the others to
  those of highest prediction [m].
  """
  key_places, key_draw = jax.random.split(key)
  at_random = jax.random.bernoulli(key_places, share, (n,)).sum()
  draw = jax.random.uniform(key_draw, predicted.shape) + fresh
  drawn = _rank(-draw) < at_random
  best = _rank(jnp.nan_to_num(predicted)) / len(predicted)
  return jnp.argsort(-(best + 2.0 * drawn + 4.0 * fresh))


def _rank(values):
  """The place of each in rising order: [m] int32."""
  return jnp.argsort(jnp.argsort(values))
