"""A search tree over the choices of a space, as arrays.

A node stands for the actions chosen so far, a prefix of a sequence; the root,
node 0, for none. Only steps at which more than one action is legal lead from a
node to a child, so forced actions and what follows a terminal cost no nodes.
A node without a choice left stands for a whole sequence: it is a leaf.

Nodes hold two things. What UCT knows, visits and values, belongs to those that
it has selected. The rest of a proposal's path is there to remember that it was
proposed, and comes to be selected, like a node that does not exist, before any
sibling is selected twice.

Shapes: `N` nodes there is room for, `T` steps of a space, `A` actions a step,
`n` proposals.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from irlas_jax.policies import sampling
from irlas_jax.types import Space


class Tree(NamedTuple):
  """All nodes, in the order in which they were made; `N` is no node."""

  children: jax.Array  # [N, A] int32, node after each action; N: none yet
  visits: jax.Array  # [N] int32, results of what was selected through a node
  values: jax.Array  # [N] float32, their sum
  pending: jax.Array  # [N] int32, of what has no result yet: virtual losses
  exhausted: jax.Array  # [N] bool, all sequences below have been proposed
  size: jax.Array  # [] int32, nodes in use
  low: jax.Array  # [] float32, least reward so far; inf before the first
  high: jax.Array  # [] float32, highest


class Route(NamedTuple):
  """How a sequence was chosen, step by step."""

  before: jax.Array  # [T] int32, node before the step
  after: jax.Array  # [T] int32, and after it; N where there is no room
  choice: jax.Array  # [T] bool, whether there was more than one legal action
  selected: jax.Array  # [T] bool, by UCT; the others are the rollout
  fresh: jax.Array  # [T] bool, `after` is a new node
  last: jax.Array  # [T] bool, all other legal actions lead to exhausted nodes


def empty(num_nodes: int, num_actions: int) -> Tree:
  """A tree of the root alone.

  Raises:
    ValueError: if there is no room for it.
  """
  if num_nodes < 1:
    raise ValueError(f'A tree needs num_nodes of 1 or more, not {num_nodes}.')
  counts = jnp.zeros(num_nodes, jnp.int32)
  return Tree(
    children=jnp.full((num_nodes, num_actions), num_nodes, jnp.int32),
    visits=counts,
    values=jnp.zeros(num_nodes, jnp.float32),
    pending=counts,
    exhausted=jnp.zeros(num_nodes, bool),
    size=jnp.ones((), jnp.int32),
    low=jnp.float32(jnp.inf),
    high=jnp.float32(-jnp.inf),
  )


def uct(
  tree: Tree,
  node: jax.Array,
  kids: jax.Array,
  exploration: float | jax.Array,
) -> jax.Array:
  """Upper confidence bounds of the children `kids` [A] of a node []: [A].

  With n and N the visits of child and node (Kocsis & Szepesvari, 2006),

    (mean value - low) / (high - low) + exploration sqrt(2 ln N / n),

  and infinity for n = 0. Low and high are the least and the highest reward of
  the search so far, so values are in [0, 1] whatever rewards are. What has no
  result yet counts in n and N, with the value `low`.
  """
  visits = _at(tree.visits, kids)
  count = visits + _at(tree.pending, kids)
  total = _at(tree.visits, node) + _at(tree.pending, node)
  reach = jnp.where(tree.high > tree.low, tree.high - tree.low, 1.0)
  low = jnp.where(jnp.isfinite(tree.low), tree.low, 0.0)
  some = jnp.maximum(count, 1)
  worth = (_at(tree.values, kids) - visits * low) / (reach * some)
  width = jnp.sqrt(2 * jnp.log(jnp.maximum(total, 1)) / some)
  return jnp.where(count > 0, worth + exploration * width, jnp.inf)


def simulate(
  draws: jax.Array, tree: Tree, space: Space, exploration: float | jax.Array
) -> tuple[jax.Array, Route]:
  """One sequence: actions [T] int32, and its route.

  From the root children are selected by UCT, ties at random, up to the first
  node that was never selected before: the new one. The other actions are
  uniform over the legal ones. Both pass over what is exhausted, unless all is.
  draws [T] are uniform in [0, 1).
  """
  num_nodes, every = len(tree.visits), jnp.arange(space.num_actions)

  def step(carry, row):
    actions, node, size, selecting = carry
    u, t = row
    legal = space.legal(actions, t)
    kids = tree.children.at[node].get(mode='fill', fill_value=num_nodes)
    closed = ~legal | _at(tree.exhausted, kids)
    allowed = jnp.where(jnp.all(closed), legal, ~closed)
    bounds = jnp.where(allowed, uct(tree, node, kids, exploration), -jnp.inf)
    best = allowed & (bounds == jnp.max(bounds))
    action = sampling.pick(u, jnp.where(selecting, best, allowed))
    kid, choice = kids[action], jnp.sum(legal) > 1
    fresh = choice & (kid == num_nodes) & (size < num_nodes)
    after = jnp.where(choice, jnp.where(fresh, size, kid), node)
    last = jnp.all(closed | (every == action)) | ~choice
    known = _at(tree.visits, kid) + _at(tree.pending, kid) > 0
    route = Route(node, after, choice, selecting, fresh, last)
    carry = (
      actions.at[t].set(action),
      after,
      size + fresh,
      selecting & (known | ~choice),
    )
    return carry, route

  start = (
    jnp.zeros(space.num_steps, jnp.int32),
    jnp.zeros((), jnp.int32),
    tree.size,
    jnp.bool_(True),
  )
  rows = draws, jnp.arange(space.num_steps)
  (actions, *_), route = jax.lax.scan(step, start, rows)
  return actions, route


def record(tree: Tree, actions: jax.Array, route: Route) -> Tree:
  """The tree with the nodes of a sequence [T], which now is pending."""
  num_nodes = len(tree.visits)
  parents = jnp.where(route.fresh, route.before, num_nodes)
  nodes = jnp.append(0, jnp.where(route.choice, route.after, num_nodes))
  done = jax.lax.cummin(route.last.astype(jnp.int32), reverse=True)
  done = jnp.append(done, 1).astype(bool)  # the sequence itself
  return tree._replace(
    children=tree.children.at[parents, actions].set(route.after, mode='drop'),
    pending=tree.pending.at[path(route, num_nodes)].add(1, mode='drop'),
    exhausted=tree.exhausted.at[nodes].set(done, mode='drop'),
    size=tree.size + jnp.sum(route.fresh, dtype=jnp.int32),
  )


def path(route: Route, num_nodes: int) -> jax.Array:
  """The nodes selected, from the root to the new one: [T + 1] int32, else N."""
  chosen = route.choice & route.selected
  return jnp.append(0, jnp.where(chosen, route.after, num_nodes))


def depth(route: Route) -> jax.Array:
  """How many actions lead to the last node of the path: [] int32."""
  ends = jnp.arange(1, len(route.choice) + 1)
  return jnp.max(jnp.where(route.choice & route.selected, ends, 0))


def back_up(
  tree: Tree,
  paths: jax.Array,
  values: jax.Array,
  rewards: jax.Array,
  valid: jax.Array,
) -> Tree:
  """The tree with results: each node of a path has one visit more.

  paths [n, T + 1] of what was recorded, values [n] to add, rewards [n] that
  values are measured by, valid [n]: rows without a result change nothing.
  """
  counts = jnp.broadcast_to(valid[:, None], paths.shape).astype(jnp.int32)
  found = jnp.where(valid, values, 0.0)[:, None]
  low = jnp.min(rewards, where=valid, initial=jnp.inf)
  high = jnp.max(rewards, where=valid, initial=-jnp.inf)
  return tree._replace(
    visits=tree.visits.at[paths].add(counts, mode='drop'),
    pending=tree.pending.at[paths].add(-counts, mode='drop'),
    values=tree.values.at[paths].add(
      jnp.broadcast_to(found, paths.shape), mode='drop'
    ),
    low=jnp.minimum(tree.low, low),
    high=jnp.maximum(tree.high, high),
  )


def _at(column, nodes):
  """Rows of a column [N], 0 where there is no node."""
  return column.at[nodes].get(mode='fill', fill_value=0)
