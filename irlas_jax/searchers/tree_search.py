"""Monte-Carlo tree search, as in AlphaX (Wang et al., 2019, arXiv 1805.07440).

The tree is over prefixes of the actions of any space (`tree.py`). A proposal is
one simulation: selection by UCT, a new node, and a random rollout from it,
which is what is evaluated. With a predictor (AlphaX's Meta-DNN is
`policies/mlp_predictor.py`) a new node is worth

  1/2 reward of the rollout + 1/2 mean of `rollouts` more, by the predictor,

and without one the reward. Published settings: selection by
mean + 2 Cp sqrt(2 ln N / n) with Cp = 2, on accuracies in [0, 1]; 10 rollouts;
a refit every 100 evaluations, of 20 epochs. In `exploration` that is 4, but of
values that are not normalised: there it stands beside differences of accuracies
of a few hundredths.

What differs from the published code, beside the normalisation: nothing is
proposed twice before everything below a node was, since paths of rollouts are
remembered too; a rollout that the predictor scores has its true reward only if
it is the proposal itself, not if it was evaluated earlier; children do not
inherit weights.

Shapes: `N` nodes, `T` steps of a space, `A` actions a step, `n` proposals,
`k` rollouts, `M` evaluations that the predictor is fitted to.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.policies import sampling
from irlas_jax.searchers import ring, tree
from irlas_jax.types import Predictor, Proposals, Searcher, Space


class TreeState(NamedTuple):
  """The tree, and with a predictor what it learns from and has learnt."""

  tree: tree.Tree
  memory: Any  # ring.Ring [M], or () without a predictor
  predictor: Any  # or () without one


def tree_search(
  space: Space,
  *,
  exploration: float | jax.Array = 0.3,
  num_nodes: int = 16_384,
  predictor: Predictor | None = None,
  memory_size: int = 2048,
  refit_every: int = 100,
  rollouts: int = 10,
) -> Searcher:
  """Proposals by simulations, each from the tree that the last one left.

  Values are normalised by the least and the highest reward so far, so that
  `exploration` means the same for rewards of any scale (`tree.uct`).

  Several proposals at once spread: until its reward comes, each counts as a
  visit of the least value to all nodes that it was selected through. Rewards
  may come in any order. A proposal that never gets one, such as those that
  screening turns down, stays a virtual loss and is not made again.

  A tree that is full (each proposal takes a node a choice, at most `T`) goes on
  with the nodes that it has: what is below them is proposed at random, may be
  proposed again, and is backed up from the last node there is. So is a space
  that was proposed as a whole, where selection goes by UCT alone.

  Args:
    space: any; of its functions only `legal` is used.
    exploration: coefficient of UCT; may be traced.
    num_nodes: N.
    predictor: of rewards, fitted to the last M; None: plain tree search.
    memory_size: M.
    refit_every: evaluations before the first fit, and between two.
    rollouts: k, of a new node, that the predictor scores.

  Raises:
    ValueError: for a number out of range.
  """
  if min(num_nodes, refit_every, rollouts) < 1:
    raise ValueError(
      f'tree_search has num_nodes={num_nodes}, refit_every={refit_every} and '
      f'rollouts={rollouts}: at least 1 of each.'
    )
  if predictor is not None and memory_size < refit_every:
    raise ValueError(
      f'tree_search remembers {memory_size} evaluations and fits its predictor '
      f'after {refit_every}: raise memory_size.'
    )

  def init(key):
    whole = tree.empty(num_nodes, space.num_actions)
    if predictor is None:
      del key  # an empty tree
      return TreeState(whole, (), ())
    blank = jnp.zeros(space.num_steps, jnp.int32)
    memory = ring.empty(memory_size, space.num_steps)
    return TreeState(whole, memory, predictor.init(key, blank))

  def propose(key, state, n):
    key_simulate, key_rollouts = jax.random.split(key)

    def simulation(whole, draws):
      actions, route = tree.simulate(draws, whole, space, exploration)
      found = actions, tree.path(route, num_nodes), tree.depth(route)
      return tree.record(whole, actions, route), found

    draws = jax.random.uniform(key_simulate, (n, space.num_steps))
    whole, (actions, paths, depths) = jax.lax.scan(
      simulation, state.tree, draws
    )
    info = {'path': paths}
    if predictor is not None:
      shape = n, rollouts, space.num_steps
      beside = jax.vmap(roll_out, (0, None, 0, 0))(
        jax.random.uniform(key_rollouts, shape), space, actions, depths
      )
      asked = state.memory.pushed >= refit_every
      info |= foresee(predictor, state.predictor, actions, beside, asked)
    return Proposals(actions, actions, info), state._replace(tree=whole)

  def update(key, state, proposals, rewards, valid):
    rewards = jnp.where(valid, rewards, 0.0).astype(jnp.float32)
    values, info = rewards, proposals.info
    if predictor is not None:
      values = values + info['share'] * (info['others'] - values)
      memory = ring.push(state.memory, proposals.actions, rewards, valid)
      state = refit(key, predictor, state, memory, refit_every)
    whole = tree.back_up(state.tree, info['path'], values, rewards, valid)
    return state._replace(tree=whole)

  return Searcher(init, propose, update)


def roll_out(
  draws: jax.Array, space: Space, actions: jax.Array, depth: jax.Array
) -> jax.Array:
  """Sequences [k, T] that begin with the first `depth` [] of actions [T].

  What follows is uniform over the legal actions; draws [k, T] in [0, 1).
  """

  def choose(u, chosen, t):
    drawn = sampling.pick(u, space.legal(chosen, t))
    return jnp.where(t < depth, actions[t], drawn)

  return jax.vmap(lambda row: sampling.build_actions(row, space, choose))(draws)


def foresee(
  predictor: Predictor,
  fitted: Any,
  actions: jax.Array,
  beside: jax.Array,
  asked: jax.Array,
) -> dict[str, jax.Array]:
  """What a predictor says of actions [n, T] and of rollouts [n, k, T].

  Returns:
    `predicted` [n] of the actions themselves, `others` [n] mean of the rollouts
    that differ from them, and `share` [n] that these have in a node's value. It
    is 0, and nothing is said, unless the predictor is `asked` [].
  """
  both = jnp.concatenate([actions[:, None], beside], axis=1)
  flat = both.reshape(-1, both.shape[-1])
  scores = predictor.predict(fitted, flat).reshape(both.shape[:2])
  differ = jnp.any(beside != actions[:, None], axis=-1)  # [n, k]
  count = jnp.sum(differ, axis=1)
  others = jnp.sum(scores[:, 1:], axis=1, where=differ)
  return {
    'predicted': jnp.where(asked, scores[:, 0], jnp.nan),
    'others': jnp.where(asked, others / jnp.maximum(count, 1), 0.0),
    'share': jnp.where(asked, 0.5 * count / differ.shape[1], 0.0),
  }


def refit(
  key: jax.Array,
  predictor: Predictor,
  state: TreeState,
  memory: ring.Ring,
  refit_every: int,
) -> TreeState:
  """The state with this memory, and its predictor fitted if it is time."""
  held = jnp.arange(len(memory.rewards)) < ring.num_held(memory)
  due = memory.pushed // refit_every > state.memory.pushed // refit_every
  fitted = jax.lax.cond(
    due,
    lambda: predictor.fit(
      key, state.predictor, memory.actions, memory.rewards, held
    ),
    lambda: state.predictor,
  )
  return state._replace(memory=memory, predictor=fitted)
